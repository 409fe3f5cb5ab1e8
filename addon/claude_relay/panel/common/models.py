"""What the models of several areas share."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

DEEPEST: Final = 10
"""Objects and lists in each other, in what is passed on as it is."""


class Strict(BaseModel):
    """What is sent: a field that nobody knows is a mistake, and so is a number without an end (Python reads `NaN`, and 1e999)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises ValueError for what a YAML text or another program could not hold."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
        if any(isinstance(part, float) and not math.isfinite(part) for part in level):
            raise ValueError("a number in it has no end")
        level = [part for part in level if isinstance(part, dict | list)]
    if level:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    return value


Plain = Annotated[dict[str, Any], AfterValidator(plain)]
"""Anything, as JSON has it."""
