"""The request as it leaves: where to, with which alias in the flow and which credential on the wire.

The flow that mitmproxy shows and saves carries an alias such as `relay:anthropic/k2`, or `relay:client` where the client's own
credential passes through.
`Signature.sign` puts the real value into a copy, just before the bytes are written.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import urllib.parse
from collections.abc import Set
from dataclasses import dataclass, field

from mitmproxy import http

from claude_relay.core.clients.offers import has_own, holds_own
from claude_relay.core.config import Auth, OutboundProxy, Provider, Trust, WayOut, way_to
from claude_relay.core.config.proxies import USUAL
from claude_relay.core.config.values import AUTHS
from claude_relay.core.endpoints import normalise_path
from claude_relay.core.keys.own_credentials import SHARED

from .hop_by_hop import Fields, onward

CREDENTIALS = frozenset({b"x-api-key", b"authorization", b"api-key", b"x-goog-api-key"})
"""Headers that carry a client's key; a pool's key takes their place."""
MASKED = CREDENTIALS | {b"cookie", b"proxy-authorization"}
"""Headers that no flow may show."""
MARK = b"sk-ant-"
"""What keys and tokens of Anthropic's begin with: no flow shows a field with one either, whatever its name."""
NOT_FORWARDED = frozenset({b"expect", b"proxy-connection", b"proxy-authorization"})
"""The relay has the whole body before it sends any: nobody need be asked (`Expect`) whether to go on."""
FRAMING = frozenset({b"content-length", b"transfer-encoding"})
CLIENT_ALIAS = b"relay:client"
ALIAS = re.compile(rb"(?:^|[ =])relay:", re.IGNORECASE)
"""Where a recorded request had a key: a value with one is no credential, whoever sends it."""
PLACEHOLDER = b"placeholder"
JOINED = b"anthropic-beta"
"""A list of flags, of which the client has some and a token needs others."""
OF_LOGINS = b"oauth-"
"""Begin flags of `anthropic-beta` that go with a login: a key has no use for them."""
SHORT = 32
"""Characters below which a credential may be guessed."""
_SALT = secrets.token_bytes(16)


@dataclass(slots=True)
class Pristine:
    """A request as the client sent it, credentials masked. Header fields are immutable, so this costs references only."""

    host: str
    port: int
    scheme: bytes
    authority: bytes
    path: bytes
    fields: Fields
    content: bytes | None
    trailers: http.Headers | None = None

    @classmethod
    def of(cls, request: http.Request) -> Pristine:
        """Remember a request."""
        d = request.data
        return cls(d.host, d.port, d.scheme, d.authority, d.path, d.headers.fields, d.content, d.trailers)

    def restore(self, request: http.Request) -> None:
        """Make a request what it was."""
        d = request.data
        d.host, d.port, d.scheme, d.authority, d.path = self.host, self.port, self.scheme, self.authority, self.path
        d.headers.fields = self.fields
        d.content, d.trailers = self.content, self.trailers


@dataclass(frozen=True, slots=True)
class Signature:
    """Which header fields of the flow stand for which real ones. `query`: a credential that goes into the query string."""

    fields: Fields = field(repr=False)
    query: tuple[str, str] | None = field(default=None, repr=False)

    def sign(self, request: http.Request, content: bytes | None) -> http.Request:
        """A copy of the request's head with the real header fields. `content`: the body that will follow it."""
        d = request.data
        path = d.path
        if self.query is not None:
            name, value = (urllib.parse.quote(part, safe="") for part in self.query)
            path += (b"&" if b"?" in path else b"?") + f"{name}={value}".encode()
        # The constructors check every type once more, which costs as much as all the rest of an attempt.
        signed = http.Request.__new__(http.Request)
        signed.data = replica(d)
        signed.data.path = path
        signed.data.headers = headers_of(self.fields + length_of(self.fields, content))
        signed.data.content = signed.data.trailers = None
        return signed


def headers_of(fields: Fields) -> http.Headers:
    """Header fields that are known to be pairs of bytes, as mitmproxy has them."""
    headers = http.Headers.__new__(http.Headers)
    headers.fields = fields
    return headers


