"""The way out: through which proxy a connection leaves this machine.

    the key's own proxy ─► the provider's `proxy` ─► https_proxy, http_proxy, all_proxy, unless no_proxy names the host ─► directly

>>> way = WayOut.of({"HTTPS_PROXY": "http://me:secret@proxy:3128", "NO_PROXY": ".corp.example, 10.0.0.0/8"})
>>> way.to("https", "api.anthropic.com", 443).label
'http://proxy:3128 (HTTPS_PROXY)'
>>> way.to("https", "git.corp.example", 443), way.to("https", "10.1.2.3", 443), way.to("https", "localhost", 443)
(None, None, None)

The variables are read as curl and Python read them: https://curl.se/docs/manpage.html#ENVIRONMENT. Pure: the environment is given, and
no name is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from claude_relay.core.addresses import ip_of

from .proxies import DEFAULT_PORTS, USUAL, OutboundProxy, Trust
from .values import Address

type Scheme = Literal["http", "https"]

PORTS: Mapping[str, int] = {"http": 80, "https": 443}
NOBODY: Mapping[str, OutboundProxy] = {}
PAC_VARIABLES = ("auto_proxy", "AUTO_PROXY", "proxy_auto_config_url", "PROXY_AUTO_CONFIG_URL")
"""In which some systems name a PAC file."""
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d+))?")
_PLACE = re.compile(r"(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exempt:
    """One entry of NO_PROXY: a host with its sub-domains, an address, a network, or `*`; `port` None: all of its ports."""

    host: str
    port: int | None = None
    network: IPv4Network | IPv6Network | None = None

    @classmethod
    def parse(cls, entry: str) -> Exempt:
        """From `example.com`, `.example.com`, `*.example.com`, `example.com:8443`, `10.0.0.1`, `[::1]:443`, `10.0.0.0/8` or `*`."""
        try:
            return cls(entry, None, ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            pass
        found = _WITH_PORT.fullmatch(entry)
        if found is None:
            return cls(entry)
        host = (found["v6"] or found["host"]).removeprefix("*.").strip(".") if entry != "*" else entry
        number = ip_of(host)
        return cls(host, int(found["port"]) if found["port"] else None, None if number is None else ip_network(number))

    def holds(self, host: str, port: int) -> bool:
        """Whether the entry means this place. `host`: lower-case, without a dot at its end."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            number = ip_of(host)
            return number is not None and number in self.network
        return bool(self.host) and (self.host == "*" or host == self.host or host.endswith(f".{self.host}"))


@dataclass(frozen=True, slots=True)
class WayOut:
    """What the environment says of the way out.

    https, http  the proxy on the way to hosts with and without TLS; None: none
    exempt       what goes directly all the same
    warnings     what is said there and cannot be followed, each with its remedy; no secrets
    circles      what leads back to the relay and is not followed, as variables do that are meant for its clients
    """

    https: OutboundProxy | None = None
    http: OutboundProxy | None = None
    exempt: tuple[Exempt, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)
    circles: tuple[str, ...] = field(default=(), compare=False)
    trust: Trust = USUAL

    @classmethod
    def of(
        cls, environ: Mapping[str, str], listeners: Iterable[Address] = (), authorities: tuple[Path, ...] = ()
    ) -> WayOut:
        """Read the environment.

        listeners    where the relay listens; a proxy there would be a circle and does not count
        authorities  files of those that are trusted beside the usual
        """
        places, trust = tuple(listeners), USUAL.also(authorities)
        found = {scheme: _found(scheme, environ, places, trust) for scheme in PORTS}
        names = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        exempt = tuple(Exempt.parse(entry) for entry in re.split(r"[,\s]+", names.lower()) if entry)
        warnings, circles = ([getattr(of, name) for of in found.values()] for name in ("warning", "circle"))
        said, passed = (tuple(dict.fromkeys(filter(None, texts))) for texts in ([*warnings, _pac(environ)], circles))
        return cls(found["https"].proxy, found["http"].proxy, exempt, said, passed, trust)

    def to(self, scheme: str, host: str, port: int) -> OutboundProxy | None:
        """The proxy on the way to a place; None: it is reached directly, as everything on this machine is."""
        proxy, host = self.https if scheme == "https" else self.http, host.lower().strip("[]").rstrip(".")
        if proxy is None or is_this_machine(host) or any(entry.holds(host, port) for entry in self.exempt):
            return None
        return proxy

    def to_url(self, url: str) -> OutboundProxy | None:
        """As `to`, for a URL."""
        parts = urlsplit(url)
        return self.to(parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443))

    @property
    def proxies(self) -> tuple[OutboundProxy, ...]:
        """All there are."""
        return tuple(proxy for proxy in (self.https, self.http) if proxy is not None)


