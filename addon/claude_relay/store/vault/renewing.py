"""One renewal of one account, whoever else is about to do the same: lock, read again, fetch, compare and set.

    renewer = Renewer(Accounts(vault), owner="…")
    renewer.renew(account.id, fetch, seen=account.generation)      -> Renewal(Outcome.RENEWED); for threads, waits
    renew_all(Accounts(vault), found, fetch)                       the same for several, until all of it is written down

    1  take     the lock, and the tokens as they are now; that the refresh token is sent is on the disk before it is
    2  ask      the provider, in the time that the lock lasts
    3  keep     the next tokens are on the disk before anybody uses them; what cannot be written stays in memory and is tried again

Whoever is killed before 2 has changed nothing. Between 2 and 3 the provider may have exchanged the tokens already: then whoever comes next
sends the old one again, which most providers allow for a while; if this one does not, the account is `revoked` with a reason that says so.
Whoever is killed after 3 has finished. It must not know how a provider is asked.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from claude_relay.core.oauth.grants import Answer, Failed, Granted, Refused, Tokens
from claude_relay.core.oauth.timing import pause_after

from .account_rows import Account
from .accounts import Accounts, Taken, Why
from .lock import VaultError

LEASE = 20.0
"""Seconds for which the lock is given."""
ANSWERING = 15.0
"""Seconds that a provider has for its answer."""
POLL_FIRST, POLL_LONGEST = 0.005, 0.2
"""Seconds between two looks whether somebody else is done."""
KEEPING = 5.0
"""Seconds for which writing the next tokens down is tried again before it is left for later."""

AT_ONCE = 4
WAIT = 60.0
"""Seconds for which whoever ends then tries to write down tokens that are nowhere else."""

type Fetch = Callable[[Taken], Answer]


class Outcome(StrEnum):
    """What came of it."""

    RENEWED = "renewed"
    OTHERS = "others"
    """There were other tokens already."""
    REVOKED = "revoked"
    FAILED = "failed"
    FINAL = "final"
    """There is no refresh token, or no account."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What came of one. `reason`: why there are no other tokens."""

    outcome: Outcome
    reason: str = ""

    @property
    def fresh(self) -> bool:
        """Whether the stored tokens are other ones than before."""
        return self.outcome in (Outcome.RENEWED, Outcome.OTHERS)


ENDED = {
    Why.GONE: Renewal(Outcome.FINAL, "there is no such account any more"),
    Why.OTHERS: Renewal(Outcome.OTHERS),
    Why.REVOKED: Renewal(Outcome.REVOKED, "the provider has revoked it: log in again"),
    Why.FINAL: Renewal(Outcome.FINAL, "it has no refresh token: log in again when it has expired"),
    Why.SOON: Renewal(Outcome.FAILED, "it failed a moment ago; try again in some seconds"),
}
BUSY = Renewal(Outcome.FAILED, "another process is renewing it, and is not done in time")


class Renewer:
    """Renews accounts. May be used in several threads.

    owner   a name that no other process has
    lease   seconds for which the lock is given
    wall, ticks, sleep    the clocks
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        owner: str | None = None,
        lease: float = LEASE,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.accounts = accounts
        self.owner = owner or secrets.token_hex(8)
        self._lease = lease
        self._wall, self._ticks, self._sleep = wall, ticks, sleep
        self._unkept: dict[str, tuple[Taken, Tokens, float]] = {}
        self._guard = threading.Lock()

    def renew(
        self,
        id: str,
        fetch: Fetch,
        *,
        seen: int | None = None,
        refused: str | None = None,
        hurry: bool = True,
        patience: float = ANSWERING,
    ) -> Renewal:
        """See the module's text. Raises VaultError when nothing can be read or written.

        seen, refused, hurry   as for `Accounts.take`
        patience               seconds to wait for somebody else who does it
        """
        self.keep_unkept()
        until, pause = self._ticks() + patience, POLL_FIRST
        # Threads of one process must not take each other's lock either: each has an owner of its own.
        owner = f"{self.owner}:{threading.get_ident()}"
        while True:
            found = self.accounts.take(
                id, owner, self._wall(), self._ticks(), lease=self._lease, seen=seen, refused=refused, hurry=hurry
            )
            if isinstance(found, Taken):
                return self._with_lock(found, fetch)
            if found is not Why.BUSY:
                return ENDED[found]
            if seen is None and refused is None:
                account = self.accounts.get(id)
                seen = account.generation if account else None
            if self._ticks() >= until:
                return BUSY
            self._sleep(pause)
            pause = min(2 * pause, POLL_LONGEST)

    def _with_lock(self, taken: Taken, fetch: Fetch) -> Renewal:
        began = self._ticks()
        answer = fetch(taken)
        spent = self._ticks() - began
        match answer:
            case Granted(tokens):
                return self._keep(taken, tokens, self._wall() - spent)
            case Refused(reason):
                reason = _explained(reason, taken)
                if self.accounts.revoked(taken, reason, self._wall()):
                    return Renewal(Outcome.REVOKED, reason)
                return Renewal(Outcome.OTHERS)
            case Failed(reason, retry_after, undone):
                pause = pause_after(taken.account.failures + 1, retry_after, random.random())
                self.accounts.failed(taken, reason, self._wall(), pause, undone=undone)
                return Renewal(Outcome.FAILED, reason)

    def _keep(self, taken: Taken, tokens: Tokens, issued_at: float) -> Renewal:
        """On the disk, or else in memory for the next try: the tokens before are no good any more."""
        until = self._ticks() + KEEPING
        while True:
            try:
                kept = self.accounts.renewed(taken, tokens, issued_at)
            except VaultError as error:
                if self._ticks() < until:
                    self._sleep(POLL_LONGEST)
                    continue
                with self._guard:
                    self._unkept[taken.account.id] = taken, tokens, issued_at
                return Renewal(Outcome.FAILED, f"the next tokens cannot be written down yet ({error})")
            return Renewal(Outcome.RENEWED if kept else Outcome.OTHERS)

    @property
    def holds_unkept(self) -> bool:
        """Whether there are tokens that only this process has."""
        return bool(self._unkept)

    def keep_unkept(self) -> None:
        """Write down what could not be written before. Raises VaultError when it still cannot."""
        with self._guard:
            for id, (taken, tokens, issued_at) in list(self._unkept.items()):
                self.accounts.renewed(taken, tokens, issued_at)
                del self._unkept[id]


def _explained(reason: str, taken: Taken) -> str:
    """What a person should know: a token that was sent before, without an answer, was probably exchanged then."""
    if taken.dispatched_before is None:
        return reason
    at = datetime.fromtimestamp(taken.dispatched_before, UTC)
    return (
        f"{reason}; it was sent at {at:%Y-%m-%d %H:%M:%S} UTC too, and the process that did so ended, or lost its connection, before "
        "it had the answer: the provider has given the next token to nobody, and does not take the old one again"
    )


def renew_all(accounts: Accounts, which: Sequence[Account], fetch: Fetch) -> list[Renewal]:
    """What came of each, in their order. For whoever does not go on afterwards: waits until the next tokens are on the disk."""
    renewer = Renewer(accounts)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="refresh") as threads:
        found = list(threads.map(lambda one: renewer.renew(one.id, fetch, seen=one.generation), which))
    until = time.monotonic() + WAIT
    while renewer.holds_unkept:
        try:
            renewer.keep_unkept()
        except VaultError:
            if time.monotonic() > until:
                raise
            time.sleep(1.0)
    return found
