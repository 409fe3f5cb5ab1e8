"""What of an upstream's words anybody gets to see: no key, token or password, whoever wrote it there, in whatever form.

    hide_in_head(response, relayed)     reason, names and values, as soon as the head has come
    whole_for_client(response, …)       a body that was read to its end; others: `cover`
    for_show, hidden_in, hidden_rows    what flows, logs and tables get of all that

Two sorts of secrets are looked for: what the relay has lent (keys of the pool, the outbound proxy's credential), which the client is not
entitled to either; and what the client itself has sent, which it gets back while flows, logs and tables do not show it.
"""

from __future__ import annotations

import dataclasses
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from mitmproxy import http

from claude_relay.core.config import OutboundProxy
from claude_relay.core.exchange import Endpoint, Outcome
from claude_relay.core.reading.decode import SLICE, Decoder
from claude_relay.core.secrets import SHORTEST, Matcher, Secret
from claude_relay.store.ledger import AttemptRow, ChargeRow, RequestRow

from .hops import Fields, onward
from .wire import CLIENT_ALIAS, MASKED, headers_of

if TYPE_CHECKING:
    from .relayed import Relayed

PROXY_ALIAS: Final = b"relay:proxy"
SHOWN_OF_REFUSED: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"origin",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"user-agent",
    }
)
"""Header fields whose values tell why a head was refused, and hold no credential."""
LONGEST_NAME: Final = 255
"""Characters after which names of the upstream's are cut off, maybe within a secret."""


# -- what is looked for


def own_secrets(fields: Fields) -> tuple[Secret, ...]:
    """What the client itself sent, found once for each request."""
    found = (part for name, value in fields if (lower := name.lower()) in MASKED for part in _parts(lower, value))
    return tuple((secret, CLIENT_ALIAS) for secret in dict.fromkeys(found) if len(secret) >= SHORTEST)


def _parts(name: bytes, value: bytes) -> Iterator[bytes]:
    """A credential, and what of it is one by itself: each cookie, a password."""
    value = value.strip()
    if name == b"cookie":
        yield value
        yield from (pair.partition(b"=")[2].strip() for pair in value.split(b";"))
        return
    scheme, _, credential = value.rpartition(b" ")
    yield credential
    if scheme.strip().lower() == b"basic":
        try:
            pair = b64decode(credential, validate=True)
        except (NotBase64, ValueError):
            return
        yield pair
        yield pair.partition(b":")[2]


def proxy_secrets(proxy: OutboundProxy | None) -> tuple[Secret, ...]:
    """The credential of an outbound proxy, in clear; the matcher knows it in Base64."""
    return () if proxy is None else tuple((text.encode("utf-8", "replace"), PROXY_ALIAS) for text in proxy.secrets)


def lent_secrets(relayed: Relayed) -> tuple[Secret, ...]:
    """The keys that were lent to this request, with their aliases, and the credential of the proxy on its way."""
    keys = {key.secret: key for tried in relayed.tries if (key := tried.attempt.key) is not None}
    lent = tuple(
        (secret.encode("utf-8", "replace"), f"relay:{key.provider}/{key.alias}".encode())
        for secret, key in keys.items()
        if len(secret) >= SHORTEST
    )
    return lent + proxy_secrets(relayed.proxy) if relayed.proxy is not None else lent


matcher_of: Final = lru_cache(maxsize=1024)(Matcher)
"""One for all requests with the same secrets."""


def lent_to(relayed: Relayed) -> Matcher:
    """Knows what the client must not get."""
    return _matchers(relayed)[0]


def known_to(relayed: Relayed) -> Matcher:
    """Knows what nobody may see."""
    return _matchers(relayed)[1]


def _matchers(relayed: Relayed) -> tuple[Matcher, Matcher]:
    """Both, found once for each attempt: they are asked for ten times."""
    found = relayed.matchers
    if found is None or found[0] != len(relayed.tries) or found[1] is not relayed.proxy:
        lent = lent_secrets(relayed)
        both = (matcher_of(lent), matcher_of(lent + relayed.own_secrets))
        relayed.matchers = found = (len(relayed.tries), relayed.proxy, both)
    return found[2]


# -- heads


def hide_in_head(response: http.Response, relayed: Relayed) -> None:
    """Take credentials out of an answer's head; what is the client's own goes back in on the wire (`unmasked`).

    A field whose very name holds one goes for good.
    """
    relayed.hidden.clear()
    side, known, data = relayed.facts.endpoint is Endpoint.SIDE, known_to(relayed), response.data
    told = data.headers.fields
    text = b"\n".join((data.reason, *chain.from_iterable(told)))
    if not side and known.clean(text) is text:
        return
    lent = lent_to(relayed)
    data.reason = known.clean(data.reason)
    fields = []
    for place, (name, value) in enumerate(told):
        if known.clean(name) is not name:
            continue
        to_client = lent.clean(value)
        shown = known.clean(to_client)
        if side and name.lower() == b"set-cookie":
            shown = b"relay:cookie/%d" % place
        if shown is not to_client:
            relayed.hidden[name, shown] = (name, to_client)
        fields.append((name, shown))
    data.headers.fields = tuple(fields)


def hide_in_trailers(trailers: http.Headers, relayed: Relayed) -> http.Headers | None:
    """Trailers as everybody gets them: without credentials, and without what is for this hop only."""
    known = known_to(relayed)
    fields = tuple((n, known.clean(v)) for n, v in onward(trailers.fields) if known.clean(n) is n)
    return headers_of(fields) if fields else None


