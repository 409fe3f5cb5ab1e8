"""The ledger against a provider's own report: by day and model, what differs and what the likely causes are.

    rows = compare(entries, {"2026-11-26": fetched_at})     the newest day first
    rows[0].verdict, rows[0].causes                         Verdict.DIFFERS, (Cause(Why.ELSEWHERE, tokens=120_000, share=0.9),)
    explained(rows[0].causes[0])                            "Keys that no pool here has used 120,000 tokens (90 % of the difference)."
    drift(rows)                                             what a notice is worth; None: nothing is

A cause is found from figures: each explains so many tokens at most, and what none of them explains has a cause of its own. It must not know
where figures come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from claude_relay.core.times import DAY

from .usage_reports import NOTHING, Entry, Side, Used

CLOSE: Final = 0.01
"""Share by which two figures may differ and still agree."""
FEW_TOKENS: Final = 1000
CENT: Final = 0.01
"""Or so much, which is nothing to look into."""
SETTLED: Final = DAY
"""Seconds after the end of a day until its report is taken as final."""
SHOWN: Final = (
    "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens", "searches", "cost_usd"
)  # fmt: skip
"""What both sides say of a row."""
WARN: Final = 0.05
WARN_USD: Final = 1.0
"""A notice is made of so large a share, if it is at least so many dollars."""


class Verdict(StrEnum):
    """What came of a row."""

    AGREES = "agrees"
    DIFFERS = "differs"


class Why(StrEnum):
    """A likely cause."""

    LATE = "late"
    ELSEWHERE = "elsewhere"
    OWN = "own_credentials"
    ACCOUNTS = "accounts"
    ESTIMATED = "estimated"
    BATCHES = "batches"
    PRIORITY = "priority_tier"
    UNPRICED = "unpriced"
    PRICE = "price"
    NOT_RELAYED = "not_relayed"
    NO_REPORT = "nothing_reported"
    OTHER_ORGANISATION = "other_organisation"
    UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class Cause:
    """`tokens`: how many of the difference it explains at most, `share`: of it; `number`: of requests, or a factor of prices."""

    why: Why
    tokens: int | None = None
    share: float | None = None
    number: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One day and model, or a total (`day` and `model` empty). Differences are theirs less ours; a share is of theirs."""

    day: str
    model: str
    ours: Used
    theirs: Used
    causes: tuple[Cause, ...] = ()
    verdict: Verdict = Verdict.AGREES

    @property
    def tokens(self) -> int:
        """By how many tokens the report is above the ledger."""
        return self.theirs.tokens - self.ours.tokens

    @property
    def usd(self) -> float | None:
        """By how many dollars; None: one side does not know its cost."""
        theirs, ours = _cost(self.theirs), _cost(self.ours)
        return None if theirs is None or ours is None else theirs - ours

    @property
    def share(self) -> float | None:
        """The difference as a share of the report: of money where both sides know it, else of tokens. None: there is nothing there."""
        if self.usd is not None and self.theirs.cost_usd:
            return self.usd / self.theirs.cost_usd
        return self.tokens / self.theirs.tokens if self.theirs.tokens else None


def _cost(used: Used) -> float | None:
    """Who has used nothing has nothing to pay."""
    return 0.0 if used.cost_usd is None and not used.tokens else used.cost_usd


def compare(entries: Iterable[Entry], fetched: Mapping[str, float]) -> list[Row]:
    """A row for each day and model. `fetched`: day → when its report was fetched, in seconds since the epoch; other days are left out."""
    sides: dict[tuple[str, str], dict[Side, Used]] = defaultdict(dict)
    reported: dict[str, int] = defaultdict(int)
    for entry in entries:
        if entry.day in fetched:
            there = sides[entry.day, entry.model]
            there[entry.side] = there.get(entry.side, NOTHING) + entry.used
            reported[entry.day] += entry.used.tokens if entry.side is Side.PROVIDER else 0
    rows = [
        _row(day, model, of, _is_late(day, fetched[day]), nothing=not reported[day])
        for (day, model), of in sides.items()
    ]
    known = [row for row in rows if row.ours != NOTHING or row.theirs != NOTHING]
    return sorted(
        known,
        key=lambda row: (
            -date.fromisoformat(row.day).toordinal(),
            -(row.theirs.cost_usd or row.ours.cost_usd or 0.0),
            row.model,
        ),
    )


