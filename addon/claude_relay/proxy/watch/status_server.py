"""The HTTP server on `listen.status`: GET /metrics for Prometheus, GET /healthz for whoever watches over the process.

    server = StatusServer(address, lambda: metrics.render(gauges(…)), health.look)
    await server.start()
    server.port                     8083; None when the port was taken
    server.close()

It shares the event loop with the requests, so a long text is made in slices. A web page that a browser was lured to must not read it:
no CORS header is ever sent, and a `Host` that is a name of somebody's own (DNS rebinding) is refused.
Must not know what the metrics are.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any

from tornado import httpserver, web

from claude_relay.core.accounting.metrics import CONTENT_TYPE
from claude_relay.core.config.values import Address
from claude_relay.core.visitors import is_meant, page_behind
from claude_relay.proxy.common.loops import errand
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.mitm.accepting import listen

from .health import Report

logger = logging.getLogger(__name__)
SLICE = 20
"""Pieces of the text that are made before other requests have their turn: at most half a millisecond."""
LARGEST_HEAD, LARGEST_BODY = 16 * 1024, 64 * 1024
PATIENCE = 60.0
"""Seconds that a connection may be idle."""

type Render = Callable[[], Iterable[str]]
type Look = Callable[[], Awaitable[Report]]


async def well() -> Report:
    """The event loop turns, and nothing else is known."""
    return Report(True)


class StatusServer:
    """Listens on one address; `render` gives the metrics' text in pieces, called on the event loop; `look` says how the relay is."""

    def __init__(
        self, address: Address, render: Render, look: Look = well, names: Callable[[], Collection[str]] = tuple
    ) -> None:
        """Port 0: any free one. `names`: further ones by which it may be called."""
        self.address = address
        self.port: int | None = None
        context = {"host": address.host, "names": names}
        self._app = web.Application(
            [
                (r"/metrics", MetricsHandler, context | {"render": render}),
                (r"/healthz", HealthHandler, context | {"look": look}),
            ],
            default_handler_class=Handler,
            default_handler_args=context,
            log_function=lambda handler: None,
        )
        self._server: httpserver.HTTPServer | None = None
        self._stop_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Listen. When that is not possible it is said in one line, and the relay goes on without."""
        try:
            listener = listening_socket(self.address)
        except OSError as e:
            why = e.strerror or e
            logger.warning(
                "No metrics: the relay cannot listen on %s (%s). Change `listen` in relay.yaml, or set it to null.",
                self.address,
                why,
            )
            return
        self.port = listener.getsockname()[1]
        self._server = httpserver.HTTPServer(
            self._app,
            max_header_size=LARGEST_HEAD,
            max_body_size=LARGEST_BODY,
            idle_connection_timeout=PATIENCE,
            body_timeout=PATIENCE,
        )
        self._stop_listening = listen(listener, self._server._handle_connection)

    def close(self) -> None:
        """Listen no more and hang up on whoever is connected. To be called on the event loop; twice does no harm."""
        server, self._server, self.port = self._server, None, None
        if server is not None:
            self._stop_listening()
            server.stop()
            errand(server.close_all_connections, "closing the status server")


class Handler(web.RequestHandler):
    """What all answers have in common; by itself the one that knows no path."""

    def initialize(self, host: str, names: Callable[[], Collection[str]]) -> None:
        """`host`: where the server listens; `names`: what else it may be called."""
        self._host, self._names = host, names

    def prepare(self) -> None:
        """Only who means this machine gets an answer, and no web page."""
        called = self.request.headers.get_list("Host")
        headers = {name.lower(): value for name, value in self.request.headers.get_all()}
        if len(called) != 1 or not is_meant(called[0], self._host, self._names()):
            rejected(Reason.WEB_PAGE, "a request for /metrics was refused: its Host is none of this listener's names")
            self.refuse(403, "the Host header names another machine; use localhost or an IP address")
        elif (page := page_behind(headers)) is not None:
            rejected(Reason.WEB_PAGE, "a request of %s for /metrics was refused", page)
            self.refuse(403, f"requests of {page} are not answered here")
        elif type(self) is Handler:
            self.refuse(404, "there is nothing here; try /metrics or /healthz")

    def set_default_headers(self) -> None:
        """Nothing is kept by browsers and proxies, nothing told about the server."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def compute_etag(self) -> None:
        """None: the text is another one each time."""

    async def head(self) -> None:
        """As GET, which tornado then sends without its body: programs that watch over a service ask so."""
        await self.get()

    async def get(self) -> None:
        """What there is; nothing here, but `prepare` has said so."""

    def refuse(self, status: int, why: str) -> None:
        """An error as JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": why}))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors that tornado finds, as JSON too."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", "GET, HEAD")
        self.refuse(status_code, HTTPStatus(status_code).phrase.lower())


class MetricsHandler(Handler):
    """GET /metrics."""

    def initialize(self, host: str, names: Callable[[], Collection[str]], render: Render | None = None) -> None:
        """`render`: makes the text."""
        super().initialize(host, names)
        self._render = render or tuple

    async def get(self) -> None:
        """The text, made in slices."""
        pieces = []
        for n, piece in enumerate(self._render()):
            pieces.append(piece)
            if n % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish("".join(pieces))  # not awaited: it would raise when the client has left


class HealthHandler(Handler):
    """GET /healthz: 200 while requests are answered, 503 otherwise, and what is wrong."""

    def initialize(self, host: str, names: Callable[[], Collection[str]], look: Look = well) -> None:
        """`look`: how the relay is."""
        super().initialize(host, names)
        self._look = look

    async def get(self) -> None:
        """`{"ok": true}` when all is well, with `problems` when something is not."""
        report = await self._look()
        self.set_status(200 if report.serves else 503)
        problems = {"problems": report.problems} if report.problems else {}
        self.finish({"ok": report.serves, **problems})


def listening_socket(address: Address) -> socket.socket:
    """As tornado wants it. Raises OSError when the port is taken or the host is not this machine's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.create_server((address.host, address.port), family=family)
    listener.setblocking(False)
    return listener
