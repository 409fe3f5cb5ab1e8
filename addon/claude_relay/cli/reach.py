"""Can every provider be reached, the way that the relay would take? TCP and TLS only: whatever it would answer, it is there. All at once,
three seconds at most."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from time import monotonic

from claude_relay.core.config import Config, OutboundProxy, Provider, WayOut, way_out, way_to
from claude_relay.upstream.connection import FAILURES, Connection, said
from claude_relay.upstream.trying import remedy_for

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