def replica[T: http.MessageData](data: T) -> T:
    """A shallow copy; `copy.copy` takes five times as long."""
    new = object.__new__(type(data))
    new.__dict__.update(data.__dict__)
    return new


def duplicate(request: http.Request) -> http.Request:
    """A request of its own with the same content."""
    copied = http.Request.__new__(http.Request)
    copied.data = replica(request.data)
    copied.data.headers = headers_of(request.data.headers.fields)
    return copied


class OwnRequest(http.Request):
    """A request that the relay may change. `names`: what it named as its host when it came, in its target and in its `Host`; mitmproxy
    writes others in their place. None at all of one with several `Host`s: nobody could tell who is meant. `said_to_proxy`: the credential
    of a CONNECT, which its flow does not show.
    """

    names: tuple[bytes, ...] = ()
    said_to_proxy: bytes = b""


def own_request(request: http.Request) -> OwnRequest:
    """A copy of a request's head that changes neither with it nor otherwise than it."""
    own = OwnRequest.__new__(OwnRequest)
    own.data = replica(request.data)
    own.data.headers = headers_of(request.data.headers.fields)
    hosts = [value for name, value in own.data.headers.fields if len(name) == 4 and name.lower() == b"host"]
    if len(hosts) < 2:
        own.names = (own.data.authority, *hosts) if own.data.authority else tuple(hosts)
    return own


def names_in(request: http.Request) -> tuple[str, ...]:
    """The names of a request, as text."""
    own = request if isinstance(request, OwnRequest) else own_request(request)
    return tuple([name.decode("latin-1") for name in own.names])


def own_response(response: http.Response) -> http.Response:
    """A copy of an answer's head, for the next hop: the relay's own version of HTTP/1, and free to be changed."""
    own = http.Response.__new__(http.Response)
    own.data = replica(response.data)
    own.data.headers = headers_of(response.data.headers.fields)
    if own.data.http_version == b"HTTP/1.0":
        own.data.http_version = b"HTTP/1.1"
    return own


def length_of(fields: Fields, content: bytes | None) -> Fields:
    """The length of a body that says nothing of it: HTTP/2 needs none, an HTTP/1 upstream could not find the body's end."""
    if not content or not FRAMING.isdisjoint([name.lower() for name, _ in fields]):
        return ()
    return ((b"content-length", str(len(content)).encode()),)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a provider is, and how it wants its key.

    prefix  path in front of the API's own, without a slash at its end
    auth    which header, cookie or query parameter takes the key
    headers sent beside the client's own
    proxy   on the way there, where a key has none of its own
    trust   of TLS there
    with_token  sent beside them with a token of OAuth
    """

    scheme: str
    host: str
    port: int
    prefix: str
    auth: Auth
    proxy: OutboundProxy | None = None
    headers: Fields = ()
    with_token: Fields = ()
    trust: Trust = USUAL

    @classmethod
    def of(cls, provider: Provider, way: WayOut) -> Upstream:
        """Where a provider of the configuration is. `way`: what the environment says of the way there."""
        url = urllib.parse.urlsplit(provider.base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        headers = tuple((name.encode(), value.encode()) for name, value in provider.headers.items())
        further = provider.oauth.headers if provider.oauth is not None else {}
        with_token = tuple((name.encode(), value.encode()) for name, value in further.items())
        proxy = way_to(provider.base_url, way, provider.proxy)
        prefix = url.path.rstrip("/")
        return cls(
            url.scheme, url.hostname or "", port, prefix, provider.auth, proxy, headers, with_token, provider.trust
        )

    @property
    def authority(self) -> str:
        """Host and port as a Host header names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def mask_client(request: http.Request, host: bytes | None = None) -> tuple[Signature, bool]:
    """Take the client's credentials out of the flow, and all that is for this hop only.

    The signature puts the credentials back on the wire, except placeholders and keys of the relay's own.
    The second value is True when the client has nothing but these. `host`: what the Host header should have said.
    """
    real: list[tuple[bytes, bytes]] = []
    shown: list[tuple[bytes, bytes]] = []
    placeholders: list[int] = []
    has_credential = False
    for header in onward(request.data.headers.fields):
        name, value = header
        lower = name.lower()
        if lower in MASKED:
            if lower in CREDENTIALS and stays_here(value):
                placeholders.append(len(shown))
            elif lower not in NOT_FORWARDED and not is_alias(value) and not has_own(value):
                has_credential = has_credential or (lower in CREDENTIALS and bool(value.strip()))
                real.append(header)
            header = (name, CLIENT_ALIAS)
        elif has_own(value):
            header = (name, CLIENT_ALIAS)
        elif MARK in value:
            real.append(header)
            header = (name, CLIENT_ALIAS)
        elif lower not in NOT_FORWARDED and value != CLIENT_ALIAS:
            if lower == b"host" and host is not None:
                header = (name, host)
            real.append(header)
        shown.append(header)
    if has_credential:
        for place in reversed(placeholders):
            del shown[place]
    request.data.headers.fields = tuple(shown)
    return Signature(tuple(real)), bool(placeholders) and not has_credential


