"""Bars and sparklines out of block characters.

>>> sparkline([0, 1, 2, 4]), bar(0.5, 4)
('▁▃▅█', '██  ')
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LEVELS: Final = "▁▂▃▄▅▆▇█"
PARTS: Final = " ▏▎▍▌▋▊▉"


def sparkline(values: Sequence[float]) -> str:
    """One character a value, the highest of them full."""
    most = max(values, default=0) or 1
    return "".join(LEVELS[round(7 * value / most)] for value in values)


def bar(share: float, width: int) -> str:
    """So much of a width, in eighths of a character; what is not nothing shows."""
    eighths = max(round(8 * width * share), share > 0)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + PARTS[part] * (part > 0)).ljust(width)


def squeezed(values: Sequence[float], width: int) -> list[float]:
    """At most so many values: neighbours are added up."""
    each = -(-len(values) // width) or 1
    return [sum(values[start : start + each]) for start in range(0, len(values), each)]
