"""A duel for people: for each request a line for each target, then how the answers differ, then all of it in sum.

Fits 80 columns; names that are too long for that are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from claude_relay.cli.spending.cells import count, dollars, duration
from claude_relay.core.duels.comparing import Difference, differences
from claude_relay.core.duels.outcomes import Duel, Outcome, Round, middle, total
from claude_relay.core.duels.texts import counted, diff

if TYPE_CHECKING:
    from rich.console import RenderableType

LONGEST: Final = 200
"""Characters of what differs, but for texts."""
PLURAL: Final = {"status": "status", "stop": "stop reason", "tools": "tool calls", "text": "text", "count": "count"}
"""What people call what is compared."""

type Column = Callable[[Sequence[Outcome]], str]


def _stop(outcomes: Sequence[Outcome]) -> str:
    return counted(outcome.answer.error or outcome.answer.stop or "—" for outcome in outcomes)


def _tokens(outcomes: Sequence[Outcome]) -> str:
    went_in = [outcome.input_tokens for outcome in outcomes if outcome.input_tokens is not None]
    return f"{count(sum(went_in) if went_in else None)}→{count(total(outcomes, 'output_tokens'))}"


FIGURES: Final[Mapping[str, Column]] = {
    "tokens": _tokens,
    "cost": lambda outcomes: dollars(total(outcomes, "cost_usd")),
    "ttft": lambda outcomes: duration(middle(outcomes, "ttft_ms")),
    "took": lambda outcomes: duration(middle(outcomes, "duration_ms")),
}
COLUMNS: Final[Mapping[str, Column]] = {
    "status": lambda outcomes: counted(str(outcome.answer.status or "—") for outcome in outcomes),
    "stop": _stop,
    "tools": lambda outcomes: counted(str(len(outcome.answer.calls)) for outcome in outcomes),
    **FIGURES,
}
SUMS: Final[Mapping[str, Column]] = {
    "answered": lambda outcomes: f"{sum(outcome.answer.good for outcome in outcomes)} of {len(outcomes)}",
    **FIGURES,
}
LEFT: Final = ("status", "stop")
WIDEST: Final = 22
"""Columns of a cell: only several ends at once take more."""


def heading(played: Round, number: int) -> str:
    """`1  agent.flow 1 · claude-sonnet-5 · streamed`."""
    recorded = played.recorded
    parts = [recorded.name, recorded.model or recorded.path, *(["streamed"] if recorded.streamed else [])]
    return f"{number}  {' · '.join(parts)}"


def table(
    rows: Mapping[str, Sequence[Outcome]],
    columns: Mapping[str, Column] = COLUMNS,
    unlike: Sequence[Difference] = (),
    decides: Sequence[str] = (),
) -> RenderableType:
    """A line for each target. Those that differ in what decides are red."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), expand=True)
    made.add_column("target", no_wrap=True, overflow="ellipsis", ratio=1)
    cells = {title: [cell(outcomes) for outcomes in rows.values()] for title, cell in columns.items()}
    for title, texts in cells.items():
        width = min(WIDEST, max(len(title), *map(len, texts)))
        made.add_column(
            title, justify="left" if title in LEFT else "right", no_wrap=True, overflow="ellipsis", width=width
        )
    for number, target in enumerate(rows):
        decided = any(difference.target == target and difference.aspect in decides for difference in unlike)
        row = (Text(texts[number]) for texts in cells.values())
        made.add_row(Text(target), *row, style="red" if decided else "")
    return made


def unlike_lines(played: Round, width: int, texts: bool) -> Iterator[str]:
    """How the answers differ, a line or some for each difference. `texts`: those of texts, too."""
    for difference in differences(played):
        what = f"   {difference.target}: other {PLURAL[difference.aspect]}"
        if difference.aspect != "text":
            yield what
            yield f"     - {short(difference.first)}"
            yield f"     + {short(difference.other)}"
        elif texts:
            yield what
            yield from (f"     {line}" for line in diff(difference.first, difference.other, width - 6))
    for target, outcomes in played.outcomes.items():
        for message in dict.fromkeys(outcome.answer.message for outcome in outcomes if outcome.answer.message):
            yield f"   {target}: {short(message)}"


def short(text: str) -> str:
    """As much of a text as tells what it is."""
    text = " ".join(text.split()) or "(nothing)"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def in_sum(duel: Duel) -> RenderableType:
    """All of it, by target."""
    return table({target: duel.of(target) for target in duel.targets}, SUMS)


def verdict(duel: Duel, decides: Sequence[str], *, alike: bool) -> str:
    """The last line."""
    first, *others = duel.targets
    what = ", ".join(PLURAL[aspect] for aspect in decides)
    if alike:
        return f"{' and '.join(others)} did as {first} did, by {what}."
    if not any(outcome.answer.good for outcome in duel.of(first)):
        return f"{first} answered nothing, so there is nothing to compare with."
    unlike = sum(bool(differences(played, decides)) for played in duel.rounds)
    return f"{unlike} of {len(duel.rounds)} requests went otherwise than at {first}, by {what}."
