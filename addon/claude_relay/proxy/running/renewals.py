"""The next tokens of OAuth accounts: ahead of their end, and at once when a provider refuses one.

    renewals = Renewals(stored, runtime, notify)
    renewals.start()
    await renewals.renew(key)          a key's token was refused: when this is done the pool has the next one, or there is none

Disabled accounts are renewed as well, removed ones are not. Several relays over one database renew an account once
(`store/vault/renewing`); requests of one relay that wait for the same account wait for the same renewal. Whatever waits for a disk or a
provider is in threads. It must not know requests.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from typing import Any

from claude_relay.core.exchange import Key
from claude_relay.core.notices import Notice, login_at_risk, login_needed
from claude_relay.core.oauth.grants import Answer, Failed
from claude_relay.core.oauth.timing import ACTIVE, Due
from claude_relay.core.times import HOUR
from claude_relay.proxy.common.loops import Complaints, Loop
from claude_relay.store.db.database import StoreError
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts, Taken
from claude_relay.store.vault.lock import VaultError
from claude_relay.store.vault.renewing import ANSWERING, Outcome, Renewal, Renewer
from claude_relay.upstream.token_endpoint import tokens_for_refresh

from .runtime import Runtime
from .stored import Stored

logger = logging.getLogger(__name__)
INTERVAL = 1.0
"""Seconds between two looks at what is due."""
LOOK = 15.0
"""Seconds between two looks at the accounts themselves, whatever changed."""
PATIENCE = ANSWERING + 5.0
"""Seconds that a request waits for a renewal."""
MOMENT = 2.0
"""The same, where another key could take it: most providers answer much faster, and whoever renews may have died."""
AT_ONCE = 4
"""Renewals at once."""
CLOSING = 8.0


class Renewals:
    """The renewals of one relay.

    stored   whose vault has the accounts, and who takes over keys that changed
    runtime  the relay as it is now
    notify   gets what an operator should hear
    """

    def __init__(
        self, stored: Stored, runtime: Callable[[], Runtime], notify: Callable[[Iterable[Notice]], None]
    ) -> None:
        self.stored, self.runtime, self.notify = stored, runtime, notify
        self.accounts = Accounts(stored.vault)
        self.renewer = Renewer(self.accounts)
        self.due = Due(time.monotonic, time.time, random.random)
        self.known: tuple[Account, ...] = ()
        self.looked: tuple[int | None, float] = None, 0.0
        """By which generation of the vault, and when."""
        self.under_way: dict[str, asyncio.Task[Renewal]] = {}
        self.refused: dict[str, str] = {}
        """The tokens that providers refused and that were not renewed yet, by account: tried again, whatever their life should be."""
        self.in_threads: set[Future[Any]] = set()
        self.threads = ThreadPoolExecutor(AT_ONCE, "relay-accounts")
        self.complaint, self.closed = "", False
        self.complaints = Complaints("renewing an account")
        self.loop = Loop("renewing accounts", self.turn, lambda: INTERVAL)

    def start(self) -> None:
        """Begin; needs a running loop."""
        self.loop.start()

    async def turn(self) -> None:
        """Renew what is due."""
        try:
            await self.look()
        except (VaultError, StoreError) as error:
            self.complain(str(error))
            return
        self.complain("")
        wall = time.time()
        for account in self.known:
            if self.is_due(account, wall) and account.id not in self.under_way:
                refused = self.refused.get(account.id)
                seen = account.generation if refused is None else None
                self.begin(
                    account.id,
                    partial(self.renewer.renew, account.id, self.fetch, seen=seen, refused=refused, hurry=False),
                )

    async def look(self) -> None:
        """Read the accounts anew when something changed, and from time to time: what failed elsewhere changes no key."""
        generation, now = self.stored.generation, time.monotonic()
        if self.renewer.holds_unkept:
            await self.in_thread(self.renewer.keep_unkept)
            await self.stored.take_keys()
        if generation == self.looked[0] and now - self.looked[1] < LOOK:
            return
        self.known = await self.in_thread(self.accounts.list)
        self.looked = generation, now
        self.due.forget_all_but({account.id for account in self.known})

    def is_due(self, account: Account, wall: float) -> bool:
        """Whether to renew it now."""
        if not account.renews or account.removed_at is not None or account.revoked_at is not None:
            return False
        if account.provider not in self.runtime().config.providers:
            return False
        if account.retry_at is not None and wall < account.retry_at <= wall + HOUR:
            return False
        if account.id in self.refused or (account.expires_at is not None and account.expires_at <= wall):
            return (
                True  # what is over by the system's clock may be so by a sleep of the machine, which ticks do not count
            )
        return (
            self.due.at(account.id, account.generation, account.expires_at, account.life, account.renewed_at)
            <= time.monotonic()
        )

    def renew(self, key: Key) -> asyncio.Task[Renewal]:
        """The token of this key was refused."""
        known = self.under_way.get(key.id)
        if known is not None:
            return known
        self.refused[key.id] = key.secret
        return self.begin(key.id, partial(self.renewer.renew, key.id, self.fetch, refused=key.secret))

    def begin(self, id: str, work: Callable[[], Renewal]) -> asyncio.Task[Renewal]:
        """One renewal, beside everything else."""
        task = asyncio.get_running_loop().create_task(self.done(id, work), name="relay: renewing an account")
        self.under_way[id] = task
        task.add_done_callback(lambda _: self.under_way.pop(id, None))
        return task

    async def done(self, id: str, work: Callable[[], Renewal]) -> Renewal:
        """Renew, and let the pool have what came of it. Never raises: nobody may be waiting for it."""
        try:
            found = await self.in_thread(work)
            await self.stored.take_keys()
            self.looked = None, 0.0
            account = await self.in_thread(self.accounts.get, id)
        except (VaultError, StoreError) as error:
            self.complain(str(error))
            return Renewal(Outcome.FAILED, str(error))
        except Exception as error:
            if not self.closed:
                self.complaints.say(error)
            return Renewal(Outcome.FAILED, "the relay ends")
        if found.outcome is not Outcome.FAILED:
            self.refused.pop(id, None)
        if account is not None:
            self.say(account, found)
        return found

    def fetch(self, taken: Taken) -> Answer:
        """The provider. In a thread."""
        runtime = self.runtime()
        provider = runtime.config.providers.get(taken.account.provider)
        if provider is None:
            return Failed("relay.yaml has no such provider any more", undone=True)
        return tokens_for_refresh(provider, taken.refresh, runtime.way, timeout=ANSWERING, proxy=taken.proxy)

    def say(self, account: Account, found: Renewal) -> None:
        """For the log, and for whoever should hear of it."""
        now = time.time()
        match found.outcome:
            case Outcome.RENEWED:
                logger.info("%s: renewed", account.name)
            case Outcome.REVOKED:
                logger.warning("%s: log in again: %s", account.name, found.reason)
                self.notify(login_needed(account.provider, account.alias, found.reason, now))
            case Outcome.FAILED:
                logger.warning("%s cannot be renewed: %s", account.name, found.reason)
                if account.state(now) != ACTIVE:
                    left = (account.expires_at or now) - now
                    self.notify(login_at_risk(account.provider, account.alias, found.reason, left, now))

    def complain(self, text: str) -> None:
        """Say what is wrong once."""
        if text and text != self.complaint:
            logger.warning("accounts cannot be renewed: %s", text)
        self.complaint = text

    async def in_thread[*A, R](self, work: Callable[[*A], R], *arguments: *A) -> R:
        """Wait for disks and providers, off the event loop."""
        future = self.threads.submit(work, *arguments)
        self.in_threads.add(future)
        future.add_done_callback(self.in_threads.discard)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """No more renewals. One that is under way is waited for: what its provider gives must be written down."""
        self.closed = True
        self.loop.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)
        _, late = wait_for(set(self.in_threads), CLOSING)
        if late:
            logger.warning("an account was being renewed when the relay ended; what came of it may be lost")
