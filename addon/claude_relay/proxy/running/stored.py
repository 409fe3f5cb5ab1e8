"""What the relay shares with its database, and so with other relays on it: names, keys of the vault, cooldowns, sessions, loads, probes.

Looked at every INTERVAL in a thread; what is found is taken over in the event loop. What is over is dropped every ten minutes.
A database that cannot be used is said once, and the relay goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from claude_relay.core.bodies.resources import LASTS, Owner, lasts
from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import NO_IDS, Ids, Name, Names, OwnKeys, Place, place_of
from claude_relay.core.keys.replication import Shared, absorbing, clamped, collect, shifted
from claude_relay.core.keys.sessions import MOST
from claude_relay.core.times import DAY
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.loops import Loop
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.remembered import Aliases, Unremembered
from claude_relay.store.shared.state import State
from claude_relay.store.vault.vault import Vault, VaultError

from .runtime import Runtime

logger = logging.getLogger(__name__)
INTERVAL = 0.4
"""Seconds between two looks. One look of each process, and what one did is known to the other: within a second."""
TIDY = 600.0
"""Seconds between two times of dropping what is over."""
CLOSING = 8.0
"""Seconds that the last word may take: what is at work may wait 5 s for somebody's lock, and the last word itself for 2 s."""
MEMORY = 15 * DAY
"""Seconds that a conversation may be silent and still go on where a provider needs its own words back."""

type Issued = Mapping[str, tuple[Key, ...]]