def total(rows: Sequence[Row]) -> Row:
    """All rows together, without causes: those are of rows."""
    ours, theirs = (sum((getattr(row, side) for row in rows), NOTHING) for side in ("ours", "theirs"))
    found = Row("", "", ours, theirs)
    return found if _agrees(found) else Row("", "", ours, theirs, verdict=Verdict.DIFFERS)


def drift(rows: Sequence[Row]) -> Row | None:
    """The total of days that are final, where it is so far off that somebody should look; None: it is not."""
    found = total([row for row in rows if not any(cause.why is Why.LATE for cause in row.causes)])
    usd, share = found.usd, found.share
    if usd is None or abs(usd) < WARN_USD or (share is not None and abs(share) < WARN):
        return None
    return found


def plain(row: Row) -> dict[str, Any]:
    """For programs."""
    return {
        "day": row.day or None,
        "model": row.model or None,
        "verdict": row.verdict.value,
        "ours": _plain_side(row.ours),
        "theirs": _plain_side(row.theirs),
        "tokens": row.tokens,
        "usd": _rounded(row.usd),
        "share": _rounded(row.share),
        "causes": [
            {"cause": one.why.value, "text": explained(one), "tokens": one.tokens, "share": one.share}
            for one in row.causes
        ],
    }


def _rounded(number: float | None) -> float | None:
    """Sums of binary fractions end in digits that nobody has paid."""
    return None if number is None else round(number, 6) + 0.0


def _plain_side(used: Used) -> dict[str, Any]:
    return {"tokens": used.tokens, **{name: getattr(used, name) for name in SHOWN}, "cost_usd": _rounded(used.cost_usd)}


def explained(cause: Cause) -> str:
    """A sentence."""
    return SENTENCES[cause.why].format(
        tokens=f"{cause.tokens or 0:,}",
        share=f"{100 * (cause.share or 0):.0f} %",
        number=f"{cause.number or 0:,.0f}",
        factor=f"{cause.number or 0:.2f}",
        usd=f"{abs(cause.usd or 0):,.2f}",
    )


SENTENCES: Final[Mapping[Why, str]] = {
    Why.LATE: "The report was fetched less than a day after the day's end; it may still grow.",
    Why.ELSEWHERE: "Keys that are not in this relay's pool used {tokens} tokens ({share} of the difference).",
    Why.OWN: "Clients' own credentials used {tokens} tokens through the relay ({share} of the difference).",
    Why.ACCOUNTS: "OAuth accounts used {tokens} tokens through the relay ({share} of the difference).",
    Why.ESTIMATED: "{number} requests broke off; their {tokens} output tokens are estimated.",
    Why.BATCHES: "{tokens} tokens are of batches, which the provider counts on the day they ran.",
    Why.PRIORITY: "${usd} is of the priority tier, which the cost report leaves out.",
    Why.UNPRICED: "{number} requests have no price here; give one under prices, then run usage reprice.",
    Why.PRICE: "Tokens agree, prices do not: the provider's is {factor} times ours; update the relay, or set prices.",
    Why.NOT_RELAYED: "{tokens} tokens did not pass this relay ({share} of the difference).",
    Why.NO_REPORT: "The provider reports nothing at all for this day: are the pool's keys of another organisation?",
    Why.OTHER_ORGANISATION: "{tokens} tokens are not in the report: some keys may be of another organisation.",
    Why.UNASSIGNED: "Billed under a name that no usage has.",
}


