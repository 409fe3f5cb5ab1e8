"""What of an upstream's words anybody gets to see: no key, token or password, whoever wrote it there, in whatever form.

    redaction = Redaction(own_secrets(fields)); redaction.issue(key)
    redaction.hide_in_head(response)                       reason, names and values, as soon as the head has come
    redaction.for_client(response, body, encoding)         a body that was read to its end; others: `cover`
    redaction.for_show(…), .text(…), .outcome(…), .rows(…)    what flows, logs and tables get of all that

Two sorts of secrets are looked for: what the relay has issued (keys of the pool, the outbound proxy's credential), which the client is not
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
from typing import Any, Final

from mitmproxy import http

from claude_relay.core.bodies.decode import SLICE, Decoder
from claude_relay.core.config import OutboundProxy
from claude_relay.core.exchange import Key, Outcome
from claude_relay.core.secrets import SHORTEST, Matcher, Secret
from claude_relay.proxy.messages.hop_by_hop import Fields, onward
from claude_relay.proxy.messages.wire import CLIENT_ALIAS, MARK, MASKED, headers_of
from claude_relay.store.ledger.ledger import AttemptRow, ChargeRow, RequestRow

type Header = tuple[bytes, bytes]

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
    found = [
        part
        for name, value in fields
        if (lower := name.lower()) in MASKED or MARK in value
        for part in _parts(lower, value)
    ]
    return tuple([(secret, CLIENT_ALIAS) for secret in dict.fromkeys(found) if len(secret) >= SHORTEST])


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


matcher_of: Final = lru_cache(maxsize=1024)(Matcher)
"""One for all requests with the same secrets."""


class Redaction:
    """Of what is said to one request, by whichever upstream.

    own     what the client itself has sent
    side    a side call, such as a sign-in: tokens are in no known place of its answers
    hidden  header fields as they are shown, and as the client gets them
    """

    __slots__ = ("_all_matcher", "_client_matcher", "_issued", "_own", "hidden", "side")

    def __init__(self, own: tuple[Secret, ...] = (), *, side: bool = False) -> None:
        """Nothing was issued yet."""
        self.side = side
        self.hidden: dict[Header, Header] = {}
        self._own = own
        self._issued: dict[bytes, bytes] = {}
        self._client_matcher: Matcher | None = None
        self._all_matcher: Matcher | None = None

    def issue(self, key: Key | None, proxy: OutboundProxy | None = None) -> None:
        """A key goes with the request, or a proxy is on its way: their secrets are looked for from now on."""
        before = len(self._issued)
        if key is not None and len(key.secret) >= SHORTEST:
            self._issued[key.secret.encode("utf-8", "replace")] = f"relay:{key.provider}/{key.alias}".encode()
        if proxy is not None:
            self._issued.update(proxy_secrets(proxy))
        if len(self._issued) != before:
            self._client_matcher = self._all_matcher = None

    def forget_own(self) -> None:
        """The request is over: what the client has sent is not kept."""
        self._own, self._all_matcher = (), None

    @property
    def issued(self) -> Matcher:
        """Knows what the client must not get."""
        if self._client_matcher is None:
            self._client_matcher = matcher_of(tuple(self._issued.items()))
        return self._client_matcher

    @property
    def known(self) -> Matcher:
        """Knows what nobody may see."""
        if self._all_matcher is None:
            self._all_matcher = matcher_of((*self._issued.items(), *self._own))
        return self._all_matcher

    # -- heads

    def hide_in_head(self, response: http.Response) -> None:
        """Take credentials out of an answer's head; what is the client's own goes back in on the wire (`unmasked`).

        A field whose very name holds one goes for good.
        """
        self.hidden.clear()
        side, known, data = self.side, self.known, response.data
        given = data.headers.fields
        text = b"\n".join((data.reason, *chain.from_iterable(given)))
        if not side and known.clean(text) is text:
            return
        issued = self.issued
        data.reason = known.clean(data.reason)
        fields = []
        for place, (name, value) in enumerate(given):
            if known.clean(name) is not name:
                continue
            to_client = issued.clean(value)
            shown = known.clean(to_client)
            if side and name.lower() == b"set-cookie":
                shown = b"relay:cookie/%d" % place
            if shown is not to_client:
                self.hidden[name, shown] = (name, to_client)
            fields.append((name, shown))
        data.headers.fields = tuple(fields)

    def hide_in_trailers(self, trailers: http.Headers) -> http.Headers | None:
        """Trailers as everybody gets them: without credentials, and without what is for this hop only."""
        known = self.known
        fields = tuple((n, known.clean(v)) for n, v in onward(trailers.fields) if known.clean(n) is n)
        return headers_of(fields) if fields else None

    def unmasked(self, fields: Fields) -> Fields:
        """Header fields as the client gets them."""
        return tuple(self.hidden.get(header, header) for header in fields)

    # -- bodies

    def for_client(self, response: http.Response, body: bytes, encoding: str) -> bytes:
        """A whole answer as the client gets it. What was compressed and has a key in it is not compressed any more."""
        issued = self.issued
        if not issued or encoding in ("", "identity") or not body:
            return body
        plain = b"".join(_unpacked(body, encoding))
        shown = issued.clean(plain, same_length=True)
        if shown is plain:
            return issued.clean(body, same_length=True)  # what of it is no compressed text
        response.headers.pop("content-encoding", None)
        return shown

    def for_show(self, response: http.Response, body: bytes) -> bytes:
        """A body as flows show it. When it must be changed and was compressed, the flow's copy is not."""
        if self.side:
            return b""  # sign-ins are among the side calls; their tokens are in no known place
        shown, plain = self.shown_body(body, response.headers.get("content-encoding", ""))
        if shown is plain:
            return body
        response.headers.pop("content-encoding", None)
        return shown

    def shown_body(self, body: bytes, encoding: str) -> tuple[bytes, bytes]:
        """A body that may have been cut off, without secrets and uncompressed; and with them. They are the same object when it has none."""
        plain = body if encoding in ("", "identity") else b"".join(_unpacked(body, encoding)) or body
        shown = self.known.clean_end(plain)
        if shown is plain and plain is not body and (raw := self.known.clean(body)) is not body:
            return raw, body  # what of it is no compressed text
        return shown, plain

    # -- words

    def text(self, text: str) -> str:
        """For logs, tables and comments."""
        return self.known.clean_text(text)

    def outcome(self, outcome: Outcome) -> Outcome:
        """The outcome without any credential that the upstream may have repeated in it."""
        known = self.known
        message, body = known.clean_text(outcome.message), known.clean_end(outcome.body)
        if message is outcome.message and body is outcome.body:
            return outcome
        return dataclasses.replace(outcome, message=message, body=body)

    def rows(self, request: RequestRow, attempts: Iterable[AttemptRow]) -> tuple[RequestRow, list[AttemptRow]]:
        """The ledger's rows, and all that is made of them: metrics, spans, lines of the log, exports."""
        known, rows = self.known, list(attempts)
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


# -- parts


def hide_refused(flow: http.HTTPFlow) -> None:
    """A request that goes no further: of its head is shown what tells why, and nothing that might be a credential."""
    data = flow.request.data
    hidden = [(name, value) for name, value in data.headers.fields if name.lower() not in SHOWN_OF_REFUSED]
    data.headers.fields = tuple(
        field if field[0].lower() in SHOWN_OF_REFUSED else (field[0], CLIENT_ALIAS) for field in data.headers.fields
    )
    if flow.error is not None:
        parts = {part for _, value in hidden for part in (value.strip(), value.strip().rpartition(b" ")[2])}
        flow.error.msg = matcher_of(tuple((part, CLIENT_ALIAS) for part in sorted(parts))).clean_text(flow.error.msg)


def _unpacked(body: bytes, encoding: str) -> Iterator[bytes]:
    decoder = Decoder(encoding)
    for start in range(0, len(body), SLICE):
        yield from decoder.pieces(body[start : start + SLICE])


def _texts(row: RequestRow | AttemptRow | ChargeRow) -> Iterator[str]:
    return filter(None, _TEXTS[type(row)][1](row))


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
