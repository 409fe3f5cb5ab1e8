"""By which address a client has reached the relay.

    origin_of(flow, config)        'https://relay.example.com'

Behind a reverse proxy of `listen.trusted_proxies` what that says counts. It must not know pages.
"""

from __future__ import annotations

from mitmproxy import http

from claude_relay.core.config import Config
from claude_relay.core.visitors import networks, speaks_for
from claude_relay.proxy.messages.wire import names_in


def origin_of(flow: http.HTTPFlow, config: Config) -> str:
    """Scheme, host and port as the client has them, without a slash at the end."""
    secure = flow.client_conn.tls_established
    peer, said = flow.client_conn.peername, flow.request.headers.get("x-forwarded-proto", "").strip().lower()
    if said in ("http", "https") and peer is not None and speaks_for(peer[0], networks(config.listen.trusted_proxies)):
        secure = said == "https"
    host = next(iter(names_in(flow.request)), "localhost").lower()
    return f"{'https' if secure else 'http'}://{host}"
