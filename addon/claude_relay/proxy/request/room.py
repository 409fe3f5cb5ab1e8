"""How much memory the answers take that are held until they are whole, and those that nobody reads: all together, not each.

    crowded(kept, more)     whether a large answer has to go on as it comes, in the place of being held

One that goes on can no longer be replaced by another attempt, but its upstream is read only as fast as its client reads. What is held for
a translation cannot go on; `limits.answer` bounds it. It must not know what an answer says.
"""

from __future__ import annotations

from typing import Final

from claude_relay.core.bodies.gate import Decision
from claude_relay.proxy.mitm.waiting import unsent_of_all

from .relayed import RELAYED

TOGETHER: Final = 128 * 1024**2
"""Bytes of all answers."""
EACH: Final = 128 * 1024
"""Bytes of one that are held in any case; it is looked once for each so many."""


def crowded(kept: int, more: int) -> bool:
    """`kept`: bytes of an answer that are held, with those `more` that have just come."""
    if kept // EACH == (kept - more) // EACH:
        return False
    return held_of_all() + unsent_of_all() > TOGETHER


def held_of_all() -> int:
    """Bytes of answers of which nothing has reached a client."""
    return sum(
        relayed.incoming.size
        for relayed in RELAYED.values()
        if relayed.incoming.gate is not None and relayed.incoming.gate.decision is Decision.HOLD and not relayed.gone
    )