class Stored:
    """One relay's view of its database.

    runtime  the relay as it is now
    issue    gets the vault's keys when they changed
    rename   gets what the configuration's keys are called when that changed
    """

    def __init__(
        self,
        database: Path,
        environ: Mapping[str, str],
        runtime: Callable[[], Runtime],
        issue: Callable[[Issued], None],
        rename: Callable[[Names], None] = lambda names: None,
    ) -> None:
        self.vault = Vault(database, environ=environ)
        self.state = State(database)
        self.aliases = Aliases(database)
        self.runtime = runtime
        self.issue = issue
        self.rename = rename
        self.names: dict[Place, Name] = {}
        """Of every key that the configuration ever brought, those that left it again, too."""
        self.own: set[Place] = set()
        """All of these keys, named or not."""
        self.ids: Ids = NO_IDS
        self.requested: OwnKeys | None = None
        """The keys whose names were asked for last."""
        self.remembered = self.complete = False
        """Whether those names are remembered, and whether each of those keys has an id by which it is stored."""
        self.generation: int | None = None
        self.unsent: Shared | None = None
        self.has_resources = True
        """Whether some key has made something: otherwise no request need be searched for the names of such."""
        self.made = 0
        self.complaints: dict[str, str] = {}
        self.anew = False
        """Whether the next exchange is to bring everything: keys came that nobody asked about before."""
        self.salt = b""
        """What makes marks of clients' own credentials mean the same in all relays over one database; empty until that is read."""
        self.loop = Loop("looking at stored keys and cooldowns", self.turn, lambda: INTERVAL)
        self.tidy_at = 0.0
        self.thread = ThreadPoolExecutor(1, "relay-stored")
        """One thread for all of it, so that at the end nothing is still at work on what is closed."""

    async def start(self) -> None:
        """Take over what is stored, then keep looking."""
        try:
            await self.look()
        finally:
            self.loop.start()

    async def turn(self) -> None:
        """One look, and from time to time what comes with it."""
        await self.look()
        if time.monotonic() >= self.tidy_at:
            self.tidy_at = time.monotonic() + TIDY
            await self.tidy()
            await self.inspect()

    @property
    def keys_unread(self) -> str | None:
        """Why it is not known which keys the vault issues; None: it is known."""
        return None if self.generation is not None else self.complaints.get("keys") or "it is not read yet"

    def without_keys(self) -> str:
        """Why no request can have a key, when the reason is that the vault cannot be read; empty: some can."""
        why = self.keys_unread
        if why is None or any(pool.keys or pool.passthrough for pool in self.runtime().pools.values()):
            return ""
        return f"the stored keys cannot be read, and there are no others: {why}"

    def refresh_all(self) -> None:
        """The relay has keys now that it had not: their cooldowns may have been stored long ago."""
        self.anew = True

    async def take_keys(self) -> None:
        """The vault's keys, if they changed."""
        found = await self.in_thread(self.changed_keys)
        if found is not None:
            generation, issued = found
            self.issue(issued)
            self.generation = generation  # only now: else keys that could not be issued would never be
            self.anew = True

    async def look(self) -> None:
        """Keys first, for cooldowns hang on them."""
        await self.take_keys()
        if self.anew:
            self.anew = False
            self.state.forget_position()
        await self.trade()
        await self.follow_choice()

    async def follow_choice(self) -> None:
        """Which keys go before the others; while the database cannot be read, which `trade` has said, those of before."""
        try:
            chosen = await self.in_thread(self.state.chosen)
        except StoreError:
            return
        for provider, pool in self.runtime().pools.items():
            stored_id = chosen.get(provider, "")
            pool.chosen = self.ids.own.get(Place(provider, stored_id), stored_id)

    async def learn_names(self, own: OwnKeys) -> None:
        """Make sure that these keys go by their names; until they are remembered, each time anew."""
        before, requested = dict(self.names), self.requested
        if requested is own and self.remembered:
            return
        names = await self.name(own)
        if requested is not own or names != before:
            self.rename(names)

    async def name(self, own: OwnKeys) -> Names:
        """What these keys are called, beside those of before, as far as that is known. New names are remembered."""
        keys = [key for group in own.values() for key in group]
        self.own.update(place_of(key) for group in (keys, *self.runtime().own.values()) for key in group)
        found, self.remembered = await self.in_thread(self.names_of, keys)
        self.names |= found
        self.ids = Ids.of(self.names, self.own)
        self.requested, self.complete = own, not any(place_of(key) in self.ids.unnamed for key in keys)
        return dict(self.names)

    def names_of(self, keys: Sequence[Key]) -> tuple[Mapping[Place, Name], bool]:
        """What these keys are called, and whether that is remembered. In a thread."""
        try:
            found = self.aliases.name(keys)
        except StoreError as e:
            self.complain("aliases", str(e))
            return e.foreseen if isinstance(e, Unremembered) else {}, False
        self.complain("aliases", "")
        return found, True

    def changed_keys(self) -> tuple[int, Issued] | None:
        """The vault's keys when they changed since the last look. In a thread."""
        try:
            generation = self.vault.changed()
            if generation == self.generation:
                return None
            issued = self.vault.issue()
        except (VaultError, StoreError) as e:
            self.complain("keys", str(e))
            return None
        self.complain_of(self.vault.damaged)
        return generation, issued

    async def inspect(self) -> None:
        """Look at every row of the vault, as one may be damaged while its key is issued from memory."""
        if self.generation is None:
            return
        try:
            found = await self.in_thread(self.vault.inspect)
        except (VaultError, StoreError) as e:
            self.complain("keys", str(e))
        else:
            if found.problem:
                self.complain("keys", found.problem)
            else:
                self.complain_of(found.damaged)

    def complain_of(self, damaged: Sequence[str]) -> None:
        """Keys by their names."""
        names = ", ".join(damaged)
        self.complain("keys", f"these were changed by somebody else and are left out: {names}" if names else "")

    async def trade(self) -> None:
        """Give the database what changed here, take from it what changed elsewhere."""
        await self.learn_names(self.runtime().own)
        runtime, now = self.runtime(), NOW.wall()
        if self.requested is not runtime.own or not self.complete:
            return  # what concerns keys whose stored ids cannot be told waits here
        mine = self.unsent or self.collected(runtime)
        self.unsent, made = mine, self.made
        try:
            theirs, has_resources = await self.in_thread(self.exchanged, mine, now, self.ids)
        except StoreError as e:
            self.complain("cooldowns", str(e))
            return
        self.unsent = None
        if made == self.made:  # otherwise something was made meanwhile
            self.has_resources = has_resources
        self.complain("cooldowns", "")
        runtime = self.runtime()
        theirs = shifted(clamped(theirs, NOW.wall()), NOW.ahead())
        for _ in absorbing(runtime.pools, runtime.sessions, theirs, NOW(), runtime.own_credentials.values()):
            await asyncio.sleep(0)

    @staticmethod
    def collected(runtime: Runtime) -> Shared:
        """What changed here, in the terms of the system's clock."""
        found = collect(runtime.pools, runtime.sessions, NOW(), runtime.own_credentials.values())
        return shifted(found, -NOW.ahead())

    def exchanged(self, mine: Shared, now: float, ids: Ids) -> tuple[Shared, bool]:
        """What others have changed, and whether there are resources. In a thread."""
        theirs = self.state.exchange(ids.outward(mine), now)
        self.salt = self.state.salt() or self.salt
        return ids.inward(theirs), self.state.has_resources()

    async def tidy(self) -> None:
        """Drop what is over, here and in the database."""
        runtime, now = self.runtime(), time.time()
        if runtime.sessions is not None:
            runtime.sessions.prune(NOW())
        try:
            await self.in_thread(partial(self.state.prune, now, ttl=runtime.config.sessions.ttl, most=MOST))
        except StoreError as e:
            self.complain("cooldowns", str(e))

    async def owner(self, names: Sequence[str]) -> Owner | None:
        """The key that made one of these."""
        for name in names:
            try:
                found = await self.in_thread(self.state.resource, name, time.time())
            except StoreError as e:
                self.complain("resources", str(e))
                return None
            if found is not None:
                place = Place(*found)
                return Owner(place.provider, await self.present_id(place))
        return None

    async def present_id(self, place: Place) -> str:
        """What a key of a stored row goes by now. One that has moved into the vault, or out of it, is the same key under another name."""
        own = self.ids.own.get(place, place.id)
        pool = self.runtime().pools.get(place.provider)
        if pool is None or pool.by_id(own) is not None:
            return own
        return await self.in_thread(self.same_key, place, pool.keys) or own

    def same_key(self, place: Place, keys: Sequence[Key]) -> str | None:
        """The one of these keys that has the secret of a key which is not among them. In a thread."""
        try:
            ids = self.aliases.foresee(keys)
            former = {key.secret for key in self.vault.issue({place.id}).get(place.provider, ())}
        except (StoreError, VaultError) as e:
            self.complain("resources", str(e))
            return None
        return next((key.id for key in keys if ids[place_of(key)].id == place.id or key.secret in former), None)

    async def remember(self, names: Sequence[str], provider: str, key_id: str) -> None:
        """A key has made these."""
        if self.stored_id(provider, key_id) is None:
            await self.learn_names(self.runtime().own)
        stored_id = self.stored_id(provider, key_id)
        if stored_id is None:
            return  # the database cannot be read, and so not written to
        self.made += len(names)
        self.has_resources = self.has_resources or bool(names)
        for name in names:
            try:
                until = time.time() + lasts(name)
                await self.in_thread(self.state.remember_resource, name, provider, stored_id, until)
            except StoreError as e:
                self.complain("resources", str(e))

    def stored_id(self, provider: str, key_id: str) -> str | None:
        """What stored rows call a key; None where that cannot be told."""
        place, own = Place(provider, key_id), self.runtime().own.get(provider, ())
        unnamed = place in self.own or any(key.id == key_id for key in own)
        return self.ids.stored.get(place, None if unnamed else key_id)

    async def first_results(self, batch: str) -> bool:
        """Whether nobody has counted this batch's results yet. Where that cannot be told they are counted: twice is found, never is not."""
        try:
            return await self.in_thread(self.state.first_results, batch, time.time() + LASTS["msgbatch"])
        except StoreError as e:
            self.complain("batches", str(e))
            return True

    async def remember_calls(self, memories: Mapping[str, str]) -> None:
        """Keep what a provider wants back with these calls of tools."""
        try:
            await self.in_thread(self.state.remember_calls, memories, time.time() + MEMORY)
        except StoreError as e:
            self.complain("memories", str(e))

    async def recall(self, calls: Sequence[str]) -> Mapping[str, str]:
        """What was kept with these calls, by this relay or another one."""
        try:
            return await self.in_thread(self.state.recall, calls, time.time())
        except StoreError as e:
            self.complain("memories", str(e))
            return {}

    def complain(self, about: str, text: str) -> None:
        """Say what is wrong once, and once that it is over."""
        before = self.complaints.get(about, "")
        self.complaints[about] = text
        if text and text != before:
            logger.warning("stored %s cannot be used: %s", about, text)
        elif before and not text:
            logger.warning("stored %s can be used again", about)

    async def in_thread[*A, R](self, work: Callable[[*A], R], *arguments: *A) -> R:
        """Wait for the disk, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *arguments)

    def close(self) -> None:
        """The last word: what changed since the last look. At the relay's end, maybe without a running loop."""
        self.loop.stop()
        runtime, now = self.runtime(), time.time()
        last = self.collected(runtime)
        keys = [key for group in runtime.own.values() for key in group]
        said = self.thread.submit(self.last_word, last, now, keys)
        self.thread.shutdown(wait=False)
        try:
            said.result(CLOSING)
        except TimeoutError:
            logger.warning("stored cooldowns: the database does not answer; what changed last is not in it")

    def last_word(self, last: Shared, now: float, keys: Sequence[Key]) -> None:
        """Store it, let go of the file. `keys`: those of the configuration."""
        try:
            if not self.complete:
                self.names |= self.names_of(keys)[0]
                self.ids = Ids.of(self.names, self.own.union(map(place_of, keys)))
            for shared in (self.unsent, last):
                if shared is not None:
                    self.state.exchange(self.ids.outward(shared), now)
        except StoreError as e:
            self.complain("cooldowns", str(e))
        finally:
            self.state.close()
            self.vault.close()
