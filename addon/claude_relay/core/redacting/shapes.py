r"""Finds what looks like a credential or names somebody, whoever wrote it where, in whatever form.

    >>> finder = Finder(Matcher())
    >>> finder.clean(b"curl -H 'x-api-key: sk-ant-api03-abcdef' https://me:pass@host/?key=AIzaSyA0123456789012345678901234567890")
    b"curl -H 'x-api-key: redacted-key' https://redacted-user@host/?key=redacted-key"

A secret of a known value is the matcher's to find. Here are shapes: what vendors' keys begin with, tokens, key files, what stands behind
a name such as `password`, addresses of people, ids of accounts. Each is looked for as it is, with its characters escaped as JSON, URLs
and HTML have it, and in Base64. Rather too much is taken than too little. All of it is linear, in windows, so that others may work.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from claude_relay.core.escapes import plainer, readings
from claude_relay.core.secrets import Matcher

KEY: Final = b"redacted-key"
USER: Final = b"redacted-user"
EMAIL: Final = b"redacted-email"
ACCOUNT: Final = b"redacted-account"
MARK: Final = b"redacted"
"""What each of them begins with: nothing that does is redacted once more."""

type Span = tuple[int, int, bytes]
"""Where it begins and ends, and what stands in its place."""

WINDOW: Final = 64 * 1024
"""Bytes that are read in one step."""
OVERLAP: Final = 8 * 1024
"""The longest that is surely found where two windows meet, in bytes."""
INNER: Final = 2
"""Base64 within Base64."""

# -- shapes: each begins with a literal, which `bytes.find` looks for

_WORD: Final = rb"[A-Za-z0-9_.-]"
_BEGINS: Final = [
    "sk-",
    "rk-",
    "pk-",
    "sk_",
    "rk_",
    "pk_",
    "pplx-",
    "xai-",
    "csk-",
    "nvapi-",
    "tvly-",
    "fc-",
    "voyage-",
    "psk-",
    "jina_",
    "sess-",
    "whsec_",
    "npm_",
    "dop_v1_",
    "SG.",
    "pypi-",
    "gsk_",
    "hf_",
    "r8_",
    "fw_",
    "tgp_v1_",
    "AQ.",
    "lin_api_",
    "pat-",
]
"""What keys of many vendors begin with; before it stands no letter, as it may within a word."""
KEYS: Final[dict[bytes, re.Pattern[bytes]]] = {
    b"sk-ant-": re.compile(rb"sk-ant-[A-Za-z0-9_-]{2,}"),
    **{
        start: re.compile(re.escape(start) + rb"[A-Za-z0-9_-]{8,}")
        for start in (b"sk-proj-", b"sk-or-", b"sk-svcacct-", b"sk_live_", b"rk_live_")
    },
    b"AIza": re.compile(rb"(?<![A-Za-z0-9+])AIza[A-Za-z0-9_-]{16,}"),
    b"ya29.": re.compile(rb"ya29\.[A-Za-z0-9._-]{8,}"),
    b"GOCSPX-": re.compile(rb"GOCSPX-[A-Za-z0-9_-]{8,}"),
    b"1//0": re.compile(rb"(?<![A-Za-z0-9+/])1//0[A-Za-z0-9_-]{16,}"),
    b"github_pat_": re.compile(rb"github_pat_[A-Za-z0-9_]{16,}"),
    **{b"gh%c_" % kind: re.compile(rb"gh[oprsu]_[A-Za-z0-9]{16,}") for kind in b"oprsu"},
    b"glpat-": re.compile(rb"glpat-[A-Za-z0-9_.-]{12,}"),
    b"xox": re.compile(rb"xox[a-z]-[A-Za-z0-9-]{8,}"),
    b"xapp-": re.compile(rb"xapp-[A-Za-z0-9-]{8,}"),
    b"eyJ": re.compile(rb"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}|(?<![A-Za-z0-9+])eyJ[A-Za-z0-9_-]{24,}"),
    b"AKIA": re.compile(rb"AKIA[A-Z0-9]{12,}"),
    b"ASIA": re.compile(rb"ASIA[A-Z0-9]{12,}"),
    b"ABSK": re.compile(rb"(?<![A-Za-z0-9+])ABSK[A-Za-z0-9+/]{16,}={0,2}"),
    b"-----BEGIN ": re.compile(rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]{0,7000}"),
    b"://hooks.slack.com/": re.compile(rb"://hooks\.slack\.com/[A-Za-z0-9/_-]{4,}"),
    b"/api/webhooks/": re.compile(rb"/api/webhooks/[0-9]{4,}/[A-Za-z0-9_-]{8,}"),
    **{
        word.encode(): re.compile(rb"(?<![A-Za-z0-9])" + re.escape(word.encode()) + _WORD + rb"{12,}")
        for word in _BEGINS
    },
}
ACCOUNTS: Final[dict[bytes, re.Pattern[bytes]]] = {
    b"org-": re.compile(rb"\borg-[A-Za-z0-9]{12,}"),
    b"proj_": re.compile(rb"\bproj_[A-Za-z0-9]{12,}"),
    b"user-": re.compile(rb"\buser-[A-Za-z0-9]{16,}"),
    b"user_": re.compile(rb"(?<![A-Za-z0-9])user_[0-9a-f]{32,}"),
    b"acct_": re.compile(rb"(?<![A-Za-z0-9])acct_[A-Za-z0-9]{8,}"),
    b"account_": re.compile(rb"account_[0-9a-f]{8}-[0-9a-f-]{20,40}"),
    b"arn:aws": re.compile(rb"arn:aws[a-z-]{0,8}:[a-z0-9-]{0,32}:[a-z0-9-]{0,32}:[0-9]{12}(?=:)"),
    b"/projects/": re.compile(rb"(?<=/projects/)[a-z0-9][a-z0-9:.-]{3,62}(?=/locations/)"),
    b"/organizations/": re.compile(rb"(?<=/organizations/)[A-Za-z0-9-]{8,64}"),
}
NAMES: Final = (
    *(
        f"{what}{between}key".encode()
        for what in ("api", "access", "secret", "private", "signing", "auth", "session", "account", "encryption")
        for between in ("", "_", "-", " ")
    ),
    *b"token secret passw passphrase credential authorization signature verifier".split(),
)
"""In lower case: what stands behind them, as their value, is a credential."""
VALUE: Final = re.compile(
    rb"(?P<name>[A-Za-z0-9_.-]{1,40})[\"'`]?\s{0,3}(?P<between>:=|=>|[:=])\s{0,3}[\"'`]?(?P<value>[^\s\"'`,;<>\\&)}\]]{6,})"
)
"""From such a name on."""
PARAMETERS: Final = tuple(
    mark + name for mark in (b"?", b"&") for name in (b"key=", b"sig=", b"code=", b"auth=", b"pwd=", b"pass=")
)
PARAMETER: Final = re.compile(rb"[?&][A-Za-z]{3,4}=(?P<value>[^\s&#\"'`<>\\]+)")
SCHEMES: Final = (b"bearer", b"basic")
SCHEME: Final = re.compile(rb"\b[A-Za-z]{5,6}(?:\s|%20|\+){1,3}(?P<value>[^\s\"'`,;<>\\]{6,})")
USERS: Final = re.compile(rb"://(?P<value>[^\s/@\"'`<>\\?#]{1,512})@")
COOKIES: Final = re.compile(rb"cookie[\"']?\s{0,3}:\s{0,3}[\"']?(?P<value>[^\r\n\"']{4,7000})", re.IGNORECASE)
EMAILS: Final = re.compile(rb"@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b")
TWO_PARTS: Final = re.compile(rb"\.[A-Za-z0-9]{16,40}")
"""The second part of Zhipu's keys."""
FIRST_PART: Final = re.compile(rb"[0-9a-f]{32}\Z")
AZURE: Final = re.compile(rb"JQQJ99[A-Za-z0-9]{4,}")
"""In the middle of Azure's keys."""
LOCAL: Final = re.compile(rb"[A-Za-z0-9._%+-]{1,64}\Z")
ALNUM: Final = re.compile(rb"[A-Za-z0-9]{1,120}\Z")
NOBODY: Final = re.compile(rb"(?i:git|no-?reply|donotreply|example|users\.noreply)")
PACKED: Final = re.compile(
    rb"[A-Za-z0-9+/_-]{16,}(?:\r?\n[A-Za-z0-9+/_-]{60,76})*(?:\r?\n[A-Za-z0-9+/_-]{1,76}(?==))?={0,2}"
)
A_WORD: Final = re.compile(rb"[a-z]+|[A-Z][a-z]+|[A-Z]+")
"""A credential is none."""
IN_CODE: Final = re.compile(rb"[A-Za-z_][A-Za-z_.]*[(\[]?|[{<$%(\[].*", re.DOTALL)
"""In code, what is behind `token =` is mostly a name, a call or a variable to fill in."""
URL_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
LARGE: Final = 4096
"""Bytes of Base64 from which on it is a file, that begins where the Base64 does."""
WITHIN: Final = {
    literal: re.compile(re.sub(rb"\(\?<![^)]*\)", b"", pattern.pattern)) for literal, pattern in KEYS.items()
}
"""The same in what was Base64, where words may be bytes."""
IN_FILES: Final = {
    literal: WITHIN[literal]
    for literal in (
        b"sk-ant-",
        b"sk-",
        b"rk-",
        b"AIza",
        b"ya29.",
        b"ghp_",
        b"github_pat_",
        b"eyJ",
        b"AKIA",
        b"-----BEGIN ",
        b"gsk_",
        b"xai-",
    )
}
"""What is looked for there."""
SURE: Final = 20
"""Bytes from which on a word behind such a name is taken for a credential all the same."""


