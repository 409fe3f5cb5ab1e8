"""SIGTERM and Ctrl-C: running requests end, or are ended, each with its row; nothing new begins; a second one is obeyed at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waiting import PATIENCE, eventually

from . import claude, steps
from .clients import H2Client, RawClient, messages_body
from .forked import Breeder, ForkedRelay
from .relay import SCRIPT, RelayProcess, config, free_ports, rows
from .relay import Relay as InProcess
from .upstream import FakeUpstream, Signal

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 4)]
EARLY, LATE = claude.events()[:4], claude.events()[4:]
STREAM = b"".join(claude.events())


class Relay(ForkedRelay):
    """One whose output and end can be waited for."""

    def begin(self) -> None:
        at = self.command.index("-s")
        self.child = self.breeder.breed(self.command[at:], self.output_file, self.added)

    def signal(self, number: int) -> None:
        os.kill(self.child, number)

    @property
    def alive(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, 0)
            return True
        return False

    def wait_until_gone(self, timeout: float = PATIENCE) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        while self.alive:
            assert time.monotonic() < began + timeout, self.output()
            time.sleep(0.002)
        return time.monotonic() - began

    def wait_for(self, words: str) -> None:
        eventually(lambda: words in self.output(), self.output)


Start = Callable[..., Relay]


@pytest.fixture
def begin(tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def run(keys: list[str] | None = None, **sections: Any) -> Relay:
            text = config(upstream.url, KEYS if keys is None else keys, **sections)
            relay = stack.enter_context(Relay(tmp_path, confdir, text, breeder))
            relay.start()
            relay.wait_for("scripts/env -- claude")
            return relay

        yield run


def begins(client: RawClient) -> None:
    """The answer's first words have come."""
    client.head()
    client.until(b"Hel")


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def wait_until_refused(port: int) -> None:
    eventually(lambda: refused(port))


def assert_ending_error(status: int | None, body: bytes) -> None:
    assert status == 503
    found = json.loads(body)
    assert (found["type"], found["error"]["type"]) == ("error", "api_error")
    assert "ending" in found["error"]["message"]
    assert found["request_id"].startswith("req_relay_")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_nothing_runs_and_it_ends_at_once(begin: Start, number: int) -> None:
    relay = begin()
    with RawClient(relay.base_port) as idle:
        idle.ask("POST", "/v1/messages", body=messages_body())
        relay.signal(number)
        assert relay.wait_until_gone() < 3
    assert "ending" not in relay.output()
    assert "Traceback" not in relay.output()


def test_running_requests_end_by_themselves(begin: Start, upstream: FakeUpstream) -> None:
    """A stream, a whole answer, one whose head has not come: all end as if nobody had asked for an end; nothing new begins."""
    relay, go = begin(), Signal("the test's word")
    upstream.script(
        steps.stream([*EARLY, go, *LATE]), steps.after(go, steps.message("late")), steps.after(go, steps.status(500))
    )
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(relay.base_port)) for _ in range(3)]
        for n, client in enumerate(clients):
            client.post(stream=n == 0)
            upstream.wait_for_requests(n + 1)
        begins(clients[0])
        idle = stack.enter_context(RawClient(relay.base_port))
        assert idle.ask("POST", "/v1/messages", body=messages_body()).status == 200
        relay.signal(signal.SIGTERM)
        relay.wait_for("ending: 3 requests still run, up to 30 s; Ctrl-C again ends at once")
        assert not idle.fill()  # idle connections are closed
        wait_until_refused(relay.base_port)
        assert refused(relay.proxy_port)
        assert relay.alive
        go.set()
        while clients[0].piece() is not None:
            pass
        assert (clients[0].current.body, clients[0].current.complete) == (STREAM, True)
        assert [(c.answer().status, c.current.complete) for c in clients[1:]] == [(200, True)] * 2
        assert relay.wait_until_gone() < 3
        assert not any(client.fill() for client in clients)
    assert "ending: all requests are done" in relay.output()
    assert [row["finished"] for row in rows(relay.database)] == ["complete"] * 4
    assert "Traceback" not in relay.output()


