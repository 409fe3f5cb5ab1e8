"""What one run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .cases import PARTS

LIFE: Final = 120.0
"""Seconds after which the relay is started anew: refused keys are good again then, and files that grow are gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` 0: the corpus alone. `keep`: where findings go."""

    seconds: float
    seed: int
    keep: Path
    parts: tuple[str, ...] = PARTS
    at_once: int = 32
