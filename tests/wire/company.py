"""A company's HTTP proxy, which stands between its machines and the world.

    with CompanyProxy({"api.anthropic.com:443": host.port}, users={"me": "secret"}) as proxy:
        environ = {"HTTPS_PROXY": proxy.url_for("me")}
        …
        assert proxy.requests == [Asked("api.anthropic.com:443", "me")]

It knows CONNECT alone. Names lead where `hosts` says; others get a 502, strangers a 407.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote

from waiting import PATIENCE


class Asked(NamedTuple):
    """One CONNECT: where to, and by whom; `user` is empty for nobody in particular."""

    target: str
    user: str = ""


class CompanyProxy:
    """The proxy, on a port of its own. `says`: the head that it answers every CONNECT with, in the place of an honest one."""

    def __init__(
        self,
        hosts: Mapping[str, int],
        *,
        users: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        says: bytes | None = None,
    ) -> None:
        self.hosts, self.users, self.context, self.says = dict(hosts), dict(users or {}), context, says
        self.requests: list[Asked] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.silent = False
        """It takes what is said and says nothing."""
        self.closed = 0
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def url_for(self, user: str) -> str:
        """With that user's name and password."""
        return self.url.replace("://", f"://{quote(user)}:{quote(self.users[user], safe='')}@")

    def wait_until_closed(self, count: int) -> None:
        """Until clients have ended so many connections."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.closed >= count, PATIENCE), (
                f"{self.closed} of {count} were closed"
            )

    def _over(self) -> None:
        with self.changed:
            self.closed += 1
            self.changed.notify_all()

    def __enter__(self) -> CompanyProxy:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(PATIENCE)  # from then on nobody comes
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE)
        for sock in (self.listener, *self.sockets):
            sock.close()

    def _begin(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self.context is not None:
                client = self.context.wrap_socket(client, server_side=True)
                self.sockets.append(client)
            server = self._answer(client)
            if server is None:
                client.close()
                return
            self.sockets.append(server)
            self._begin(_pump, server, client)
            _pump(client, server)
            self._over()

    def _answer(self, client: socket.socket) -> socket.socket | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := client.recv(1)):
                return None
            head += byte
        line, *fields = head.decode().splitlines()
        method, target, _ = line.split(" ")
        user = self._user(dict(field.lower().split(": ", 1) for field in fields if field), head)
        self.requests.append(Asked(target, user or ""))
        if self.silent:
            with suppress(OSError):
                client.recv(1)
            self._over()
            return None
        if self.says is not None:
            client.sendall(self.says)
            return None
        if user is None:
            client.sendall(b"HTTP/1.1 407 Who are you?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            return None
        if method != "CONNECT" or target not in self.hosts:
            client.sendall(b"HTTP/1.1 502 No such host\r\nContent-Length: 0\r\n\r\n")
            return None
        server = socket.create_connection(("127.0.0.1", self.hosts[target]))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return server

    def _user(self, fields: Mapping[str, str], head: bytes) -> str | None:
        """The one who asks; None: a stranger."""
        if "proxy-authorization" not in fields:
            return None if self.users else ""
        sent = head.partition(b"asic ")[2].split(b"\r\n")[0]
        name, _, password = base64.b64decode(sent).decode().partition(":")
        return name if self.users.get(name) == password else None


def _pump(source: socket.socket, to: socket.socket) -> None:
    """Pass on what comes, and the end of it."""
    with suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
