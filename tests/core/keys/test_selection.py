"""The strategies, each on keys whose numbers we choose."""

from collections import Counter
from itertools import accumulate, count

import pytest

from claude_relay.core.exchange import Key
from claude_relay.core.keys.selection import COMPARED, STRATEGIES, chance_of


class Seen:
    """What a pool knows, as a test tells it."""

    def __init__(self, **numbers):
        self.cursor = -1
        self.numbers = numbers
        self.candidates = ()

    def position(self, key):
        return int(key.id)

    def busy(self, key):
        return self.numbers.get("busy", {}).get(key.id, 0)

    def used(self, key):
        return self.numbers.get("used", {}).get(key.id, 0)

    def headroom(self, key):
        return self.numbers.get("headroom", {}).get(key.id, 1.0)

    def sums(self):
        return list(accumulate(map(chance_of, self.candidates)))


def keys(number, weights=()):
    return [Key("p", f"k{n}", "", str(n), weight=weights[n] if weights else 1.0) for n in range(number)]


def pick(strategy, pool, seen, times, random=lambda: 0.0):
    picked = []
    seen.candidates = pool
    for _ in range(times):
        key = STRATEGIES[strategy](pool, seen, random)
        seen.cursor = seen.position(key)
        picked.append(key.id)
    return picked


def evenly(steps):
    numbers = count()
    return lambda: (next(numbers) % steps) / steps


def test_round_robin_goes_round_also_when_keys_are_missing():
    pool, seen = keys(4), Seen()
    assert pick("round-robin", pool, seen, 5) == ["0", "1", "2", "3", "0"]
    assert pick("round-robin", [pool[0], pool[2]], seen, 3) == ["2", "0", "2"]


def test_random_reaches_everybody():
    assert Counter(pick("random", keys(4), Seen(), 100, evenly(100))) == {"0": 25, "1": 25, "2": 25, "3": 25}


def test_weighted_is_in_proportion():
    pool = keys(4, (1.0, 3.0, 0.0, -5.0))
    assert Counter(pick("weighted", pool, Seen(), 100, evenly(100))) == {"0": 25, "1": 75}


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_without_sense_are_equal(weight):
    assert len(set(pick("weighted", keys(4, (weight,) * 4), Seen(), 8, evenly(8)))) == 4


def test_least_used_and_least_busy():
    assert pick("least-used", keys(3), Seen(used={"0": 5, "1": 2, "2": 5}), 1) == ["1"]
    assert pick("least-busy", keys(3), Seen(busy={"0": 1, "1": 1}), 1) == ["2"]
    assert pick("least-busy", keys(3), Seen(), 4) == ["0", "1", "2", "0"]


def test_priority_is_the_first():
    assert pick("priority", keys(3), Seen(), 3) == ["0", "0", "0"]


def test_headroom_takes_most_and_shares_ties():
    assert pick("headroom", keys(3), Seen(headroom={"0": 0.2, "1": 0.9, "2": 0.5}), 2) == ["1", "1"]
    assert pick("headroom", keys(3), Seen(headroom={"0": 0.2, "1": 0.91, "2": 0.90}), 3) == ["1", "2", "1"]


@pytest.mark.parametrize("strategy", ["least-used", "least-busy", "headroom"])
def test_very_many_keys_all_get_their_turn(strategy):
    number = COMPARED * 3 + 5
    assert set(pick(strategy, keys(number), Seen(), number)) == {str(n) for n in range(number)}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("random", [lambda: 0.0, lambda: 0.9999999999999999])
def test_one_key_is_always_picked(strategy, random):
    assert pick(strategy, keys(1), Seen(), 3, random) == ["0", "0", "0"]