SHORT: Final = 512
"""Bytes of a text up to which it is first looked at as a whole."""
TRIGGER: Final = re.compile(
    b"|".join(
        [
            rb"[%&\\\\@]|[A-Za-z0-9+/_-]{16}|://",
            *map(re.escape, (*KEYS, *ACCOUNTS, *NAMES, *SCHEMES, *PARAMETERS, b"cookie", b"JQQJ99")),
        ]
    ),
    re.IGNORECASE,
)
"""One of these is in all that may be found."""


class Finder:
    """Knows some secrets by their values, and the others by their shapes."""

    def __init__(self, known: Matcher) -> None:
        self.known = known

    def clean(self, text: bytes) -> bytes:
        """The text without them; the same object when there was none."""
        spans = self.spans(text)
        if not spans:
            return text
        parts: list[bytes] = []
        over = 0
        for start, end, mark in spans:
            parts += (text[over:start], mark)
            over = end
        return b"".join((*parts, text[over:]))

    def clean_text(self, text: str) -> str:
        """The same for text that is read by people."""
        raw = text.encode("utf-8", "surrogatepass")
        shown = self.clean(raw)
        return text if shown is raw else shown.decode("utf-8", "replace")

    def spans(self, text: bytes) -> list[Span]:
        """Where they are, in order, none within another."""
        if len(text) < 4:
            return []
        if len(text) <= SHORT and TRIGGER.search(text) is None:
            return list(self.known.found(text)) if self.known.clean(text) is not text else []
        if len(text) <= WINDOW + OVERLAP:
            return _apart(list(self._in_window(text, 0)))
        found: list[Span] = []
        run = 0  # where the Base64 begins that goes on into the window
        for start in range(0, len(text) - OVERLAP, WINDOW):
            window = text[start : start + WINDOW + OVERLAP]
            spans = self._in_window(window, (run - start) % 4)
            found += [(first + start, last + start, mark) for first, last, mark in spans]
            if before := len(window[:WINDOW].rstrip(ALPHABET)):
                run = start + before
        return _apart(found)

    def _in_window(self, window: bytes, phase: int) -> Iterator[Span]:
        if self._within_escapes(window):
            for plain, places in readings(window):
                for start, end, mark in self._plain(plain, phase):
                    yield (start, end, mark) if places is None else (places[start], places[end], mark)
        else:
            yield from self._plain(window, phase)
        yield from self.known.found(window)

    def _plain(self, text: bytes, phase: int = 0) -> Iterator[Span]:
        yield from shapes(text)
        yield from self._in_base64(text, INNER, phase)

    def _within_escapes(self, text: bytes) -> bool:
        """Whether there is one that only its escapes hide: where each byte stands is then worth knowing."""
        return any(next(self._plain(plain), None) is not None for plain in plainer(text))

    def _in_base64(self, text: bytes, depth: int, phase: int = 0) -> Iterator[Span]:
        for found in PACKED.finditer(text):
            start, end = found.span()
            run = found[0]
            if b"\n" in run:
                whole = run.replace(b"\r", b"").replace(b"\n", b"")
                if next(self._unpacked(whole, depth, 0), None) is not None:
                    yield start, end, KEY
                continue
            for first, last in self._unpacked(run, depth, 0 if start else phase):
                yield start + first, start + min(last, end - start), KEY

    def _unpacked(self, run: bytes, depth: int, phase: int) -> Iterator[tuple[int, int]]:
        """Which parts of a run hold something when they are decoded, wherever in it the encoded text begins."""
        large = len(run) >= LARGE
        for offset in (phase,) if large else range(4):
            plain = _decoded(run, offset)
            spans = list(_of_keys(plain, IN_FILES) if large else shapes(plain, within=True))
            spans += self.known.found(plain)
            if depth > 1 and not large:
                spans += self._in_base64(plain, depth - 1)
            for first, last, _ in spans:
                yield offset + first // 3 * 4, offset + -(-last // 3) * 4


