"""relay.yaml without secrets, for others to read.

    shown({"providers": {"anthropic": {"keys": ["sk-ant-…", "${KEYS}"]}}}, finder)
    -> {"providers": {"anthropic": {"keys": ["redacted-key", "${KEYS}"]}}}

It is the text's own values: variables stay variables, so nothing of the environment gets in. Only settings that there are keep their
values. `secrets` says what of them is looked for elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from claude_relay.core.config import Config, Provider
from claude_relay.core.config.expand import is_literal
from claude_relay.core.redacting.members import Members
from claude_relay.core.redacting.naming_them import is_shown
from claude_relay.core.redacting.shapes import KEY, Finder

HIDDEN: Final = "redacted"
UNKNOWN: Final = "redacted: no setting of this name"
DEFAULT: Final = re.compile(r"(\$\{[A-Za-z_]\w{0,100}):-[^}]{0,4000}\}")
VARIABLE: Final = re.compile(r"\$\{([A-Za-z_]\w{0,100})(?::-([^}]{0,4000}))?\}")
PREFIX: Final = re.compile(r"[A-Za-z]{0,16}[ =:]?")
HEADERS: Final = ("headers", "header")


class Shown:
    """The settings of one file."""

    def __init__(self, finder: Finder) -> None:
        self.members = Members(finder)
        self.clean = finder.clean_text

    def config(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """All of it."""
        known = _names(Config)
        return {
            self.clean(str(name)): SECTIONS.get(name, Shown.value)(self, value) if name in known else UNKNOWN
            for name, value in data.items()
        }

    def value(self, value: Any) -> Any:
        """Whatever holds no credential, as long as it does not look like one."""
        match value:
            case str():
                return _url(self.clean(value)) if "://" in value else self.clean(value)
            case Mapping():
                return {
                    self.clean(str(name)): self.headers(held)
                    if name in HEADERS and isinstance(held, Mapping)
                    else self.members.clean({name: self.value(held)})[name]
                    for name, held in value.items()
                }
            case list():
                return [self.value(held) for held in value]
            case _:
                return value

    def providers(self, value: Any) -> Any:
        """By name."""
        if not isinstance(value, Mapping):
            return HIDDEN
        return {self.clean(str(name)): self.provider(held) for name, held in value.items()}

    def provider(self, value: Any) -> Any:
        """One of them."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        known = _names(Provider)
        return {
            name if name in known else self.clean(str(name)): PARTS.get(name, Shown.value)(self, held)
            if name in known
            else UNKNOWN
            for name, held in value.items()
        }

    def keys(self, value: Any) -> Any:
        """As many as there are; variables by their names."""
        return [self.keys_in(one) for one in value] if isinstance(value, list) else self.keys_in(value)

    def keys_in(self, value: Any) -> Any:
        """One entry of the list."""
        if value is None:
            return None
        if not isinstance(value, str) or is_literal(value):
            return ", ".join([KEY.decode()] * (str(value).count(",") + 1))
        return DEFAULT.sub(r"\1:-redacted}", value)

    def headers(self, value: Any) -> Any:
        """Of most the name alone."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        return {
            self.clean(str(name)): self.clean(str(held)) if is_shown(str(name).lower()) and held is not None else HIDDEN
            for name, held in value.items()
        }

    def auth(self, value: Any) -> Any:
        """Where a key goes; what stands before it only if it is a word."""
        shown = self.value({"place": value})["place"] if isinstance(value, str) else value
        if not isinstance(value, Mapping):
            return shown if isinstance(value, str) else HIDDEN
        return {
            self.clean(str(name)): (held if PREFIX.fullmatch(str(held)) else HIDDEN)
            if name == "prefix"
            else self.clean(str(held))
            for name, held in value.items()
        }

    def oauth(self, value: Any) -> Any:
        """Where accounts log in; not as which client, which is somebody's."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        own = {"client_id", "client_secret"}
        return {
            self.clean(str(name)): HIDDEN
            if name in own and held
            else self.headers(held)
            if name in HEADERS
            else self.value(held)
            for name, held in value.items()
        }

    def address(self, value: Any) -> Any:
        """A URL without its user."""
        return _url(self.clean(DEFAULT.sub(r"\1:-redacted}", value))) if isinstance(value, str) else value

    def path(self, value: Any) -> Any:
        """Of a file the name alone: folders have names of people."""
        return self.clean(PurePath(value).name) if isinstance(value, str) else value

    def proxies(self, value: Any) -> Any:
        """By their names: addresses without users, files without folders."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        return {self.clean(str(name)): self._proxy(held) for name, held in value.items()}

    def _proxy(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        return {
            self.clean(str(name)): self.address(held) if name == "url" else self.path(held)
            for name, held in value.items()
        }

    def files(self, value: Any) -> Any:
        """Files, without their folders."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        return {self.clean(str(name)): self.path(held) for name, held in value.items()}

    def format(self, value: Any) -> Any:
        """A name, or a module's file."""
        return self.path(value)

    def notices(self, value: Any) -> Any:
        """Whether there are some, not who gets them."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        return {
            self.clean(str(name)): HIDDEN if isinstance(held, str | list | Mapping) and held else held
            for name, held in value.items()
        }

    def listen(self, value: Any) -> Any:
        """Ports; names of machines are somebody's."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        own = {"hosts", "trusted_proxies", "tls"}
        return {
            self.clean(str(name)): HIDDEN if name in own and held else self.value(held) for name, held in value.items()
        }

    def clients(self, value: Any) -> Any:
        """Without whom to turn to."""
        if not isinstance(value, Mapping):
            return None if value is None else HIDDEN
        return {self.clean(str(name)): held if isinstance(held, bool) else HIDDEN for name, held in value.items()}


