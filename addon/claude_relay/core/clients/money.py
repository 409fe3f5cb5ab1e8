"""What was spent of a limit of money by one subject, and what is reserved of it.

    spending = Spending(bound)
    spending.restore([(slot, 0.12), …], now)         from the ledger, in SLOT
    spending.check(now, nano, contact)                    raises ClientLimitError
    spending.spend(started_at, 0.42)

Accounts and reservations are those of budgets (`core/accounting/reserve`), so that a limit is passed by the same formula. Days, weeks
and months are those of this machine's calendar (`zone`), as for budgets; `5h` is rolling, in steps of SLOT. It must not know who writes
the sums down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import lru_cache
from math import inf

from claude_relay.core.accounting.accounts import NANO, NEVER, Account, Span
from claude_relay.core.accounting.holds import Holds, Reserved
from claude_relay.core.notices import Kind, Notice
from claude_relay.core.times import HOUR, iso

from .demand import Bound
from .exceeded import of_money, of_reservations
from .limits import Limit

SLOT = 300
"""Seconds that are one sum in the ledger; midnights everywhere are at the beginning of one."""
ROLLING = 5 * HOUR


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit as an account has its rule. Which models count was decided before."""

    name: str
    usd: float
    per: str
    provider: str | None = None
    model: str | None = None
    warn: float = 0.8
    then: str = "stop"


@lru_cache(maxsize=1024)
def rule_of(limit: Limit) -> Rule:
    """One for all who have the same limit."""
    return Rule(str(limit), limit.amount, limit.per)


