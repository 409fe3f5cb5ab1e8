"""relay.yaml, from text to `Config`, with every problem named at once.

    text ─► yaml     values and their lines
         ─► expand   ${VARIABLES}
         ─► filling  presets and defaults of providers
         ─► here     what one section says about another
         ─► models   pydantic ─► Config | explain ─► ConfigError

It is changed in place: `editing` (tree, layout, writing) splices a text, `masking` hides its secrets, `changes` says what differs.

Pure: the text and the environment are given. It knows nothing of mitmproxy, of who reads the file or when.

>>> config = parse("providers: {glm: {preset: zhipu, keys: ['${GLM_KEYS}']}}", environ={"GLM_KEYS": "a, b"})
>>> [key.alias for key in config.providers["glm"].key_list("glm")]
['k1', 'k2']
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from os.path import normpath
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from .doors import Bounds, Listen
from .expand import UNSET, expand, is_literal
from .explain import explain
from .filling import filled_providers
from .locate import database_folder
from .models import (
    Bodies,
    Budget,
    Clients,
    Config,
    FaultRule,
    Intercept,
    LedgerSettings,
    Log,
    Match,
    Notices,
    Price,
    Provider,
    Retry,
    Route,
    Sessions,
)
from .oauth import OAuth
from .outbound import WayOut, leads_to, way_to
from .problems import ConfigError, ConfigProblem, Place, dotted, shown, suggest
from .proxies import DIRECT, USUAL, OutboundProxy, Trust
from .spending import LOOPBACK, strangers
from .values import Address, Auth, is_module
from .yaml import Document, YamlError, read

__all__ = [
    "LOOPBACK",
    "Address",
    "Auth",
    "Bodies",
    "Bounds",
    "Budget",
    "Clients",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "FaultRule",
    "Intercept",
    "LedgerSettings",
    "Listen",
    "Log",
    "Match",
    "Notices",
    "OAuth",
    "OutboundProxy",
    "Price",
    "Provider",
    "Retry",
    "Route",
    "Sessions",
    "Trust",
    "WayOut",
    "authorities",
    "default",
    "lacks_variables",
    "led",
    "literals",
    "named_proxies",
    "needs_restart",
    "parse",
    "running",
    "way_out",
    "way_to",
]

DEFAULT_PROVIDER = {"anthropic": {"preset": "anthropic", "keys": ["${ANTHROPIC_API_KEYS}"]}}
_LISTENERS = ("proxy", "base_url", "panel", "status")
_AT_RESTART = (*_LISTENERS, "tls")


def parse(
    text: str | bytes,
    *,
    environ: Mapping[str, str],
    where: str = "relay.yaml",
    folder: Path | None = None,
    only: Collection[str] | None = None,
) -> Config:
    """The configuration that the text describes. Raises ConfigError with every problem.

    where   how messages name the file
    folder  what a relative `database` or path of a format starts from; default: the folder of `where`
    only    sections to look at; the others count as left out, whatever they hold
    """
    try:
        document = read(text)
    except YamlError as error:
        raise ConfigError(
            [ConfigProblem(where, bad.line, dotted(bad.place), bad.what) for bad in error.complaints]
        ) from None
    found: dict[Place, str] = {}
    data = document.data if only is None else {name: document.data[name] for name in only if name in document.data}
    config = _build(data, environ, found)
    if config is None or found:
        raise ConfigError(
            [
                ConfigProblem(where, document.line(place), dotted(place), what)
                for place, what in _in_order(found, document)
            ]
        )
    return _placed(config, folder or Path(where).parent, environ)


def default(environ: Mapping[str, str], *, folder: Path | None = None) -> Config:
    """What an empty file means: Anthropic, with ANTHROPIC_API_KEYS or else the client's own credential."""
    return parse("", environ=environ, folder=folder)


def lacks_variables(error: ConfigError) -> bool:
    """Whether variables are unset, which may be all that is wrong: the same file may well be right in another shell."""
    return any(problem.what.startswith(UNSET) for problem in error.problems)


def needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The settings that differ and cannot change while running: listeners and database."""
    changed = [f"listen.{name}" for name in _AT_RESTART if getattr(old.listen, name) != getattr(new.listen, name)]
    return (*changed, *(["database"] if old.database != new.database else []))


def running(old: Config, new: Config) -> Config:
    """`new` as far as it can apply without a restart: listeners and database stay as they are."""
    listen = new.listen.model_copy(update={name: getattr(old.listen, name) for name in _AT_RESTART})
    return new.model_copy(update={"listen": listen, "database": old.database})


def way_out(config: Config, environ: Mapping[str, str]) -> WayOut:
    """What the environment says of the way out; proxies that are this relay's own listeners do not count."""
    return WayOut.of(environ, _listeners(config), authorities(config))


def authorities(config: Config) -> tuple[Path, ...]:
    """Files of authorities that are trusted everywhere, beside the usual."""
    return () if config.upstream.ca is None else (config.upstream.ca,)


def named_proxies(config: Config) -> dict[str, OutboundProxy]:
    """The proxies that have a name."""
    ca = authorities(config)
    return {
        name: replace(
            proxy.url,
            name=name,
            or_direct=proxy.direct,
            timeout=proxy.timeout,
            trust=Trust(() if proxy.ca is None else (proxy.ca,)).also(ca),
        )
        for name, proxy in config.proxies.items()
    }


def led(provider: Provider, way: WayOut) -> Provider:
    """The provider with the environment's word on its way out filled in where it says nothing of it itself."""
    return provider.model_copy(update={"proxy": way_to(provider.base_url, way, provider.proxy) or DIRECT})


class Literal(NamedTuple):
    """A secret that is written into the file instead of coming from a variable: of a provider's keys, else of this place."""

    line: int | None
    provider: str | None
    place: str


def literals(text: str | bytes) -> tuple[Literal, ...]:
    """Every one of them, of the providers first."""
    document = read(text)
    providers, notices = document.data.get("providers"), document.data.get("notices")
    keys = (
        (("providers", name, "keys", index), shown(name), key)
        for name, provider in (providers.items() if isinstance(providers, dict) else ())
        for index, key in enumerate(_items(provider, "keys"))
    )
    secret = notices.get("secret") if isinstance(notices, dict) else None
    of_clients: list[tuple[Place, str | None, object]] = [
        (("providers", str(name), "oauth", "client_secret"), None, oauth.get("client_secret"))
        for name, provider in (providers.items() if isinstance(providers, dict) else ())
        if isinstance(oauth := provider.get("oauth") if isinstance(provider, dict) else None, dict)
    ]
    return tuple(
        Literal(document.line(place), provider, dotted(place))
        for place, provider, value in [*keys, *of_clients, (("notices", "secret"), None, secret)]
        if is_literal(value)
    )


def _build(data: dict[str, object], environ: Mapping[str, str], found: dict[Place, str]) -> Config | None:
    """The model, or None; problems go into `found`, the first one of each place wins."""
    expanded = expand(_with_default_provider(data), environ, found.setdefault)
    assert isinstance(expanded, dict)
    meant = {str(host).lower() for host in _items(expanded.get("intercept"), "hosts")} or set(Intercept().hosts)
    filled = {**expanded, "providers": filled_providers(expanded["providers"], meant, environ, found)}
    for place, what in _crosswise(filled):
        found.setdefault(place, what)
    try:
        config = Config.model_validate({name: value for name, value in filled.items() if value is not None})
        found.update(_circles(config))
        return config
    except ValidationError as error:
        for place, what in explain(error):
            if place[:1] != ("routes",) or data.get("routes"):  # a route that nobody wrote has no mistakes of its own
                found.setdefault(place, what)
    return None


def _with_default_provider(data: dict[str, object]) -> dict[str, object]:
    return data if data.get("providers") else {**data, "providers": DEFAULT_PROVIDER}


def _crosswise(data: dict[str, Any]) -> list[tuple[Place, str]]:
    """Routes, the default, prices and budgets must name providers; without routes one is made of all providers, in the file's order."""
    providers = data["providers"]
    if not isinstance(providers, dict):
        return []
    problems: list[tuple[Place, str]] = []
    if isinstance(default := data.get("default"), str):
        name, slash, model = default.partition("/")
        if name not in providers:
            problems.append((("default",), f"no provider has this name; {suggest(name, providers)}"))
        elif slash and not model:
            problems.append((("default",), "must be PROVIDER or PROVIDER/MODEL"))
    problems += _unknown_proxies(providers, data.get("proxies"))
    if not data.get("routes"):
        data["routes"] = [{"to": list(providers)}]
    for at, route in enumerate(_list(data["routes"])):
        names = _items(route, "to")
        for index, name in enumerate(names):
            if isinstance(name, str) and name not in providers:
                problems.append((("routes", at, "to", index), f"no provider has this name; {suggest(name, providers)}"))
            elif name in names[:index]:
                problems.append((("routes", at, "to", index), "stands in this list twice; keep one"))
    return [*problems, *strangers(data, providers)]


