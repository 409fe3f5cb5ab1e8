"""How much may be spent, and what happens at the end: sums in memory, so that a request costs no query.

    budgets = Budgets(config.budgets)
    mark = budgets.mark()
    budgets.restore(sums.read(config.budgets, now), mark)           # store.ledger.budget_sums, at start and every minute: others spend too
    targets = budgets.admitted(targets, now, name_at, reserve.asks)       # what is spent and what is reserved (`reserve`) count
    budgets.spent(started_at, "anthropic", "claude-opus-4-5", 0.42) # what an attempt cost
    for notice in budgets.due_notices(): ...

Days, weeks (from Monday) and months are those of `zone`, by default this machine's; money belongs to the period in which its
request began. What has no price costs nothing here. A model is the model's name at the provider. It must not know who
writes the sums down, nor who is told. All methods are quick and may be called from any one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import msgspec

from claude_relay.core.errors import BudgetError
from claude_relay.core.exchange import Target
from claude_relay.core.notices import Kind, Notice

from .accounts import NANO, Account, Counted, RuleLike, Span, Sum, covers, span
from .holds import Holds

__all__ = ["Budgets", "Cost", "Exhausted", "RuleLike", "Span", "Sum", "covers", "span"]

STOP, WARN = "stop", "warn"


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a request may cost for one model, in billionths of a USD; 0: there is no price."""

    model: str
    nano: int


type Mark = Mapping[str, Counted]
"""By the name of the rule."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that has no room. `until`: when all that stand in the way may have, seconds since the epoch.

    spent     that is when they begin anew; False: what is in the way is reserved, and ends with the requests that run
    reserved  USD
    """

    rule: RuleLike
    until: float
    spent: bool = True
    reserved: float = 0.0