def test_what_takes_too_long_is_ended(begin: Start, upstream: FakeUpstream) -> None:
    """A stream gets an `error` event, an answer that has not begun an error, a request that waits for a key too."""
    relay = begin(shutdown="300ms", retry={"max_wait": "60s"})
    limited = steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "30")])
    upstream.script(
        steps.stream([*EARLY, steps.stall]), steps.stall_before_head, steps.stream([claude.start(), steps.stall])
    )
    with contextlib.ExitStack() as stack:
        streaming, silent, held, waiting, uploading = [
            stack.enter_context(RawClient(relay.base_port)) for _ in range(5)
        ]
        for n, client in enumerate((streaming, silent, held)):
            client.post(stream=client is not silent)
            upstream.wait_for_requests(n + 1)
        begins(streaming)
        for key in KEYS:
            upstream.for_key(key, limited)
        waiting.post()
        upstream.wait_for_requests(6)
        uploading.send(uploading.request_bytes("POST", "/v1/messages", headers=[("Content-Length", "100")]) + b"{")
        relay.signal(signal.SIGTERM)
        relay.wait_for("ending: 5 requests still run, up to 0.3 s")
        while streaming.piece() is not None:
            pass
        assert streaming.current.complete
        assert streaming.current.body.startswith(b"".join(EARLY))
        event, _, data = streaming.current.body.removeprefix(b"".join(EARLY)).partition(b"\n")
        assert event == b"event: error"
        said = json.loads(data.removeprefix(b"data: "))
        assert said["error"]["type"] == "api_error"
        assert "the relay was ended" in said["error"]["message"]
        for client in (silent, held, waiting, uploading):
            answer = client.answer()
            assert_ending_error(answer.status, answer.body)
            assert answer.header("connection") == "close"
        relay.wait_until_gone(3)
    assert "ending: 5 requests were cut off" in relay.output()
    assert "Traceback" not in relay.output()
    found = {(row["finished"], row["status"], row["error_type"]) for row in rows(relay.database)}
    assert found == {("error", 200, "relay_ended"), ("error", 503, "api_error")}
    assert len(rows(relay.database)) == 4  # the upload was never routed
    verdicts = [row["verdict"] for row in rows(relay.database, "attempts")]
    assert verdicts.count("relay_ended") == 3
    with contextlib.closing(sqlite3.connect(relay.database)) as connection:
        blamed = connection.execute("SELECT DISTINCT reason FROM cooldowns WHERE reason NOT LIKE '%429%'").fetchall()
    assert blamed == []


@pytest.mark.parametrize("how", ["second signal", "shutdown: 0"])
def test_at_once(begin: Start, upstream: FakeUpstream, how: str) -> None:
    relay = begin(**({"shutdown": 0} if how == "shutdown: 0" else {}))
    upstream.script(steps.stream([*EARLY, steps.stall]), steps.stall_before_head)
    through = RawClient.through(relay.proxy_port, relay.ca_file)
    with RawClient(relay.base_port) as streaming, through as silent:
        streaming.post(stream=True)
        begins(streaming)
        silent.post()
        upstream.wait_for_requests(2)
        relay.signal(signal.SIGINT)
        if how == "second signal":
            relay.wait_for("2 requests still run, up to 30 s")
            relay.signal(signal.SIGINT)
        assert relay.wait_until_gone() < 3
        while streaming.piece() is not None:
            pass
        assert b"event: error" in streaming.current.body
        answer = silent.answer()
        assert_ending_error(answer.status, answer.body)
    assert [(row["finished"], row["status"]) for row in rows(relay.database)] == [("error", 200), ("error", 503)]
    assert "2 requests were cut off" in relay.output()


def test_http2_and_tunnels(begin: Start, upstream: FakeUpstream) -> None:
    """A further stream of a connection that is at work is refused; a tunnel is not waited for."""
    relay, go = begin(intercept={"hosts": ["api.anthropic.com"]}), Signal("the test's word")
    upstream.script(steps.stream([*EARLY, go, *LATE]))
    with socket.create_server(("127.0.0.1", 0)) as other, contextlib.ExitStack() as stack:
        tunnel = stack.enter_context(socket.create_connection(("127.0.0.1", relay.proxy_port)))
        tunnel.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % other.getsockname()[1])
        assert b" 200 " in tunnel.recv(1000)
        tunnel.sendall(b"\x00 no TLS, no HTTP")
        there = stack.enter_context(contextlib.closing(other.accept()[0]))
        assert there.recv(100) == b"\x00 no TLS, no HTTP"
        client = stack.enter_context(H2Client.through(relay.proxy_port, relay.ca_file))
        running = client.request(body=messages_body(stream=True))
        client.until(running, b"Hel")
        relay.signal(signal.SIGTERM)
        relay.wait_for("ending: 1 request still runs")
        there.sendall(b"still here")
        assert tunnel.recv(100) == b"still here"
        refused_one = client.answer(client.request(body=messages_body()))
        assert_ending_error(refused_one.status, refused_one.body)
        assert refused_one.header("connection") is None
        go.set()
        assert client.answer(running).body == STREAM
        assert relay.wait_until_gone() < 3
        assert tunnel.recv(100) == b""
    assert [row["finished"] for row in rows(relay.database)] == ["complete"]


def test_http2_streams_are_ended(begin: Start, upstream: FakeUpstream) -> None:
    """Through CONNECT and TLS, several on one connection."""
    relay = begin(shutdown="100ms")
    upstream.script(steps.stream([*EARLY, steps.stall]), steps.stall_before_head)
    with H2Client.through(relay.proxy_port, relay.ca_file) as client:
        streaming = client.request(body=messages_body(stream=True))
        client.until(streaming, b"Hel")
        silent = client.request(body=messages_body())
        upstream.wait_for_requests(2)
        relay.signal(signal.SIGTERM)
        assert b"event: error" in client.answer(streaming).body
        answer = client.answer(silent)
        assert_ending_error(answer.status, answer.body)
        relay.wait_until_gone(3)
    assert sorted(row["status"] for row in rows(relay.database)) == [200, 503]


