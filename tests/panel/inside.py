"""The panel's application in this process, asked without a socket: for what no client could see, such as the clock or a fault."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from claude_relay.core.config import default
from claude_relay.panel.app import create
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.security import passwords
from claude_relay.store.audit import Actor
from claude_relay.store.db.database import connect
from claude_relay.store.panel.admins import Admin, Role
from waiting import PATIENCE

from .stage import PASSWORD, Answer

ACTOR = Actor("test", "panel", "here")
HASHED = passwords.hashed(PASSWORD)


@dataclass
class Clock:
    """Stands still until a test moves it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Inside:
    """`place`: the address that requests come from."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    place: str = "127.0.0.1"
    environ: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False

    def __post_init__(self) -> None:
        config = default({}).model_copy(update={"database": self.folder / "relay.db"})
        self.parts = Parts(None, config, environ=self.environ, clock=self.clock)
        self.parts.source = lambda: None  # type: ignore[method-assign,assignment,return-value]
        self.parts.in_force = lambda: config  # type: ignore[method-assign]
        held = connect(
            self.parts.database, patience=PATIENCE, any_thread=True
        )  # as a relay does, so that nobody is the last to leave
        weakref.finalize(self, held.close)
        self.app: FastAPI = create(self.parts, tls=self.tls)

    def add(self, name: str, role: Role = Role.ADMIN) -> Admin:
        return self.parts.admins.add(ACTOR, name, role, HASHED)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """In a thread of its own: in this one a browser may be driven, which takes its event loop."""
        with ThreadPoolExecutor(1) as pool:
            work = lambda: asyncio.run(asked(self.app, method, path, body, headers or {}, self.place))  # noqa: E731
            return pool.submit(work).result()

    def login(self, name: str, password: str = PASSWORD, *, cookie: str = "", **more: str) -> Answer:
        headers = {"Cookie": cookie} if cookie else {}
        return self.ask("POST", "/api/login", {"username": name, "password": password} | more, headers)

    def signed_in(self, name: str, **more: str) -> dict[str, str]:
        """The header fields of a browser in which somebody has signed in."""
        answer = self.login(name, **more)
        assert answer.status == 200, answer.text
        return {"Cookie": cookie_of(answer), "X-CSRF-Token": answer.json["csrf"]}


def cookie_of(answer: Answer, *names: str) -> str:
    """What a browser sends back; `names`: only these."""
    pairs = [cookie.partition(";")[0] for cookie in answer.cookies]
    return "; ".join(pair for pair in pairs if not names or pair.partition("=")[0] in names)


async def asked(
    app: FastAPI, method: str, path: str, body: Any, headers: Mapping[str, str], place: str = "127.0.0.1"
) -> Answer:
    """One request, and the whole answer."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    own = {"host": "127.0.0.1:8083", "content-type": "application/json", "content-length": str(len(sent))}
    own |= {name.lower(): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in own.items()],
        "client": (place, 1234),
        "server": ("127.0.0.1", 8083),
    }
    incoming = [{"type": "http.request", "body": sent, "more_body": False}]
    came: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        if not incoming:
            await asyncio.Event().wait()  # nobody hangs up
        return incoming.pop(0)

    async def send(message: Mapping[str, Any]) -> None:
        came.append(message)

    await app(scope, receive, send)  # type: ignore[arg-type]
    found = [(name.decode(), value.decode()) for name, value in came[0]["headers"]]
    cookies = tuple(value for name, value in found if name == "set-cookie")
    return Answer(came[0]["status"], dict(found), b"".join(part.get("body", b"") for part in came[1:]), cookies)
