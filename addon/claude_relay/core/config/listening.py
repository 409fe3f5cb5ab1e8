"""What a configuration says of ways: its listeners in mitmproxy's words and as URLs, and the providers that its routes lead to."""

from __future__ import annotations

from collections.abc import Iterator

from . import LOOPBACK, Address, Config, Listen

ENCRYPTED = ("proxy", "base_url", "panel")
"""The listeners that `listen.tls` is for: those to which credentials are sent."""


def modes(config: Config) -> list[str]:
    """mitmproxy's `mode` for the listeners that are on.

    The base-URL listener is a reverse proxy to the first intercepted host. It is spelled `http` although that host speaks TLS:
    with `https` mitmproxy would open a UDP port too; the relay sets the scheme of each request itself.

    >>> from claude_relay.core.config import default
    >>> modes(default({}))
    ['regular@127.0.0.1:8080', 'reverse:http://api.anthropic.com:443@127.0.0.1:8082']
    """
    found = []
    if config.listen.proxy is not None:
        found.append(f"regular@{_place(config.listen.proxy)}")
    if config.listen.base_url is not None:
        found.append(f"reverse:http://{config.intercept.hosts[0]}:443@{_place(config.listen.base_url)}")
    return found


def routed(config: Config) -> frozenset[str]:
    """The providers that requests may reach.

    >>> from claude_relay.core.config import default
    >>> sorted(routed(default({})))
    ['anthropic']
    """
    first = {config.default.partition("/")[0]} if config.default else set()
    return frozenset(first.union(*(route.to for route in config.routes)))


def near(listen: Listen, address: Address) -> str:
    """The URL of a listener for programs on this machine. Over loopback they need no TLS, and a certificate hardly names it.

    >>> near(Listen(), Address("0.0.0.0", 8082))
    'http://127.0.0.1:8082'
    """
    return address.url if listen.tls is None or address.reachable.host in LOOPBACK else far(listen, address)


def far(listen: Listen, address: Address) -> str:
    """The URL of a listener for other machines, by the first of `listen.hosts` if there is one.

    >>> far(Listen(hosts=("relay.example.com",)), Address("0.0.0.0", 8082))
    'http://relay.example.com:8082'
    """
    scheme = "http" if listen.tls is None else "https"
    return f"{scheme}://{Address(listen.hosts[0], address.port) if listen.hosts else address}"


def panel_url(listen: Listen, address: Address) -> str:
    """The URL of the panel. It speaks nothing but TLS where there is a certificate, which hardly names a loopback address.

    >>> panel_url(Listen(), Address("0.0.0.0", 8083))
    'http://127.0.0.1:8083'
    """
    return far(listen, address.reachable) if listen.tls is not None else address.reachable.url


def unencrypted(config: Config) -> Iterator[tuple[str, Address]]:
    """Name and address of each listener that other machines reach without TLS.

    >>> from claude_relay.core.config import default, parse
    >>> list(unencrypted(default({})))
    []
    >>> list(unencrypted(parse("listen: {base_url: '0.0.0.0:8082'}", environ={})))
    [('base_url', Address(host='0.0.0.0', port=8082))]
    """
    for name in ENCRYPTED if config.listen.tls is None else ():
        address: Address | None = getattr(config.listen, name)
        if address is not None and address.host not in LOOPBACK:
            yield name, address


def _place(address: Address) -> str:
    return f"{address.host}:{address.port}"  # mitmproxy splits at the last colon and wants no brackets
