"""One limit as a value, and as people write it.

    >>> parse("60 requests/minute")
    Limit(measure='requests', amount=60.0, per='minute', model=None, scope='all')
    >>> parse("$20/day per session")
    Limit(measure='usd', amount=20.0, per='day', model=None, scope='session')
    >>> str(parse("100k tokens/minute per agent model claude-*"))
    '100000 tokens/minute per agent model claude-*'

It must not know what was used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

type Measure = Literal["requests", "tokens", "concurrent", "usd"]
type Period = Literal["minute", "", "5h", "day", "week", "month", "total"]
type Scope = Literal["all", "session", "agent"]

MONEY_PERIODS = ("5h", "day", "week", "month", "total")
_LIMIT = re.compile(
    r"(?:\$\s*(?P<usd>\d{1,12}(?:\.\d{1,9})?)\s*/\s*(?P<per>5h|day|week|month|total)"
    r"|(?P<number>\d{1,12})(?P<unit>[kKmM]?)\s*(?:(?P<rate>requests?|tokens?)\s*/\s*min(?:ute)?|(?P<concurrent>concurrent)(?:\s+requests?)?))"
    r"(?:\s+per\s+(?P<scope>session|agent))?(?:\s+model\s+(?P<model>\S{1,200}))?",
    re.ASCII,
)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}
FORMS = (
    "'60 requests/minute', '100k tokens/minute', '4 concurrent' or '$20/day' (5h, day, week, month, total), "
    "each also with 'per session', 'per agent' and 'model GLOB' behind it"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of something in a period.

    measure  requests and tokens (input and output, cached ones too) have a rate, `concurrent` requests run at the same time, `usd` is money
    amount   how much; above 0
    per      `minute` for rates; empty for concurrent ones; for money `5h` (rolling), `day`, `week` (from Monday), `month`, or `total`: ever
    model    a glob of the model as it was asked for: only such requests count and are held back; None: all
    scope    `all`: of the client or group in all; `session`, `agent`: of each session, of each agent with all its sub-agents, by itself
    """

    measure: Measure
    amount: float
    per: Period = ""
    model: str | None = None
    scope: Scope = "all"

    @property
    def place(self) -> tuple[Measure, Period, str | None, Scope]:
        """What it is of: nobody has two limits of the same."""
        return self.measure, self.per, self.model, self.scope

    def __str__(self) -> str:
        """As people write it."""
        number = f"{self.amount:.9f}".rstrip("0").rstrip(".")
        head = {
            "usd": f"${number}/{self.per}",
            "concurrent": f"{number} concurrent",
        }.get(self.measure, f"{number} {self.measure}/minute")
        return (
            head
            + ("" if self.scope == "all" else f" per {self.scope}")
            + ("" if self.model is None else f" model {self.model}")
        )


def loosened(before: Iterable[Limit], after: Iterable[Limit]) -> tuple[Limit, ...]:
    """Those of before that are higher afterwards, or not there any more."""
    now = {limit.place: limit.amount for limit in after}
    return tuple(limit for limit in before if now.get(limit.place, inf) > limit.amount)


def parse(text: str) -> Limit:
    """The limit that a text says. Raises ValueError, naming the forms there are."""
    found = _LIMIT.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f"{text[:60]!r} is no limit; write {FORMS}")
    part: dict[str, Any] = found.groupdict()
    measure: Measure
    period: Period
    if part["usd"] is not None:
        measure, period, amount = "usd", part["per"], float(part["usd"])
    else:
        amount = float(int(part["number"]) * _UNITS[part["unit"].lower()])
        rate: Measure = "requests" if (part["rate"] or "").startswith("request") else "tokens"
        measure, period = ("concurrent", "") if part["concurrent"] is not None else (rate, "minute")
    if amount <= 0:
        raise ValueError(f"{text[:60]!r}: a limit is above 0; to let a client do nothing, disable it")
    return Limit(measure, amount, period, part["model"], part["scope"] or "all")
