"""What a flow shows of an answer: no key, no token, no cookie of a side call, whoever wrote it there.

An upstream may repeat a credential in a header or a body. The client gets what was sent to it, but for keys of the pool, which are not
its own; flows, dumps and mitmweb get aliases.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mitmproxy import http

from claude_relay.core.exchange import Endpoint
from claude_relay.core.reading.decode import Decoder

from .hops import Fields, onward
from .wire import CLIENT_ALIAS, CREDENTIALS, MASKED, headers_of

if TYPE_CHECKING:
    from .relayed import Relayed

SHORTEST = 8
"""Characters below which a credential is not looked for: it would be found in innocent words."""

type Secret = tuple[bytes, bytes]


def own_secrets(fields: Fields) -> tuple[Secret, ...]:
    """What the client itself sent, found once for each request."""
    return tuple(
        (secret, CLIENT_ALIAS)
        for name, value in fields
        if (lower := name.lower()) in MASKED
        and len(secret := value.strip().split(b" ", 1)[-1].strip() if lower in CREDENTIALS else value.strip())
        >= SHORTEST
    )


def pool_secrets(relayed: Relayed) -> tuple[Secret, ...]:
    """The keys that were lent to this request, with their aliases."""
    keys = (tried.attempt.key for tried in relayed.tries)
    return tuple(
        (key.secret.encode(), f"relay:{key.provider}/{key.alias}".encode())
        for key in keys
        if key is not None and len(key.secret) >= SHORTEST
    )


def redact(text: bytes, secrets: Iterable[Secret]) -> bytes:
    """The text with aliases in the place of secrets; the same object when there was none in it."""
    for secret, alias in secrets:
        if secret in text:
            text = text.replace(secret, alias)
    return text


def redact_all(text: bytes, relayed: Relayed) -> bytes:
    """For logs, tables and flows."""
    return redact(redact(text, pool_secrets(relayed)), relayed.own_secrets)


def mask_headers(response: http.Response, relayed: Relayed) -> None:
    """Take credentials out of an answer's head; what is the client's own goes back in on the wire (`unmasked`)."""
    side = relayed.facts.endpoint is Endpoint.SIDE
    fields, lent = response.data.headers.fields, pool_secrets(relayed)
    values = b"\n".join(value for _, value in fields)
    if not side and not any(secret in values for secret, _ in (*lent, *relayed.own_secrets)):
        return
    for place, (name, value) in enumerate(fields):
        to_client = redact(value, lent)
        shown = redact(to_client, relayed.own_secrets)
        if side and name.lower() == b"set-cookie":
            shown = b"relay:cookie/%d" % place
        if shown is not value:
            relayed.hidden[name, shown] = (name, to_client)
            fields = (*fields[:place], (name, shown), *fields[place + 1 :])
    response.data.headers.fields = fields


def clean_trailers(trailers: http.Headers, relayed: Relayed) -> http.Headers | None:
    """The trailers of an answer as client and flow get them: without credentials, and without what is for this hop only."""
    fields = tuple((name, redact_all(value, relayed)) for name, value in onward(trailers.fields))
    return headers_of(fields) if fields else None


def unmasked(fields: Fields, relayed: Relayed) -> Fields:
    """Header fields as the client gets them."""
    return tuple(relayed.hidden.get(header, header) for header in fields)


def for_client(body: bytes, relayed: Relayed) -> bytes:
    """A whole answer as the client gets it: the pool's keys are not its own."""
    return redact(body, pool_secrets(relayed))


def for_show(response: http.Response, body: bytes, relayed: Relayed) -> bytes:
    """A body as flows show it. When it must be changed and was compressed, the flow's copy is not."""
    if relayed.facts.endpoint is Endpoint.SIDE:
        return b""  # sign-ins are among the side calls; their tokens are in no known place
    encoding = response.headers.get("content-encoding", "")
    plain = body if encoding in ("", "identity") else Decoder(encoding).feed(body)
    shown = redact_all(plain, relayed)
    if shown is plain:
        return body
    response.headers.pop("content-encoding", None)
    return shown
