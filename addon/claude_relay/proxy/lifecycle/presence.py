"""Tells the database once a second that this relay runs, and how: `relays` is where commands in other terminals look.

    presence = Presence(config.database, relay.running_runtime, lambda: relay.path, reporting.servers)
    presence.start()
    presence.close()                at the end: the row goes

What only the event loop may touch is collected there, in pieces of PIECE seconds; all else is done in a thread. A database that
cannot be written is said once, and concerns no request. No secret leaves the process: of a key its alias and what `mask` shows of it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import secrets
import socket
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec
from mitmproxy import ctx
from mitmproxy.proxy import mode_specs
from pydantic import SecretStr

from claude_relay.core.config import Address, Config
from claude_relay.core.config.listening import routed
from claude_relay.core.exchange import Key
from claude_relay.core.installation import ADDON, is_checkout
from claude_relay.core.keys.status import KeyState
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.loops import Loop
from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.status_server import StatusServer
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.relays import RelayRow, Relays
from claude_relay.store.vault.records import mask
from claude_relay.store.vault.rows import moment

logger = logging.getLogger(__name__)
INTERVAL = 1.0
"""Seconds between two rows."""
PIECE = 0.0002
"""Seconds of the event loop at a time; with a thousand keys a row takes some of them."""
DISTRIBUTIONS = ("mitmproxy-claude-relay", "claude-relay")
LISTENERS = {mode_specs.RegularMode: "proxy", mode_specs.ReverseMode: "base_url"}


@dataclass(frozen=True, slots=True)
class PoolSight:
    """A pool at one moment.

    own         whether a client's own credential goes through to it
    configured  those of its secrets that came with the configuration, not from the vault
    """

    own: bool
    keys: tuple[Key, ...]
    configured: tuple[SecretStr, ...]
    notable: tuple[KeyState, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """The relay at one moment. `pools` by provider."""

    config: Path | None
    confdir: str
    listeners: Mapping[str, str]
    pools: Mapping[str, PoolSight]
    in_flight: int


class Presence:
    """One relay's row.

    runtime  the relay as it is now
    path     the relay.yaml in force
    servers  what listens besides mitmproxy
    panel    where the panel listens, while it runs
    """

    def __init__(
        self,
        database: Path,
        runtime: Callable[[], Runtime],
        path: Callable[[], Path | None],
        servers: Sequence[StatusServer] = (),
        panel: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Nothing is touched before `start`."""
        self.runtime, self.path, self.servers, self.panel = runtime, path, servers, panel
        self.relays = Relays(database, returning=True)
        self.id, self.started_at = secrets.token_hex(8), time.time()
        self.complaint = ""
        self.described: tuple[Mapping[str, PoolSight], str] = {}, "{}"
        self.loop = Loop("reporting that this relay runs", self.report, lambda: INTERVAL, at_once=True)
        self.thread = ThreadPoolExecutor(1, "relay-presence")

    def start(self) -> None:
        """Begin to tell; needs a running loop."""
        self.loop.start()

    async def report(self) -> None:
        """One row."""
        try:
            sight = await self.look()
            await asyncio.get_running_loop().run_in_executor(self.thread, self.say, sight)
        except StoreError as error:
            self.complain(str(error))
        else:
            self.complain("")

    async def look(self) -> Sight:
        """The relay as it is now. On the event loop, with pauses."""
        runtime, now = self.runtime(), NOW()
        pools, reachable = {}, routed(runtime.config)
        for name, pool in runtime.pools.items():
            states, until = [], time.perf_counter() + PIECE
            for state in pool.notable(now):
                states.append(state)
                if time.perf_counter() >= until:
                    await asyncio.sleep(0)
                    until = time.perf_counter() + PIECE
            provider = runtime.config.providers.get(name)
            takes = provider is not None and provider.own_credential != "never"
            own = (takes or (pool.passthrough and not pool.keys)) and name in reachable
            configured = provider.keys if provider is not None else ()
            pools[name] = PoolSight(own, pool.keys, configured, tuple(states))
        found = dict(listeners(runtime.config, self.servers))
        if (panel := self.panel()) is not None:
            found["panel"] = panel
        return Sight(self.path(), ctx.options.confdir, found, pools, len(RELAYED))

    def say(self, sight: Sight) -> None:
        """Write the row. In the thread. Raises StoreError."""
        self.relays.say(
            RelayRow(
                id=self.id,
                pid=os.getpid(),
                host=socket.gethostname(),
                version=version(),
                started_at=str(moment(self.started_at)),
                seen_at=str(moment(time.time())),
                in_flight=sight.in_flight,
                config=None if sight.config is None else storable(str(sight.config)),
                confdir=storable(str(Path(sight.confdir).expanduser().absolute())),
                listeners=as_json(sight.listeners),
                pools=self.pools(sight),
                load=as_json({name: loads(pool) for name, pool in sight.pools.items() if pool.notable}),
            )
        )

    def pools(self, sight: Sight) -> str:
        """The pools' keys as JSON: made anew only when there are others."""
        pools = {name: replace(pool, notable=()) for name, pool in sight.pools.items()}
        if pools != self.described[0]:
            self.described = pools, as_json({name: described(pool) for name, pool in pools.items()})
        return self.described[1]

    def complain(self, text: str) -> None:
        """Say what is wrong once, and once that it is over."""
        before, self.complaint = self.complaint, text
        if text and not before:
            logger.warning("other terminals cannot see that this relay runs: %s", text)
        elif before and not text:
            logger.warning("other terminals can see again that this relay runs")

    def close(self) -> None:
        """Take the row away. At the relay's end, maybe without a running loop."""
        self.loop.stop()
        self.thread.submit(self.leave)
        self.thread.shutdown(wait=True)

    def leave(self) -> None:
        """In the thread."""
        try:
            self.relays.leave(self.id)
        except StoreError as error:
            self.complain(str(error))