def _unknown_proxies(providers: Mapping[str, Any], proxies: object) -> Iterator[tuple[Place, str]]:
    known = dict.fromkeys(proxies, DIRECT) if isinstance(proxies, dict) else {}
    for name, provider in providers.items():
        said = provider.get("proxy") if isinstance(provider, dict) else None
        try:
            OutboundProxy.parse(said).resolved(known)
        except ValueError as error:
            if isinstance(said, str):
                yield ("providers", name, "proxy"), str(error)


def _in_order(found: dict[Place, str], document: Document) -> list[tuple[Place, str]]:
    return sorted(found.items(), key=lambda item: (document.line(item[0]) or 0, dotted(item[0])))


def _circles(config: Config) -> Iterator[tuple[Place, str]]:
    """Providers that are this relay: what it sends there would come in again, and again."""
    listeners = _listeners(config)
    for name, provider in config.providers.items():
        url, proxy = urlsplit(provider.base_url), provider.proxy
        port = url.port or (443 if url.scheme == "https" else 80)
        if any(leads_to(address, url.hostname or "", port) for address in listeners):
            yield ("providers", name, "base_url"), "is this relay's own address; requests would go round in a circle"
        if proxy and any(leads_to(address, proxy.host, proxy.port) for address in listeners):
            yield ("providers", name, "proxy"), "is this relay's own address; requests would go round in a circle"
    for name, named in config.proxies.items():
        if any(leads_to(address, named.url.host, named.url.port) for address in listeners):
            yield ("proxies", name, "url"), "is this relay's own address; requests would go round in a circle"


def _listeners(config: Config) -> list[Address]:
    return [address for name in _LISTENERS if (address := getattr(config.listen, name)) is not None]


def _placed(config: Config, folder: Path, environ: Mapping[str, str]) -> Config:
    """With the paths of the file where it means them."""
    place = partial(_path, folder=folder, environ=environ)
    upstream = config.upstream.model_copy(update={"ca": config.upstream.ca and place(config.upstream.ca)})
    proxies = {
        name: proxy.model_copy(update={"ca": place(proxy.ca)}) if proxy.ca else proxy
        for name, proxy in config.proxies.items()
    }
    config = config.model_copy(update={"upstream": upstream, "proxies": proxies})
    ways = named_proxies(config)
    providers = {name: _led_out(provider, config, ways, place) for name, provider in config.providers.items()}
    start = folder if "database" in config.model_fields_set else database_folder(folder, environ)
    listen = config.listen
    if (tls := listen.tls) is not None:
        placed = tls.model_copy(update={name: _path(getattr(tls, name), folder, environ) for name in ("cert", "key")})
        listen = listen.model_copy(update={"tls": placed})
    database = _path(config.database, start, environ)
    return config.model_copy(update={"database": database, "listen": listen, "providers": providers})


def _led_out(
    provider: Provider, config: Config, ways: Mapping[str, OutboundProxy], placed: Callable[[Path], Path]
) -> Provider:
    """A provider with its way out in place of the way's name, and its files where they are."""
    update: dict[str, object] = {}
    if is_module(provider.format):
        update["format"] = normpath(placed(Path(provider.format)))
    ca = authorities(config)
    if provider.proxy is not None and provider.proxy.host:
        update["proxy"] = replace(provider.proxy, trust=provider.proxy.trust.also(ca))
    elif provider.proxy is not None:
        update["proxy"] = provider.proxy.resolved(ways)
    led = provider.model_copy(update=update)
    led._ways = ways
    led._trust = (USUAL if provider.tls is None else provider.tls.trust(placed)).also(ca)
    return led


def _path(path: Path, folder: Path, environ: Mapping[str, str]) -> Path:
    if path.parts[:1] == ("~",):
        path = Path(environ.get("HOME") or environ.get("USERPROFILE") or "~", *path.parts[1:])
    return folder / path


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _items(mapping: object, name: str) -> list[Any]:
    return _list(mapping.get(name)) if isinstance(mapping, dict) else []
