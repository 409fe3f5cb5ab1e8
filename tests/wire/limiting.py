"""What tests of clients' limits have in common: clients with keys, many requests at once, and a look at what is taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from claude_relay.core.clients.admission import Limiter
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook
from waiting import PATIENCE, eventually

from . import steps
from .budgets import usage
from .clients import Answer, RawClient, messages_body
from .relay import Relay
from .upstream import Exchange, FakeUpstream, Step

ME = Actor("me", "cli", "here")
type Asked = tuple[dict[str, str], dict[str, Any]]
"""Header fields, and of the body what is not as usual."""


class Crowd:
    """An upstream's answers, and how many of them were under way at the same time: none is given before there were so many once."""

    def __init__(self, upstream: FakeUpstream, many: int) -> None:
        self.running = self.peak = 0
        answer, there = steps.message(usage=usage(100)), asyncio.Event()

        async def run(exchange: Exchange) -> None:
            self.running += 1
            self.peak = max(self.peak, self.running)
            if self.peak >= many:
                there.set()
            try:
                await asyncio.wait_for(there.wait(), PATIENCE)
                await asyncio.sleep(0.01)
                await answer.run(exchange)
            finally:
                self.running -= 1

        upstream.default = Step(run)


def policy(*limits: str) -> Policy:
    return Policy(limits=tuple(parse(limit) for limit in limits))


def add(database: Path, name: str, *limits: str, **fields: Any) -> str:
    """A client with these limits; its key."""
    return ClientBook(database).add(ME, name, {"policy": policy(*limits)} | fields).key


def add_group(database: Path, name: str, *limits: str) -> None:
    ClientBook(database).add_group(ME, name, {"policy": policy(*limits)})


def ask(client: RawClient, key: str, path: str = "/v1/messages", **more: Any) -> Answer:
    headers = [("x-api-key", key), *more.pop("headers", {}).items()]
    return client.ask("POST", path, headers=headers, body=messages_body(**more))


async def at_once(port: int, key: str, asked: Sequence[Asked]) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
    """All of them at the same time, each on a connection of its own: status, header fields, body."""

    async def one(fields: dict[str, str], more: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        body = messages_body(**more)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = {
            "host": f"127.0.0.1:{port}",
            "x-api-key": key,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        } | fields
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        writer.write(f"POST /v1/messages HTTP/1.1\r\n{lines}\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
        found, _, text = answer.partition(b"\r\n\r\n")
        first, *others = found.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in others)}
        return int(first.split()[1]), headers, json.loads(text) if text.startswith(b"{") else {}

    return await asyncio.wait_for(asyncio.gather(*(one(*parts) for parts in asked)), PATIENCE)


def limiter(relay: Relay) -> Limiter:
    found: Limiter = relay.master.addons.get("claude_relay").parts.limiting.limiter
    return found


def until(relay: Relay, holds: Callable[[], object]) -> None:
    """It becomes true on the relay's loop."""
    eventually(lambda: relay.on_loop(holds))


def nothing_is_taken(relay: Relay) -> None:
    """When all clients have left: no place, no reservation, nobody waits."""
    relay.wait_until_clients_left()

    def find() -> str:
        busy = {key: held.busy for key, held in limiter(relay).slots.held.items() if held.busy or held.waiting}
        held = {key: one.reserved for key, one in limiter(relay).spendings.items() if one.reserved.holds}
        return str(busy or held or limiter(relay).queues or "")

    until(relay, lambda: not find())
