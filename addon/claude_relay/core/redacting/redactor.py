"""One export: each exchange without credentials and identities and, on request, without texts.

    redactor = Redactor(known, texts=False)          known: secrets that the relay itself knows, with their aliases
    redactor.learn(exchange)                         for each of them first: what is a credential in one is looked for in all
    redactor.clean(exchange)

Credentials are taken out by where they stand (header fields, parameters, cookies, members of JSON), by their values, wherever these are
repeated, and by their shapes. What is not known to be harmless is not shown. It must not know where exchanges come from.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from claude_relay.core.secrets import SHORTEST, Matcher, Secret

from .blanks import Blanks
from .naming_them import PARAMETERS, is_alias, is_shown
from .payloads import Payloads
from .shapes import ACCOUNT, KEY, USER, Finder

type Fields = tuple[tuple[bytes, bytes], ...]

CODING: Final = "content-encoding"
LENGTHS: Final = frozenset(
    {CODING, "content-length", "transfer-encoding", "content-md5", "digest", "content-digest", "etag"}
)
"""Of a body as it was; it is another one now."""
COOKIES: Final = frozenset({b"cookie", b"set-cookie"})
CLOUDS: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
"""Below these a name is an account."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and, if there was one, its answer. Bodies as they were sent; None: not kept. Times: Unix seconds.

    note     for people: which request it is, what became of it
    facts    what the relay knows of it, by name
    """

    method: str
    url: str
    fields: Fields = ()
    body: bytes | None = None
    version: str = "HTTP/1.1"
    status: int | None = None
    reason: str = ""
    answer_fields: Fields = ()
    answer: bytes | None = None
    error: str = ""
    note: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    began: float = 0.0
    uploaded: float | None = None
    answered: float | None = None
    ended: float | None = None


class Redactor:
    """`known`: secrets and what is shown in their places; `texts`: whether texts are redacted, too."""

    def __init__(self, known: Iterable[Secret] = (), *, texts: bool = False) -> None:
        self._secrets: dict[bytes, bytes] = dict(known)
        self._finder = Finder(Matcher(tuple(self._secrets.items())))
        self.blanks = Blanks() if texts else None
        self._payloads = Payloads(self._finder, self.blanks)
        self._stale = False

    # -- what is looked for

    def learn(self, exchange: Exchange) -> None:
        """Take note of what is a credential in it, or names somebody, by where it stands."""
        self._learn(_of_url(exchange.url))
        for fields, body in ((exchange.fields, exchange.body), (exchange.answer_fields, exchange.answer)):
            self._learn(_of_fields(fields))
            if body:
                self._learn(self._payloads.secrets(body, *_kind(fields)))

    def _learn(self, secrets: Iterable[Secret]) -> None:
        for secret, mark in secrets:
            if (
                len(secret) >= SHORTEST
                and not secret.startswith(b"redacted")
                and not is_alias(secret.decode("latin-1"))
            ):
                self._stale = self._stale or secret not in self._secrets
                self._secrets.setdefault(secret, mark)

    @property
    def finder(self) -> Finder:
        """What finds all that is known by now."""
        if self._stale:
            self._finder = Finder(Matcher(tuple(self._secrets.items())))
            self._payloads = Payloads(self._finder, self.blanks)
            self._stale = False
        return self._finder

    # -- without it

    def clean(self, exchange: Exchange) -> Exchange:
        """The exchange without them; its bodies are uncompressed."""
        text = self.text
        return replace(
            exchange,
            method=text(exchange.method),
            url=self.url(exchange.url),
            fields=self.head(exchange.fields),
            body=self.body(exchange.body, exchange.fields),
            reason=text(exchange.reason),
            answer_fields=self.head(exchange.answer_fields),
            answer=self.body(exchange.answer, exchange.answer_fields),
            error=self.words(exchange.error),
            note=self.words(exchange.note),
            facts={name: text(value) for name, value in exchange.facts.items()},
        )

    def text(self, text: str) -> str:
        """A text that is no client's."""
        return self.finder.clean_text(text) if text else text

    def words(self, text: str) -> str:
        """A text that may repeat what a client or an upstream has said."""
        shown = self.text(text)
        return shown if self.blanks is None else str(self.blanks.document(shown))

    def url(self, url: str) -> str:
        """A URL: no user, no fragment, parameters of unknown names without their values."""
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
            host = parts.hostname or ""
        except ValueError:
            return self.text(url.partition("?")[0].rpartition("@")[2])
        host = next(
            (f"redacted{cloud}" for cloud in CLOUDS if host.endswith(cloud)), f"[{host}]" if ":" in host else host
        )
        query = "&".join(self._parameter(part) for part in parts.query.split("&")) if parts.query else ""
        return urlunsplit((parts.scheme, self.text(host) + port, self.text(parts.path), query, ""))

    def _parameter(self, part: str) -> str:
        name, equals, value = part.partition("=")
        return f"{self.text(name)}{equals}{self.text(value) if PARAMETERS.fullmatch(name) else value and 'redacted'}"

    def head(self, fields: Fields) -> Fields:
        """Header fields; of most there is the name alone."""
        shown = []
        for name, value in fields:
            lower = name.decode("latin-1").lower()
            if lower in LENGTHS:
                continue
            if is_shown(lower) or is_alias(value.decode("latin-1").strip()):
                shown.append((name, self.finder.clean(value)))
            else:
                mark = (
                    ACCOUNT
                    if any(word in lower for word in ("organization", "project", "account", "user"))
                    else b"redacted"
                )
                shown.append((self.finder.clean(name), mark if value else value))
        return tuple(shown)

    def body(self, body: bytes | None, fields: Fields) -> bytes | None:
        """A body, uncompressed."""
        if not body or self.finder is None:  # it makes what is stale anew
            return body
        return self._payloads.clean(body, *_kind(fields))


def _kind(fields: Fields) -> tuple[str, str]:
    """Content type and content encoding."""
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}
    return found.get("content-type", ""), found.get(CODING, "")


def _of_fields(fields: Fields) -> Iterator[Secret]:
    for name, value in fields:
        lower = name.decode("latin-1").lower()
        if is_shown(lower) or is_alias(value.decode("latin-1")):
            continue
        value = value.strip()
        if lower.encode() in COOKIES:
            for pair in value.split(b";"):
                name_, _, held = pair.strip().partition(b"=")
                if held and name_.lower() not in ATTRIBUTES:
                    yield held.strip(b'"'), KEY
            continue
        scheme, _, credential = value.rpartition(b" ")
        yield credential, ACCOUNT if b"organization" in name.lower() else KEY
        yield value, KEY
        if scheme.strip().lower() == b"basic":
            yield from _of_pair(credential)


ATTRIBUTES: Final = frozenset({b"path", b"domain", b"expires", b"max-age", b"samesite", b"priority"})


def _of_pair(credential: bytes) -> Iterator[Secret]:
    try:
        pair = b64decode(credential)
    except (NotBase64, ValueError):
        return
    yield pair, USER
    yield pair.partition(b":")[2], USER


def _of_url(url: str) -> Iterator[Secret]:
    authority = url.partition("://")[2].partition("/")[0]
    if "@" in authority:
        user = authority.rpartition("@")[0]
        for part in (user, user.partition(":")[2]):
            yield from ((form.encode("utf-8", "surrogateescape"), USER) for form in {part, unquote_plus(part)})
    for part in url.partition("?")[2].partition("#")[0].split("&"):
        name, _, value = part.partition("=")
        if not PARAMETERS.fullmatch(name):
            yield from ((form.encode("utf-8", "surrogateescape"), KEY) for form in {value, unquote_plus(value)})
