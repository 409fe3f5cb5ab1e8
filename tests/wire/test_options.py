"""Options of mitmproxy's that would break a promise are refused, at the start and while the relay runs."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions, io
from mitmproxy.test import tflow

from waiting import PATIENCE

from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, RelayFailed, RelayProcess, config, rows
from .upstream import FakeUpstream

pytestmark = pytest.mark.filterwarnings("ignore:'parse(String|All)'")
"""How mitmproxy reads a filter."""
BREAKING: dict[str, Any] = {
    "stream_large_bodies": "1m",
    "body_size_limit": "10m",
    "modify_body": ["/~q/a/b"],
    "modify_headers": ["/~q/x-api-key/mine"],
    "map_remote": ["|api.anthropic.com|example.com"],
    "map_local": ["|api.anthropic.com|/tmp"],
    "block_list": ["|~u messages|404"],
    "anticache": True,
    "anticomp": True,
    "stickyauth": ".",
    "stickycookie": ".",
    "proxyauth": "any",
    "upstream_auth": "user:password",
    "keep_host_header": True,
    "keep_alt_svc_header": True,
    "onboarding_host": "api.anthropic.com",
    "server_replay_reuse": True,
    "server_replay_refresh": False,
    "server_replay_extra": "404",
    "ignore_hosts": ["example"],
    "tcp_hosts": ["api.anthropic.com"],
    "validate_inbound_headers": False,
    "normalize_outbound_headers": False,
    "proxy_debug": True,
}


@pytest.mark.parametrize("name", BREAKING)
def test_refused_at_the_start(tmp_path: Path, confdir: Path, name: str) -> None:
    relay = Relay(tmp_path, confdir, config("http://127.0.0.1:1", ["k"]), settings={name: BREAKING[name]})
    with pytest.raises(RelayFailed, match=f"mitmproxy's option {name} cannot be used with the relay: it "), relay:
        pass


@pytest.mark.parametrize("program", ["mitmdump", "mitmweb"])
def test_a_start_ends_with_the_sentence(tmp_path: Path, confdir: Path, program: str) -> None:
    """Without a traceback, and said once."""
    relay = RelayProcess(
        tmp_path,
        confdir,
        config("http://127.0.0.1:1", ["k"]),
        arguments=["--set", "stream_large_bodies=1", *(["--no-web-open-browser"] if program == "mitmweb" else [])],
    )
    command = [word.replace("mitmdump", program) for word in relay.command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=relay.environ, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert said.count("mitmproxy's option stream_large_bodies cannot be used with the relay") == 1, said
    assert "Traceback" not in said


def test_refused_while_it_runs(start: StartRelay, upstream: FakeUpstream) -> None:
    """What was refused is taken back, whatever came with it; what is harmless applies."""
    relay = start(keys=["good-1"])
    found = relay.master.options

    def change(**values: Any) -> str:
        def work() -> str:
            try:
                found.update(**values)
            except exceptions.OptionsError as error:
                return str(error)
            return ""

        said: str = relay.on_loop(work)
        return said

    before = {name: getattr(found, name) for name in (*BREAKING, "connection_strategy", "allow_hosts", "tcp_timeout")}
    more = {"connection_strategy": "eager", "allow_hosts": ["example"]}
    for name, value in (BREAKING | more).items():
        assert name in change(**{name: value, "tcp_timeout": 60}), name
    assert {name: getattr(found, name) for name in before} == before
    assert change(tcp_timeout=60, showhost=True, http2=False) == ""
    assert (found.tcp_timeout, found.http2) == (60, False)
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    relay.write_config(config(upstream.url, ["good-1"], intercept={"hosts": ["api.anthropic.com", "other.example"]}))
    relay.wait_for_log("was read again and applies from now on")
    assert len(found.allow_hosts) == 2


def test_keys_to_whoever_answers_are_warned_of(start: StartRelay) -> None:
    relay = start(keys=["good-1"], relay={"settings": {"ssl_insecure": True}})
    assert sum("ssl_insecure is set" in line for line in relay.log_text().splitlines()) == 1


def test_flows_of_a_file_are_not_relayed_again(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> None:
    """Neither asked for nor counted once more."""
    old = tflow.tflow(resp=True)
    old.request.host, old.request.port, old.request.path = "api.anthropic.com", 443, "/v1/messages"
    with (tmp_path / "old").open("wb") as file:
        io.FlowWriter(file).add(old)
    relay = start(keys=["good-1"])
    with (tmp_path / "old").open("rb") as file:
        (again,) = io.FlowReader(file).stream()
    done = asyncio.run_coroutine_threadsafe(relay.master.load_flow(again), relay.loop)
    done.result(PATIENCE)
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    relay.wait_until_clients_left()
    assert (len(upstream.requests), len(rows(relay.database))) == (1, 1)
