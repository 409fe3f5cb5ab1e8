r"""Finds secrets in what others say, in the forms in which servers repeat them.

    >>> matcher = Matcher(((b"sk-ant-123456", b"relay:anthropic/k1"),))
    >>> matcher.clean(b'{"message": "no key sk-ant%2D123456"}')
    b'{"message": "no key relay:anthropic/k1"}'
    >>> veil = Veil(matcher)
    >>> veil.feed(b"who is sk-ant") + veil.feed(b"-123456?") + veil.end()
    b'who is relay:anthrop?'

A secret is looked for as it is and in Base64 (either alphabet, wherever in the encoded text it begins); in both, any character may be
escaped as JSON, URLs and HTML have it. Each form is one literal that `bytes.find` looks for; a text that holds escapes is read once more
without them. All of it is linear in the text. Must not know where texts come from or where they go.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache
from itertools import chain
from typing import Final

from .escapes import BEGUN, INTRODUCERS, LONGEST_ESCAPE, OF_ESCAPES, QUOTED, plainer, readings

type Secret = tuple[bytes, bytes]
"""A secret, and what is shown in its place."""

SHORTEST: Final = 8
"""Characters below which a secret is not looked for: it would be found in innocent words."""
FEW: Final = 64
"""Literals up to which each is looked for by itself; with more, places of a text are looked up among their beginnings: every one, or
those where one of their heads is."""
HEAD: Final = 3
"""Bytes with which literals begin that are few even of very many: keys that are made alike begin alike, in Base64, too."""
LONG: Final = 512
"""Bytes of a secret beyond which its beginnings are looked for in linear time."""


@lru_cache(maxsize=4096)
def spellings(secret: bytes) -> tuple[bytes, ...]:
    """The secret itself, with its blanks as forms have them, and what is surely there of it in Base64, at each of the three places in a
    group where it may begin.

    >>> spellings(b"12345678")
    (b'12345678', b'MTIzNDU2Nz', b'EyMzQ1Njc4', b'xMjM0NTY3O')
    """
    found = [secret, secret.replace(b" ", b"+")]  # as forms have it
    for before, shared in ((0, 0), (1, 2), (2, 3)):
        encoded = b64encode(bytes(before) + secret)[shared : (before + len(secret)) * 8 // 6]
        found += (encoded, encoded.translate(bytes.maketrans(b"+/", b"-_")))
    return tuple(dict.fromkeys(form for form in found if len(form) >= SHORTEST))


class Matcher:
    """Knows some secrets, each with its alias. More may be added in one thread while it is used in others.

    Where there are many clients nearly every request has one of its own: making one does what `clean` needs for a text without any
    secret, and not much more.
    """

    def __init__(self, secrets: Sequence[Secret] = ()) -> None:
        self._aliases: dict[bytes, bytes] = {}
        self._needles: tuple[bytes, ...] = ()
        """Of which one is in every text that may hold a secret, or may be escaped."""
        self._introducers: tuple[bytes, ...] = INTRODUCERS
        self._measured: tuple[int, Set[int], int] = 0, frozenset(), 0
        self._sorted: tuple[bytes, ...] = ()
        self._starts: dict[bytes, tuple[int, ...]] = {}
        """With more than FEW literals: their beginnings, and the lengths of what begins so."""
        self._heads: tuple[bytes, ...] = ()
        """With more than FEW literals: what they begin with, where that is at most FEW; else more than that."""
        self.add(secrets)

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._aliases)

    def add(self, secrets: Sequence[Secret]) -> None:
        """Look for these, too."""
        aliases, before = self._aliases, len(self._aliases)
        secrets = [secret for secret in secrets if len(secret[0]) >= SHORTEST]
        for secret, alias in secrets:
            for literal in spellings(secret):
                aliases.setdefault(literal, alias)
            if secret.find(b'"') >= 0 or secret.find(b"\\") >= 0:
                self._introducers = INTRODUCERS + QUOTED
        if len(aliases) == before:
            return
        if len(aliases) <= FEW:
            self._needles = (*aliases, *self._introducers)
        else:
            known = chain.from_iterable(spellings(secret) for secret, _ in secrets)
            self._begin(known if self._starts else tuple(aliases))

    def _begin(self, literals: Iterable[bytes]) -> None:
        """There are many by now: these are new."""
        starts, heads = self._starts or {}, dict.fromkeys(self._heads)  # the first time others get it when it is whole
        for literal in literals:
            start = literal[:SHORTEST]
            if len(literal) not in (lengths := starts.get(start, ())):
                starts[start] = (*lengths, len(literal))
            if len(heads) <= FEW:
                heads[literal[:HEAD]] = None
        self._heads = tuple(heads)  # before those that are looked up where these are
        self._starts = starts
        self._needles = (*heads, *self._introducers) if len(heads) <= FEW else (b"",)

    @property
    def _ends(self) -> Set[int]:
        """The bytes that are in a secret, however it is escaped; empty: there is none."""
        return self._measure()[1]

    @property
    def _reach(self) -> int:
        """Bytes that a secret may take up where it is escaped."""
        return self._measure()[2]

    def _measure(self) -> tuple[int, Set[int], int]:
        """Done when it is needed: where texts come in pieces or were cut off."""
        count = len(self._aliases)
        if self._measured[0] != count:
            literals = tuple(self._aliases)
            reach = max(map(len, literals)) * LONGEST_ESCAPE
            self._measured = count, OF_ESCAPES.union(*literals), reach
        return self._measured

    @property
    def _literals(self) -> tuple[bytes, ...]:
        """Of two that begin alike the longer one is the one that is meant. Sorted when they are needed: seldom."""
        if len(self._sorted) != len(self._aliases):
            self._sorted = tuple(sorted(self._aliases, key=len, reverse=True))
        return self._sorted

    def clean(self, text: bytes, *, same_length: bool = False) -> bytes:
        """The text with aliases in the place of secrets; the same object when there was none in it.

        same_length  a longer alias is cut, a shorter one filled up
        """
        if len(text) < SHORTEST:
            return text
        find = text.find  # `in` takes ten times as long: it asks first whether the literal is a number
        for needle in self._needles:
            if find(needle) >= 0:
                break
        else:
            return text  # as nearly always, and so without a call more
        if not (self._present(text) or self._escaped(text)):
            return text
        parts: list[bytes] = []
        over = 0
        for start, end, alias in self.found(text):
            parts += (text[over:start], _filled(alias, end - start) if same_length else alias)
            over = end
        return b"".join((*parts, text[over:]))

    def found(self, text: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Each secret in it, however it is escaped: where it begins and ends, and its alias; in order, none within another."""
        spans = []
        for plain, places in self._levels(text):
            for at, literal in self._places(plain):
                end = at + len(literal)
                span = (at, end) if places is None else (places[at], places[end])
                spans.append((*span, self._aliases[literal]))
        over = 0
        for start, end, alias in sorted(spans, key=lambda span: (span[0], -span[1])):
            if start >= over:
                yield start, end, alias
                over = end

    def clean_text(self, text: str) -> str:
        """As `clean`, for text that is read by people."""
        if len(text) < SHORTEST:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        shown = self.clean(raw)
        return text if shown is raw else shown.decode("utf-8", "surrogatepass")

    def clean_end(self, text: bytes, *, same_length: bool = False) -> bytes:
        """As `clean`, for a text that may have been cut off: what is there of a secret at its end goes, too, if it is half of it."""
        text = self.clean(text, same_length=same_length)
        if not text or text[-1] not in self._ends:
            return text
        for plain, places in self._levels(text[-self._reach :]):
            for literal in self._literals:
                at = _beginning(plain, literal)
                if at is not None and len(plain) - at >= max(SHORTEST, len(literal) // 2):
                    start = max(0, len(text) - self._reach) + (at if places is None else places[at])
                    alias = self._aliases[literal]
                    return text[:start] + (_filled(alias, len(text) - start) if same_length else alias)
        return text

    def pending(self, text: bytes) -> int:
        """Where something begins at the text's end that may turn out to be a secret; the text's length if nothing does."""
        if not text or text[-1] not in self._ends:
            return len(text)
        run = self.last_word(text)
        first = len(text) - len(run)
        held = len(run)
        for plain, places in self._levels(run):
            begun = BEGUN.search(plain, max(0, len(plain) - LONGEST_ESCAPE))
            whole = plain if begun is None else plain[: begun.start()]
            found = [at for literal in self._literals if (at := _beginning(whole, literal)) is not None]
            if found or begun is not None:
                at = min(found, default=len(whole))
                held = min(held, at if places is None else places[at])
        return first + held

    def touches(self, text: bytes) -> bool:
        """Whether the first characters of a secret, SHORTEST of them, may be in it."""
        for literal in self._literals:
            if text.find(literal[:SHORTEST]) >= 0:
                return True
        return self._may_be_escaped(text)

    def last_word(self, text: bytes) -> bytes:
        """The end of a text as far as it has nothing in it that is in no secret."""
        run = text[-self._reach :]
        return run[len(run.rstrip(bytes(self._ends))) :]

    def _present(self, plain: bytes) -> bool:
        if self._starts:
            return next(self._places(plain), None) is not None
        find = plain.find
        for literal in self._literals:  # noqa: SIM110 - `any` takes three times as long
            if find(literal) >= 0:
                return True
        return False

    def _places(self, plain: bytes) -> Iterator[tuple[int, bytes]]:
        """Where which literal is."""
        if starts := self._starts:
            for at in self._candidates(plain):
                if (start := plain[at : at + SHORTEST]) in starts:
                    for length in starts[start]:
                        if (literal := plain[at : at + length]) in self._aliases:
                            yield at, literal
            return
        for literal in self._literals:
            at = plain.find(literal)
            while at >= 0:
                yield at, literal
                at = plain.find(literal, at + len(literal))

    def _candidates(self, plain: bytes) -> Iterator[int]:
        """Where one of many literals may begin."""
        if len(self._heads) > FEW:
            yield from range(len(plain) - SHORTEST + 1)
            return
        for head in self._heads:
            at = plain.find(head)
            while at >= 0:
                yield at
                at = plain.find(head, at + 1)

    def _escaped(self, text: bytes) -> bool:
        """Whether there is a secret in it that is written with escapes."""
        return any(self._present(plain) for plain in plainer(text, self._may_be_escaped))

    def _may_be_escaped(self, text: bytes) -> bool:
        for introducer in self._introducers:  # noqa: SIM110 - `any` takes three times as long
            if text.find(introducer) >= 0:
                return True
        return False

    def _levels(self, text: bytes) -> Iterator[tuple[bytes, Sequence[int] | None]]:
        return readings(text, self._may_be_escaped)


class Veil:
    """Takes secrets out of a body that comes in pieces of any size. What may be the start of one is held until that is known."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self.held = b""
        self.found = False
        """Whether there was a secret in it."""

    def feed(self, data: bytes) -> bytes:
        """The next bytes; returns what can leave. No length changes."""
        text = self.held + data if self.held else data
        shown = self._matcher.clean(text, same_length=True)
        self.found = self.found or shown is not text
        at = self._matcher.pending(shown)
        self.held = shown[at:]
        return shown[:at] if self.held else shown

    def end(self) -> bytes:
        """The rest, when the body is over."""
        tail, self.held = self.held, b""
        return self._matcher.clean_end(tail, same_length=True) if tail else tail


def _filled(alias: bytes, length: int) -> bytes:
    return alias[:length].ljust(length, b"*")


def _beginning(plain: bytes, literal: bytes) -> int | None:
    """Where the text's end begins that is a beginning of the literal, but not all of it."""
    if len(literal) > LONG:
        return _beginning_of_long(plain, literal)
    first, at = literal[:1], max(0, len(plain) - len(literal) + 1)
    while (at := plain.find(first, at)) >= 0:
        if literal.startswith(plain[at:]):
            return at
        at += 1
    return None


def _beginning_of_long(plain: bytes, literal: bytes) -> int | None:
    """The same in linear time (Knuth, Morris and Pratt), which is slower for what is short."""
    falls, matched = _falls(literal), 0
    for byte in plain[max(0, len(plain) - len(literal) + 1) :]:
        while matched and byte != literal[matched]:
            matched = falls[matched - 1]
        matched += byte == literal[matched]
    return len(plain) - matched if matched else None


@lru_cache(maxsize=8)
def _falls(literal: bytes) -> list[int]:
    """For each beginning of it: how much of the literal its end may be the beginning of, too."""
    falls, matched = [0], 0
    for byte in literal[1:]:
        while matched and byte != literal[matched]:
            matched = falls[matched - 1]
        matched += byte == literal[matched]
        falls.append(matched)
    return falls