def unmasked(fields: Fields, relayed: Relayed) -> Fields:
    """Header fields as the client gets them."""
    return tuple(relayed.hidden.get(header, header) for header in fields)


def hide_refused(flow: http.HTTPFlow) -> None:
    """A request that goes no further: of its head is shown what tells why, and nothing that might be a credential."""
    data = flow.request.data
    sent = [(name, value) for name, value in data.headers.fields if name.lower() not in SHOWN_OF_REFUSED]
    data.headers.fields = tuple(
        field if field[0].lower() in SHOWN_OF_REFUSED else (field[0], CLIENT_ALIAS) for field in data.headers.fields
    )
    if flow.error is not None:
        parts = {part for _, value in sent for part in (value.strip(), value.strip().rpartition(b" ")[2])}
        flow.error.msg = matcher_of(tuple((part, CLIENT_ALIAS) for part in sorted(parts))).clean_text(flow.error.msg)


# -- bodies


def whole_for_client(response: http.Response, body: bytes, relayed: Relayed) -> bytes:
    """A whole answer as the client gets it. What was compressed and has a key in it is not compressed any more."""
    encoding, lent = relayed.response_headers.get("content-encoding", ""), lent_to(relayed)
    if not lent or encoding in ("", "identity") or not body:
        return body
    plain = b"".join(_unpacked(body, encoding))
    shown = lent.clean(plain, same_length=True)
    if shown is plain:
        return lent.clean(body, same_length=True)  # what of it is no compressed text
    response.headers.pop("content-encoding", None)
    return shown


def for_show(response: http.Response, body: bytes, relayed: Relayed) -> bytes:
    """A body as flows show it. When it must be changed and was compressed, the flow's copy is not."""
    if relayed.facts.endpoint is Endpoint.SIDE:
        return b""  # sign-ins are among the side calls; their tokens are in no known place
    shown, plain = shown_body(body, response.headers.get("content-encoding", ""), relayed)
    if shown is plain:
        return body
    response.headers.pop("content-encoding", None)
    return shown


def shown_body(body: bytes, encoding: str, relayed: Relayed) -> tuple[bytes, bytes]:
    """A body that may have been cut off, without secrets and uncompressed; and with them. They are the same object when it has none."""
    plain = body if encoding in ("", "identity") else b"".join(_unpacked(body, encoding)) or body
    known = known_to(relayed)
    shown = known.clean_end(plain)
    if (
        shown is plain and plain is not body and (raw := known.clean(body)) is not body
    ):  # what of it is no compressed text
        return raw, body
    return shown, plain


def _unpacked(body: bytes, encoding: str) -> Iterator[bytes]:
    decoder = Decoder(encoding)
    for start in range(0, len(body), SLICE):
        yield from decoder.pieces(body[start : start + SLICE])


# -- words


def hidden_in(text: str, relayed: Relayed) -> str:
    """For logs, tables and comments."""
    return known_to(relayed).clean_text(text)


def hidden_outcome(outcome: Outcome, relayed: Relayed) -> Outcome:
    """The outcome without any credential that the upstream may have repeated in it."""
    known = known_to(relayed)
    message, body = known.clean_text(outcome.message), known.clean_end(outcome.body)
    if message is outcome.message and body is outcome.body:
        return outcome
    return dataclasses.replace(outcome, message=message, body=body)


def hidden_rows(
    request: RequestRow, attempts: Iterable[AttemptRow], relayed: Relayed
) -> tuple[RequestRow, list[AttemptRow]]:
    """The ledger's rows, and all that is made of them: metrics, spans, lines of the log, exports."""
    known, rows = known_to(relayed), list(attempts)
    texts = [*_texts(request)]
    for row in rows:
        texts += _texts(row)
        for charge in row.charges:
            texts += _texts(charge)
    whole = "\n".join(texts)
    if max(map(len, texts)) < LONGEST_NAME and known.clean_text(whole) is whole:  # as nearly always
        return request, rows
    return _hidden(request, known), [
        dataclasses.replace(row, charges=tuple(_hidden(charge, known) for charge in row.charges))
        if row.charges
        else row
        for row in (_hidden(row, known) for row in rows)
    ]


def _texts(row: RequestRow | AttemptRow | ChargeRow) -> Iterator[str]:
    return (text for text in _TEXTS[type(row)][1](row) if text)


def _hidden[Row: (RequestRow, AttemptRow, ChargeRow)](row: Row, known: Matcher) -> Row:
    names, read = _TEXTS[type(row)]
    shown: dict[str, Any] = {
        name: _hidden_text(text, known) for name, text in zip(names, read(row), strict=True) if text
    }
    return dataclasses.replace(row, **shown)


def _hidden_text(text: str, known: Matcher) -> str:
    """A name may have been cut off."""
    return known.clean_end(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _texts_of(kind: type[Any]) -> tuple[tuple[str, ...], Callable[[Any], tuple[str | None, ...]]]:
    """The columns of a row that hold text, and what reads them."""
    names = tuple(field.name for field in dataclasses.fields(kind) if "str" in str(field.type))
    return names, attrgetter(*names)


_TEXTS: Final = {kind: _texts_of(kind) for kind in (RequestRow, AttemptRow, ChargeRow)}
