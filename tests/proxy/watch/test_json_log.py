"""Every line of the JSON log is one object, complete, and free of credentials."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from claude_relay.proxy.watch.json_log import JsonLog
from store.rows import attempt, request

KEY = "sk-ant-api03-" + "x" * 40


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(out: io.StringIO) -> Iterator[JsonLog]:
    log = JsonLog(lambda: out)
    log.install()
    log.install()
    yield log
    log.remove()


def lines(log: JsonLog, out: io.StringIO) -> list[dict[str, Any]]:
    assert log.is_written(5)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("logger", "level", "written"),
    [
        ("claude_relay.proxy.flow.hooks", logging.INFO, True),
        ("claude_relay", logging.WARNING, True),
        ("claude_relay.proxy.flow.hooks", logging.DEBUG, False),
        ("claude_relay_else", logging.INFO, False),
        ("mitmproxy.proxy.server", logging.INFO, False),
        ("mitmproxy.proxy.server", logging.WARNING, True),
    ],
)
def test_the_relay_is_heard_and_warnings_of_others(
    log: JsonLog, out: io.StringIO, logger: str, level: int, written: bool
) -> None:
    source = logging.getLogger(logger)
    source.setLevel(logging.DEBUG)
    try:
        source.log(level, "it is %s", "so\nand so")
    finally:
        source.setLevel(logging.NOTSET)
    assert [line["message"] for line in lines(log, out)] == ["it is so\nand so"] * written


def test_a_request_is_one_line_without_what_is_unknown(log: JsonLog, out: io.StringIO) -> None:
    row = request(output_tokens=0, notes=None)
    log.settled(row, [attempt(row, 1, verdict="overloaded", status=529), attempt(row, 2)])
    (line,) = lines(log, out)
    assert line["logger"] == "claude_relay.requests"
    assert line["request"]["id"] == row.id
    assert line["request"]["output_tokens"] == 0
    assert "notes" not in line["request"]
    assert [tried["verdict"] for tried in line["attempts"]] == ["overloaded", "success"]


def test_credentials_are_struck_out_and_request_ids_are_not(log: JsonLog, out: io.StringIO) -> None:
    own = "req_relay_" + "0123456789ab" * 2
    try:
        raise ValueError(f"refused {KEY}")
    except ValueError:
        logging.getLogger("claude_relay").exception("attempt 1 of %s with %s and %s", own, KEY, own + KEY)
    (line,) = lines(log, out)
    assert KEY not in out.getvalue()
    assert line["message"] == f"attempt 1 of {own} with … and …"
    assert "ValueError" in line["exception"]


def test_bytes_that_are_no_text_do_no_harm(log: JsonLog, out: io.StringIO) -> None:
    row = request(user_agent="caf\udce9")
    log.settled(row, [attempt(row)])
    # Past the logger: whoever collects what tests log could not write it down.
    log.handle(logging.makeLogRecord({"name": "claude_relay", "levelno": logging.WARNING, "msg": "caf\udce9"}))
    assert [line["request"]["user_agent"] if "request" in line else line["message"] for line in lines(log, out)] == [
        "caf?",
        "caf?",
    ]


def test_a_closed_stderr_does_not_end_a_request(log: JsonLog, out: io.StringIO) -> None:
    out.close()
    log.settled(request(), [])
    assert log.is_written(5)


def test_when_removed_it_is_silent(log: JsonLog, out: io.StringIO) -> None:
    log.remove()
    logging.getLogger("claude_relay").warning("hello")
    log.settled(request(), [])
    assert log.is_written(5)
    assert out.getvalue() == ""
