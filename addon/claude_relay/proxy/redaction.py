"""What a flow shows of an answer: no key, no token, no cookie of a side call, whoever wrote it there.

An upstream may repeat a credential in a header or a body. The client gets what was sent to it, but for keys of the pool, which are not
its own; flows, dumps and mitmweb get aliases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mitmproxy import http

from claude_relay.core.decode import Decoder
from claude_relay.core.exchange import Endpoint

from .wire import CLIENT_ALIAS, CREDENTIALS, MASKED, Fields

if TYPE_CHECKING:
    from .relayed import Relayed

SHORTEST = 8
"""Characters below which a credential is not looked for: it would be found in innocent words."""

type Secret = tuple[bytes, bytes]


def pool_secrets(relayed: Relayed) -> Iterator[Secret]:
    """The keys that were lent to this request, with their aliases."""
    for tried in relayed.tries:
        key = tried.attempt.key
        if key is not None and len(key.secret) >= SHORTEST:
            yield key.secret.encode(), f"relay:{key.provider}/{key.alias}".encode()


def own_secrets(relayed: Relayed) -> Iterator[Secret]:
    """What the client itself sent."""
    for name, value in relayed.client_signature.fields if relayed.client_signature is not None else ():
        if name.lower() in MASKED:
            text = value.strip()
            text = text.split(b" ", 1)[-1].strip() if name.lower() in CREDENTIALS else text
            if len(text) >= SHORTEST:
                yield text, CLIENT_ALIAS


def redact(text: bytes, secrets: Iterator[Secret]) -> bytes:
    """The text with aliases in the place of secrets; the same object when there was none in it."""
    for secret, alias in secrets:
        if secret in text:
            text = text.replace(secret, alias)
    return text


def redact_all(text: bytes, relayed: Relayed) -> bytes:
    """For logs, tables and flows."""
    return redact(redact(text, pool_secrets(relayed)), own_secrets(relayed))


def mask_headers(response: http.Response, relayed: Relayed) -> None:
    """Take credentials out of an answer's head; what is the client's own goes back in on the wire (`unmasked`)."""
    side = relayed.facts.endpoint is Endpoint.SIDE
    fields = response.data.headers.fields
    for place, (name, value) in enumerate(fields):
        for_client = redact(value, pool_secrets(relayed))
        shown = redact(for_client, own_secrets(relayed))
        if side and name.lower() == b"set-cookie":
            shown = b"relay:cookie/%d" % place
        if shown is not value:
            relayed.hidden[name, shown] = (name, for_client)
            fields = (*fields[:place], (name, shown), *fields[place + 1 :])
    response.data.headers.fields = fields


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