def _of_keys(text: bytes, wanted: Mapping[bytes, re.Pattern[bytes]]) -> Iterator[Span]:
    find = text.find
    for literal, pattern in wanted.items():
        if find(literal) >= 0:
            yield from _each(text, text, literal, pattern, KEY, _is_token if literal == b"eyJ" else None)


def shapes(text: bytes, *, within: bool = False) -> Iterator[Span]:
    """What of a text looks like one, as it stands there. `within`: it was Base64; people's names and accounts are not looked for there."""
    yield from _of_keys(text, WITHIN if within else KEYS)
    lower = text.lower()
    find = lower.find
    for name in NAMES:
        if find(name) >= 0:
            yield from _each(text, lower, name, VALUE, KEY, _is_credential)
    for parameter in PARAMETERS:
        if find(parameter) >= 0:
            yield from _each(text, lower, parameter, PARAMETER, KEY)
    for scheme in SCHEMES:
        yield from _each(text, lower, scheme, SCHEME, KEY, _is_of_scheme)
    yield from _each(text, lower, b"://", USERS, USER)
    yield from _each(text, lower, b"cookie", COOKIES, KEY)
    yield from _behind(text, b"JQQJ99", AZURE, ALNUM, KEY, least=0)
    yield from _behind(text, b".", TWO_PARTS, FIRST_PART, KEY, least=32)
    if not within:
        yield from _behind(text, b"@", EMAILS, LOCAL, EMAIL)
        for literal, pattern in ACCOUNTS.items():
            yield from _each(text, text, literal, pattern, ACCOUNT)


