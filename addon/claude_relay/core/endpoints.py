"""What a path on an intercepted host is, and therefore whose credential may leave with it.

    >>> classify("/v1/messages?beta=true")
    <Endpoint.MESSAGES: 'messages'>
    >>> classify("/v1/messages/../oauth/token")
    <Endpoint.SIDE: 'side'>
    >>> normalise_path("//v1/%6dessages/?beta=true")
    '/v1/messages?beta=true'

A path is judged in its normal form, and the normal form is what goes upstream with a key of the pool: so the provider
cannot read another path than the one that was judged. Where two servers might still disagree (an escape that does not
vanish, a `;`, a control or non-ASCII character), the path is SIDE: the pool's key stays at home. Knows nothing of
hosts, methods, headers or credentials.

At the base URL there is more: `/api/v1/…` is `/v1/…` (`at_base_url`), and some paths are the relay's own (`own_page`).

    >>> at_base_url("/api/v1/messages?beta=true"), own_page("/v1/health")
    ('/v1/messages?beta=true', <Page.HEALTH: 'health'>)
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .exchange import Endpoint

_EXACT = {
    "/v1/messages": Endpoint.MESSAGES,
    "/v1/messages/count_tokens": Endpoint.COUNT_TOKENS,
    "/v1/models": Endpoint.MODELS,
    "/v1/complete": Endpoint.COMPLETE,
}

_ALSO = "/api"
"""What clients of other gateways have before `/v1`."""


class Page(StrEnum):
    """What the relay itself has at its base URL: never gets a key, never sent upstream."""

    HEALTH = "health"
    WELCOME = "welcome"
    """For a person who opens the address in a browser."""
    OAUTH_METADATA = "oauth_metadata"
    """Where people sign in: https://www.rfc-editor.org/rfc/rfc8414"""
    DEVICE_AUTHORIZATION = "device_authorization"
    TOKEN = "token"
    REVOKE = "revoke"
    DEVICE = "device"
    """Where a person confirms a code, in a browser."""
    DEVICE_STYLE = "device_style"
    USAGE = "usage"
    SETTINGS = "settings"
    OTLP = "otlp"
    """Telemetry of clients: OTLP over HTTP."""
    ME = "me"
    CA_PEM = "ca_pem"
    """The certificate of the CA that clients of the proxy must trust."""
    UNBUILT = "unbuilt"
    """There is nothing at it."""


IN_BROWSERS = frozenset({Page.DEVICE, Page.DEVICE_STYLE})
"""Pages to which people come from wherever they are told the address."""
PRIVATE = frozenset({Page.DEVICE_AUTHORIZATION, Page.TOKEN})
"""Pages whose answers hold codes or tokens: no flow shows them."""
_PAGES = {
    "/.well-known/oauth-authorization-server": Page.OAUTH_METADATA,
    "/api/oauth/usage": Page.USAGE,
    "/device": Page.DEVICE,
    "/device/style.css": Page.DEVICE_STYLE,
    "/health": Page.HEALTH,
    "/managed/settings": Page.SETTINGS,
    "/oauth": Page.UNBUILT,
    "/oauth/device_authorization": Page.DEVICE_AUTHORIZATION,
    "/oauth/revoke": Page.REVOKE,
    "/oauth/token": Page.TOKEN,
    "/relay": Page.UNBUILT,
    "/relay/ca.pem": Page.CA_PEM,
    "/relay/me": Page.ME,
    "/v1/health": Page.HEALTH,
    "/v1/logs": Page.OTLP,
    "/v1/metrics": Page.OTLP,
    "/v1/traces": Page.OTLP,
}
_BELOW = ("/.well-known/oauth-", *(f"{page}/" for page in _PAGES))

# What a path segment may hold unescaped by RFC 3986, section 3.3, but for ";": some servers cut a segment there ("..;" is then "..").
_SAFE = "!$&'()*+,:=@"


def normalise_path(path: str) -> str:
    """The path in its normal form: escapes decoded once, `//` and a last `/` gone, `.` and `..` resolved. The query string stays as it is.

    What must be escaped is escaped again, so the result can go on the wire: it holds no blank, control character or
    second `?`. Normalising twice changes nothing more.
    """
    route, mark, query = path.partition("?")
    return _normal(route) + mark + query


def classify(path: str) -> Endpoint:
    """What a path is, with or without its query string; case-sensitive, as Claude's paths are."""
    normal = _normal(path.partition("?")[0])
    return _EXACT.get(normal) or _by_prefix(normal)


def at_base_url(path: str) -> str:
    """The path that a client of the base URL means; the query string stays as it is, and so does a path that means itself."""
    route, mark, query = path.partition("?")
    normal = _normal(route)
    below = normal.removeprefix(_ALSO)
    return below + mark + query if below != normal and f"{below}/".startswith("/v1/") else path


def own_page(path: str) -> Page | None:
    """Which page of the relay's own a path at the base URL is, in whatever case it is written; None: none of them.

    What lies below one of them is the relay's own, too.
    """
    normal = _normal(path.partition("?")[0]).lower()
    return _PAGES.get(normal) or (Page.UNBUILT if normal.startswith(_BELOW) else None)


def _by_prefix(normal: str) -> Endpoint:
    if not normal.startswith("/v1/") or "%" in normal:
        return Endpoint.SIDE
    first = normal.split("/", 3)[2]
    if first.lower() == "oauth":  # in any case: a server that ignores case must not see a key there
        return Endpoint.SIDE
    return Endpoint.MODELS if first == "models" else Endpoint.RESOURCE


def _normal(route: str) -> str:
    if route in _EXACT:
        return route
    segments: list[bytes] = []
    for segment in unquote_to_bytes(_octets(route)).split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    return "/" + "/".join(quote_from_bytes(segment, _SAFE) for segment in segments)


def _octets(route: str) -> bytes:
    """The bytes behind a path: undecodable ones arrive as surrogates. A surrogate that stands for no byte cannot have been on a wire."""
    try:
        return route.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return route.encode("utf-8", "replace")
