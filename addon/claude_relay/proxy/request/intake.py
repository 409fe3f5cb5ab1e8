"""How much of a request's body is taken, and what its head alone decides.

    relayed.bounds = bounds_of(relayed, flow.request)     how much is kept, and how much may come
    consider(flow, relayed)                               relayed.turned_away, relayed.goes_through

A file that is uploaded may be larger than what is kept: then it goes on as it comes. It must not know connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mitmproxy import http

from claude_relay.core.config import Bounds
from claude_relay.core.endpoints import Page, normalise_path
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint
from claude_relay.proxy.running.runtime import Sizes

if TYPE_CHECKING:
    from .relayed import Relayed

FILES = "/v1/files"
"""https://docs.claude.com/en/api/files-create"""
KB, MB = 1000, 1000**2
OF_A_FORM, OF_TELEMETRY = 64 * KB, 4 * MB
"""Bytes that pages of the relay's own take."""


def sizes_of(limits: Bounds, endpoint: Endpoint, request: http.Request, page: Page | None = None) -> Sizes:
    """How much of this request's body is taken."""
    if page is not None:
        most = min(limits.request_body, OF_TELEMETRY if page is Page.OTLP else OF_A_FORM)
        return Sizes(most, most)
    if endpoint is Endpoint.RESOURCE and request.method == "POST":
        path = normalise_path(request.path).partition("?")[0]
        if path == FILES or path.startswith(FILES + "/"):
            return Sizes(min(limits.request_body, limits.file), limits.file)
    return Sizes(limits.request_body, limits.request_body)


def announced(headers: Mapping[str, str]) -> int:
    """Bytes of the body that the head announces; 0 when it does not."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0


def too_large(limit: int) -> RelayError:
    """As Claude's API has it."""
    return RelayError(413, f"The request's body is larger than {size_in_words(limit)}. Send less at once.", final=True)


def size_in_words(size: int) -> str:
    """Bytes as people write them."""
    return f"{size / MB:g} MB" if size >= MB else f"{size:,} bytes"


def stalled(seconds: str) -> RelayError:
    """A body that does not come."""
    return RelayError(408, f"The request's body stalled: next to nothing of it came within {seconds} s.")


def consider(flow: http.HTTPFlow, relayed: Relayed) -> None:
    """What the size that its head announces makes of a request."""
    request = flow.request
    relayed.sizes = sizes = sizes_of(relayed.runtime.config.limits, relayed.facts.endpoint, request, relayed.page)
    size = announced(relayed.facts.headers)
    if size > sizes.most:
        relayed.turned_away = relayed.turned_away or too_large(sizes.most)
    elif size > sizes.kept:
        relayed.goes_through = True
    if relayed.turned_away is not None:
        request.headers.pop("expect", None)  # it need not send the body at all
