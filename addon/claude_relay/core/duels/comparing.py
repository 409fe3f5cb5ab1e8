"""Where a target's answers are not like those of the first.

    differences(round, ("status", "stop", "tools"))      -> (Difference("glm", "tools", …), …)

When each was asked several times, a target is alike as long as every answer of its own has a like among the first's: what varies at the
first may vary. It must not know which differences matter to somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .answers import Answer
from .outcomes import Duel, Outcome, Round


def _status(answer: Answer) -> str:
    return f"{answer.status} {answer.error}".strip()


def _tools(answer: Answer) -> str:
    return "; ".join(sorted(map(str, answer.calls)))


ASPECTS: Final[Mapping[str, Callable[[Answer], str]]] = {
    "status": _status,
    "stop": lambda answer: answer.stop,
    "tools": _tools,
    "text": lambda answer: answer.text.strip(),
    "count": lambda answer: "" if answer.counted is None else str(answer.counted),
}
"""What is compared, each as a text that is equal for what is alike. Calls of tools may come in any order."""
USUAL: Final = ("status", "stop", "tools")
"""What two models that do the same have in common; their texts are never the same."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`first`, `other`: what was found at the first target, and what at this one that the first has not."""

    target: str
    aspect: str
    first: str
    other: str


def differences(played: Round, aspects: Iterable[str] = tuple(ASPECTS)) -> tuple[Difference, ...]:
    """Of one request; at most one for each target and aspect."""
    first, *others = played.outcomes
    return tuple(
        Difference(target, aspect, sorted(known)[0] if known else "", strange[0])
        for target in others
        for aspect in aspects
        if (
            strange := sorted(
                _values(played.outcomes[target], aspect) - (known := _values(played.outcomes[first], aspect))
            )
        )
    )


def alike(duel: Duel, aspects: Iterable[str]) -> bool:
    """Whether all targets did what the first did, and it did something."""
    first = duel.of(duel.targets[0])
    aspects = tuple(aspects)
    return any(outcome.answer.good for outcome in first) and not any(differences(r, aspects) for r in duel.rounds)


def _values(outcomes: Iterable[Outcome], aspect: str) -> set[str]:
    return {ASPECTS[aspect](outcome.answer) for outcome in outcomes}
