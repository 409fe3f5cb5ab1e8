"""What is known of the message around a body: where it went, how it was answered, what the relay says of it, how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .page import Line

FACTS: Final = ("request", "origin", "key", "verdict", "client", "client_program", "session", "cost_usd")
"""What the relay notes in a flow's metadata and a reader of the answer wants to know."""
LONGEST_STORY: Final = 2000
LONGEST_FACT: Final = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """The message that a body belongs to.

    path     of the request, without its query; empty when it is not known
    answer   whether the body is that of an answer
    status   of the answer; None: there is none
    story    the flow's comment
    noted    what the relay has noted in the flow's metadata, without the `relay_` of their names
    first_byte, whole  seconds from the request to the first and to the last byte of the answer; None: not known
    """

    path: str = ""
    answer: bool = False
    status: int | None = None
    story: str = ""
    noted: Mapping[str, object] = field(default_factory=dict)
    first_byte: float | None = None
    whole: float | None = None

    def facts(self) -> dict[str, object]:
        """What stands on the page of an answer beside what its body says."""
        shown: dict[str, object] = {}
        if self.story:
            shown["story"] = self.story[:LONGEST_STORY].removesuffix(f" · {self.noted.get('request')}")
        noted = {name: self.noted[name] for name in FACTS if _is_small(self.noted.get(name))}
        if "cost_usd" in noted:
            noted["cost"] = f"{noted.pop('cost_usd')} USD"
        if noted:
            shown["relay"] = Line(noted)
        if times := {name: f"{at:.2f} s" for name, at in self._times() if at is not None}:
            shown["times"] = Line(times)
        return shown

    def _times(self) -> tuple[tuple[str, float | None], ...]:
        return ("first byte", self.first_byte), ("whole", self.whole)


def _is_small(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_FACT