def mark_of(signature: Signature | None, salt: bytes) -> str | None:
    """Stands for a client's own credential, in all relays with the same salt. None: it has none.

    Without a salt, and where the credential is so short that somebody with the salt could guess it, that is this process alone.
    """
    fields = () if signature is None else signature.fields
    own = [(name.lower(), value) for name, value in fields if name.lower() in CREDENTIALS and value.strip()]
    if not own:
        return None
    alone = not salt or any(len(value.rpartition(b" ")[2]) < SHORT for _, value in own)
    mark = hashlib.blake2b(repr(own).encode(), digest_size=12, key=_SALT if alone else salt).hexdigest()
    return mark if alone else SHARED + mark


def stays_here(value: bytes) -> bool:
    """Whether a credential is none for any upstream: a placeholder, an alias, a key of the relay's own."""
    return PLACEHOLDER in value.lower() or is_alias(value) or holds_own(value)


def is_alias(value: bytes) -> bool:
    """Whether a header's value is what flows show in the place of a credential: `relay:anthropic/k2`, `Bearer relay:client`."""
    return ALIAS.search(value) is not None


def mask_trailers(request: http.Request) -> None:
    """Take out of a request's trailers what no trailer is for: credentials, words for the relay, and what is for this hop only."""
    if request.data.trailers:
        kept = onward(request.data.trailers.fields)
        fields = [f for f in kept if not (lower := f[0].lower()).startswith(b"x-relay-") and lower not in MASKED]
        request.data.trailers = headers_of(tuple(fields)) if fields else None


def said_to_proxy(fields: Fields) -> bytes:
    """The credential that a head has for the proxy; empty: none."""
    return next((value for name, value in reversed(fields) if name.lower() == b"proxy-authorization"), b"")


def masked(fields: Fields) -> Fields:
    """Header fields without the client's credentials, for a head that is read here and goes nowhere."""
    return tuple((name, CLIENT_ALIAS) if name.lower() in MASKED else (name, value) for name, value in fields)


def address(request: http.Request, upstream: Upstream, *, identity: bool) -> None:
    """Point a request at a provider. `identity`: ask for an uncompressed answer, so that a broken stream can be ended properly."""
    d = request.data
    d.scheme, d.host, d.port = upstream.scheme.encode(), upstream.host, upstream.port
    host = upstream.authority.encode()
    if d.authority:
        d.authority = host
    path = normalise_path(d.path.decode("utf-8", "surrogateescape"))
    d.path = (upstream.prefix + path).encode("utf-8", "surrogateescape")
    left_out = NOT_FORWARDED.union([name.lower() for name, _ in upstream.headers])
    d.headers.fields = (*_addressed(d.headers.fields, host, identity, left_out), *upstream.headers)


