"""What the sections of relay.yaml are made of: their base, and kinds of values that several of them have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, WithJsonSchema

from claude_relay.core.times import duration

from . import spending, values

_DURATION = {
    "anyOf": [{"type": "string", "pattern": r"^\s*\d.*$"}, {"type": "number", "minimum": 0}],
    "examples": ["30s", "5m", "15d"],
}
SIZE = {
    "anyOf": [{"type": "string", "pattern": r"^\s*\d+\s*([KMGkmg]i?)?[Bb]?\s*$"}, {"type": "integer", "minimum": 1}],
    "examples": ["64KiB", "1MiB"],
}


def empty(kind: Callable[[], object]) -> BeforeValidator:
    """A key with nothing behind it (all its lines are comments) means none."""
    return BeforeValidator(lambda value: kind() if value is None else value)


def _longer_than_zero(value: object) -> float:
    if (length := duration(value)) > 0:
        return length
    raise ValueError("must be longer than 0")


def number(low: int, high: int) -> Callable[[object], int]:
    """A whole number between these, both included."""

    def check(value: object) -> int:
        text = str(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return check


type Duration = Annotated[float, PlainValidator(duration), WithJsonSchema(_DURATION)]
type Period = Annotated[float, PlainValidator(_longer_than_zero), WithJsonSchema(_DURATION)]
type Size = Annotated[int, PlainValidator(spending.size(4096)), WithJsonSchema(SIZE)]
type Host = Annotated[str, PlainValidator(values.host), WithJsonSchema({"type": "string"})]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)
