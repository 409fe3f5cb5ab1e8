"""`doctor --proxies`: every outbound proxy, tried: whether it is there, lets us through, how long that takes, and what has gone through it.

A tunnel to a provider is opened, TLS included, and closed again; nobody else is contacted. Which address the world sees is asked only of
the URL that the user gives. What went through in the last days is the ledger's word.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from urllib.parse import urlsplit

from claude_relay.core.config import Config, OutboundProxy, WayOut, named_proxies, way_out, way_to
from claude_relay.core.config.proxies import DIRECT
from claude_relay.core.installation import command
from claude_relay.store.db.database import StoreError, read_only
from claude_relay.store.vault.vault import Vault, VaultError
from claude_relay.upstream.connection import FAILURES, Connection, said

from .checks import FAIL, OK, WARN, Check
from .console.taking_back import original
from .reach import remedy_for

LIMIT = 10.0
"""Seconds for a proxy, whatever its own timeout."""
DAYS = 7
LONGEST_ECHO = 200
FIGURES = """
    SELECT attempts.proxy, count(*), sum(attempts.verdict = 'proxy_failed')
    FROM requests JOIN attempts ON attempts.request = requests.id
    WHERE requests.started_at >= ? AND attempts.proxy IS NOT NULL GROUP BY 1"""


@dataclass(slots=True)
class Tried:
    """One proxy, and what came of it. `target`: URL of the provider that a tunnel is opened to."""

    proxy: OutboundProxy
    target: str
    users: list[str] = field(default_factory=list)
    reason: str = "no answer in time"
    seconds: float | None = None
    seen: str = ""


def proxies(config: Config, echo: str | None = None, environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """One check a proxy, all tried at once. `echo`: a URL that answers with the address it sees."""
    way = way_out(config, original(environ))
    for warning in way.warnings:
        found, _, remedy = warning.partition("; ")
        yield Check("way out", WARN, found, remedy)
    tried, keys = _tried(config, way), _of_keys(config)
    for one in tried:
        one.users += [f"key {alias}" for alias in keys.pop(one.proxy.title, ())]
    yield from map(_elsewhere, keys.items())
    if not tried and not keys:
        yield Check("proxies", OK, "none: everything is reached directly")
        return
    # Daemons, because nothing interrupts a name server that keeps silent.
    threads = [threading.Thread(target=_try, args=(one, config, echo), daemon=True) for one in tried]
    for thread in threads:
        thread.start()
    until = monotonic() + LIMIT + 1.0
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))
    figures = _figures(config)
    for one in tried:
        yield _check(one, figures)


def _tried(config: Config, way: WayOut) -> list[Tried]:
    """Those with a name, then those that a provider or the environment names by their URL."""
    first = next(iter(config.providers.values())).base_url
    found = {proxy.title: Tried(proxy, first) for proxy in named_proxies(config).values()}
    for name, provider in config.providers.items():
        proxy = way_to(provider.base_url, way, provider.proxy)
        if proxy is None:
            continue
        one = found.setdefault(proxy.title, Tried(proxy, provider.base_url))
        if not one.users:
            one.target = provider.base_url
        one.users.append(name)
    for proxy in way.proxies:
        found.setdefault(proxy.title, Tried(proxy, first))
    return list(found.values())


def _of_keys(config: Config) -> dict[str, list[str]]:
    """The proxies that keys of the vault have of their own, by name or address, and those keys."""
    found: dict[str, list[str]] = {}
    try:
        keys = Vault(config.database, environ={}).list()
    except VaultError:
        return found
    for key in keys:
        if key.proxy and key.proxy != str(DIRECT) and key.removed_at is None:
            found.setdefault(key.proxy, []).append(key.alias)
    return found


def _elsewhere(item: tuple[str, list[str]]) -> Check:
    """A proxy that only keys know: its credential is sealed."""
    title, aliases = item
    users = f"for key{'' if len(aliases) == 1 else 's'} {', '.join(aliases)}"
    if "://" in title:
        return Check("proxy", OK, f"{title}; {users}; not tried here: `{command('keys')} check` goes through it")
    remedy = f"name it under `proxies` in relay.yaml, or `{command('keys')} edit {aliases[0]} --proxy URL`"
    return Check(f"proxy {title}", FAIL, f"no proxy has this name; {users}, which cannot be used", remedy)


def _try(one: Tried, config: Config, echo: str | None) -> None:
    proxy = replace(one.proxy, or_direct=False)  # else a dead one would seem to be well
    provider = next((found for found in config.providers.values() if found.base_url == one.target), None)
    trust = provider.trust if provider is not None else proxy.trust
    began = monotonic()
    try:
        with Connection(one.target, proxy, LIMIT, trust) as connection:
            connection.open()
        one.seconds, one.reason = monotonic() - began, ""
    except FAILURES as error:
        one.reason = said(error)
        return
    if echo is not None:
        one.seen = _seen(echo, proxy)


def _seen(echo: str, proxy: OutboundProxy) -> str:
    """What the URL answers: one line, harmless for a terminal."""
    parts = urlsplit(echo)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with Connection(echo, proxy, LIMIT, proxy.trust) as connection:
            body = connection.request("GET", target, {"user-agent": "claude-relay"}).read(LONGEST_ECHO)
    except (*FAILURES, ValueError) as error:
        return f"{parts.hostname} did not say: {said(error) if not isinstance(error, ValueError) else 'no URL'}"
    text = "".join(letter if letter.isprintable() else " " for letter in body.decode("utf-8", "replace"))
    return f"{parts.hostname} sees {' '.join(text.split())}"


def _figures(config: Config) -> dict[str, tuple[int, int]]:
    """By proxy: the attempts of the last days, and those for which there was no way."""
    since = (datetime.now(UTC) - timedelta(days=DAYS)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    try:
        with closing(read_only(config.database)) as connection:
            return {name: (count, failed or 0) for name, count, failed in connection.execute(FIGURES, [since])}
    except (StoreError, sqlite3.Error, OSError):
        return {}


def _check(one: Tried, figures: Mapping[str, tuple[int, int]]) -> Check:
    proxy, host = one.proxy, urlsplit(one.target).hostname
    name = f"proxy {proxy.name}" if proxy.name else "proxy"
    says = [f"{proxy.label} leads to {host} in {one.seconds * 1000:.0f} ms" if one.seconds is not None else ""]
    if one.reason:
        says = [f"{proxy.label} to {host}: {one.reason}"]
    if one.seen:
        says.append(one.seen)
    says.append(f"for {', '.join(one.users)}" if one.users else "no provider uses it")
    if proxy.or_direct:
        says.append("while it fails, directly")
    if proxy.title in figures:
        count, failed = figures[proxy.title]
        says.append(f"{count} attempt{'' if count == 1 else 's'} in {DAYS} days, {failed} without a way")
    remedy = remedy_for(one.reason, proxy, f"check {proxy.variable or 'its URL'} and this machine's network")
    return Check(name, FAIL if one.reason else OK, "; ".join(says), remedy if one.reason else "")