class Budgets:
    """The rules with what was spent. `zone`: whose midnight counts; None: this machine's. `holds`: what is reserved under any rules."""

    def __init__(self, rules: Sequence[RuleLike] = (), zone: tzinfo | None = None, holds: Holds | None = None) -> None:
        self._zone = zone
        self._holds = Holds() if holds is None else holds
        self._accounts = [Account(rule) for rule in rules]
        self._due: list[Notice] = []
        self.reserves = any(rule.then != WARN for rule in rules)
        """Whether anything is to be reserved: a budget that only warns needs none."""

    def renewed(self, rules: Sequence[RuleLike]) -> Budgets:
        """The same sums under new rules, as far as a rule still counts the same: for a changed relay.yaml.

        A rule that is new begins at nothing: `restore` it.
        """
        new = Budgets(rules, self._zone, self._holds)
        self._holds.forget_rules()
        before = {_scope(account.rule): account for account in self._accounts}
        for account in new._accounts:
            if old := before.get(_scope(account.rule)):
                account.now, account.usd, account.counted = old.now, old.usd, old.counted
                account.said = (
                    set(old.said) if (old.rule.usd, old.rule.warn) == (account.rule.usd, account.rule.warn) else set()
                )
        return new

    def mark(self) -> Mark:
        """What was counted here until now, for the next `restore`."""
        return {account.rule.name: Counted(account.now.start, account.counted) for account in self._accounts}

    def restore(self, spent: Iterable[Sum], since: Mark | None = None) -> None:
        """Take what the ledger says.

        since  a mark: all that was counted until then was in the ledger when it was read, so that it is believed, also where it
               says less than before; what was counted after it is added. None: nobody knows what was in it, so that it is
               believed as far as it says more.
        """
        accounts = {account.rule.name: account for account in self._accounts}
        for name, start, usd in spent:
            if (account := accounts.get(name)) is None:
                continue
            account.turn(start, self._zone)
            if start != account.now.start:
                continue
            if since is None:
                self._grow(account, max(usd, account.usd), start)
            else:
                before = since.get(name, Counted(0.0, 0.0))
                known = before.usd if before.start == start else 0.0
                self._grow(account, usd + account.counted - known, start)

    def spent(self, at: float, provider: str, model: str, usd: float | None) -> None:
        """Count what an attempt cost. `at`: when its request began; `usd` None: no price is known, nothing is counted."""
        if not usd:
            return
        for account in self._accounts:
            if covers(account.rule, provider, model):
                account.turn(at, self._zone)
                if at >= account.now.start:
                    account.counted += usd
                    self._grow(account, account.usd + usd, at)

    def verdict(self, at: float, provider: str, model: str, nano: int = 0) -> Exhausted | None:
        """The budget that keeps a request from a provider, or None. `nano`: what it may cost, in billionths of a USD."""
        return self._over(at, provider, (Cost(model, nano),))

    def _over(self, at: float, provider: str, costs: Sequence[Cost]) -> Exhausted | None:
        """One that leads elsewhere goes before one that stops."""
        shut: list[tuple[RuleLike, float, bool, int]] = []
        for account in self._accounts:
            rule = account.rule
            own = [cost.nano for cost in costs if covers(rule, provider, cost.model)]
            if not own:
                continue
            account.turn(at, self._zone)
            if rule.then in (WARN, provider):  # the provider that it leads to stays open
                continue
            reserved = self._holds.under(rule, account.now.start)
            if account.is_full(sum(own), reserved):
                until = account.now.end if account.ended else at + self._holds.wait()
                shut.append((rule, until, account.ended, reserved))
        if not shut:
            return None
        last = max(shut, key=lambda one: one[1])
        _, until, spent, _ = last
        first = next((one for one in shut if one[0].then != STOP), last)
        return Exhausted(first[0], until, spent, first[3] / NANO)

    def check(self, at: float, provider: str, costs: Sequence[Cost]) -> None:
        """Raises BudgetError when a request that may cost this has no room at a provider."""
        if self._accounts and (over := self._over(at, provider, costs)) is not None:
            raise self._error([over], at)

    def admitted(
        self,
        targets: Sequence[Target],
        at: float,
        name_at: Callable[[str], str],
        costs: Callable[[str, str], Sequence[Cost]] | None = None,
        able: Callable[[str], bool] = lambda provider: True,
    ) -> tuple[Target, ...]:
        """The providers of a route that may be paid: what has no room is left out, or replaced by the one it leads to.

        name_at   the name of the model asked for, at a provider
        costs     what the request may cost at a provider, where the model is called so; None: nothing that is known
        able      whether a provider that a budget leads to can be asked this at all

        Raises BudgetError when none is left.
        """
        if not self._accounts:
            return tuple(targets)
        admitted: dict[str, Target] = {}
        refused: list[Exhausted] = []
        for requested in targets:
            target: Target | None = requested
            seen: set[str] = set()
            while target and target.provider not in seen:
                seen.add(target.provider)
                wanted = (Cost(target.model, 0),) if costs is None else costs(target.provider, target.model)
                if (over := self._over(at, target.provider, wanted)) is None:
                    admitted.setdefault(target.provider, target)
                    break
                refused.append(over)
                then = over.rule.then
                target = None if then == STOP or not able(then) else Target(then, name_at(then))
        if not admitted and refused:
            raise self._error(refused, at)
        return tuple(admitted.values())

    def due_notices(self) -> tuple[Notice, ...]:
        """What there is to tell since this was asked last: each budget's warning and end, once a period."""
        due, self._due = tuple(self._due), []
        return due

    def state(self, at: float) -> tuple[tuple[RuleLike, float, Span], ...]:
        """Each rule with what was spent (USD) in its present period."""
        for account in self._accounts:
            account.turn(at, self._zone)
        return tuple((account.rule, account.usd, account.now) for account in self._accounts)

    def _grow(self, account: Account, usd: float, at: float) -> None:
        account.usd = usd
        rule = account.rule
        share = rule.warn * rule.usd
        kind = Kind.BUDGET_END if account.ended else Kind.BUDGET_WARN if rule.warn and usd >= share else None
        if kind is None or kind in account.said:
            return
        account.said.add(kind)
        text = f"The budget '{rule.name}': ${usd:,.2f} of ${rule.usd:,.2f} spent. {self._next(account, kind)}"
        key = f"{rule.name} {self._day(account.now.start):%Y-%m-%d}"
        self._due.append(Notice(kind, key, text, at, account.now.end))

    def _error(self, refused: Sequence[Exhausted], at: float) -> BudgetError:
        first = min(refused, key=lambda over: over.until)
        budget = f"the budget '{first.rule.name}' of ${first.rule.usd:,.2f}"
        raised = "raise it under `budgets` in relay.yaml."
        if first.spent:
            text = f"{budget} is used up until {self._day(first.until):%Y-%m-%d %H:%M}. Wait, or {raised}"
        else:
            held = f"${first.reserved:,.2f} of it are reserved for requests that run"
            text = f"{budget} has no room for this request now: {held}. Send it again in a moment, or {raised}"
        return BudgetError(429, text, retry_after=max(1.0, first.until - at), final=first.spent)

    def _next(self, account: Account, kind: Kind) -> str:
        until = f"until {self._day(account.now.end):%Y-%m-%d %H:%M}"
        if kind is Kind.BUDGET_WARN:
            return f"It lasts {until}."
        return {STOP: f"Requests under it are refused {until}.", WARN: "Requests go on."}.get(
            account.rule.then, f"Requests under it go to {account.rule.then} {until}."
        )

    def _day(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self._zone)


def _scope(rule: RuleLike) -> tuple[str | None, str | None, str]:
    return rule.provider, rule.model, rule.per
