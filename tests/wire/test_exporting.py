"""`relay.export` in mitmweb's command bar: files for others to read, written by a real relay of what it has relayed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from mitmproxy import http, io

from waiting import PATIENCE, eventually

from . import steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pyparsing, which mitmproxy calls
KEYS = ["sk-ant-api03-first-of-the-keys", "opaque-second-key-of-another-shape"]
MINE = "sk-ant-api03-of-the-client-itself"
Base = Callable[[Relay], RawClient]


@pytest.fixture
def relay(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> Relay:
    """With a request that took two attempts; the refusal repeats the key."""
    relay = start(config(providers={"anthropic": provider(upstream.url, KEYS)}), relay={"web": True})
    upstream.script(steps.status(401, "authentication_error", f"no such key: {KEYS[0]}, {KEYS[1]}"))
    body = messages_body(
        stream=True,
        text=f'It\'s "$HOME" and `id`; my key {MINE} and anna@firm.test',
        metadata={"user_id": "user_" + "ab" * 32 + "_account_0f3c7f0e-1111-4000-8000-000000000001_session_1"},
    )
    base_client(relay).ask(
        "POST", "/v1/messages?beta=true", body=body, headers=[("cookie", "sid=cookie-of-mine-1"), ("x-api-key", MINE)]
    )
    return relay


def written(relay: Relay, path: Path, form: str, spec: str = "@all", *texts: str) -> bytes:
    """What the file holds, as soon as it is there."""
    said = relay.web_ui.command("relay.export", form, spec, str(path), *texts)
    assert "value" in said, said
    eventually(path.exists, relay.log_text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_bytes()


def without_secrets(data: bytes) -> bytes:
    for secret in (*KEYS, MINE, "cookie-of-mine-1", "anna@firm", "ab" * 32, "0f3c7f0e-1111", "0f3c7f0e-0000"):
        assert secret.encode() not in data, secret
    return data


def test_a_har_file(relay: Relay, tmp_path: Path) -> None:
    log = json.loads(without_secrets(written(relay, tmp_path / "a.har", "har")))["log"]
    assert (log["version"], len(log["entries"])) == ("1.2", 2)
    client = next(entry for entry in log["entries"] if entry["response"]["status"] == 200)
    headers = {header["name"].lower(): header["value"] for header in client["request"]["headers"]}
    assert headers["content-type"] == "application/json"
    assert headers["x-api-key"] == "relay:client"
    body = json.loads(client["request"]["postData"]["text"])
    assert body["messages"][0]["content"] == 'It\'s "$HOME" and `id`; my key redacted-key and redacted-email'
    assert "message_start" in client["response"]["content"]["text"]
    refused = next(entry for entry in log["entries"] if entry["response"]["status"] == 401)
    assert "relay:anthropic/k1" in str(refused)


def test_a_file_of_flows_that_can_be_read_and_sent_again(relay: Relay, upstream: FakeUpstream, tmp_path: Path) -> None:
    data = without_secrets(written(relay, tmp_path / "a.flow", "flows"))
    flows = list(io.FlowReader(BytesIO(data)).stream())
    assert sorted(flow.response.status_code for flow in flows if isinstance(flow, http.HTTPFlow) and flow.response) == [
        200,
        401,
    ]
    before = len(upstream.requests)
    relay.web_ui.command("relay.replay", str(tmp_path / "a.flow"))
    eventually(lambda: len(upstream.requests) != before, relay.log_text)
    again = json.loads(upstream.requests[-1].body)
    assert again["messages"][0]["content"].startswith('It\'s "$HOME"')


def test_a_script_that_runs(relay: Relay, upstream: FakeUpstream, tmp_path: Path) -> None:
    row = next(flow for flow in relay.web_ui.flows() if not flow["comment"].startswith("attempt"))
    name = row["comment"].rpartition(" · ")[2]
    written(relay, tmp_path / "a.flow", "flows")
    script = without_secrets(written(relay, tmp_path / "a.sh", "curl", f"@{row['id']}"))
    assert name.encode() in script
    environ = os.environ | {"ANTHROPIC_API_KEY": KEYS[1], "ANTHROPIC_BASE_URL": upstream.url, "NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(
        ["sh", str(tmp_path / "a.sh")], env=environ, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert "message_stop" in ran.stdout
    got = upstream.requests[-1]
    assert (got.path, got.key) == ("/v1/messages?beta=true", KEYS[1])
    assert json.loads(got.body)["messages"][0]["content"].startswith('It\'s "$HOME" and `id`; my key redacted-key')
    refused = subprocess.run(
        ["sh", str(tmp_path / "a.sh"), "2"], env=environ, capture_output=True, text=True, check=False
    )
    assert (refused.returncode, refused.stdout) == (2, "")


def test_without_texts(relay: Relay, tmp_path: Path) -> None:
    data = without_secrets(written(relay, tmp_path / "a.har", "har", "@all", "no-texts"))
    assert b"HOME" not in data
    assert b"Hel" not in data
    client = json.loads(data)["log"]["entries"][-1]
    body = json.loads(client["request"]["postData"]["text"])
    assert body["messages"][0]["role"] == "user"
    assert body["messages"][0]["content"].startswith("text text")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["har", "~u nowhere", "a.har"], "there is no request in it"),
        (["pdf", "@all", "a.pdf"], "pdf"),
        (["har", "@all", "no/such/a.har"], "there is no folder"),
        (["har", "@all", "a.har", "some"], "some"),
    ],
)
def test_what_cannot_be_done_is_said(relay: Relay, tmp_path: Path, arguments: list[str], why: str) -> None:
    form, spec, path, *more = arguments
    assert why in str(relay.web_ui.command("relay.export", form, spec, str(tmp_path / path), *more)["error"])


def test_a_file_is_never_overwritten(relay: Relay, tmp_path: Path) -> None:
    file = tmp_path / "a.har"
    file.write_text("mine")
    assert "is there already" in relay.web_ui.command("relay.export", "har", "@all", str(file))["error"]
    assert file.read_text() == "mine"
    assert [found.name for found in tmp_path.iterdir() if ".har" in found.name] == ["a.har"]
