"""What came of a duel: answers with what they cost, by request and target.

    round = Round(recorded, {"anthropic": (outcome, …), "glm/glm-4.6": (outcome, …)})
    Duel(("anthropic", "glm/glm-4.6"), (round, …))

The first target is the one that others are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from claude_relay.core.recordings.recorded import Recorded

from .answers import Answer

INPUT: Final = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer, and the columns of its row in the ledger, empty where that was not found. `request`: its id there."""

    answer: Answer
    request: str = ""
    row: Mapping[str, Any] | None = None

    def figure(self, name: str) -> float | None:
        """A column of its row that is a number: `cost_usd`, `ttft_ms`, `duration_ms`, `output_tokens`; None: not known."""
        found = (self.row or {}).get(name)
        return found if isinstance(found, int | float) else None

    @property
    def input_tokens(self) -> float | None:
        """All that went in, cached tokens included."""
        if self.figure("input_tokens") is None:
            return self.answer.counted
        return sum(self.figure(name) or 0 for name in INPUT)


@dataclass(frozen=True, slots=True)
class Round:
    """One recorded request: what each target made of it, as often as it was sent."""

    recorded: Recorded
    outcomes: Mapping[str, Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Duel:
    """All of it."""

    targets: tuple[str, ...]
    rounds: tuple[Round, ...]

    def of(self, target: str) -> list[Outcome]:
        """Every answer of a target."""
        return [outcome for played in self.rounds for outcome in played.outcomes[target]]


def total(outcomes: Sequence[Outcome], name: str) -> float | None:
    """The sum of a figure; None when it is known of none."""
    known = [figure for outcome in outcomes if (figure := outcome.figure(name)) is not None]
    return sum(known) if known else None


def middle(outcomes: Sequence[Outcome], name: str) -> float | None:
    """The median of a figure; None when it is known of none."""
    known = [figure for outcome in outcomes if (figure := outcome.figure(name)) is not None]
    return median(known) if known else None
