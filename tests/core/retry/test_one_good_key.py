"""The promise of the retry policy: a request that some key can serve is served, whatever the others do."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claude_relay.core.exchange import Accepted, Endpoint, Facts, Failure, Outcome, PassedOn, Target, Wait
from claude_relay.core.keys.pool import Pool, Pools
from claude_relay.core.keys.selection import STRATEGIES
from core.world import BUSY, DENIED, DOWN, LIMITED, NO_MODEL, OK, OPUS, Retry, World, limited

FORBIDDEN = Outcome(403, body=b'{"type":"error","error":{"type":"permission_error","message":"not yours"}}')
NO_CREDIT = Outcome(400, body=b'{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}')
NO_TIER = Outcome(
    400, body=b'{"error":{"message":"The long context beta is not yet available for this subscription."}}'
)
BY_RESET = Outcome(
    429,
    {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:18:00Z",
    },
)
WINDOW = Outcome(
    429,
    {"anthropic-ratelimit-unified-5h-status": "rejected", "anthropic-ratelimit-unified-5h-reset": "9000"},
)
CERTAIN = [
    DENIED,
    Outcome(402),
    FORBIDDEN,
    NO_CREDIT,
    NO_TIER,
    NO_MODEL,
    limited(0.3),
    limited(3),
    limited(60),
    BY_RESET,
    WINDOW,
]
ERROR_FIRST = Outcome(200, body=b'{"error":{"type":"api_error","message":"oops"}}', failure=Failure.ERROR_EVENT)
BUSY_FIRST = Outcome(
    200, body=b'{"error":{"type":"overloaded_error","message":"Overloaded"}}', failure=Failure.ERROR_EVENT
)
UNCERTAIN = [
    LIMITED,
    BUSY,
    Outcome(529, {"retry-after": "4"}),
    Outcome(529, {"retry-after": "90"}),
    Outcome(500),
    Outcome(503, body=b"<html>"),
    Outcome(408),
    ERROR_FIRST,
    BUSY_FIRST,
    DOWN,
    *(
        Outcome(status, failure=failure)
        for status, failure in [
            (200, Failure.CUT),
            (200, Failure.EMPTY),
            (200, Failure.GARBAGE),
            (None, Failure.TIMEOUT),
            (None, Failure.RESET),
            (None, Failure.TLS),
        ]
    ),
]


def world_of(pools, retry, seed, strategy="round-robin"):
    """`pools`: for each provider what its keys answer; None: that one serves."""
    world = World(retry, seed, now=1000.0)
    names = [f"p{n}" for n in range(len(pools))]
    world.pools = Pools(
        Pool(name, World.keys(name, len(keys)), strategy=strategy, passthrough=False)
        for name, keys in zip(names, pools, strict=True)
    )
    world.targets = tuple(Target(name, OPUS) for name in names)
    answers = {
        f"{name}-{n}": OK if said is None else said
        for name, keys in zip(names, pools, strict=True)
        for n, said in enumerate(keys, 1)
    }
    return world, lambda attempt: answers[attempt.key.id]


@st.composite
def situations(draw):
    """Routes of up to three providers with up to twenty keys in all, one serves; at most `attempts - 1` others fail uncertainly."""
    attempts = draw(st.integers(1, 8))
    uncertain = draw(st.lists(st.sampled_from(UNCERTAIN), max_size=attempts - 1))
    certain = draw(st.lists(st.sampled_from(CERTAIN), max_size=19 - len(uncertain)))
    keys = draw(st.permutations([*uncertain, *certain, None]))
    cuts = sorted(draw(st.lists(st.integers(0, len(keys)), max_size=2)))
    pools = [keys[start:end] for start, end in zip([0, *cuts], [*cuts, len(keys)], strict=True)]
    return pools, Retry(attempts=attempts, max_wait=draw(st.sampled_from([0.0, 2.0, 30.0])))


sessions = st.sampled_from([None, "s1"])


@settings(max_examples=400, deadline=None)
@given(situations(), st.integers(0, 99), st.sampled_from(sorted(STRATEGIES)), sessions, st.booleans())
@example(([[limited(0.05)], [Outcome(500), Outcome(500), None]], Retry(5, 30.0)), 0, "priority", None, False)
@example(([[Outcome(500)], [Outcome(500)], [Outcome(500), None]], Retry(4, 30.0)), 0, "priority", None, False)
def test_one_good_key_serves(situation, seed, strategy, session, warm):
    pools, retry = situation
    world, answer = world_of(pools, retry, seed, strategy)
    facts = Facts(Endpoint.MESSAGES, model=OPUS, session=session)
    if warm and session:  # its key was a good one, once
        world.ask([OK], facts)
    conclusion = world.ask(answer, facts)
    assert type(conclusion) is Accepted, (conclusion, world.log)
    assert world.waited <= retry.max_wait + 1e-6
    assert world.busy == 0
    assert len(world.tries) <= sum(map(len, pools)) + 2 * retry.attempts + 2


@settings(max_examples=150, deadline=None)
@given(situations(), st.integers(0, 99), st.lists(st.integers(0, 15), max_size=200))
def test_sixteen_at_once(situation, seed, order):
    pools, retry = situation
    world, answer = world_of(pools, Retry(retry.attempts, 30.0), seed)
    running, served = {}, 0

    def go_on(number):
        nonlocal served
        steps, step = running.pop(number)
        try:
            if isinstance(step, Wait):
                world.now += step.seconds
                step = steps.send(None)
            else:
                step = steps.send(answer(step))
            running[number] = steps, step
        except StopIteration as end:
            served += isinstance(end.value, Accepted)
            world.pools.finished(step)

    for number in range(16):
        steps = world.begin()
        running[number] = steps, next(steps)
    for number in [*order, *list(range(16)) * 100]:
        if number in running:
            go_on(number)
    assert served == 16
    assert world.busy == 0


@pytest.mark.parametrize("bad", [BUSY, Outcome(500), DOWN, Outcome(200, failure=Failure.CUT), ERROR_FIRST])
def test_a_provider_that_is_well_is_searched_to_its_end(bad):
    world, answer = world_of([[bad] * 8 + [None], [None]], Retry(), 1, "priority")
    world.pools["p0"].succeeded(world.pools["p0"].keys[8], OPUS, {}, world.now)
    assert type(world.ask(answer)) is Accepted
    assert {provider for provider, _ in world.tries} == {"p0"} or len({t for t in world.tries if t[0] == "p0"}) > 5


def test_a_429_without_a_reason_is_passed_on_after_as_many_keys_as_there_are_attempts():
    world, answer = world_of([[LIMITED] * 8], Retry(), 1)
    assert type(world.ask(answer)) is PassedOn
    assert len(world.tries) == 5
    assert world.pools["p0"].state(world.now).ready == 8


def test_no_more_keys_are_found_out_than_retry_keys():
    world, answer = world_of([[DENIED] * 30], Retry(keys=12), 1)
    error = world.ask(answer).error
    assert len(world.tries) == 12
    assert "18 more were not asked" in error.message
    world, answer = world_of([[limited(2)] * 12], Retry(keys=12), 1)
    world.ask(answer)
    assert world.waited > 1.9, "all were asked, so that it waits for the first"