def _each(
    text: bytes,
    searched: bytes,
    literal: bytes,
    pattern: re.Pattern[bytes],
    mark: bytes,
    credible: Callable[[bytes, re.Match[bytes]], bool] | None = None,
) -> Iterator[Span]:
    """What the pattern finds from each place of a literal on."""
    at = searched.find(literal)
    while at >= 0:
        found = pattern.match(
            text, at + (len(literal) if literal in ACCOUNTS and pattern.pattern.startswith(b"(?<=/") else 0)
        )
        after = at + len(literal)
        if found is not None:
            start, end = found.span("value" if "value" in pattern.groupindex else 0)
            if not text.startswith((MARK, b"$", b"relay:"), start) and (credible is None or credible(text, found)):
                yield start, end, mark
                after = max(after, end)
        at = searched.find(literal, after)


def _behind(
    text: bytes, literal: bytes, pattern: re.Pattern[bytes], before: re.Pattern[bytes], mark: bytes, *, least: int = 1
) -> Iterator[Span]:
    """What is known by its middle or its end."""
    at = text.find(literal)
    while at >= 0:
        found = pattern.match(text, at)
        if found is not None:
            first = before.search(text[max(0, at - 121) : at])
            if (first is not None or not least) and not (first is not None and NOBODY.fullmatch(first[0])):
                yield at - (len(first[0]) if first is not None else 0), found.end(), mark
        at = text.find(literal, at + 1 if found is None else max(at + 1, found.end()))


def _is_token(_text: bytes, found: re.Match[bytes]) -> bool:
    """Base64 of a file may begin so at any place; that of JSON goes on with JSON."""
    return _decoded(found[0][:11], 0).isascii() and _decoded(found[0][:8], 0).decode("latin-1").isprintable()


def _is_of_scheme(_text: bytes, found: re.Match[bytes]) -> bool:
    """`Bearer` and `Basic` are words, too."""
    value = found["value"]
    if found[0][:2].lower() == b"ba":
        return value[-1:] == b"=" or b":" in _decoded(value, 0)
    return not A_WORD.fullmatch(value) or len(value) >= SURE


def _is_credential(text: bytes, found: re.Match[bytes]) -> bool:
    """Behind a name in a URL: whatever it is; in other text: what is no word, and no name in code."""
    value = found["value"]
    if found["between"] == b"=" and b"?" in text[max(0, found.start() - 40) : found.start()]:
        return True
    if value.lower().startswith(SCHEMES):
        return False  # what follows it is
    return len(value) >= SURE or not (A_WORD.fullmatch(value) or IN_CODE.fullmatch(value))


def _decoded(run: bytes, offset: int) -> bytes:
    """From the offset on, as far as it goes; empty when it is none."""
    run = run.rstrip(b"=")[offset:].translate(URL_ALPHABET)
    try:
        return b64decode(run[: len(run) - (len(run) % 4 == 1)] + b"=" * (-len(run) % 4 % 3))
    except (NotBase64, ValueError):
        return b""


def _apart(spans: list[Span]) -> list[Span]:
    """In order; what touches another is one with it."""
    joined: list[Span] = []
    for start, end, mark in sorted(spans, key=lambda span: (span[0], -span[1])):
        if joined and start < joined[-1][1]:
            first, last, shown = joined[-1]
            joined[-1] = (first, max(last, end), shown)
        elif end > start:
            joined.append((start, end, mark))
    return joined
