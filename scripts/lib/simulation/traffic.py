"""What the clients want: agents' sessions that come in turns, and single requests, many of them at once.

    sessions = make_traffic(seed=1, start=0.0, size=Size())
    sessions[0].turns[1]     -> Turn(context=15210, shared=14002, output=420, gap=3.1)

A session is like one of Claude Code: a long prompt that grows with every turn, most of it the same as before, short steps of tools,
now and then a person who thinks. Single requests belong to no session. It must not know keys or answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .fleet import HOUR

CURVE = (1, 1, 1, 1, 1, 2, 3, 6, 10, 14, 16, 14, 10, 13, 16, 16, 14, 10, 7, 5, 4, 3, 2, 1)
"""How busy each hour of the day is."""
RUSH, BURST, VARIES = 60.0, 120.0, (0.7, 1.2)
FIRST, LARGEST = (12_000, 20_000), 48_000
"""Tokens of a first prompt; where a session is compacted. No request is larger than the smallest key's bucket."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request: tokens of its prompt, how many of them it begins with like the turn before, tokens of its answer, seconds since that."""

    context: int
    shared: int
    output: int
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """Turns one after the other; `name` None: a single request that belongs to none. `begin` in seconds since the epoch."""

    name: str | None
    begin: float
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of it.

    sessions, singles    spread over the day
    rushes, rush         how often sessions begin together, and how many within RUSH seconds
    bursts, burst        how often single requests come together, and how many (more or less) within BURST seconds
    """

    sessions: int = 140
    rushes: int = 3
    rush: int = 20
    singles: int = 200
    bursts: int = 5
    burst: int = 430


def make_traffic(seed: int, start: float, size: Size) -> tuple[Session, ...]:
    """The day's traffic, the same for the same seed. `start`: midnight."""
    random = Random(f"{seed}/traffic")
    begins = [*_spread(random, start, size.sessions), *_together(random, start, size.rushes, size.rush, RUSH)]
    sessions = [Session(f"session-{number}", at, _turns(random)) for number, at in enumerate(begins, 1)]
    singles = [*_spread(random, start, size.singles), *_together(random, start, size.bursts, size.burst, BURST)]
    return (*sessions, *(Session(None, at, (_single(random),)) for at in singles))


def _spread(random: Random, start: float, number: int) -> list[float]:
    """So many moments, as the curve of the day has it."""
    hours = random.choices(range(len(CURVE)), CURVE, k=number)
    return [start + (hour + random.random()) * HOUR for hour in hours]


def _together(random: Random, start: float, times: int, number: int, within: float) -> list[float]:
    """So many times, in different hours and rather in busy ones, about so many moments close together."""
    ranked = sorted(range(len(CURVE)), key=lambda hour: random.random() ** (1 / CURVE[hour]), reverse=True)
    return [
        at + random.uniform(0, within)
        for hour in ranked[:times]
        for at in [start + (hour + random.random()) * HOUR]
        for _ in range(int(number * random.uniform(*VARIES)))
    ]


def _single(random: Random) -> Turn:
    return Turn(random.randint(4_000, 24_000), 0, random.randint(150, 900))


def _turns(random: Random) -> tuple[Turn, ...]:
    turns = [Turn(random.randint(*FIRST), 0, _words(random))]
    while len(turns) < 60 and random.random() < 0.93:
        last = turns[-1]
        grown = last.context + last.output + int(random.lognormvariate(7.0, 1.0))
        full = grown > LARGEST
        context, shared = (random.randint(*FIRST), 0) if full else (grown, last.context)
        turns.append(Turn(context, shared, _words(random), _gap(random)))
    return tuple(turns)


def _words(random: Random) -> int:
    return min(4_000, 60 + int(random.lognormvariate(5.5, 0.9)))


def _gap(random: Random) -> float:
    """Tools take seconds, people minutes."""
    return random.uniform(1, 12) if random.random() < 0.85 else min(0.5 * HOUR, random.lognormvariate(4.4, 1.0))
