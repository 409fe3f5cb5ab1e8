"""Can every provider be reached, the way that the relay would take? TCP and TLS only: whatever it would answer, it is there. All at once,
three seconds at most."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from time import monotonic

from claude_relay.core.config import Config, OutboundProxy, Provider, WayOut, way_out, way_to
from claude_relay.upstream.connection import FAILURES, FOR_TLS, Connection, said

from .checks import FAIL, OK, WARN, Check
from .console.taking_back import original

LIMIT = 3.0
"""Seconds for all of them together."""


SETTLING = 0.3
"""Seconds for a far end that wants another certificate to say so."""


def providers(config: Config, limit: float = LIMIT, environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """What cannot be followed of what the environment says of proxies; then one check a provider, in the file's order.

    environ  counts as it was before `scripts/env`, as it does for a relay that is started there
    """
    way = way_out(config, original(environ))
    for warning in way.warnings:
        found, _, remedy = warning.partition("; ")
        yield Check("way out", WARN, found, remedy)
    done: SimpleQueue[tuple[str, str]] = SimpleQueue()
    for name, provider in config.providers.items():
        # Daemons, because nothing interrupts a name server that keeps silent.
        threading.Thread(target=lambda n=name, p=provider: done.put((n, knock(p, limit, way))), daemon=True).start()
    reasons = _collect(done, len(config.providers), monotonic() + limit)
    for name, provider in config.providers.items():
        yield _check(name, provider, _way(provider, way), reasons.get(name, "no answer in time"))


def knock(provider: Provider, limit: float = LIMIT, way: WayOut | None = None) -> str:
    """What keeps a connection from coming about; empty when it did. `way`: what the environment says, by default this process's."""
    try:
        proxy = _way(provider, way or WayOut.of(original(os.environ)))
        with Connection(provider.base_url, proxy, limit, provider.trust) as connection:
            connection.settle(SETTLING)
    except FAILURES as error:
        return said(error)
    return ""


def _way(provider: Provider, way: WayOut) -> OutboundProxy | None:
    return way_to(provider.base_url, way, provider.proxy)


def _collect(done: SimpleQueue[tuple[str, str]], count: int, until: float) -> dict[str, str]:
    reasons: dict[str, str] = {}
    try:
        while len(reasons) < count:
            name, reason = done.get(timeout=max(0.0, until - monotonic()))
            reasons[name] = reason
    except Empty:
        pass
    return reasons


def _check(name: str, provider: Provider, proxy: OutboundProxy | None, reason: str) -> Check:
    way = f"{provider.base_url}{f' through {proxy.label}' if proxy else ''}"
    if not reason:
        return Check(f"provider {name}", OK, f"{way} can be reached")
    setting = "base_url" if proxy is None else "proxy"
    place = proxy.variable if proxy and proxy.variable else f"providers.{name}.{setting}"
    remedy = remedy_for(reason, proxy, f"check {place} and this machine's network")
    return Check(f"provider {name}", FAIL, f"{way}: {reason}", remedy)


REMEDIES: tuple[tuple[str, str], ...] = (
    ("wants a user and a password", "put both into the proxy's URL: scheme://user:password@host:port"),
    ("the proxy answered 407", "put a user and a password that it knows into the proxy's URL"),
    ("refused the user or the password", "correct user and password in the proxy's URL; write signs as %40 for @"),
    ("takes neither a user", "ask whoever runs the proxy how one signs in there"),
    ("does not allow connections", "have the proxy's owner allow this host"),
    ("the proxy answered 403", "have the proxy's owner allow this host"),
    ("write http://", "write http:// in the place of socks5:// in the proxy's URL"),
    ("no SOCKS5 proxy is there", "check scheme and port in the proxy's URL: is it http:// or https://?"),
    ("no proxy is there", "check scheme and port in the proxy's URL: is it socks5:// or https://?"),
    (
        "the proxy cannot be reached: its certificate",
        "name the proxy's authority: `proxies`, `ca`, or `upstream: {ca: FILE}`",
    ),
    (
        "its certificate is not trusted",
        "somebody on the way opens TLS, as companies do: name the authority, `upstream: {ca: FILE}` in relay.yaml; "
        "ask whoever runs the network for the file",
    ),
    ("wants a certificate", "name one that the provider knows: `tls: {cert: FILE, key: FILE}` of it in relay.yaml"),
    (
        "not take the relay's certificate",
        "name another one: `tls: {cert: FILE, key: FILE}` of the provider in relay.yaml",
    ),
    (FOR_TLS, "give PEM files that the relay may read: `upstream: {ca}` or `tls: {ca, cert, key}` in relay.yaml"),
    ("no such host", "this machine's name server does not know the name: check its spelling, or the network's DNS"),
    ("no answer in time", "a firewall may swallow what is sent there: try from another network, or through its proxy"),
)
"""What is said of a way that leads nowhere → what to do."""


def remedy_for(reason: str, proxy: OutboundProxy | None, otherwise: str) -> str:
    """What to do about a reason; for most of those of a proxy, also where it is named."""
    remedy = next((remedy for words, remedy in REMEDIES if words in reason), "")
    if not remedy:
        return otherwise
    place = "" if proxy is None else proxy.variable or (f"proxies.{proxy.name}" if proxy.name else "")
    return f"{remedy} ({place})" if place else remedy
