"""The relay as configured right now: pools, upstreams, limits.

A new configuration replaces it in one step; requests under way keep what they began with.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from claude_relay.core.accounting.pricing import Prices
from claude_relay.core.config import Config, WayOut, way_out
from claude_relay.core.config.filling import NO_KEY
from claude_relay.core.exchange import Key
from claude_relay.core.formats.base import Format
from claude_relay.core.keys.aliases import Names, OwnKeys, named
from claude_relay.core.keys.own_credentials import OwnCredential, OwnCredentials
from claude_relay.core.keys.pool import Pool, Pools
from claude_relay.core.keys.sessions import Sessions
from claude_relay.proxy.messages.wire import Upstream
from claude_relay.proxy.mitm.far_tls import Contexts, usual_authorities
from claude_relay.proxy.mitm.far_tls import read as read_contexts
from claude_relay.proxy.provider.modules import format_of

from .options import host_patterns

NOTHING_ISSUED: Mapping[str, tuple[Key, ...]] = {}
SIDE_CALL_SECONDS = 10.0
"""How long a side call may go without an answer: Claude Code waits for some of them before it starts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an attempt may take, in seconds.

    first_byte  until the first byte of a stream's body, and of any other answer but a whole one of Messages
    whole       until the first byte of a whole answer of Messages
    idle        between bytes after it
    progress    in which nothing but pings comes
    """

    first_byte: float
    whole: float
    idle: float
    progress: float


class Sizes(NamedTuple):
    """Bytes of a request's body that are kept at most, and those that may come. What is more than is kept goes on as it comes."""

    kept: int
    most: int


ANY_SIZE = Sizes(sys.maxsize, sys.maxsize)


@dataclass(frozen=True, slots=True)
class Draft:
    """All of a configuration that may turn out to be of no use. Making one changes nothing that runs."""

    config: Config
    upstreams: dict[str, Upstream]
    formats: Mapping[str, Format]
    prices: Prices
    hosts: re.Pattern[str]
    way: WayOut
    """What the environment says of the way out."""
    own: OwnKeys
    """The keys that the configuration brings."""
    contexts: Contexts
    """Of TLS with those who are trusted in ways of their own."""

    @classmethod
    def of(cls, config: Config, environ: Mapping[str, str] = os.environ) -> Draft:
        """Raises ConfigError. Runs the code of format modules that are new: not on the event loop while requests run.

        environ  what names the proxies on the way out
        """
        providers, way = config.providers.items(), way_out(config, environ)
        return cls(
            config=config,
            upstreams={name: Upstream.of(provider, way) for name, provider in providers},
            formats={name: found for name, p in providers if (found := format_of(p.format)) is not None},
            prices=Prices(config.prices),
            hosts=re.compile("|".join(host_patterns(config.intercept.hosts)), re.IGNORECASE),
            way=way,
            own={name: provider.key_list(name) for name, provider in providers},
            contexts=read_contexts(config, usual_authorities()),
        )


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a request needs to know of the configuration."""

    config: Config
    pools: Pools
    upstreams: dict[str, Upstream]
    limits: Limits
    side_limits: Limits
    sessions: Sessions | None
    hosts: re.Pattern[str]
    formats: Mapping[str, Format]
    """By provider; those of Claude's own format are not in it."""
    prices: Prices
    way: WayOut
    """What the environment says of the way out."""
    own: OwnKeys
    """The keys that the configuration brings, with aliases by their place."""
    contexts: Contexts
    """Of TLS with those who are trusted in ways of their own."""
    own_credentials: Mapping[str, OwnCredentials]
    """What is known of clients' own credentials, by the providers at which they take part beside the pool."""

    @classmethod
    def of(
        cls,
        config: Config,
        before: Runtime | None = None,
        issued: Mapping[str, tuple[Key, ...]] = NOTHING_ISSUED,
        environ: Mapping[str, str] = os.environ,
    ) -> Runtime:
        """Build from a configuration, or raise ConfigError with nothing changed."""
        return cls.from_draft(Draft.of(config, environ), before, issued)

    @classmethod
    def from_draft(
        cls,
        draft: Draft,
        before: Runtime | None = None,
        issued: Mapping[str, tuple[Key, ...]] = NOTHING_ISSUED,
        names: Names | None = None,
    ) -> Runtime:
        """Put a draft into force. Pools and sessions of the one before live on, so that cooldowns and counters do. Cannot fail.

        issued  keys of the vault by provider, used beside those of the configuration
        names   what those of the configuration are called; None: by their place
        """
        config, retry = draft.config, draft.config.retry
        side = min(SIDE_CALL_SECONDS, retry.first_byte)
        sessions = before.sessions if before is not None else None
        known = before.own_credentials if before is not None else {}
        if config.sessions.sticky:
            # One without sessions is false, and requests under way may yet take bindings in it.
            sessions = Sessions(config.sessions.ttl) if sessions is None else sessions
            sessions.ttl = config.sessions.ttl
        return cls(
            config=config,
            pools=Pools(
                pool_of(name, config, before, issued, own_keys(draft.own[name], names)) for name in config.providers
            ),
            upstreams=draft.upstreams,
            limits=Limits(retry.first_byte, retry.whole, retry.idle, retry.progress),
            side_limits=Limits(side, side, retry.idle, retry.progress),
            sessions=sessions if config.sessions.sticky else None,
            formats=draft.formats,
            prices=draft.prices,
            hosts=draft.hosts,
            way=draft.way,
            own=draft.own,
            contexts=draft.contexts,
            own_credentials={
                name: known[name] if name in known else OwnCredentials(name)
                for name, provider in config.providers.items()
                if provider.own_credential != "never"
            },
        )

    def own_credential(self, mark: str | None) -> dict[str, OwnCredential]:
        """The client's own credential with this mark, by the providers at which it takes part; None: it has none."""
        if mark is None:
            return {}
        providers = self.config.providers
        return {
            name: known.of(mark, first=providers[name].own_credential == "first")
            for name, known in self.own_credentials.items()
        }

    def issue(self, issued: Mapping[str, tuple[Key, ...]], names: Names | None = None) -> None:
        """The vault's keys are other ones, or those of the configuration are called otherwise; nothing else changes. Cannot fail."""
        for name in self.config.providers:
            pool_of(name, self.config, self, issued, own_keys(self.own[name], names))

    def claims(self, host: str, port: int) -> bool:
        """Whether requests to this host are the relay's."""
        return self.hosts.match(f"{host}:{port}") is not None


def own_keys(keys: tuple[Key, ...], names: Names | None) -> tuple[Key, ...]:
    """The configuration's keys as they are called."""
    return keys if names is None else named(keys, names)


def pool_of(
    name: str,
    config: Config,
    before: Runtime | None,
    issued: Mapping[str, tuple[Key, ...]],
    own: tuple[Key, ...],
) -> Pool:
    """The pool that a provider has already, with the keys and settings that are now in force; else a new one."""
    provider = config.providers[name]
    known = {key.secret for key in own}
    vaults = tuple(key for key in issued.get(name, ()) if key.secret not in known)
    keys = (*(key for key in own if key.secret != NO_KEY or not vaults), *vaults)
    passthrough = provider.empty_pool == "passthrough"
    pool = before.pools.get(name) if before is not None else None
    if pool is None:
        return Pool(name, keys, strategy=provider.strategy, passthrough=passthrough)
    pool.replace(keys, strategy=provider.strategy, passthrough=passthrough)
    return pool
