"""What the person who started the relay is told."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.connection import Client
from mitmproxy.log import ALERT
from mitmproxy.proxy import context
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.faults import Faults
from claude_relay.core.routing.routes import matches
from claude_relay.proxy import banner
from claude_relay.proxy.flow.deciding import dice
from claude_relay.proxy.running.runtime import Runtime
from proxy.stage import mitmproxy_with


def shown(settings: dict[str, Any], path: Path | None = None, **environ: str) -> list[str]:
    runtime = Runtime.of(parse(json.dumps(settings), environ={}), environ=environ)
    faults = Faults(runtime.config.faults, matches=matches, dice=dice)
    with mitmproxy_with():
        return list(banner.lines(runtime, path, faults))


def test_what_is_in_force_and_what_to_type_next(tmp_path: Path) -> None:
    provider = {"preset": "anthropic", "keys": ["sk-ant-api03-first-0123456789", "sk-ant-api03-second-0123456789"]}
    lines = shown({"providers": {"anthropic": provider}}, tmp_path / "relay.yaml")
    text = "\n".join(lines)
    assert f"config    {tmp_path / 'relay.yaml'}" in text
    assert "proxy     http://127.0.0.1:8080   for HTTPS_PROXY" in text
    assert "base URL  http://127.0.0.1:8082   for ANTHROPIC_BASE_URL" in text
    assert "pool      anthropic: 2 keys" in text
    assert lines[-1].startswith(f"  next      RELAY_CONFIG={tmp_path / 'relay.yaml'} ")
    assert lines[-1].endswith(" -- claude")
    assert "0123456789" not in text


def test_who_needs_a_client_key_is_said_where_one_is_made() -> None:
    assert "  clients   need a key: scripts/clients add NAME" in shown({"clients": {"required": True}})


def test_what_is_off_is_not_told_and_a_way_out_is_without_its_credential() -> None:
    listen = {"proxy": None, "base_url": "127.0.0.1:8082"}
    text = "\n".join(shown({"listen": listen}, HTTPS_PROXY="http://me:secret@proxy.example:3128"))
    assert "for HTTPS_PROXY" not in text
    assert "way out   through http://proxy.example:3128 (HTTPS_PROXY)" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("empty_pool", "told"),
    [("passthrough", "no key; the client's own goes through"), ("reject", "no key; requests to it are refused")],
)
def test_a_pool_without_keys(empty_pool: str, told: str) -> None:
    text = "\n".join(shown({"providers": {"anthropic": {"preset": "anthropic", "empty_pool": empty_pool}}}))
    assert f"pool      anthropic: {told}" in text
    assert "to add keys: " in text


def test_faults_are_not_overlooked(caplog: pytest.LogCaptureFixture) -> None:
    settings = {"faults": [{"fault": 529, "attempt": 1}, {"fault": "cut"}]}
    assert "  FAULTS    requests fail on purpose: 529, cut" in shown(settings)
    assert "FAULTS" not in "\n".join(shown({}))
    caplog.set_level(ALERT)
    faults = Faults(parse(json.dumps(settings), environ={}).faults, matches=matches, dice=dice)
    banner.say_what_fails(faults)
    faults.arm(())
    banner.say_what_fails(faults)
    assert [record.levelno for record in caplog.records] == [ALERT, ALERT]
    assert caplog.messages == [
        "FAULTS ARE ON: requests fail on purpose (529, cut)",
        "faults are off: no request fails on purpose any more",
    ]


def test_lines_leave_when_they_are_written() -> None:
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw)
    output.write("a\n")
    assert raw.getvalue() == b""
    banner.show_at_once(output)
    output.write("b\n")
    assert raw.getvalue() == b"a\nb\n"
    banner.show_at_once(io.StringIO())


def test_a_client_that_does_not_trust_the_certificate_is_helped_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banner, "_explained", {})
    monkeypatch.setattr(banner.confdir, "misfit", lambda _: "")
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=time.time(), sni="h.example")
    client.error = "unknown ca"
    data: Any = SimpleNamespace(context=context.Context(client, tflow.tflow()), conn=client)  # type: ignore[arg-type]
    with mitmproxy_with() as on:
        on.options.update(confdir="/conf")
        for _ in range(3):
            banner.explain_tls_failure(data)
    (told,) = caplog.messages
    assert "certificate for h.example (unknown ca)" in told
    assert told.endswith("export NODE_EXTRA_CA_CERTS=/conf/mitmproxy-ca-cert.pem")
