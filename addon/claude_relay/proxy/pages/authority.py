"""`/relay/ca.pem`: the certificate of the CA that clients of the proxy must trust, for whoever can call the base URL.

It is no secret: every client of the proxy is shown it. Its key never is.
"""

from __future__ import annotations

from typing import Final

from mitmproxy import ctx, http

from claude_relay.proxy.request.relayed import Relayed

PEM: Final = "application/x-pem-file"
FILE: Final = "claude-relay-ca.pem"
"""What a browser calls it."""


async def ca(relayed: Relayed, flow: http.HTTPFlow, parts: object) -> http.Response:
    """The certificate that mitmproxy has at hand: no file is read."""
    store = ctx.master.addons.get("tlsconfig").certstore
    headers = {
        "content-type": PEM,
        "content-disposition": f'attachment; filename="{FILE}"',
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "request-id": relayed.id,
    }
    return http.Response.make(200, store.default_ca.to_pem(), headers)
