"""What a configuration says of ways: its listeners in mitmproxy's words, and the providers that its routes lead to."""

from __future__ import annotations

from . import Address, Config


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


def _place(address: Address) -> str:
    return f"{address.host}:{address.port}"  # mitmproxy splits at the last colon and wants no brackets