def way_to(
    url: str,
    way: WayOut,
    *own: object,
    named: Mapping[str, OutboundProxy] = NOBODY,
    authorities: tuple[Path, ...] = (),
) -> OutboundProxy | None:
    """The proxy on the way to a provider; None: directly. `own`: the key's and the provider's; the first that says something counts.

    named  the proxies that have a name
    authorities  who is trusted by an https:// proxy of which nothing else is said

    Raises ValueError for a text that names no proxy.
    """
    for said in own:
        if said:
            proxy = OutboundProxy.parse(said).resolved(named)
            if authorities and not proxy.trust:
                proxy = replace(proxy, trust=USUAL.also(authorities))
            return proxy if proxy.host else None
    return way.to_url(url)


def is_this_machine(host: str) -> bool:
    """Whether a host is a name of the loopback, or an address that leads to it when it is dialled. `host`: lower-case."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    number = ip_of(host)
    return number is not None and (number.is_loopback or number.is_unspecified)


def leads_to(listener: Address, host: str, port: int) -> bool:
    """Whether who dials this place arrives at the listener, as far as names tell."""
    host = host.lower().rstrip(".")
    return port == listener.port and (
        host == listener.host or (is_this_machine(host) and is_this_machine(listener.host))
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What a variable comes to: a proxy, or why there is none."""

    proxy: OutboundProxy | None = None
    warning: str = ""
    circle: str = ""


def _pac(environ: Mapping[str, str]) -> str:
    """What is to be said of a PAC file that the environment names."""
    variable = next((name for name in PAC_VARIABLES if environ.get(name, "").strip()), "")
    if not variable:
        return ""
    return f"{variable} names a PAC file, which the relay does not read; set HTTPS_PROXY to the proxy that it chooses"


def _found(scheme: str, environ: Mapping[str, str], listeners: tuple[Address, ...], trust: Trust) -> _Found:
    variable, text = _said(scheme, environ)
    if not text:
        return _Found()
    kind = "other connections" if variable.lower() == "all_proxy" else f"connections to {scheme}:// hosts"
    remedy = f"set {variable} to an http://, https:// or socks5:// proxy, or unset it"
    if "://" not in text:
        text = f"http://{text}"
    named = text.partition("://")[0].lower()
    if named.startswith("pac+") or re.search(r"(?:\.pac|/wpad\.dat)$", text, re.IGNORECASE):
        what = f"a PAC file ({_shown(text)}), which the relay does not read"
        return _Found(warning=f"{variable} names {what}: {kind} go directly; set it to the proxy that the file chooses")
    if named not in (*DEFAULT_PORTS, "socks5h"):
        what = (
            "a SOCKS proxy that is not of version 5"
            if named.startswith("socks")
            else "a kind of proxy that the relay cannot use"
        )
        return _Found(warning=f"{variable} names {what} ({_shown(text)}): {kind} go past it, directly; {remedy}")
    try:
        proxy = replace(OutboundProxy.parse_url(text), variable=variable, trust=trust)
    except ValueError:
        return _Found(warning=f"{variable} is no URL of a proxy: {kind} go directly; {remedy}")
    if any(leads_to(address, proxy.host, proxy.port) for address in listeners):
        return _Found(circle=f"{variable} names this relay itself ({proxy}) and is ignored: {kind} go directly")
    return _Found(proxy)


def _said(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that counts, and what it says. One in lower case wins, and switches the other off when it is empty."""
    for lower in (f"{scheme}_proxy", "all_proxy"):
        for name in (lower, lower.upper()):
            if (text := environ.get(name)) is not None:
                if text.strip():
                    return name, text.strip()
                break
    return "", ""


def _shown(url: str) -> str:
    """A URL without what may be a credential."""
    scheme, _, remainder = url.partition("://")
    place = re.split(r"[/?#]", remainder.rpartition("@")[2])[0]
    return f"{scheme.lower()}://{place if _PLACE.fullmatch(place) else '…'}"
