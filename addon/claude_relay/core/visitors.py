"""Who asks, by which name, and whether a browser asks for some page: the rules that every port holds its visitors to.

    comes_from_here("127.0.0.1", forwarded, trusted)     whether keys may be issued
    is_meant("localhost:8082", "127.0.0.1", names)       whether a Host means this listener
    is_same("api.anthropic.com", "api.anthropic.com", 443)    whether it means the place that the client was connected to
    page_behind(headers, origins)                        the page for which a browser sends it, if that was not let in

Pure: an address, header fields and settings in, a decision out. It must not know requests, keys or what a refusal looks like.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from .addresses import Ip, ip_of

type Network = IPv4Network | IPv6Network

FORWARDING: Final = frozenset(
    {
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "forwarded-for",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-forwarded",
        "x-forwarded-by",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-server",
        "x-original-forwarded-for",
        "x-original-host",
        "x-real-ip",
    }
)
"""What reverse proxies add to a request that they forward."""
CLIENT_FIELDS: Final = ("x-forwarded-for", "forwarded", "x-real-ip")
"""Those that say for whom, each in a form that is known."""
WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})
LONGEST_ORIGIN: Final = 200
LONGEST_HOST: Final = 300
"""A name has 253 characters at most; others are not remembered either."""
_AUTHORITY: Final = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[^\s\[\]:/?#@,\\]+))(?::(?P<port>\d*))?", re.ASCII)
_FOR: Final = re.compile(r"(?:^|;)\s*for\s*=([^;]*)", re.IGNORECASE)
_NODE: Final = re.compile(r"\[(?P<v6>[^\]]+)\](?::\w+)?|(?P<v4>[\d.]+)(?::\w+)?")


# -- the peer


def comes_from_here(peer: str, forwarded: Sequence[tuple[str, str]], trusted: Collection[Network] = ()) -> bool:
    """Whether a request comes from a program on this machine.

    peer       the address at the other end of the connection
    forwarded  the request's fields whose names are in FORWARDING, lower-case, in their order
    trusted    reverse proxies that may say for whom they ask

    Whoever else forwards speaks for people nobody knows. Where several fields say who asks, all have to say that it is this machine.

    >>> comes_from_here("::ffff:127.0.0.1", ()), comes_from_here("127.0.0.1", [("x-forwarded-for", "127.0.0.1")])
    (True, False)
    """
    if not forwarded:
        return is_loopback(peer)
    address = ip_of(peer)
    if address is None or not _any_holds(trusted, address):
        return False
    said = {name: [value for n, value in forwarded if n == name] for name in CLIENT_FIELDS}
    found = [_behind(address, name, ",".join(values), trusted) for name, values in said.items() if values]
    return all(one is not None and one.is_loopback for one in found or [address])


def client_address(peer: str, forwarded: Sequence[tuple[str, str]], trusted: Collection[Network] = ()) -> Ip | None:
    """Where a request comes from: what a trusted proxy says of it, else the peer. None: those that are trusted do not agree, or say nothing
    that is an address. Parameters as of `comes_from_here`.

    >>> client_address("10.0.0.2", [("x-forwarded-for", "192.0.2.7")], [ip_network("10.0.0.0/8")])
    IPv4Address('192.0.2.7')
    """
    address = ip_of(peer)
    if not forwarded or address is None or not _any_holds(trusted, address):
        return address
    said = {name: [value for n, value in forwarded if n == name] for name in CLIENT_FIELDS}
    found = {_behind(address, name, ",".join(values), trusted) for name, values in said.items() if values}
    return found.pop() if len(found) == 1 else address if not found else None


@lru_cache(maxsize=256)
def is_loopback(peer: str) -> bool:
    """Whether an address is of this machine's loopback, also as IPv6 has one of IPv4."""
    address = ip_of(peer)
    return address is not None and address.is_loopback


def _behind(address: Ip, name: str, said: str, trusted: Collection[Network]) -> Ip | None:
    """The right-most address that is not trusted; the first one if all are; None where that is no address."""
    for target in reversed(said.split(",")):
        found = _node(_for(target) if name == "forwarded" else target)
        if found is None or not _any_holds(trusted, found):
            return found
        address = found
    return address


def _for(element: str) -> str:
    """Of an element of `Forwarded` (RFC 7239, section 4)."""
    found = _FOR.search(element)
    return found[1] if found else ""


def _node(text: str) -> Ip | None:
    """The address of a node, which may have a port (RFC 7239, section 6)."""
    text = text.strip().strip('"')
    found = _NODE.fullmatch(text)
    try:
        address = ip_address((found["v6"] or found["v4"] if found else text).partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def speaks_for(peer: str, trusted: Collection[Network]) -> bool:
    """Whether a peer is a reverse proxy whose forwarding fields count."""
    address = ip_of(peer)
    return address is not None and _any_holds(trusted, address)


def _any_holds(networks: Collection[Network], address: Ip) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=8)
def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """`listen.trusted_proxies`, ready to be compared."""
    return tuple(map(ip_network, texts))


