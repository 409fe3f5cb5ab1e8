"""Telemetry of clients, OTLP over HTTP: `POST /v1/metrics`, `/v1/logs`, `/v1/traces`.

Taken at once, kept or not: a client would log an error each time otherwise. It must not know what is in it, nor where it goes.
"""

from __future__ import annotations

from typing import Final

from mitmproxy import http

from claude_relay.proxy.request.relayed import Relayed

from .forwarding import Export
from .page_parts import PageParts

KINDS: Final = {"application/json": b"{}", "application/x-protobuf": b""}
"""What is sent → an answer that says that all of it was taken, in the same encoding."""
ALONG: Final = ("content-type", "content-encoding")


async def telemetry(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """Taken. Of strangers nothing is kept."""
    headers = relayed.facts.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if relayed.served:
        along = {name: headers[name] for name in ALONG if name in headers}
        signal = relayed.path.partition("?")[0].rpartition("/")[2].lower()
        parts.pages.telemetry.put(Export(signal, relayed.side_body or b"", along, relayed.runtime.way))
    kind = kind if kind in KINDS else "application/json"
    return http.Response.make(
        200, KINDS[kind], {"content-type": kind, "cache-control": "no-store", "request-id": relayed.id}
    )
