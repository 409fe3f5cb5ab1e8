"""The small values of a configuration: addresses, places of keys, and the checks of single fields.

Every check raises ValueError with a sentence that ends in the remedy and never repeats what it was given.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from .problems import suggest

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:\[\]/@]+)):(?P<port>\d{1,5})", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""A header or cookie name: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2"""
_QUERY = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)
_SECRET = re.compile(r"[\x21-\x7e]+", re.ASCII)
_NOT_FOR_KEYS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect"})
_OF_THE_RELAY = _NOT_FOR_KEYS | {"content-type", "content-encoding", "accept-encoding", "keep-alive", "trailer"}
_CREDENTIAL = re.compile(r"(.*-)?(key|token|secret|password|auth|authorization|cookie)", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*|")
"""Visible ASCII with blanks within: https://www.rfc-editor.org/rfc/rfc9110#section-5.5"""
_TRANSLATED = ("model", "messages", "input", "contents", "stream")
"""What the relay itself writes into the body of a translated request."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0: any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> Address:
        """From `127.0.0.1:8080`, `[::1]:8080`, or an Address."""
        if isinstance(value, Address):
            return value
        found = _ADDRESS.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None or int(found["port"]) > 65535:
            raise ValueError(
                "must be HOST:PORT such as 127.0.0.1:8080 or [::1]:8080 (ports end at 65535), or null to switch it off"
            )
        return cls(found["v6"] or found["host"].lower(), int(found["port"]))

    def __str__(self) -> str:
        """`127.0.0.1:8080`, `[::1]:8080`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Address:
        """What a client on this machine dials: loopback where the relay listens on every interface."""
        return Address(_WILDCARDS.get(self.host, self.host), self.port)

    def clashes(self, other: Address) -> bool:
        """True when two sockets cannot listen on both."""
        if not self.port or self.port != other.port:
            return False
        return self.host == other.host or self.host in _WILDCARDS or other.host in _WILDCARDS

    @property
    def url(self) -> str:
        """`http://127.0.0.1:8080`, for a client on this machine."""
        return f"http://{self.reachable}"


@dataclass(frozen=True, slots=True)
class Auth:
    """Where a provider wants its key. Header names are lower-case; `prefix` stands before the key, as it is."""

    kind: Literal["header", "cookie", "query"]
    name: str
    prefix: str = ""
    oauth: bool = False
    """Whether all keys are tokens of OAuth."""


AUTHS = {
    "x-api-key": Auth("header", "x-api-key"),
    "bearer": Auth("header", "authorization", "Bearer "),
    "api-key": Auth("header", "api-key"),
    "x-goog-api-key": Auth("header", "x-goog-api-key"),
    "oauth": Auth("header", "authorization", "Bearer ", oauth=True),
}
_AUTH_FORMS = f"{', '.join(AUTHS)}, {{header: NAME, prefix: TEXT}}, {{cookie: NAME}} or {{query: NAME}}"


def auth(value: object) -> Auth:
    """From one of the names, or a mapping that says which header, cookie or query parameter takes the key."""
    match value:
        case Auth():
            return value
        case str():
            return choice(AUTHS, value)
        case {"header": str(name), **others} if set(others) <= {"prefix"}:
            return _header_auth(name, others.get("prefix", ""))
        case {"cookie": str(name), **others} if not others and _TOKEN.fullmatch(name):
            return Auth("cookie", name)
        case {"query": str(name), **others} if not others and _QUERY.fullmatch(name):
            return Auth("query", name)
    raise ValueError(f"must be {_AUTH_FORMS}")


def _header_auth(name: str, prefix: object) -> Auth:
    lower = name.lower()
    if not _TOKEN.fullmatch(lower) or lower in _NOT_FOR_KEYS:
        raise ValueError("the header must be a name such as x-api-key that may carry a key")
    if not isinstance(prefix, str) or not re.fullmatch(r"[\x20-\x7e]*", prefix):
        raise ValueError("the prefix must be plain text in quotes, such as 'Bearer '")
    return Auth("header", lower, prefix)


def choice[T](known: dict[str, T], value: object) -> T:
    """The entry of that name."""
    if isinstance(value, str) and value in known:
        return known[value]
    raise ValueError(
        f"unknown; {suggest(value, known)}" if isinstance(value, str) else f"must be one of {', '.join(known)}"
    )


def contact(value: object) -> str:
    """One line of text that may stand in an error message; nothing: nobody."""
    text = "" if value is None else value
    if not isinstance(text, str) or len(text) > 200 or not text.isprintable():
        raise ValueError("must be one line of text, of at most 200 characters")
    return text.strip().rstrip(".")


def one_of(known: Iterable[str]) -> Callable[[object], str]:
    """A check for a word from a list."""
    names = {name: name for name in known}
    return lambda value: choice(names, value)


def format_of(known: Iterable[str]) -> Callable[[object], str]:
    """A check for a format: a word from the list, or the path of a module."""
    named = one_of(known)
    return lambda value: str(value) if is_module(value) else named(value)


def is_module(value: object) -> bool:
    """Whether a format is the path of somebody's own module."""
    return isinstance(value, str) and value.endswith(".py")


def url_parts(value: object, example: str, schemes: Collection[str] = ("http", "https")) -> SplitResult:
    """A URL with a host and one of these schemes, cut into its parts."""
    try:
        parts = urlsplit(value.strip()) if isinstance(value, str) else urlsplit("")
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f\x7f\\]", parts.netloc + parts.path):
        raise ValueError(f"must be a URL such as {example}")
    return parts


