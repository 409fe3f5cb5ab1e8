"""Whoever writes a line of the log: no secret of the process is in it, and nothing that a terminal obeys."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from mitmproxy.log import MitmFormatter
from mitmproxy.utils import strutils

from claude_relay.core.config import parse
from claude_relay.proxy.log import plain as plainlog
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.json_log import JsonLog

SECRET, NASTY = "sk-ant-api03-SECRET-of-the-log", "a\x1b[2J\u202eb\x9bc\u200bd"
logger = logging.getLogger("elsewhere")


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    plainlog.install()
    plainlog.learn(((SECRET.encode(), b"relay:anthropic/k1"),))
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)
    plainlog.remove()


def test_messages_and_arguments(lines: list[logging.LogRecord]) -> None:
    logger.warning("key %s of %r: %s", SECRET, [SECRET], NASTY)
    logger.warning("plain %d", 7)
    assert lines[0].getMessage() == "key relay:anthropic/k1 of ['relay:anthropic/k1']: a␛[2J�b�c�d"
    assert (lines[1].msg, lines[1].args) == ("plain %d", (7,))
    assert SECRET not in repr(lines[0].__dict__)


def test_tracebacks_in_both_forms(lines: list[logging.LogRecord]) -> None:
    out = io.StringIO()
    log = JsonLog(lambda: out)
    log.install()
    try:
        raise ValueError(f"{SECRET} {NASTY}")
    except ValueError:
        logger.exception("failed")
    finally:
        log.flush()
        log.remove()
    text = MitmFormatter(colorize=True).format(lines[0])
    assert "relay:anthropic/k1 a␛[2J" in text
    assert SECRET not in text
    assert SECRET not in out.getvalue()
    assert "Traceback" in json.loads(out.getvalue())["exception"]


def test_bytes_that_came_over_a_connection_are_counted(lines: list[logging.LogRecord]) -> None:
    proxy = logging.getLogger("mitmproxy.proxy.server")
    proxy.warning("Invalid header line: %r, %r", b"x-api-key its' own", bytearray(b"both ' and \""))
    proxy.warning("no quotes in 'this'")
    assert [line.getMessage() for line in lines] == [
        "Invalid header line: (21 bytes), (27 bytes)",
        "no quotes in 'this'",
    ]


def test_records_made_from_their_parts(lines: list[logging.LogRecord]) -> None:
    logger.handle(logging.makeLogRecord({"name": "elsewhere", "levelno": logging.WARNING, "msg": "so"}))
    assert [(line.name, line.getMessage()) for line in lines] == [("elsewhere", "so")]


def test_all_secrets_of_a_configuration(lines: list[logging.LogRecord]) -> None:
    text = {
        "providers": {
            "one": {
                "format": "anthropic",
                "base_url": "https://one.example",
                "keys": ["one-secret-key-1"],
                "proxy": "http://me:pass-of-provider@p:1",
            }
        },
        "notices": {"webhook": "https://hooks.example/secret-path", "secret": "secret-that-signs"},
    }
    runtime = Runtime.of(
        parse(json.dumps(text).encode(), environ={}), environ={"HTTPS_PROXY": "http://you:pass-of-environment@q:2"}
    )
    environ = {"RELAY_SECRET": "secret-of-the-vault", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer-of-telemetry"}
    plainlog.learn(tuple(plainlog.secrets_of(runtime, environ)))
    secrets = ("one-secret-key-1", "pass-of-provider", "me:pass-of-provider", "https://hooks.example/secret-path", "secret-that-signs",
               "pass-of-environment", "secret-of-the-vault", "Bearer-of-telemetry")  # fmt: skip
    for secret in secrets:
        logger.warning("it is %s", secret)
    assert [line.getMessage() for line in lines if "relay:" not in line.getMessage()] == []


def test_what_mitmproxy_prints_of_flows(lines: list[logging.LogRecord]) -> None:
    assert strutils.escape_control_characters(f"{NASTY}\n") == "a.[2J�b�c�d\n"


def test_nothing_is_left_behind() -> None:
    plainlog.install()
    plainlog.remove()
    assert logging.getLogRecordFactory() is plainlog.FACTORY
    assert strutils.escape_control_characters is plainlog.ESCAPE
    assert logging.Formatter.formatException is plainlog.FORMAT_EXCEPTION


def test_client_keys_that_nobody_knows(lines: list[logging.LogRecord]) -> None:
    """More of them may come than are remembered."""
    logging.getLogger("t").warning("it said rk-%s!", "0a" * 24)
    assert lines[-1].getMessage() == "it said relay:client!"
