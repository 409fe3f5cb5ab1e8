"""A terminal that is held, and a collector that reads nothing or goes away: requests go on, and so does the end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from waiting import PATIENCE, eventually

from .clients import RawClient
from .relay import RelayProcess, config
from .test_ending import refused
from .upstream import FakeUpstream

KEYS = ["sk-ant-api03-secret-1"]
MANY = 150
"""Requests, each a line of the JSON log, that fill a pipe more than once."""


class Held(RelayProcess):
    """Its outputs are pipes; the test reads them, or does not."""

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        eventually(lambda: self.process.poll() is not None or not refused(self.base_port))
        assert self.process.poll() is None


@pytest.fixture
def relay(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> Iterator[Held]:
    settings = config(upstream.url, KEYS, log={"json": True}, shutdown="100ms")
    with Held(tmp_path, confdir, settings, arguments=["--set", "flow_detail=2"]) as relay, ExitStack() as stack:
        assert relay.process.stdout is not None
        assert relay.process.stderr is not None
        stack.enter_context(closing(relay.process.stdout))
        stack.enter_context(closing(relay.process.stderr))
        yield relay


def ask(relay: Held, count: int) -> None:
    with RawClient(relay.base_port) as client:
        for _ in range(count):
            client.post()
            assert client.answer().status == 200


def test_pipes_that_nobody_reads(relay: Held) -> None:
    ask(relay, MANY)
    relay.process.send_signal(signal.SIGTERM)
    assert relay.process.wait(PATIENCE) == 0


def test_nothing_is_lost_when_somebody_reads(relay: Held) -> None:
    ask(relay, MANY)
    relay.process.send_signal(signal.SIGTERM)
    out, errors = relay.process.communicate(timeout=PATIENCE)
    settled = [line for line in map(json.loads, errors.splitlines()) if line["message"] == "request"]
    assert len(settled) == MANY
    assert [line["time"] for line in settled] == sorted(line["time"] for line in settled)
    assert out.count(b"x-relay-attempts: 1") == MANY


def test_a_collector_that_goes_away(relay: Held) -> None:
    assert relay.process.stderr is not None
    relay.process.stderr.close()
    ask(relay, 3)
    relay.process.send_signal(signal.SIGTERM)
    assert relay.process.stdout is not None
    out = relay.process.stdout.read()
    assert relay.process.wait(PATIENCE) == 0
    assert b"Traceback" not in out


def test_a_terminal_that_goes_away_ends_the_relay(relay: Held) -> None:
    """As it ends mitmproxy: `mitmdump | head`."""
    assert relay.process.stdout is not None
    relay.process.stdout.close()
    with RawClient(relay.base_port) as client, suppress(OSError):
        client.post()
        client.head()
    assert relay.process.wait(PATIENCE) == 1
