"""How much may be spent, and what happens at the end: sums in memory, so that a request costs no query.

    budgets = Budgets(config.budgets)
    budgets.restore(sums.read(config.budgets, now))                 # store.budgetsums, at start and every minute: others spend too
    hops = budgets.admitted(hops, now, lambda provider: model_at(providers[provider], facts.model))
    budgets.spent(started_at, "anthropic", "claude-opus-4-5", 0.42) # what an attempt cost
    for notice in budgets.due_notices(): ...

Days, weeks (from Monday) and months are those of `zone`, by default this machine's; money belongs to the period in which its
request began. What has no price costs nothing here. A model is the model's name at the provider. It must not know who
writes the sums down, nor who is told. All methods are quick and may be called from any one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple, Protocol

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Hop
from claude_relay.core.notices import Kind, Notice
from claude_relay.core.routing import fits

STOP, WARN = "stop", "warn"


class RuleLike(Protocol):
    """A budget of relay.yaml."""

    @property
    def name(self) -> str:
        """Unique."""

    @property
    def provider(self) -> str | None:
        """None: all."""

    @property
    def model(self) -> str | None:
        """A glob of the name at the provider; None: any."""

    @property
    def per(self) -> str:
        """`day`, `week` or `month`."""

    @property
    def usd(self) -> float:
        """How much."""

    @property
    def warn(self) -> float:
        """The share at which to warn, 0: never."""

    @property
    def then(self) -> str:
        """`stop`, `warn` or the name of a provider."""


class Span(NamedTuple):
    """A period: from `start` until just before `end`, seconds since the epoch."""

    start: float
    end: float


NEVER = Span(0.0, 0.0)


class Sum(NamedTuple):
    """What was spent under a rule in the period that began then."""

    rule: str
    start: float
    usd: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that has ended. `until`: when all that stand in the way begin anew, seconds since the epoch."""

    rule: RuleLike
    until: float


def span(per: str, at: float, zone: tzinfo | None = None) -> Span:
    """The day, week (from Monday) or month around a moment, on the calendar of `zone`; None: this machine's."""
    today = datetime.fromtimestamp(at, zone).date()
    first = FIRST[per](today)
    return Span(_midnight(first, zone), _midnight(NEXT[per](first), zone))


FIRST: dict[str, Callable[[date], date]] = {
    "day": lambda today: today,
    "week": lambda today: today - timedelta(days=today.weekday()),
    "month": lambda today: today.replace(day=1),
}
NEXT: dict[str, Callable[[date], date]] = {
    "day": lambda first: first + timedelta(days=1),
    "week": lambda first: first + timedelta(days=7),
    "month": lambda first: (first + timedelta(days=31)).replace(day=1),
}


def _midnight(day: date, zone: tzinfo | None) -> float:
    return datetime.combine(day, time(), zone).timestamp()


def covers(rule: RuleLike, provider: str | None, model: str | None) -> bool:
    """Whether money spent there counts under a rule."""
    return rule.provider in (None, provider) and (rule.model is None or fits(rule.model, model or ""))


@dataclass(slots=True)
class _Account:
    """One rule with its present period."""

    rule: RuleLike
    now: Span = NEVER
    usd: float = 0.0
    said: set[Kind] = field(default_factory=set)

    def turn(self, at: float, zone: tzinfo | None) -> None:
        """Begin anew if the period is over."""
        if at >= self.now.end:
            self.now, self.usd, self.said = span(self.rule.per, at, zone), 0.0, set()

    @property
    def ended(self) -> bool:
        return self.usd >= self.rule.usd

    def in_the_way(self, provider: str) -> bool:
        """Whether it keeps a request from a provider; the one that it leads to stays open."""
        return self.ended and self.rule.then not in (WARN, provider)


class Budgets:
    """The rules with what was spent. `zone`: whose midnight counts; None: this machine's."""

    def __init__(self, rules: Sequence[RuleLike] = (), zone: tzinfo | None = None) -> None:
        self._zone = zone
        self._accounts = [_Account(rule) for rule in rules]
        self._due: list[Notice] = []

    def renewed(self, rules: Sequence[RuleLike]) -> Budgets:
        """The same sums under new rules, as far as a rule still counts the same: for a changed relay.yaml.

        A rule that is new begins at nothing: `restore` it.
        """
        new = Budgets(rules, self._zone)
        before = {_scope(account.rule): account for account in self._accounts}
        for account in new._accounts:
            if old := before.get(_scope(account.rule)):
                account.now, account.usd = old.now, old.usd
                account.said = (
                    set(old.said) if (old.rule.usd, old.rule.warn) == (account.rule.usd, account.rule.warn) else set()
                )
        return new

    def restore(self, spent: Iterable[Sum]) -> None:
        """Take what the ledger says, as far as it says more: what was spent just now may not be in it yet."""
        accounts = {account.rule.name: account for account in self._accounts}
        for name, start, usd in spent:
            if (account := accounts.get(name)) is None:
                continue
            account.turn(start, self._zone)
            if start == account.now.start:
                self._grow(account, max(usd, account.usd), start)

    def spent(self, at: float, provider: str, model: str, usd: float | None) -> None:
        """Count what an attempt cost. `at`: when its request began; `usd` None: no price is known, nothing is counted."""
        if not usd:
            return
        for account in self._accounts:
            if covers(account.rule, provider, model):
                account.turn(at, self._zone)
                if at >= account.now.start:
                    self._grow(account, account.usd + usd, at)

    def verdict(self, at: float, provider: str, model: str) -> Exhausted | None:
        """The budget that keeps a request from a provider, or None. One that leads elsewhere goes before one that stops."""
        found = [account for account in self._accounts if covers(account.rule, provider, model)]
        for account in found:
            account.turn(at, self._zone)
        shut = [account for account in found if account.in_the_way(provider)]
        if not shut:
            return None
        last = max(shut, key=lambda account: account.now.end)
        elsewhere = next((account for account in shut if account.rule.then != STOP), last)
        return Exhausted(elsewhere.rule, last.now.end)

    def admitted(self, hops: Sequence[Hop], at: float, name_at: Callable[[str], str]) -> tuple[Hop, ...]:
        """The providers of a route that may be paid: what has ended is left out, or replaced by the one it leads to.

        name_at   the name of the model asked for, at a provider

        Raises RelayError 429 (final, with `retry-after`) when none is left.
        """
        if not self._accounts:
            return tuple(hops)
        admitted: dict[str, Hop] = {}
        refused: list[Exhausted] = []
        for asked in hops:
            hop: Hop | None = asked
            seen: set[str] = set()
            while hop and hop.provider not in seen:
                seen.add(hop.provider)
                if (over := self.verdict(at, hop.provider, hop.model)) is None:
                    admitted.setdefault(hop.provider, hop)
                    break
                refused.append(over)
                then = over.rule.then
                hop = None if then == STOP else Hop(then, name_at(then))
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

    def _grow(self, account: _Account, usd: float, at: float) -> None:
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

    def _error(self, refused: Sequence[Exhausted], at: float) -> RelayError:
        first = min(refused, key=lambda over: over.until)
        text = (
            f"the budget '{first.rule.name}' of ${first.rule.usd:,.2f} is used up until "
            f"{self._day(first.until):%Y-%m-%d %H:%M}. Wait, or raise it under `budgets` in relay.yaml."
        )
        return RelayError(429, text, retry_after=max(1.0, first.until - at), final=True)

    def _next(self, account: _Account, kind: Kind) -> str:
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
