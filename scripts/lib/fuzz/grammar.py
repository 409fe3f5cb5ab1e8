"""Makes cases: the same one for the same seed, part and number, whatever else the run does.

>>> make("base-h1", 1, 7, ()) == make("base-h1", 1, 7, ())
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from . import answers, entrances, mutate, requests
from .cases import ANSWER_PARTS, FRAMED, PARTS, Case, Piece

SENDERS: Final[dict[str, Callable[[Random, str], list[Piece]]]] = {
    "base-h1": requests.http1,
    "base-h2": requests.http2,
    "proxy-plain": entrances.to_proxy,
    "proxy-h1": requests.http1,
    "proxy-h2": requests.http2,
    "status": entrances.to_status,
}
FROM_CORPUS: Final = 0.2
"""The share of cases that are a spoiled one of the corpus."""


def name_of(part: str, number: int) -> str:
    """Twelve characters, unique in a run."""
    return f"fz{PARTS.index(part):02d}{number:08d}"


def make(part: str, seed: int, number: int, corpus: Sequence[Case]) -> Case:
    """One case of a part; `corpus`: the stored ones of that part."""
    chance = Random(f"{seed}/{part}/{number}")
    name = name_of(part, number)
    if corpus and chance.random() < FROM_CORPUS:
        stored = chance.choice(corpus)
        if not answers.costs_a_key(stored.answer) or chance.random() < answers.RARELY:
            return spoiled(stored, name, chance)
    if part in ANSWER_PARTS:
        send = (requests.good_http2 if part in FRAMED else requests.good_http1)(chance, part, 0.15)
        return Case(part, name, tuple(send), tuple(answers.answer(chance, part)))
    return Case(part, name, tuple(SENDERS[part](chance, part)))


def spoiled(case: Case, name: str, chance: Random) -> Case:
    """A stored case with something changed."""
    send, answer = list(case.send), list(case.answer)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if answer:
            answer = mutate.pieces(answer, chance)
        else:
            send = mutate.pieces(send, chance)
    return Case(case.part, name, tuple(send), tuple(answer), f"from: {case.why}")
