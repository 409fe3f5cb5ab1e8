"""Sets of faults: those that `scripts/drill` has of its own, and how others are typed.

>>> [rule.fault for rule in FaultSet.parse("529 attempt=1; cut attempt=2").rules]
['529', 'cut']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from claude_relay.core.config import FaultRule
from claude_relay.core.config.rules import fault_rule


@dataclass(frozen=True, slots=True)
class FaultSet:
    """Faults of one run. `name`: as they are typed; `means`: for people."""

    name: str
    rules: tuple[FaultRule, ...]
    means: str = ""

    @classmethod
    def parse(cls, text: str, means: str = "") -> FaultSet:
        """From rules with semicolons in between. Raises ValueError."""
        return cls(" ".join(text.split()), tuple(fault_rule(rule.split()) for rule in text.split(";")), means)

    @property
    def settings(self) -> list[dict[str, object]]:
        """As relay.yaml has them."""
        return [rule.model_dump(exclude_defaults=True) for rule in self.rules]


WITHOUT: Final = FaultSet("without", (), "as ever")
BUILT_IN: Final = tuple(
    FaultSet.parse(text, means)
    for text, means in {
        "401 attempt=1": "the first key is not accepted",
        "429 attempt=1": "the first key is at its limit",
        "500 attempt=1": "an error at first",
        "529 attempt=1": "an overload at first",
        "refuse attempt=1": "no connection at first",
        "reset attempt=1": "the first connection breaks",
        "silence attempt=1": "no answer at first",
        "cut attempt=1 after=0": "the first answer breaks before it says anything",
        "529 count=12": "an overload that the relay cannot help with",
        "429 lasts=2m count=12": "all keys are at their limit for two minutes",
        "cut count=1": "a stream breaks off in the middle",
        "stall count=1": "a stream falls silent in the middle",
        "error_event count=1": "a stream ends with an error",
        "corrupt count=1": "some bytes of an answer are wrong",
        "split": "answers come in odd small pieces",
        "slow lasts=20ms": "answers come slowly",
    }.items()
)
"""The first eight are for the relay to mend; of the others the client hears."""
