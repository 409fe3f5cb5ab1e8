"""How long a pool takes to choose one of a thousand keys: in this process, with nothing around it.

    measure_choosing(3)      -> [Choosing(strategy="headroom", state="ready", microseconds=Spread(…)), …]

Between two choices requests begin and end, as in a relay, so that nothing derived from the state of the keys is kept for longer than
there. What this module must not know: what is fast enough.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Final

from claude_relay.core.exchange import Key, KeyLimits
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.selection import STRATEGIES

from .figures import Choosing, Spread

KEYS: Final = 1_000
CHOICES: Final = 200
"""In each round."""
UNDER_WAY: Final = 8
MODEL: Final = "claude-opus-4-5"
NOW: Final = 1_000.0
STATES: Final[Mapping[str, float]] = {
    "ready": 0.0,
    "half in cooldown": 0.5,
    "half full": 0.5,
    "90% in cooldown": 0.9,
    "90% full": 0.9,
}
"""The share of the keys that are not of use."""


def measure_choosing(rounds: int) -> list[Choosing]:
    """Each strategy in each state, so many rounds."""
    pools = {(strategy, state): pool_in(state, strategy) for strategy in STRATEGIES for state in STATES}
    found: dict[tuple[str, str], list[float]] = {case: [] for case in pools}
    for _ in range(rounds):
        for case, pool in pools.items():
            found[case].append(microseconds(pool))
    return [Choosing(strategy, state, Spread.of(times)) for (strategy, state), times in found.items()]


def pool_in(state: str, strategy: str) -> Pool:
    """A pool in that state; which of its keys are not of use is the same in every run."""
    random, share = Random(1), STATES[state]
    limits = KeyLimits(concurrent=UNDER_WAY)
    keys = [
        Key("bench", f"k{n}", "", f"id{n}", weight=random.choice((0.5, 1.0, 4.0)), limits=limits) for n in range(KEYS)
    ]
    pool = Pool("bench", keys, strategy=strategy)
    for key in random.sample(keys, int(KEYS * share)):
        if state.endswith("full"):
            for _ in range(UNDER_WAY):
                pool.started(key, MODEL, NOW)
        else:
            pool.cooldowns.extend(key.id, "", until=NOW + 1, now=NOW, reason="", stated=True)
    return pool


def microseconds(pool: Pool) -> float:
    """The mean of one round. Nothing but the choices is timed."""
    random, under_way, spent = Random(2).random, deque[Key](), 0
    for _ in range(CHOICES):
        began = time.perf_counter_ns()
        key = pool.choose(MODEL, NOW, random=random)
        spent += time.perf_counter_ns() - began
        assert key is not None
        pool.started(key, MODEL, NOW)
        under_way.append(key)
        if len(under_way) > UNDER_WAY:
            pool.finished(under_way.popleft())
    for key in under_way:
        pool.finished(key)
    return spent / CHOICES / 1000
