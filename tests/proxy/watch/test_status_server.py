"""The status server answers whoever means this machine, shares the event loop, and is gone when closed."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.config.values import Address
from claude_relay.core.exchange import Cause, Length, Verdict
from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch import gauges as metrics
from claude_relay.proxy.watch.health import Report
from claude_relay.proxy.watch.status_server import SLICE, HealthHandler, Look, StatusServer, is_meant, well
from waiting import PATIENCE

type Answer = tuple[int, dict[str, str], str]
HERE = Address("127.0.0.1", 0)


async def ask(server: StatusServer, path: str, *, host: str = "localhost:8083", method: str = "GET") -> Answer:
    assert server.port
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    first, *fields = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
    return int(first.split()[1]), headers, body


def serve[T](
    talk: Callable[[StatusServer], Awaitable[T]],
    render: Callable[[], Iterable[str]] = lambda: ["a 1\n"],
    look: Look = well,
) -> T:
    async def main() -> T:
        server = StatusServer(HERE, render, look)
        await server.start()
        try:
            return await asyncio.wait_for(talk(server), PATIENCE)
        finally:
            server.close()
            await asyncio.sleep(0)

    return asyncio.run(main())


def test_metrics_are_plain_text() -> None:
    status, headers, body = serve(lambda server: ask(server, "/metrics"), lambda: ["a 1\n", "b 2\n"])
    assert (status, body) == (200, "a 1\nb 2\n")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/healthz", 200, '"ok": true'),
        ("GET", "/", 404, "/metrics"),
        ("POST", "/nothing", 404, "/metrics"),
        ("GET", "/metrics/", 404, "/metrics"),
        ("POST", "/metrics", 405, "error"),
    ],
)
def test_everything_else_is_json(method: str, path: str, status: int, part: str) -> None:
    got, headers, body = serve(lambda server: ask(server, path, method=method))
    assert got == status
    assert headers["content-type"].startswith("application/json")
    assert json.loads(body)
    assert part in body


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_a_look_by_head_is_as_good(path: str) -> None:
    status, headers, body = serve(lambda server: ask(server, path, method="HEAD"))
    assert (status, body) == (200, "")
    assert serve(lambda server: ask(server, path, method="PUT"))[1]["allow"] == "GET, HEAD"
    assert serve(lambda server: ask(server, path))[1]["content-type"] == headers["content-type"]


@pytest.mark.parametrize(
    ("report", "status"),
    [(Report(True), 200), (Report(True, ("the disk is full",)), 200), (Report(False, ("no key", "full")), 503)],
)
def test_health_is_told_with_what_is_wrong(report: Report, status: int) -> None:
    async def look() -> Report:
        return report

    got, _, body = serve(lambda server: ask(server, "/healthz"), look=look)
    assert got == status
    problems = {"problems": list(report.problems)} if report.problems else {}
    assert json.loads(body) == {"ok": report.serves} | problems


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing"])
def test_a_page_that_points_its_own_name_here_learns_nothing(path: str) -> None:
    asked: list[int] = []

    def render() -> list[str]:
        asked.append(1)
        return ["secret 1\n"]

    status, _, body = serve(lambda server: ask(server, path, host="evil.example:8083"), render)
    assert (status, asked) == (403, [])
    assert "localhost" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("host", "listening", "meant"),
    [
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST.", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]", "127.0.0.1", True),
        ("relay.lan", "relay.lan", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "0.0.0.0", True),
        ("10.0.0.5", "127.0.0.1", False),
        ("relay.lan", "0.0.0.0", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_whose_name_is_good(host: str, listening: str, meant: bool) -> None:
    assert is_meant(host, listening) is meant


def test_a_client_that_leaves_before_its_answer_is_not_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave(server: StatusServer) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await asked.wait()
        writer.transport.abort()
        await answered.wait()

    async def look() -> Report:
        asked.set()
        await left.wait()
        return Report(True)

    asked, left, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(HealthHandler, "on_connection_close", lambda handler: left.set())
    execute = HealthHandler._execute

    async def whole(handler: HealthHandler, *given: Any, **more: Any) -> None:
        await execute(handler, *given, **more)
        answered.set()

    monkeypatch.setattr(HealthHandler, "_execute", whole)
    serve(leave, look=look)
    assert caplog.records == []


def test_a_long_text_does_not_hold_up_the_event_loop() -> None:
    turns: list[int] = []

    async def talk(server: StatusServer) -> Answer:
        asking = asyncio.ensure_future(ask(server, "/metrics"))
        while not asking.done():
            turns.append(len(made))
            await asyncio.sleep(0)
        return await asking

    made: list[int] = []

    def render() -> Iterable[str]:
        for n in range(10 * SLICE):
            made.append(n)
            yield f"a {n}\n"

    status, _, body = serve(talk, render)
    assert (status, body.count("\n")) == (200, 10 * SLICE)
    assert len({turn for turn in turns if 0 < turn < 10 * SLICE}) >= 9


def test_a_taken_port_is_said_once_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(first: StatusServer) -> None:
        assert first.port
        second = StatusServer(Address("127.0.0.1", first.port), list)
        with caplog.at_level(logging.WARNING):
            await second.start()
        assert second.port is None
        second.close()
        assert (await ask(first, "/healthz"))[0] == 200

    serve(talk)
    assert len(caplog.messages) == 1
    assert "listen" in caplog.text


def test_after_closing_nobody_is_connected_and_the_port_is_free() -> None:
    async def main() -> None:
        server = StatusServer(HERE, list)
        await server.start()
        port = server.port
        assert port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"}")
        server.close()
        server.close()
        assert await reader.read() == b""
        writer.close()
        again = StatusServer(Address("127.0.0.1", port), list)
        await again.start()
        assert again.port == port
        again.close()
        await asyncio.sleep(0)
        assert {task.get_name() for task in asyncio.all_tasks()} <= {asyncio.current_task().get_name()}  # type: ignore[union-attr]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_gauges_tell_how_the_keys_are() -> None:
    runtime = Runtime.of(parse("providers: {anthropic: {preset: anthropic, keys: [one-key, two-key]}}", environ={}))
    pool = runtime.pools["anthropic"]
    pool.apply(
        Verdict("unauthorized", Cause.KEY, math.inf, cooldown=Length.CHECK), pool.keys[0], "claude-opus-5", 100.0
    )
    flow = tflow.tflow()
    RELAYED[flow] = None  # type: ignore[assignment]
    try:
        found = metrics.gauges(runtime, None, 100.0)
    finally:
        del RELAYED[flow]
    assert {state: n for (_, state), n in found.keys.items()} == {"ready": 1, "cooldown": 0, "out": 1, "full": 0}
    assert (found.in_flight, found.sessions, found.ledger_failing) == (1, 0, False)
