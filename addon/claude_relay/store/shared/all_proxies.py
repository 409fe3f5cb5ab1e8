"""All outbound proxies with a name, those of relay.yaml and those of the vault, and who goes out through each.

    known = AllProxies(config, Vault(database))
    known.every()                     KnownProxies, by name; needs no secret
    known.check({"proxy": "office"})  raises ValueError for a name that is none
    known.opened()["office"]          the proxy itself, with its credential

A name stands for one proxy: where relay.yaml and the vault both have it, relay.yaml's counts, and the other one is `shadowed`. All of it
waits for the disk. What this module must not know: who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from claude_relay.core.config import Config, OutboundProxy, Provider, authorities, named_proxies
from claude_relay.core.config.proxies import DIRECT, USUAL
from claude_relay.core.exchange import OAUTH
from claude_relay.store.vault.named_proxies import Proxies
from claude_relay.store.vault.proxy_rows import StoredProxy
from claude_relay.store.vault.vault import Vault

CONFIGURED, VAULT = "relay.yaml", "vault"


@dataclass(frozen=True, slots=True)
class KnownProxy:
    """What may be told of one.

    source     CONFIGURED or VAULT
    address    without its credential; `signed_in`: there is one
    direct     connections go directly while it fails
    timeout    seconds until the way through it stands, else it is down
    shadowed   relay.yaml has one of the same name, which counts
    providers, keys, accounts   who goes out through it, by their names; removed ones do not count
    """

    name: str
    source: str
    address: str
    signed_in: bool
    direct: bool
    timeout: float
    notes: str = ""
    created_at: str | None = None
    changed_at: str | None = None
    shadowed: bool = False
    providers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()

    @property
    def users(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.providers, *self.keys, *self.accounts)


@dataclass(frozen=True)
class AllProxies:
    """Of one configuration and its vault, at one moment."""

    config: Config
    vault: Vault

    def every(self) -> tuple[KnownProxy, ...]:
        """By name; relay.yaml's before the vault's."""
        return tuple(sorted((*self._configured(), *self._stored()), key=lambda one: (one.name, one.source)))

    def find(self, name: str) -> KnownProxy | None:
        """The one that counts of that name."""
        return next((one for one in self.every() if one.name == name), None)

    def check(self, fields: Mapping[str, Any]) -> None:
        """Whether what is said of a key's proxy is the name of one, a URL or `direct`. Raises ValueError."""
        if said := fields.get("proxy"):
            stored = {one.name: OutboundProxy("named", "", 0, name=one.name) for one in self._rows}
            OutboundProxy.parse(said).resolved(stored | named_proxies(self.config))

    def elsewhere(self) -> dict[str, list[str]]:
        """What keys have for a proxy that is none of these, an address or a name → those keys."""
        known = {*self.config.proxies, *(one.name for one in self._rows), str(DIRECT)}
        return {said: [*found.keys, *found.accounts] for said, found in self._of_keys.items() if said not in known}

    def opened(self) -> dict[str, OutboundProxy]:
        """Those that count, with their credentials; without those that were tampered with. Raises VaultError."""
        return self._opened() | named_proxies(self.config)

    def opened_of(self, one: KnownProxy) -> OutboundProxy | None:
        """One, with its credential; None: it was tampered with. Raises VaultError."""
        return (self._opened() if one.source == VAULT else named_proxies(self.config)).get(one.name)

    def target(self, one: KnownProxy) -> Provider:
        """The provider to which the way is tried: the first that is reached through it, else the first."""
        reached = {*one.providers, *(user.partition("/")[0] for user in (*one.keys, *one.accounts))}
        providers = self.config.providers
        return next((found for name, found in providers.items() if name in reached), next(iter(providers.values())))

    def _opened(self) -> dict[str, OutboundProxy]:
        if not self._rows:
            return {}
        trust = USUAL.also(authorities(self.config))
        return {name: replace(one, trust=trust) for name, one in Proxies(self.vault).opened()[0].items()}

    def _configured(self) -> Iterator[KnownProxy]:
        for name, one in named_proxies(self.config).items():
            users, signed_in = self._users(name), one.authorization is not None
            yield KnownProxy(name, CONFIGURED, str(one), signed_in, one.or_direct, one.timeout, **users)

    def _stored(self) -> Iterator[KnownProxy]:
        for one in self._rows:
            shadowed = one.name in self.config.proxies
            users: dict[str, Any] = {} if shadowed else self._users(one.name)
            yield KnownProxy(source=VAULT, shadowed=shadowed, **asdict(one), **users)

    def _users(self, name: str) -> dict[str, Any]:
        of_providers = [user for user, one in self.config.providers.items() if one.proxy and one.proxy.name == name]
        found = self._of_keys.get(name, NOBODY)
        return {"providers": tuple(of_providers), "keys": tuple(found.keys), "accounts": tuple(found.accounts)}

    @cached_property
    def _rows(self) -> tuple[StoredProxy, ...]:
        return Proxies(self.vault).list()

    @cached_property
    def _of_keys(self) -> Mapping[str, _Users]:
        """By what stands for a proxy at keys: its name, or the address of one that a key has for itself."""
        found: dict[str, _Users] = {}
        for key in self.vault.list():
            if key.proxy and key.removed_at is None:
                users = found.setdefault(key.proxy, _Users([], []))
                (users.accounts if key.kind == OAUTH else users.keys).append(key.name)
        return found


class _Users(NamedTuple):
    keys: list[str]
    accounts: list[str]


NOBODY = _Users([], [])