def test_who_had_sent_a_request_is_answered(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Callable[..., RawClient]
) -> None:
    """It has arrived, but nobody has read it yet: on connections that were idle, on new ones, in a tunnel."""
    with InProcess(tmp_path, confdir, config(upstream.url, KEYS)) as relay, contextlib.ExitStack() as stack:
        clients = [base_client(relay), stack.enter_context(RawClient.through(relay.proxy_port, relay.ca_file))]
        for client in clients:
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        clients += [base_client(relay) for _ in range(3)]

        def send_and_end() -> None:  # in one step of the event loop
            for client in clients:
                client.post()
            relay.master.addons.get("claude_relay").ending.request_end()

        relay.on_loop(send_and_end)
        for client in clients:
            answer = client.answer()
            assert_ending_error(answer.status, answer.body)
    assert len(upstream.requests) == 2


def test_a_client_that_leaves_is_not_waited_for(begin: Start, upstream: FakeUpstream) -> None:
    relay = begin()
    upstream.script(steps.stream([*EARLY, steps.stall]))
    with RawClient(relay.base_port) as client:
        client.post(stream=True)
        begins(client)
        relay.signal(signal.SIGTERM)
        relay.wait_for("ending: 1 request still runs")
    assert relay.wait_until_gone() < 3
    assert "all requests are done" in relay.output()
    assert [row["finished"] for row in rows(relay.database)] == ["client_closed"]


def test_an_abrupt_end_writes_down_what_runs(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, base_client: Callable[..., RawClient]
) -> None:
    """mitmproxy ends without asking the relay, as it does when its main task is cancelled."""
    upstream.script(steps.stream([*EARLY, steps.stall]), steps.stall_before_head)
    with InProcess(tmp_path, confdir, config(upstream.url, KEYS)) as relay:
        streaming, silent = base_client(relay), base_client(relay)
        streaming.post(stream=True)
        begins(streaming)
        silent.post()
        upstream.wait_for_requests(2)
    found = {(row["finished"], row["status"], row["attempts"], row["input_tokens"]) for row in rows(relay.database)}
    assert found == {("error", 200, 1, 25), ("error", None, 1, None)}
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == ["relay_ended"] * 2


@pytest.mark.parametrize("program", ["mitmdump", "mitmweb"])
def test_a_process_ends_well(tmp_path: Path, confdir: Path, upstream: FakeUpstream, program: str) -> None:
    """Exit code 0, in both programs, also with a request under way."""
    start = f"from mitmproxy.tools.main import {program}; {program}()"
    web = ["--no-web-open-browser", "--web-port", str(free_ports(1)[0])] if program == "mitmweb" else []
    command = [sys.executable, "-c", start, "-s", str(SCRIPT), *web]
    with RelayProcess(tmp_path, confdir, config(upstream.url, KEYS), command=command) as relay:
        go = Signal("the test's word")
        upstream.script(steps.stream([*EARLY, go, *LATE]))
        with RawClient(relay.base_port) as client:
            client.post(stream=True)
            begins(client)
            relay.process.send_signal(signal.SIGINT)
            wait_until_refused(relay.base_port)
            assert relay.process.poll() is None
            go.set()
            while client.piece() is not None:
                pass
            assert client.current.complete
        assert relay.process.wait(PATIENCE) == 0
    assert "Traceback" not in relay.output()
    assert [row["finished"] for row in rows(relay.database)] == ["complete"]


def test_mitmproxys_console(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    """It needs a terminal; SIGTERM is obeyed there as well."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    relay = RelayProcess(tmp_path, confdir, config(upstream.url, KEYS, shutdown="100ms"))
    at = relay.command.index("-s")
    command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmproxy; mitmproxy()", *relay.command[at:]]
    environ = relay.environ | {"TERM": "xterm", "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environ, cwd=tmp_path, start_new_session=True
    )
    os.close(terminal)
    shown = threading.Thread(target=read_all, args=[controller], daemon=True)
    shown.start()
    try:
        eventually(lambda: process.poll() is not None or not refused(relay.base_port))
        upstream.script(steps.stream([*EARLY, steps.stall]))
        with RawClient(relay.base_port) as client:
            client.post(stream=True)
            begins(client)
            process.send_signal(signal.SIGTERM)
            while client.piece() is not None:
                pass
            assert b"event: error" in client.current.body
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait(PATIENCE)
        shown.join(PATIENCE)
        os.close(controller)
    assert [row["finished"] for row in rows(relay.database)] == ["error"]


def read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass
