"""A duel in words.

lines(duel)                       for a log: a line for each request and target, and one for each target in all
diff(first, other, width=78)      how two texts differ, by lines of their words
"""

from __future__ import annotations

import difflib
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .comparing import differences
from .outcomes import Duel, Outcome, middle, total

MOST: Final = 40
"""Lines of a difference that are shown."""


def lines(duel: Duel) -> Iterator[str]:
    """For a log; the sums only where there is something to add up."""
    for played in duel.rounds:
        unlike = differences(played)
        yield f"{played.recorded.name}: {played.recorded.model or played.recorded.path}"
        for target, outcomes in played.outcomes.items():
            found = [difference.aspect for difference in unlike if difference.target == target]
            yield f"  {target}: {story(outcomes)}" + (f" · other {', '.join(found)}" if found else "")
    for target in duel.targets if len(duel.rounds) > 1 else ():
        outcomes = duel.of(target)
        good = sum(outcome.answer.good for outcome in outcomes)
        yield f"{target}: {good} of {len(outcomes)} answered · {figures(outcomes)}"


def story(outcomes: Sequence[Outcome]) -> str:
    """Statuses, ends, and what they cost."""
    ends = [outcome.answer.error or outcome.answer.stop for outcome in outcomes]
    parts = [counted(str(outcome.answer.status) for outcome in outcomes), counted(end for end in ends if end)]
    return " · ".join(filter(None, (*parts, figures(outcomes))))


def counted(values: Iterable[str]) -> str:
    """`200`, or `200 ×2, 529` when they are not all the same."""
    found = Counter(values)
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(value if number == 1 else f"{value} ×{number}" for value, number in found.items())


def figures(outcomes: Sequence[Outcome]) -> str:
    """Tokens, money, time to the first token: what is known of them."""
    cost, tokens, first = (
        total(outcomes, "cost_usd"),
        total(outcomes, "output_tokens"),
        middle(outcomes, "ttft_ms"),
    )
    parts = (
        None if tokens is None else f"{tokens:.0f} tokens out",
        None if cost is None else f"${cost:.4f}",
        None if first is None else f"first token after {first / 1000:.2f} s",
    )
    return " · ".join(part for part in parts if part)


def diff(first: str, other: str, width: int = 78, most: int = MOST) -> list[str]:
    """Lines that only one of the texts has, and one beside them that both have; long lines are wrapped, so that words are compared."""
    one, two = (
        [part for line in text.splitlines() for part in textwrap.wrap(line, width - 2) or [""]]
        for text in (first, other)
    )
    found = [
        f"{line[0]} {line[1:]}"
        for line in difflib.unified_diff(one, two, lineterm="", n=1)
        if line[:2] not in ("--", "++", "@@")
    ]
    return found if len(found) <= most else [*found[:most], f"  … {len(found) - most} more lines"]
