"""How wide a table may be, and which of its columns have room.

columns()                                                    -> 80; None where nothing limits the width
fitting({"name": 20, "cost": 8, "notes": 60}, ["notes"], 80) -> ["name", "cost"]
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Final

PIPE: Final = 160
"""Columns where nothing limits the width."""


def is_limited() -> bool:
    """Whether there is an edge: that of a terminal, or one that was asked for. A pipe has none."""
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def columns() -> int:
    """Columns that a table may take."""
    return shutil.get_terminal_size().columns if is_limited() else PIPE


def shares(least: Mapping[str, int], wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Each column has its least; what is left of the room goes to those that want more, the last one first."""
    found = dict(least)
    spare = room - sum(least.values())
    for title in reversed(found):
        more = max(min(wanted[title] - least[title], spare), 0)
        found[title] += more
        spare -= more
    return found


def fitting(widths: Mapping[str, int], expendable: Sequence[str], room: int) -> list[str]:
    """The titles of the columns that have room together, in their order.

    expendable  those that may be left out, the first one first
    """
    shown = list(widths)
    for title in expendable:
        if sum(widths[each] for each in shown) <= room:
            break
        if title in widths:
            shown.remove(title)
    return shown
