"""The hooks at which people are let in besides `requestheaders`: a tunnel is asked for, a connection is opened.

    tls_start_client    TLS with the listener itself: by its own certificate
    client_connected    SOCKS: nobody from another machine gets further
    http_connect        CONNECT: an error is the answer to who may have no tunnel
    http_connected      a tunnel is open: it must be said what is wanted in it, if it is to be read
    server_connect      before the relay connects to anywhere
    server_connected    when it has, and nothing has been sent

What is decided, and why, is in `doors`.
"""

from __future__ import annotations

import logging

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import Socks5Mode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from claude_relay.core.config import Address, default
from claude_relay.core.errors import RelayError
from claude_relay.core.visitors import is_loopback
from claude_relay.proxy.messages.replies import error_answer, new_request_id
from claude_relay.proxy.messages.wire import lower_headers
from claude_relay.proxy.mitm import backpressure
from claude_relay.proxy.mitm.own_tls import OwnTls
from claude_relay.proxy.running.clients import KnownClients
from claude_relay.proxy.running.runtime import Runtime

from . import doors

logger = logging.getLogger(__name__)
NOBODY = default({})
"""In force while there is no configuration that can be used."""
CRASHED = RelayError(502, "The relay failed at this tunnel; its log says where. Please report it.")


class DoorHooks:
    """The part of the addon that does not know requests."""

    runtime: Runtime | None = None
    own_tls: OwnTls

    @property
    def clients(self) -> KnownClients | None:
        """Who has a key of the relay's own; None before it runs."""
        return None

    @property
    def panel(self) -> Address | None:
        """Where the panel listens."""
        return self.runtime.config.listen.panel if self.runtime is not None else None

    def tls_start_client(self, data: TlsData) -> None:
        """A handshake with a client begins."""
        self.own_tls.start(data)

    def client_connected(self, client: Client) -> None:
        """Somebody has connected. Those who could not be answered in HTTP are let in or not right now."""
        if not isinstance(client.proxy_mode, Socks5Mode):
            return
        required = self.runtime is not None and self.runtime.config.clients.required
        if required or not is_loopback((client.peername or ("",))[0]):
            client.error = doors.stranger(client).message

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """A client asks for a tunnel: to be read if the host is intercepted, else to be passed on."""
        config = NOBODY if self.runtime is None else self.runtime.config
        place = flow.request.data.host, flow.request.data.port
        intercepted = self.runtime is not None and self.runtime.claims(*place)
        try:
            error = await doors.passage(
                flow, config, lower_headers(flow.request), self.clients, intercepted=intercepted
            )
        except Exception:
            logger.exception("http_connect failed for %s", flow.request.data.host)
            error = CRASHED
        if error is not None:
            flow.response = error_answer(error, new_request_id())

    def http_connected(self, flow: http.HTTPFlow) -> None:
        """A client has got its tunnel. One that is passed on may be silent for as long as it likes."""
        if self.runtime is not None and self.runtime.claims(flow.request.data.host, flow.request.data.port):
            backpressure.wait_for_word(flow.client_conn)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """A connection is to be opened."""
        await doors.connecting(data, self.panel)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """It is open."""
        doors.connected(data, self.panel)
