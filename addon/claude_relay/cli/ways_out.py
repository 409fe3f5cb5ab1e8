"""`doctor --proxies`: every outbound proxy, tried: whether it is there, lets us through, how long that takes, and what has gone through it.

Those that have a name, in relay.yaml or the vault, those that providers name by their URL, and those of the environment. What went through
in the last days is the ledger's word. How one is tried: `upstream.trying`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from claude_relay.core.config import Config, OutboundProxy, Provider, WayOut, named_proxies, way_out, way_to
from claude_relay.core.installation import command
from claude_relay.store.ledger.proxy_sums import Passage, passages
from claude_relay.store.shared.all_proxies import AllProxies
from claude_relay.store.vault.vault import Vault, VaultError
from claude_relay.upstream.trying import Trial, Trying, remedy_for, tried

from .checks import FAIL, OK, WARN, Check
from .console.taking_back import original

DAYS = 7


@dataclass(slots=True)
class Way:
    """One proxy, the provider to which it is tried, and who goes out through it."""

    proxy: OutboundProxy
    provider: Provider
    users: list[str] = field(default_factory=list)


def proxies(config: Config, echo: str | None = None, environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """One check a proxy, all tried at once. `echo`: a URL that answers with the address it sees."""
    way = way_out(config, original(environ))
    for warning in way.warnings:
        found, _, remedy = warning.partition("; ")
        yield Check("way out", WARN, found, remedy)
    known = AllProxies(config, Vault(config.database, environ=environ))
    ways, elsewhere = _ways(config, way), {}
    try:
        yield from _twice(known)
        elsewhere = known.elsewhere()
        _of_vault(known, ways)
    except VaultError as error:
        yield Check("proxies", WARN, f"those of the vault are not tried: {error}")
    for one in ways.values():
        one.users += [f"key {alias}" for alias in elsewhere.pop(one.proxy.title, ())]
    yield from map(_elsewhere, elsewhere.items())
    if not ways and not elsewhere:
        yield Check("proxies", OK, "none: everything is reached directly")
        return
    trials = tried([Trying(one.proxy, one.provider.base_url, one.provider.trust) for one in ways.values()], echo)
    figures = passages(config.database, DAYS)
    for one, trial in zip(ways.values(), trials, strict=True):
        yield _check(one, trial, figures)


def _ways(config: Config, way: WayOut) -> dict[OutboundProxy, Way]:
    """Those of relay.yaml with a name, then those that a provider or the environment names by their URL: each user of one by itself."""
    first = next(iter(config.providers.values()))
    found = {proxy: Way(proxy, first) for proxy in named_proxies(config).values()}
    for name, provider in config.providers.items():
        proxy = way_to(provider.base_url, way, provider.proxy)
        if proxy is None:
            continue
        one = found.setdefault(proxy, Way(proxy, provider))
        if not one.users:
            one.provider = provider
        one.users.append(name)
    for proxy in way.proxies:
        found.setdefault(proxy, Way(proxy, first))
    return found


def _of_vault(known: AllProxies, ways: dict[OutboundProxy, Way]) -> None:
    """Add those of the vault, and the keys that go through any of them. Raises VaultError."""
    proxies = known.opened()
    for one in known.every():
        if one.name in proxies and not one.shadowed:
            way = ways.setdefault(proxies[one.name], Way(proxies[one.name], known.target(one)))
            way.users += [f"key {alias}" for alias in one.keys] + [f"account {alias}" for alias in one.accounts]


def _twice(known: AllProxies) -> Iterator[Check]:
    """Names that relay.yaml and the vault both have."""
    for one in known.every():
        if one.shadowed:
            found = f"relay.yaml and the vault both have one of this name; relay.yaml's is used, not {one.address}"
            yield Check(f"proxy {one.name}", WARN, found, f"{command('keys')} proxies remove {one.name}, or rename one")


def _elsewhere(item: tuple[str, list[str]]) -> Check:
    """A proxy that only keys know: its credential is sealed."""
    title, aliases = item
    users = f"for key{'' if len(aliases) == 1 else 's'} {', '.join(alias.partition('/')[2] for alias in aliases)}"
    if "://" in title:
        return Check("proxy", OK, f"{title}; {users}; not tried here: `{command('keys')} check` goes through it")
    remedy = f"`{command('keys')} proxies add {title}`, or `{command('keys')} edit {aliases[0]} --proxy URL`"
    return Check(f"proxy {title}", FAIL, f"no proxy has this name; {users}, which cannot be used", remedy)


def _check(one: Way, trial: Trial, figures: Mapping[str, Passage]) -> Check:
    proxy, host = one.proxy, urlsplit(one.provider.base_url).hostname
    name = f"proxy {proxy.name}" if proxy.name else "proxy"
    says = [f"{proxy.label} leads to {host} in {trial.seconds * 1000:.0f} ms" if trial.seconds is not None else ""]
    if trial.reason:
        says = [f"{proxy.label} to {host}: {trial.reason}"]
    if trial.seen:
        says.append(trial.seen)
    says.append(f"for {', '.join(one.users)}" if one.users else "no provider uses it")
    if proxy.or_direct:
        says.append("while it fails, directly")
    if (passed := figures.get(proxy.title)) is not None:
        requests = f"{passed.requests} request{'' if passed.requests == 1 else 's'}"
        failures = f"{passed.failures} attempt{'' if passed.failures == 1 else 's'}"
        says.append(f"{requests} in {DAYS} days, {failures} without a way")
    remedy = remedy_for(trial.reason, proxy, f"check {proxy.variable or 'its URL'} and this machine's network")
    return Check(name, FAIL if trial.reason else OK, "; ".join(says), remedy if trial.reason else "")
