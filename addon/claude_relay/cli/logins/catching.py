"""The answer that a person's browser brings back, on a port of this machine: https://www.rfc-editor.org/rfc/rfc8252#section-7.3

    with Catcher(place) as catcher:
        begun = begin(oauth, place.at(catcher.port), os.urandom)
        code = catcher.code(begun, seconds=600)       waits; raises TimeoutError, or ValueError when the page said no

Only the address of the redirect is answered, only on the loopback, and a code only counts with the state of this login. It must not know
what becomes of the code.
"""

from __future__ import annotations

import socket
import time
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Self
from urllib.parse import urlsplit

from claude_relay.core.oauth.authorizing import Begun, Place, code_of

PAGE = (
    '<!doctype html><meta charset="utf-8"><title>Claude Relay</title>'
    '<body style="font-family: sans-serif; margin: 3em"><h1>{title}</h1><p>{text}</p></body>'
)


class Catcher(HTTPServer):
    """Listens from its making on."""

    address_family = socket.AF_INET
    timeout = 0.5

    def __init__(self, place: Place) -> None:
        """Raises OSError when the port is taken."""
        self.place = place
        if ":" in place.host:
            self.address_family = socket.AF_INET6
        super().__init__(("127.0.0.1" if place.host == "localhost" else place.host, place.port), _Answering)
        self.port = int(self.server_address[1])
        self.begun: Begun | None = None
        self.found = ""
        self.problem = ""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def code(self, begun: Begun, seconds: float) -> str:
        """Wait for it."""
        self.begun, until = begun, time.monotonic() + seconds
        while not self.found and not self.problem:
            if time.monotonic() > until:
                raise TimeoutError
            self.handle_request()
        if self.problem:
            raise ValueError(self.problem)
        return self.found

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up."""


class _Answering(BaseHTTPRequestHandler):
    server: Catcher
    timeout = 5.0

    def do_GET(self) -> None:
        """The redirect; anything else (an icon, a stranger's page) is not here."""
        server, parts = self.server, urlsplit(self.path)
        hosts = {f"{host}:{server.port}" for host in (server.place.host, f"[{server.place.host}]")}
        if server.begun is None or parts.path != server.place.path or self.headers.get("host", "").lower() not in hosts:
            self._show(404, "Not here", "This address is of a login that waits for its answer.")
            return
        try:
            code = code_of(self.path, server.begun)
        except ValueError as error:
            # A foreign state is nobody's business of this login: it goes on waiting.
            if "error=" in parts.query and server.begun.state in parts.query:
                server.problem = str(error)
            self._show(400, "That did not work", f"{error}.")
            return
        server.found = code
        self._show(200, "Done", "You can close this page and go back to the terminal.")

    def _show(self, status: int, title: str, text: str) -> None:
        body = PAGE.format(title=escape(title), text=escape(text)).encode()
        self.send_response(status)
        for name, value in (
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
            ("referrer-policy", "no-referrer"),
            ("connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: the target holds a code."""