@dataclass(slots=True)
class Rolling(Account):
    """An account of the latest five hours."""

    sums: dict[int, float] = field(default_factory=dict)

    def turn(self, at: float, zone: tzinfo | None) -> None:
        """Let go of what was spent longer ago. Its period has no beginning, and ends where the next sum is too old."""
        if at < self.now.end:
            return
        first = int((at - ROLLING) // SLOT)
        self.sums = {slot: usd for slot, usd in self.sums.items() if slot > first}
        self.usd = sum(self.sums.values())
        self.now = Span(0.0, (first + 1) * SLOT + ROLLING)

    def until(self) -> float | None:
        """When it has room again, or else when the first of it is given back; None: nothing is spent."""
        usd, until = self.usd, None
        for slot in sorted(self.sums):
            until = (slot + 1) * SLOT + ROLLING
            usd -= self.sums[slot]
            if usd < self.rule.usd:
                break
        return until


def slot_of(at: float) -> int:
    """Which SLOT a moment is in."""
    return int(at // SLOT)


class Spending:
    """One limit of money for one subject.

    loaded    whether what was spent before is known
    counted, known  how many requests were counted here, and of how many of them it is known that the ledger has them
    reserved  by requests that run and began at `start` or later: those before belong to another period
    """

    __slots__ = (
        "account",
        "bound",
        "counted",
        "known",
        "limit",
        "loaded",
        "near",
        "reserved",
        "start",
        "used_at",
        "zone",
    )

    def __init__(self, bound: Bound, zone: tzinfo | None = None) -> None:
        rule = rule_of(bound.limit)
        self.bound, self.limit, self.zone = bound, bound.limit, zone
        self.account = Rolling(rule) if bound.limit.per == "5h" else Account(rule)
        self.start, self.reserved = 0.0, Reserved()
        self.counted = self.known = 0
        self.loaded = False
        self.near = False
        self.used_at = 0.0

    def follow(self, bound: Bound) -> None:
        """The limit may have another amount now."""
        self.bound, self.limit = bound, bound.limit
        self.account.rule = rule_of(bound.limit)

    def since(self, at: float) -> int:
        """The first SLOT that counts."""
        self.account.turn(at, self.zone)
        if isinstance(self.account, Rolling):
            return int((at - ROLLING) // SLOT) + 1
        return slot_of(self.account.now.start)

    def spent(self, at: float) -> float:
        """USD that count now."""
        account = self.account
        if at >= account.now.end:
            account.turn(at, self.zone)
        return account.usd

    def spend(self, at: float, usd: float) -> bool:
        """Count it. `at`: when its request began. Returns whether that has brought it near its end: once a period."""
        self.counted += 1
        account, rule = self.account, self.account.rule
        if at >= account.now.end:
            account.turn(at, self.zone)
        if isinstance(account, Rolling):
            self._add(int(at // SLOT), usd)
        elif at >= account.now.start:
            account.usd += usd
        near = account.usd >= rule.warn * rule.usd
        just, self.near = near and not self.near, near
        return just

    def mark(self) -> int:
        """What was counted here until now, for `restore`."""
        return self.counted

    def restore(self, rows: Iterable[tuple[int, float]], now: float, mark: int | None) -> None:
        """Take what the ledger says: sums by SLOT.

        mark  all that was counted until then was in the ledger when it was read; None: nobody knows what was. Of what was counted
              since, some may have been in it and some not: then it is believed as far as it says more, so that nothing counts twice
        """
        if isinstance(self.account, Rolling):
            self.account.now = NEVER  # whatever the clock has shown meanwhile
        before = self.spent(now)
        if mark is not None:
            self.known = max(self.known, mark)
        sure = mark is not None and not self.own
        kept = dict(self.account.sums) if isinstance(self.account, Rolling) else {}
        if isinstance(self.account, Rolling):
            self.account.sums.clear()
        self.account.usd = 0.0
        for slot, usd in rows:
            self._add(slot, usd)
        if not sure and isinstance(self.account, Rolling):
            for slot, usd in kept.items():
                self.account.sums[slot] = max(usd, self.account.sums.get(slot, 0.0))
            self.account.usd = sum(self.account.sums.values())
        elif not sure:
            self.account.usd = max(before, self.account.usd)
        self.loaded = True
        self.account.turn(now, self.zone)

    def check(self, at: float, nano: int, contact: str, holds: Holds | None = None) -> None:
        """Raises ClientLimitError when a request that may cost so many billionths of a USD has no room.

        holds  who knows how long reservations last; None: what is reserved does not matter, for `nano` is 0
        """
        account = self.account
        if at >= account.now.end:
            account.turn(at, self.zone)
        if self.start != account.now.start:  # all that is reserved is of requests that began before
            self.start, self.reserved = account.now.start, Reserved()
        reserved = self.reserved
        if not account.is_full(nano, reserved.nano):
            return
        if account.ended or holds is None:
            raise of_money(self.bound, at, account.usd, self.until(at), contact)
        wait = holds.wait(reserved.holds)
        raise of_reservations(self.bound, at, account.usd, reserved.nano / NANO, wait, contact)

    def until(self, at: float) -> float | None:
        """When what is spent does not count any more, as far as it has to; None: never, or nothing is."""
        account = self.account
        if at >= account.now.end:
            account.turn(at, self.zone)
        if isinstance(account, Rolling):
            return account.until()
        return None if account.now.end == inf else account.now.end

    def notice(self, at: float) -> Notice:
        """That it is near."""
        bound, until = self.bound, self.until(at)
        whose = f"the {bound.kind} '{bound.owner}'"
        lasts = "It has no end." if until is None else f"It lasts until {iso(until)[:16].replace('T', ' ')} UTC."
        text = f"The limit '{bound.limit}' of {whose} is near: ${self.spent(at):,.2f} spent. {lasts}"
        return Notice(Kind.BUDGET_WARN, f"{bound.key} {iso(self.account.now.start)[:10]}", text, at, until)

    @property
    def own(self) -> int:
        """How many requests were counted here of which it is not known that the ledger has them."""
        return self.counted - self.known

    @property
    def idle(self) -> bool:
        """Whether it may be forgotten: nothing is reserved, and the ledger has all that is spent."""
        return not self.reserved.holds and not self.own

    def _add(self, slot: int, usd: float) -> None:
        account = self.account
        if isinstance(account, Rolling):
            account.sums[slot] = account.sums.get(slot, 0.0) + usd
            account.usd += usd
            return
        at = slot * SLOT
        if at >= account.now.end:
            account.turn(at, self.zone)
        if at >= account.now.start:
            account.usd += usd
