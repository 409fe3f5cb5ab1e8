"""Header fields that are for one hop only, and therefore go no further than to the relay (RFC 9110, section 7.6.1), either way.

    >>> onward(((b"Connection", b"close, X-Mine"), (b"X-Mine", b"1"), (b"TE", b"trailers"), (b"Accept", b"*/*")))
    ((b'TE', b'trailers'), (b'Accept', b'*/*'))

What the relay itself adds is added afterwards, so that no `Connection` of a peer's can take it away: keys, the fields of relay.yaml.
Must not know hosts, providers or flows.
"""

from __future__ import annotations

from collections.abc import Set

type Fields = tuple[tuple[bytes, bytes], ...]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
OF_THE_BODY = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"content-type"})
"""Without these the next hop could not read the message. Framing is the connections' own (HTTP/2 drops what it does not have)."""
NONE: Set[bytes] = frozenset()


def onward(fields: Fields) -> Fields:
    """The fields without those that are for this hop: what `Connection` names, and what every proxy has to know.

    `TE: trailers` may go on; the rest of a `TE` may not.
    """
    names = [name.lower() for name, _ in fields]
    if HOP_BY_HOP.isdisjoint(names):
        return fields
    named = connection_options(fields) if b"connection" in names else NONE
    left = HOP_BY_HOP if named <= HOP_BY_HOP else (HOP_BY_HOP | named) - OF_THE_BODY
    kept = []
    for lower, field in zip(names, fields, strict=True):
        if lower not in left:
            kept.append(field)
        elif lower == b"te" and lower not in named and b"trailers" in _tokens(field[1]):
            kept.append((field[0], b"trailers"))
    return tuple(kept)


def led_on(fields: Fields) -> Fields:
    """The same for a message that is only led on, to or from a host that is not intercepted: a change of protocol passes, as mitmproxy
    turns into a tunnel then.
    """
    kept = onward(fields)
    if kept is fields or b"upgrade" not in connection_options(fields):
        return kept
    upgrade = tuple(field for field in fields if field[0].lower() == b"upgrade")
    return (*kept, (b"Connection", b"Upgrade"), *upgrade) if upgrade else kept


def connection_options(fields: Fields) -> Set[bytes]:
    """What the `Connection` fields name, in lower case."""
    return {token for name, value in fields if name.lower() == b"connection" for token in _tokens(value)}


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip())]
