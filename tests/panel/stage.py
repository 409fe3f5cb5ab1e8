"""A panel that runs as it does for people: a process of its own over a database and a relay.yaml, asked over a socket or by a browser."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from waiting import PATIENCE, eventually
from wire.relay import free_ports

ADDON = Path(__file__).parents[2] / "addon"
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Answer:
    """What came. `headers`: names in lower case, of several the last; `cookies`: as they are set."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Panel:
    """A panel that runs. `cookie`, `csrf`: of whoever has signed in by `sign_in`."""

    folder: Path
    port: int
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    cookie: str = ""
    csrf: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "relay.yaml"

    @property
    def database(self) -> Path:
        return self.folder / "relay.db"

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """As whoever has signed in; redirects are not followed."""
        own = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie, "X-CSRF-Token": self.csrf} | dict(headers or {})
        sent = None
        if body is not None:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            own.setdefault("Content-Type", "application/json")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, sent, {name: value for name, value in own.items() if value})
            found = connection.getresponse()
            headers = [(name.lower(), value) for name, value in found.getheaders()]
            cookies = tuple(value for name, value in headers if name == "set-cookie")
            return Answer(found.status, dict(headers), found.read(), cookies)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", path, body, headers)

    def job(self, id: str) -> dict[str, Any]:
        """One that is over, as soon as it is."""

        def over() -> dict[str, Any]:
            found = dict(self.get(f"/api/jobs/{id}").json)
            return found if found["state"] != "running" else {}

        return eventually(over)

    def page(self, path: str) -> Answer:
        """As a browser asks for it."""
        return self.ask("GET", path, headers={"Accept": "text/html"})

    def sign_in(self, name: str = "admin", password: str = PASSWORD, code: str | None = None) -> Answer:
        said = {"username": name, "password": password} | ({"code": code} if code else {})
        answer = self.ask("POST", "/api/login", said)
        if answer.status == 200:
            [own] = [cookie for cookie in answer.cookies if "relay-panel=" in cookie]
            self.cookie, self.csrf = own.partition(";")[0], answer.json["csrf"]
        return answer


@contextmanager
def running(
    folder: Path,
    text: str = "",
    *,
    password: str | None = PASSWORD,
    listen: str = "",
    database: Path | None = None,
    **environ: str,
) -> Iterator[Panel]:
    """`text`: of relay.yaml, without `listen` and `database`. `password`: of the admin `admin`; None: nobody has one yet.

    database  of a relay that runs already; None: one of its own
    """
    port, base_url = free_ports(2)
    config = folder / "relay.yaml"
    listeners = f"proxy: null, base_url: '127.0.0.1:{base_url}', status: null, panel: '127.0.0.1:{port}'{listen}"
    config.write_text(f"listen: {{{listeners}}}\ndatabase: '{database or 'relay.db'}'\n{text}")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "ANTHROPIC_"))}
    own |= {"PYTHONPATH": str(ADDON), "RELAY_CONFIG": str(config), "TZ": "UTC"} | environ
    own |= {"RELAY_ADMIN_PASSWORD": password} if password is not None else {}
    command = [sys.executable, "-m", "claude_relay.panel"]
    with subprocess.Popen(command, env=own, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert "http" in first, first + process.stderr.read()
            panel = Panel(folder, port, process, [first])
            _wait_for(port)
            yield panel
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(port: int) -> None:
    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except OSError:
            return False
        return True

    eventually(listens)