type Part = Callable[[Shown, Any], Any]

SECTIONS: Final[Mapping[str, Part]] = {
    "providers": Shown.providers,
    "proxies": Shown.proxies,
    "upstream": Shown.files,
    "notices": Shown.notices,
    "listen": Shown.listen,
    "clients": Shown.clients,
    "database": Shown.path,
}
PARTS: Final[Mapping[str, Part]] = {
    "keys": Shown.keys,
    "headers": Shown.headers,
    "auth": Shown.auth,
    "oauth": Shown.oauth,
    "proxy": Shown.address,
    "tls": Shown.files,
    "base_url": Shown.address,
    "format": Shown.format,
}
"""What of a provider is shown in another way than whole."""


def shown(data: Mapping[str, Any], finder: Finder) -> dict[str, Any]:
    """The settings without secrets. `data`: what the text says, variables not replaced."""
    return Shown(finder).config(data)


def secrets(data: Any, environ: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """What in the settings is a credential by its place, and what its variables hold, each with what stands in its place."""
    found = [*_of_providers(data), *_of_proxies(data), *_of_notices(data)]
    for text in found:
        for value in (text, *_expanded(text, environ)):
            for part in {value, *value.split(","), *_users(value)}:
                yield part.strip().encode("utf-8", "surrogatepass"), KEY


def _of_providers(data: Any) -> Iterator[str]:
    providers = data.get("providers") if isinstance(data, Mapping) else None
    for provider in providers.values() if isinstance(providers, Mapping) else ():
        if not isinstance(provider, Mapping):
            continue
        keys = provider.get("keys")
        yield from (str(key) for key in (keys if isinstance(keys, list) else [keys]) if key is not None)
        yield from (
            str(provider[name])
            for name in ("proxy", "base_url")
            if "@" in str(provider.get(name)) or "${" in str(provider.get(name))
        )
        oauth = provider.get("oauth")
        if isinstance(oauth, Mapping) and oauth.get("client_secret"):
            yield str(oauth["client_secret"])
        headers = provider.get("headers")
        if isinstance(headers, Mapping):
            yield from (str(value) for name, value in headers.items() if not is_shown(str(name).lower()))


def _of_proxies(data: Any) -> Iterator[str]:
    proxies = data.get("proxies") if isinstance(data, Mapping) else None
    for proxy in proxies.values() if isinstance(proxies, Mapping) else ():
        url = str(proxy.get("url")) if isinstance(proxy, Mapping) else ""
        if "@" in url or "${" in url:
            yield url


def _of_notices(data: Any) -> Iterator[str]:
    notices = data.get("notices") if isinstance(data, Mapping) else None
    if isinstance(notices, Mapping):
        for name in ("webhook", "secret"):
            if notices.get(name):
                yield str(notices[name])


def _expanded(text: str, environ: Mapping[str, str]) -> Iterator[str]:
    for found in VARIABLE.finditer(text):
        yield from (value for value in (environ.get(found[1]), found[2]) if value)


def _users(value: str) -> Iterator[str]:
    """The user and the password in a URL."""
    try:
        parts = urlsplit(value)
        named = [parts.username or "", parts.password or ""]
    except ValueError:
        return
    for name in named:
        yield from (name, unquote(name))


def _url(text: str) -> str:
    """Without what is in front of an `@`."""
    before, mark, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{before}{mark}{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _names(section: Any) -> frozenset[str]:
    fields = section.model_fields
    return frozenset(fields) | {field.alias for field in fields.values() if field.alias}
