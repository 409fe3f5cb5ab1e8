"""Turns by weight, and bounds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.clients.queue import MOST_OF_ONE, FairQueue


def serve(queue: FairQueue, count: int) -> list[str]:
    """Whose requests are served, one after the other."""
    found = []
    for _ in range(count):
        waiter = queue.order()[0]
        queue.serve(waiter)
        found.append(waiter.client)
    return found


def test_twice_the_priority_twice_the_turns() -> None:
    queue = FairQueue()
    for _ in range(60):
        queue.add("low", 1, (), lambda: None)
    for _ in range(60):
        queue.add("high", 2, (), lambda: None)
    assert Counter(serve(queue, 30)) == {"high": 20, "low": 10}


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10), min_size=2), st.randoms(use_true_random=False))
def test_turns_are_as_the_weights_whoever_comes_first(weights: dict[str, int], random: object) -> None:
    queue, many = FairQueue(), 100
    coming = [client for client in weights for _ in range(many)]
    random.shuffle(coming)  # type: ignore[attr-defined]
    for client in coming:
        queue.add(client, weights[client], (), lambda: None)
    rounds = many // max(weights.values())
    served = Counter(serve(queue, rounds * sum(weights.values())))
    for client, weight in weights.items():
        assert abs(served[client] - rounds * weight) <= 1 + len(weights)


def test_who_was_away_has_saved_nothing_up() -> None:
    queue = FairQueue()
    for _ in range(50):
        queue.add("busy", 1, (), lambda: None)
    serve(queue, 40)
    for _ in range(50):
        queue.add("late", 1, (), lambda: None)
    assert Counter(serve(queue, 10)) == {"busy": 5, "late": 5}


def test_one_client_is_served_in_its_order_and_whoever_leaves_is_out() -> None:
    queue = FairQueue()
    found = [queue.add("a", 1, (), lambda: None) for _ in range(3)]
    first, second, third = (waiter for waiter in found if waiter is not None)
    assert [queue.position(waiter) for waiter in (first, second, third)] == [1, 2, 3]
    queue.remove(second)
    queue.remove(second)
    assert queue.order() == (first, third)


def test_it_is_bounded() -> None:
    queue = FairQueue()
    assert all(queue.add("a", 1, (), lambda: None) for _ in range(MOST_OF_ONE))
    assert queue.add("a", 1, (), lambda: None) is None
    assert queue.add("b", 1, (), lambda: None) is not None