def write_anew(request: http.Request, upstream: Upstream, path: str, body: bytes) -> None:
    """A request in another format. Nothing of the client's head goes along: it speaks of another API, and to another provider."""
    d = request.data
    d.scheme, d.host, d.port = upstream.scheme.encode(), upstream.host, upstream.port
    host = upstream.authority.encode()
    if d.authority:
        d.authority = host
    d.path = (upstream.prefix + path).encode()
    d.content, d.trailers = body, None
    own = (
        (b"host", host),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", b"claude-relay"),
        (b"content-length", str(len(body)).encode()),
    )
    added = {name.lower() for name, _ in upstream.headers}
    d.headers.fields = (*(field for field in own if field[0] not in added), *upstream.headers)


def _addressed(fields: Fields, host: bytes, identity: bool, left_out: Set[bytes]) -> list[tuple[bytes, bytes]]:
    kept = []
    for header in fields:
        lower = header[0].lower()
        if lower in left_out or lower.startswith(b"x-relay-"):
            continue
        if lower == b"host":
            header = (header[0], host)
        elif lower == b"accept-encoding" and identity:
            header = (header[0], b"identity")
        kept.append(header)
    return kept


def pass_through(request: http.Request, original: Signature) -> Signature:
    """The client's own credential goes with an addressed request."""
    real = {n.lower(): v for n, v in original.fields}
    shown = request.data.headers.fields
    kept = ((n, real.get(n.lower()) if v == CLIENT_ALIAS else v) for n, v in shown)
    return Signature(tuple((n, v) for n, v in kept if v is not None))  # an alias stays here


def issue_key(
    request: http.Request, upstream: Upstream, alias: str, secret: str, *, is_token: bool = False
) -> Signature:
    """Put a pool's key in the place of the client's credentials: its alias into the flow, itself into the signature.

    Other credentials go, and with them, where an API key comes, the flags of a login; order and everything else stay. `is_token`: it is one
    of OAuth, which is a bearer, and has headers of its own.
    """
    auth, place = AUTHS["oauth"] if is_token else upstream.auth, None
    api_key = auth.name != "authorization"
    if is_token and upstream.with_token:
        request.data.headers.fields = with_further(request.data.headers.fields, upstream.with_token)
    kept = []
    for header in request.data.headers.fields:
        lower = header[0].lower()
        if api_key and lower == b"anthropic-beta" and OF_LOGINS in header[1]:
            if flags := without_login(header[1]):
                kept.append((header[0], flags))
        elif lower not in MASKED:
            kept.append(header)
        elif lower in CREDENTIALS and place is None:
            place = len(kept)
    before, after = tuple(kept[:place]), tuple(kept[place:] if place is not None else ())
    if auth.kind == "query":
        request.data.headers.fields = before + after
        return Signature(before + after, (auth.name, secret))
    name, prefix = (auth.name, auth.prefix) if auth.kind == "header" else ("cookie", f"{auth.name}=")
    request.data.headers.fields = (*before, (name.encode(), (prefix + alias).encode()), *after)
    return Signature((*before, (name.encode(), (prefix + secret).encode()), *after))


def with_further(fields: Fields, further: Fields) -> Fields:
    """Header fields with these in them: each in the place of the client's, but for beta flags, which join those that are there."""
    found = list(fields)
    for name, value in further:
        places = [place for place, field in enumerate(found) if field[0].lower() == name]
        if name != JOINED or not places:
            found = [field for field in found if field[0].lower() != name] + [(name, value)]
            continue
        known = {flag.strip() for place in places for flag in found[place][1].split(b",")}
        flags = [flag for part in value.split(b",") if (flag := part.strip()) and flag not in known]
        first = places[0]
        found[first] = found[first][0], b",".join((found[first][1], *flags))
    return tuple(found)


def without_login(flags: bytes) -> bytes:
    """The flags of `anthropic-beta` that are not those of a login.

    >>> without_login(b"oauth-2025-04-20,context-1m-2025-08-07")
    b'context-1m-2025-08-07'
    """
    kept = [flag for flag in flags.split(b",") if not flag.strip().startswith(OF_LOGINS)]
    return b",".join(kept).strip()


def lower_headers(message: http.Message) -> dict[str, str]:
    """Header fields with lower-case names; the last of several wins."""
    return {n.decode("latin-1").lower(): v.decode("utf-8", "surrogateescape") for n, v in message.data.headers.fields}
