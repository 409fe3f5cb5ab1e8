"""What an operator should hear of: what is said, under which key, and how often.

    notices_of_attempt(Verdict("no_credit", …), "anthropic", "k2", now)  -> (Notice(Kind.KEY_OUT, "anthropic/k2", "…", now),)
    refused(RelayError(429, "…", retry_after=40.0), ["anthropic"], now)   -> (Notice(Kind.ALL_RESTING, "anthropic", "…", now),)
    Throttle(at_most=10).admits(notice)                                   -> True, the first time

Aliases and reasons, never a secret. It must not know how a notice is delivered.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from .errors import BudgetError, RelayError, clean
from .exchange import Verdict
from .times import HOUR, MINUTE, iso

MOST_KEYS = 1000
"""Notices that are remembered, so as not to be repeated."""


REPORT_AGAIN = 20 * HOUR
"""Seconds until a report is worth another notice: one day's comes a little earlier or later than that of the day before."""


class Kind(StrEnum):
    """What a notice is about."""

    BUDGET_WARN = "budget_warn"
    BUDGET_END = "budget_end"
    KEY_OUT = "key_out"
    ALL_IN_COOLDOWN = "all_in_cooldown"
    PROVIDER_DOWN = "provider_down"
    LOGIN = "login"
    CACHE_MISS = "cache_miss"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell.

    key    what it is about, e.g. `anthropic/k2`; the same kind and key is told again only after `again`
    text   one or two sentences for a person, no secrets
    at     when it happened; `again`: from when on it may be told once more; seconds since the epoch, None: an hour after `at`
    """

    kind: Kind
    key: str
    text: str
    at: float
    again: float | None = None

    @property
    def id(self) -> str:
        """The same for every delivery of this notice."""
        return hashlib.sha256(f"{self.kind}\n{self.key}\n{self.at}".encode()).hexdigest()[:16]

    def body(self, delivered_at: float, held_back: int = 0) -> bytes:
        """As it is posted and handed to the command: JSON.

        delivered_at  when this delivery was made, so that a receiver can turn an old one away
        held_back     how many of its kind were not told since the last that was
        """
        content = {
            "id": self.id,
            "kind": self.kind.value,
            "key": self.key,
            "text": self.text,
            "at": iso(self.at),
            "sent_at": int(delivered_at),
            "held_back": held_back,
        }
        return msgspec.json.encode(content)


@dataclass(slots=True)
class Throttle:
    """Keeps notices few: so many of a kind within an hour, and none twice before its time."""

    at_most: int
    admitted: dict[Kind, deque[float]] = field(default_factory=dict)
    again: dict[tuple[Kind, str], float] = field(default_factory=dict)
    held: dict[Kind, int] = field(default_factory=dict)

    def admits(self, notice: Notice) -> bool:
        """Whether to tell it, by the notice's own time; what is told is remembered."""
        same = (notice.kind, notice.key)
        if notice.at < self.again.get(same, notice.at):
            return False  # known already: nothing is held back
        times = self.admitted.setdefault(notice.kind, deque())
        while times and times[0] <= notice.at - HOUR:
            times.popleft()
        if len(times) >= self.at_most:
            self.held[notice.kind] = self.held.get(notice.kind, 0) + 1
            return False
        times.append(notice.at)
        self._remember(same, notice)
        return True

    def held_back(self, kind: Kind) -> int:
        """How many of a kind were too many since this was asked last."""
        return self.held.pop(kind, 0)

    def _remember(self, same: tuple[Kind, str], notice: Notice) -> None:
        if len(self.again) >= MOST_KEYS:
            self.again = {name: end for name, end in self.again.items() if end > notice.at}
        while len(self.again) >= MOST_KEYS:
            del self.again[next(iter(self.again))]
        self.again[same] = notice.at + HOUR if notice.again is None else notice.again


KEY_OUT = {
    "unauthorized": "is refused by the provider",
    "key_disabled": "was disabled by the provider",
    "no_credit": "has no credit left",
}
"""By verdict: what became of a key that somebody has to look after."""


def notices_of_attempt(verdict: Verdict, provider: str, alias: str | None, now: float) -> tuple[Notice, ...]:
    """What there is to tell of one attempt: that its key is out. `alias` None: the client's own credential, which is its business."""
    if alias is None or verdict.name not in KEY_OUT:
        return ()
    key = f"{provider}/{alias}"
    return (Notice(Kind.KEY_OUT, key, _sentence(f"The key {key} {KEY_OUT[verdict.name]}", verdict.reason), now),)


def refused(error: RelayError, providers: Iterable[str], now: float) -> tuple[Notice, ...]:
    """What there is to tell of a request that the relay itself refused because no attempt was left.

    429 and 503: all keys of these providers have cooldowns or are out; 529: none of them answers. Of other errors nothing is told, nor of
    a budget's end, which is told by itself.
    """
    names = " and ".join(dict.fromkeys(providers))
    kind = REFUSALS.get(error.status)
    if kind is None or not names or isinstance(error, BudgetError) or (error.status == 429 and error.final):
        return ()
    text = clean(error.message)
    return (Notice(kind, names, text[:1].upper() + text[1:], now),)


REFUSALS = {429: Kind.ALL_IN_COOLDOWN, 503: Kind.ALL_IN_COOLDOWN, 529: Kind.PROVIDER_DOWN}


def login_at_risk(provider: str, alias: str, reason: str, left: float, now: float) -> tuple[Notice, ...]:
    """A login that cannot be renewed, and ends by itself. `left`: seconds until then."""
    key, minutes = f"{provider}/{alias}", max(0.0, left) / MINUTE
    when = f"ends in {minutes:.0f} min" if minutes >= 1 else "ends now"
    return (Notice(Kind.LOGIN, key, _sentence(f"The login {key} {when} and cannot be renewed", reason), now),)


def login_needed(provider: str, alias: str, reason: str, now: float) -> tuple[Notice, ...]:
    """A login that does not renew itself any more: somebody has to log in again."""
    key = f"{provider}/{alias}"
    return (Notice(Kind.LOGIN, key, _sentence(f"The login {key} has ended; log in again", reason), now),)


def cache_missed(session: str, why: str, tokens: int, usd: float | None, now: float) -> Notice:
    """A turn of a conversation that missed the prompt cache."""
    cost = "" if usd is None else f" for ${usd:.2f} more"
    return Notice(
        Kind.CACHE_MISS,
        session,
        f"Session {session} missed the prompt cache: {why}. {tokens:,} tokens anew{cost}.",
        now,
    )


def report_missing(provider: str, reason: str, now: float) -> Notice:
    """A provider's own report of usage could not be fetched."""
    text = _sentence(f"The usage report of {provider} cannot be fetched", reason)
    return Notice(Kind.REPORT, f"{provider} report", text, now, again=now + REPORT_AGAIN)


def usage_differs(provider: str, usd: float, share: float | None, days: int, now: float) -> Notice:
    """What a provider reports, and what the ledger says. `usd`: theirs less ours; `share`: of theirs."""
    money = f"${abs(usd):,.2f}" + ("" if share is None else f" ({100 * abs(share):.0f} %)")
    text = f"{provider} reports {money} more than the ledger has for the last {days} days."
    if usd < 0:
        text = f"{provider} reports {money} less than the ledger has for the last {days} days."
    return Notice(Kind.REPORT, provider, text, now, again=now + REPORT_AGAIN)


def _sentence(what: str, reason: str) -> str:
    return f"{what}: {clean(reason)}" if reason else f"{what}."