# -- the name


def _split(authority: str) -> tuple[str, int | None]:
    """Host (lower-case, without a dot at its end) and port; an empty host for what is neither name nor address."""
    return _parts(authority) if len(authority) <= LONGEST_HOST else ("", None)


@lru_cache(maxsize=256)
def _parts(authority: str) -> tuple[str, int | None]:
    found = _AUTHORITY.fullmatch(authority.strip().lower())
    if found is None:
        return "", None
    port = int(found["port"]) if found["port"] and len(found["port"]) <= 5 else None
    if found["port"] and port is None:
        return "", None
    return found["v6"] or found["host"].removesuffix("."), port


def is_meant(authority: str, listening: str, names: Collection[str] = ()) -> bool:
    """Whether a `Host` is one that a page of somebody else's cannot have: localhost, a loopback address, the host that the listener is
    bound to, any IP address where it is bound to all of them, a further name of its own. A name that an attacker points to this machine
    (DNS rebinding) is none.
    """
    host, _ = _split(authority)
    if not host:
        return False
    if host == "localhost" or host == listening or host in names:
        return True
    return _is_its_address(host, listening)


@lru_cache(maxsize=256)
def _is_its_address(host: str, listening: str) -> bool:
    number = ip_of(host)
    return number is not None and (number.is_loopback or listening in WILDCARDS or number == ip_of(listening))


def host_of(authority: str) -> str:
    """The host that a `Host` names, lower-case; empty: none."""
    return _split(authority)[0]


def is_same(authority: str, host: str, port: int) -> bool:
    """Whether a `Host` names this place; one without a port does."""
    found, said = _split(authority)
    there = host.lower().removesuffix(".")
    return bool(found) and said in (None, port) and (found == there or (ip_of(found) or 0) == (ip_of(there) or 1))


# -- the page


def is_browsing(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Whether a person looks with a browser at what an address is: programs want no HTML, nor the root.

    headers  names in lower case
    """
    wanted = headers.get("accept", "").lower()
    return method in ("GET", "HEAD") and path.partition("?")[0] == "/" and "text/html" in wanted


def page_behind(headers: Mapping[str, str], origins: Collection[str] = ()) -> str | None:
    """What sends a request that no page may send; None: it is no page's, or that of a page which is let in.

    Browsers say so by `Origin`, and where that is missing (images, scripts, forms, links) by `Sec-Fetch-Site`: it is `none` for what a
    person has typed. `Sec-Fetch-Mode: cors` by itself is sent by Node's `fetch`. https://www.w3.org/TR/fetch-metadata/

    headers  names in lower case
    origins  those that are let in

    >>> page_behind({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"})
    'a web page (cross-site)'
    >>> page_behind({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}), page_behind({"sec-fetch-mode": "cors"})
    (None, None)
    """
    if (origin := headers.get("origin")) is not None:
        return None if origin in origins else f"pages of {origin[:LONGEST_ORIGIN]}"
    if (site := headers.get("sec-fetch-site")) is not None:
        return None if site == "none" else f"a web page ({site[:LONGEST_ORIGIN]})"
    mode = headers.get("sec-fetch-mode", "cors")
    return None if mode in ("cors", "same-origin") else f"a web page ({mode[:LONGEST_ORIGIN]})"


def page_before(method: str, headers: Mapping[str, str], own: str) -> str | None:
    """The same for a page of the relay's own, to which people come from wherever they are told its address: what is sent from it must
    come from itself, for which browsers vouch by `Origin`. A program that is none has to say it, too.

    headers  names in lower case
    own      the origin at which the page is asked for

    >>> page_before("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "http://localhost:8082")
    >>> page_before("GET", {"sec-fetch-site": "same-origin", "sec-fetch-dest": "style"}, "http://localhost:8082")
    >>> page_before("POST", {"origin": "https://evil.example"}, "http://localhost:8082")
    'pages of https://evil.example'
    """
    origin = headers.get("origin")
    if method in ("GET", "HEAD"):
        is_own_style = (headers.get("sec-fetch-site"), headers.get("sec-fetch-dest")) == ("same-origin", "style")
        if origin is None and (is_own_style or headers.get("sec-fetch-mode", "navigate") == "navigate"):
            return None
        return page_behind(headers)
    if (
        origin is not None
        and origin.lower() == own.lower()
        and headers.get("sec-fetch-site", "same-origin") == "same-origin"
    ):
        return None
    return f"pages of {origin[:LONGEST_ORIGIN]}" if origin else "a web page"