def base_url(value: object) -> str:
    """A provider's base URL without a slash at the end; the relay appends the path of the format."""
    example = "https://api.anthropic.com"
    parts = url_parts(value, example)
    if "@" in parts.netloc:
        raise ValueError("must hold no user name or password; credentials belong into 'keys' and 'auth'")
    if parts.query or parts.fragment:
        raise ValueError(f"must hold no '?' or '#', as in {example}")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


_APPENDED = {
    "anthropic": ("/v1", "/v1/messages"),
    "openai-chat": ("/chat/completions",),
    "openai-responses": ("/responses",),
    "gemini": ("/models",),
}
"""By format: ends of a base URL that the relay would append once more."""


def says_too_much(url: str, form: str) -> str | None:
    """What is wrong with a base URL for a format: it goes further than it should."""
    end = next((end for end in _APPENDED.get(form, ()) if url.rstrip("/").endswith(end)), None)
    return f"must stop before '{_APPENDED[form][0]}': the relay appends {_APPENDED[form][-1]} itself" if end else None


def host(value: object) -> str:
    """A bare host name or address, lower-case."""
    text = value.strip().lower().rstrip(".") if isinstance(value, str) else ""
    if not (_HOST.fullmatch(text) or re.fullmatch(r"[0-9a-f:]*:[0-9a-f:.]*", text)):
        raise ValueError("must be a bare host name such as api.anthropic.com, without https://, port or path")
    return text


def network(value: object) -> str:
    """An IP address, or a network in CIDR notation."""
    try:
        return str(ipaddress.ip_network(str(value).strip()))
    except ValueError:
        raise ValueError("must be an IP address or a network, such as 10.0.0.5 or 10.0.0.0/24") from None


def origin(value: object) -> str:
    """An origin as a browser sends it: https://developer.mozilla.org/en-US/docs/Glossary/Origin"""
    example = "https://app.example.com or http://localhost:3000"
    if value == "*":
        raise ValueError(f"'*' would let every web page spend the keys; list each origin, such as {example}")
    parts = url_parts(value, example)
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"must be an origin such as {example}, without path and slash")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def provider_name(value: object) -> str:
    """A provider's name; it becomes part of aliases such as `anthropic/k1`."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", value):
        raise ValueError("a provider's name has at most 40 letters, digits, '.', '_' and '-'")
    return value


def header_globs(value: object) -> dict[str, str]:
    """Header names (made lower-case) and the globs their values must fit."""
    if not isinstance(value, dict) or not all(map(_is_header_glob, value.items())):
        raise ValueError("must map header names to globs, as in {x-team: 'research-*'}")
    return {name.lower(): glob for name, glob in value.items()}


def request_headers(value: object) -> dict[str, str]:
    """Header names (made lower-case) and their values, of headers that are neither credentials nor the relay's own to write."""
    if not isinstance(value, dict):
        raise ValueError("must map header names to texts, as in {x-title: my-team}")
    for name, content in value.items():
        lower = name.lower() if isinstance(name, str) else ""
        if not _TOKEN.fullmatch(lower) or lower in _OF_THE_RELAY or lower.startswith(("x-relay-", "proxy-")):
            raise ValueError("holds a name that is no header, or one that the relay writes itself; leave it out")
        if _CREDENTIAL.fullmatch(lower):
            raise ValueError("holds a header for credentials; they belong into 'keys' and 'auth'")
        if not isinstance(content, str) or not _HEADER_VALUE.fullmatch(content):
            raise ValueError("a header's value must be plain text in one line; put it in quotes")
    return {name.lower(): content for name, content in value.items()}


def body_parameters(value: dict[str, object]) -> dict[str, object]:
    """Parameters that leave the relay's own alone."""
    if any(name in value for name in _TRANSLATED):
        raise ValueError(f"must leave {', '.join(_TRANSLATED)} to the relay")
    return value


def _is_header_glob(pair: tuple[object, object]) -> bool:
    name, glob = pair
    return isinstance(name, str) and bool(_TOKEN.fullmatch(name)) and isinstance(glob, str)


QUOTES = "\"'“”„‘’`"


def unquoted(text: str) -> str:
    """Without the quotes that files of variables put around a value, and some programs pass on."""
    return text.strip().strip(QUOTES)


def split_keys(values: list[str]) -> tuple[str, ...]:
    """One key per entry, in order, none twice: entries may hold several, separated by commas or blanks, in quotes or not."""
    keys = [key for value in values for part in re.split(r"[,\s]+", value) if (key := unquoted(part))]
    for key in keys:
        if '"' in key or "'" in key:
            raise ValueError("a key has no quotes in it; write several as KEY,KEY")
        if not _SECRET.fullmatch(key):
            raise ValueError("a key must consist of plain ASCII characters; copy it again")
        if "placeholder" in key.lower():
            raise ValueError("a placeholder is no key; put a real one here, or none")
    return tuple(dict.fromkeys(keys))