def _row(day: str, model: str, of: Mapping[Side, Used], late: bool, *, nothing: bool) -> Row:
    row = Row(day, model, of.get(Side.RELAY, NOTHING), of.get(Side.PROVIDER, NOTHING))
    if _agrees(row):
        return row
    causes: list[Cause] = []
    if late and (row.tokens <= 0 or _tokens_agree(row)):  # what is above the ledger already does not come down
        causes.append(Cause(Why.LATE))
    if not _tokens_agree(row):
        causes += _more_there(row, of) if row.tokens > 0 else _more_here(row, late, nothing=nothing)
    elif not _costs_agree(row):
        causes += _of_prices(row)
    if row.ours.unpriced:
        causes.append(Cause(Why.UNPRICED, number=row.ours.unpriced))
    return Row(day, model, row.ours, row.theirs, tuple(causes), Verdict.DIFFERS)


def _more_there(row: Row, of: Mapping[Side, Used]) -> list[Cause]:
    """The report has more tokens than the ledger."""
    sizes = (
        (Why.ELSEWHERE, of.get(Side.ELSEWHERE, NOTHING).tokens),
        (Why.OWN, of.get(Side.OWN, NOTHING).tokens),
        (Why.ACCOUNTS, of.get(Side.ACCOUNT, NOTHING).tokens),
        (Why.ESTIMATED, row.ours.estimated_tokens),
    )
    return _filled(row.tokens, sizes, Why.NOT_RELAYED, row)


def _more_here(row: Row, late: bool, *, nothing: bool) -> list[Cause]:
    """The ledger has more tokens than the report."""
    sizes = ((Why.BATCHES, row.ours.batch_tokens), (Why.ESTIMATED, row.ours.estimated_tokens))
    rest = Why.NO_REPORT if nothing else Why.OTHER_ORGANISATION
    return _filled(-row.tokens, sizes, None if late else rest, row)


def _filled(size: int, sizes: Iterable[tuple[Why, int]], rest: Why | None, row: Row) -> list[Cause]:
    """Causes until the difference is explained; what is left has the cause `rest`."""
    left, found = size, []
    for why, tokens in sizes:
        if tokens <= 0 or left <= _tolerance(row):
            continue
        part = min(left, tokens)
        number = row.ours.estimated if why is Why.ESTIMATED else None
        found.append(Cause(why, tokens if why is Why.ESTIMATED else part, part / size, number))
        left -= part
    if rest is not None and left > _tolerance(row):
        found.append(Cause(rest, left, left / size))
    return found


def _of_prices(row: Row) -> list[Cause]:
    """Tokens agree, and costs do not."""
    ours, theirs = row.ours.cost_usd, row.theirs.cost_usd
    if not row.ours.tokens and not row.theirs.tokens:
        return [Cause(Why.UNASSIGNED)]
    if ours is None or theirs is None:
        return []
    found = []
    if row.ours.priority_usd > CENT and ours > theirs:
        found.append(Cause(Why.PRIORITY, usd=row.ours.priority_usd))
        ours -= row.ours.priority_usd
    if abs(theirs - ours) > max(CENT, CLOSE * theirs) and ours > 0 and not row.ours.unpriced:
        found.append(Cause(Why.PRICE, number=theirs / ours))
    return found


def _tolerance(row: Row) -> float:
    return max(FEW_TOKENS, CLOSE * max(row.theirs.tokens, row.ours.tokens))


def _tokens_agree(row: Row) -> bool:
    return abs(row.tokens) <= _tolerance(row)


def _costs_agree(row: Row) -> bool:
    """A cost that one side does not know disagrees with nothing, unless the other one has no tokens at all."""
    if row.usd is None:
        one = row.theirs.cost_usd if row.ours.cost_usd is None else row.ours.cost_usd
        return not (one and abs(one) > CENT and (row.ours.unpriced or not (row.ours.tokens or row.theirs.tokens)))
    return abs(row.usd) <= max(CENT, CLOSE * abs(row.theirs.cost_usd or 0.0))


def _agrees(row: Row) -> bool:
    return _tokens_agree(row) and _costs_agree(row)


def _is_late(day: str, fetched_at: float) -> bool:
    end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    return fetched_at < end.timestamp() + SETTLED