def listeners(config: Config, servers: Sequence[StatusServer]) -> Iterator[tuple[str, str]]:
    """Name in relay.yaml → where it really listens, in relay.yaml's words as far as they are right."""
    for server in ctx.master.addons.get("proxyserver").servers:
        name = LISTENERS.get(type(server.mode))
        if name is not None and server.listen_addrs:
            host, port, *_ = server.listen_addrs[0]
            meant: Address | None = getattr(config.listen, name)
            yield name, str(meant if meant is not None and meant.port == port else Address(host, port))
    if "web_port" in ctx.options:  # as only mitmweb has it
        yield "mitmweb", str(Address(ctx.options.web_host, ctx.options.web_port))
    for served in servers:
        if served.port is not None:
            yield "status", str(Address(served.address.host, served.port))


def described(pool: PoolSight) -> dict[str, object]:
    """What is told of a pool's keys."""
    configured = {key.get_secret_value() for key in pool.configured}
    keys = [
        {
            "alias": key.alias,
            "mask": mask(key.secret),
            "source": "relay.yaml" if key.secret in configured else "vault",
        }
        for key in pool.keys
    ]
    return {"count": len(keys), "keys": keys, "own": pool.own}


def loads(pool: PoolSight) -> dict[str, object]:
    """How the keys are of which there is something to say."""
    return {
        state.alias: {
            "state": state.status,
            "until": moment(state.until),
            "reason": storable(state.reason),
            "in_flight": state.in_flight,
            "used": state.used,
            "headroom": round(state.headroom, 2),
            "limits": {name: round(share, 2) for name, share in state.limits.items()},
        }
        for state in pool.notable
    }


def storable(text: str) -> str:
    """Paths and what upstreams say may hold halves of characters, which no database takes."""
    return text.encode("utf-8", "replace").decode()


def as_json(value: object) -> str:
    """Quickly: in a thread, too, it holds the others up."""
    return msgspec.json.encode(value).decode()


@cache
def version() -> str:
    """This relay's version. Reads files."""
    if is_checkout():
        with suppress(OSError, ValueError, KeyError):  # somebody may have taken addon/ alone
            return str(tomllib.loads((ADDON.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"])
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
