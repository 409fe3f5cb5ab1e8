"""The retry policy, driven on a simulated clock."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.errors import error_type
from claude_relay.core.exchange import (
    Accepted,
    Attempt,
    Endpoint,
    Facts,
    Failure,
    Fault,
    Key,
    Outcome,
    PassedOn,
    Refused,
    Renew,
    Target,
    Wait,
)
from core.world import BUSY, DENIED, DOWN, FACTS, LIMITED, NO_MODEL, OK, OPUS, Retry, World, limited


def ends(conclusion, kind, name):
    assert type(conclusion) is kind
    assert (conclusion.because and conclusion.because.name) == name
    return conclusion


def refused(conclusion, status, retry_after=None, final=False):
    assert isinstance(conclusion, Refused)
    error = conclusion.error
    assert (error.status, error.final) == (status, final)
    assert error.retry_after == (retry_after if retry_after is None else pytest.approx(retry_after))
    assert "secret" not in error.message
    return error.message


def test_the_first_good_answer_is_accepted():
    world = World(a=2)
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("a", "k1")]


def test_429_goes_to_the_next_key_at_once():
    world = World(a=3)
    ends(world.ask([limited(60), limited(60), OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k2"), ("a", "k3")]
    assert world.ask([OK])
    assert world.log == [("a", "k3")]


@pytest.mark.parametrize(
    "bad",
    [
        DENIED,
        limited(99),
        Outcome(402),
        Outcome(403),
        NO_MODEL,
        Outcome(400, body=b'{"error":{"message":"Your credit balance is too low"}}'),
    ],
)
def test_verdicts_on_a_key_try_the_next_key_then_the_next_provider(bad):
    world = World(a=2, b=1)
    ends(world.ask([bad, bad, OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k2"), ("b", "k1")]


def test_because_tells_of_the_outcome_before():
    world = World(a=3)
    steps = world.begin()
    first = next(steps)
    assert (first.n, first.because) == (1, None)
    second = steps.send(limited(60))
    assert (second.n, second.because.name) == (2, "rate_limited")
    third = steps.send(DENIED)
    assert (third.n, third.because.name) == (3, "unauthorized")
    steps.close()


def test_overloaded_waits_on_the_same_key_then_takes_another_then_the_next_provider():
    world = World(a=3, b=1)
    ends(world.ask([BUSY, BUSY, BUSY, BUSY, OK]), Accepted, "ok")
    assert world.tries == [("a", "k1"), ("a", "k1"), ("a", "k2"), ("a", "k2"), ("b", "k1")]
    assert world.log[1] == ("wait", 0.25)
    assert world.pools["a"].state(world.now).ready == 3


def test_the_second_try_of_an_overloaded_key_does_not_count():
    world = World(Retry(attempts=1), a=2)
    ends(world.ask([BUSY, OK]), Accepted, "ok")
    assert world.tries == [("a", "k1")] * 2
    ends(World(Retry(attempts=1), a=2).ask([BUSY, BUSY]), PassedOn, "overloaded")
    ends(World(Retry(attempts=2), a=2).ask([BUSY, BUSY, BUSY, OK]), Accepted, "ok")


def test_others_are_preferred_to_a_key_without_capacity_for_all_requests():
    world = World(a=3)
    world.pools["a"].replace(World.keys("a", 3), strategy="priority")
    ends(world.ask([BUSY, BUSY, OK]), Accepted, "ok")
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("a", "k2")]
    world.now += 2.0
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("a", "k1")], "for some seconds only"
    ends(world.ask(lambda attempt: BUSY), PassedOn, "overloaded")
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log, "it is a preference: nobody cools down"
    assert world.pools["a"].state(world.now).ready == 3


def test_the_preference_grows_to_thirty_seconds_and_a_success_ends_it():
    load = World(a=2).pools["a"].load
    now = 0.0
    for length in (2, 4, 8, 16, 30, 30):
        load.overloaded("a-1", now)
        load.overloaded("a-1", now + 1)
        assert load.is_eased("a-1", now + length - 0.1)
        assert not load.is_eased("a-1", now + length)
        now += length
    load.overloaded("a-1", now)
    load.succeeded("a-1")
    assert not load.is_eased("a-1", now)
    load.overloaded("a-1", now)
    assert not load.is_eased("a-1", now + 2)


def test_a_session_comes_home_when_its_key_has_capacity_again():
    world = World(a=4)
    facts = Facts(Endpoint.MESSAGES, model=OPUS, session="s")
    ends(world.ask([OK], facts), Accepted, "ok")
    home = world.log[0]
    ends(world.ask([BUSY, BUSY, OK], facts), Accepted, "ok")
    stand_in = world.tries[-1]
    assert stand_in != home
    for _ in range(3):
        ends(world.ask([OK], facts), Accepted, "ok")
        assert world.log == [stand_in], "the same one each time: the prompt is in its cache by now"
    world.now += 2.0
    ends(world.ask([OK], facts), Accepted, "ok")
    assert world.log == [home]


def test_a_session_whose_warm_key_does_not_come_back_after_the_wait_takes_another():
    world = World(a=2)
    facts = Facts(Endpoint.MESSAGES, model=OPUS, session="s")
    ends(world.ask([OK], facts), Accepted, "ok")
    ends(world.ask([limited(0.1), limited(0.1), OK], facts), Accepted, "ok")
    assert world.tries == [("a", "k1"), ("a", "k1"), ("a", "k2")]


def test_a_failure_counts_against_a_key_only_when_the_request_succeeds_with_another():
    bad = Outcome(500)
    world = World(a=3)
    for _ in range(6):
        ends(world.ask(lambda attempt: bad), PassedOn, "upstream_error")
    assert world.pools["a"].state(world.now).ready == 3, "a body that nobody can answer says nothing of a key"
    for _ in range(3):
        world.pools["a"].cursor = -1
        ends(world.ask(lambda attempt: bad if attempt.key.alias == "k1" else OK), Accepted, "ok")
        assert world.tries[0] == ("a", "k1")
    assert not world.pools["a"].is_ready(world.pools["a"].keys[0], OPUS, world.now)
    assert world.pools["a"].state(world.now).in_cooldown == 1


def test_another_providers_success_says_nothing_of_a_key():
    world = World(a=1, b=1)
    for _ in range(6):
        ends(world.ask(lambda attempt: Outcome(500) if attempt.provider == "a" else OK), Accepted, "ok")
    assert world.pools["a"].state(world.now).ready == 1


def test_a_failure_that_the_same_key_makes_good_is_none_of_its_own():
    world = World(a=2)
    world.pools["a"].replace(World.keys("a", 1), strategy="priority")
    for _ in range(6):
        ends(world.ask([DOWN, OK]), Accepted, "ok")
    assert world.pools["a"].state(world.now).ready == 1


def test_keys_are_to_blame_when_all_are_out_and_the_provider_when_some_are_ready():
    refused(World(a=1).ask([DOWN, DENIED]), 503, final=True)
    world = World(Retry(keys=1), a=3)
    refused(world.ask([DOWN, DENIED]), 502)


BLOCKED = Outcome(403, body=b"<html>Just a moment</html>")


def test_a_403_of_somebody_on_the_way_takes_the_next_provider_and_no_key_cools_down():
    world = World(a=3, b=1)
    ends(world.ask([BLOCKED, OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("b", "k1")]
    world = World(a=3)
    ends(world.ask([BLOCKED]), PassedOn, "blocked")
    assert world.pools["a"].state(world.now).ready == 3
    world = client_only(b=1)
    ends(world.ask([BLOCKED, OK]), Accepted, "ok")
    assert world.log == [("a", None), ("b", "k1")]


def test_a_key_that_goes_out_another_way_is_another_route():
    keys = World.keys("a", 3)
    world = World(a=[*keys[:2], replace(keys[2], proxy="http://other:3128")])
    ends(world.ask([BLOCKED, OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k3")]


FAST = Facts(Endpoint.MESSAGES, model=OPUS, speed="fast")
LONG_CONTEXT = Facts(Endpoint.MESSAGES, model=OPUS, long=True)
BATCHED = Facts(Endpoint.MESSAGES, model=OPUS, tier="standard_only")


@pytest.mark.parametrize(("limited_one", "other"), [(FAST, FACTS), (FACTS, FAST), (FAST, BATCHED), (BATCHED, FACTS)])
def test_a_429_holds_for_requests_like_the_refused_one(limited_one, other):
    world = World(a=1)
    refused(world.ask([limited(600)], limited_one), 429, 600)
    refused(world.ask([], limited_one), 429, 600)
    ends(world.ask([OK], other), Accepted, "ok")


@pytest.mark.parametrize("facts", [FACTS, FAST])
def test_a_refused_key_is_out_whatever_the_speed(facts):
    world = World(a=1)
    refused(world.ask([DENIED], facts), 503, final=True)
    refused(world.ask([], FAST), 503, final=True)
    refused(world.ask([], FACTS), 503, final=True)


def test_a_400_about_the_tier_takes_the_next_key_and_holds_for_that_kind_of_request():
    no_tier = Outcome(
        400, body=b'{"error":{"message":"The long context beta is not yet available for this subscription."}}'
    )
    world = World(a=2)
    ends(world.ask([no_tier, OK], LONG_CONTEXT), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k2")]
    world.pools["a"].cursor = -1
    ends(world.ask([OK], LONG_CONTEXT), Accepted, "ok")
    assert world.log == [("a", "k2")]
    world.pools["a"].cursor = -1
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("a", "k1")]


@pytest.mark.parametrize("endpoint", [Endpoint.RESOURCE, Endpoint.MODELS, Endpoint.COUNT_TOKENS])
@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 529])
def test_endpoints_outside_inference_say_nothing_of_a_key(endpoint, status):
    world = World(a=2)
    facts = Facts(endpoint, model=OPUS)
    for _ in range(4):
        world.ask(lambda attempt: Outcome(status, {"retry-after": "60"} if status == 429 else {}), facts)
    assert world.pools["a"].state(world.now).ready == 2
    assert not world.pools["a"].cooldowns.known()
    world.cool_down("a", 1, Outcome(402))
    world.now += 3600
    ends(world.ask([OK] * 2, facts), Accepted, "ok")
    assert world.pools["a"].state(world.now).keys[0].status == "probing", "a success there says nothing of credit"


SILENT = Outcome(None, failure=Failure.TIMEOUT)


@pytest.mark.parametrize(
    ("outcomes", "status", "kind"),
    [
        ([DOWN], 502, "api_error"),
        ([Outcome(None, failure=Failure.TLS)], 502, "api_error"),
        ([Outcome(200, failure=Failure.CUT)], 502, "api_error"),
        ([Outcome(200, failure=Failure.GARBAGE)], 502, "api_error"),
        ([SILENT], 504, "timeout_error"),
        ([SILENT, DOWN], 502, "api_error"),
        ([BUSY, DOWN], 529, "overloaded_error"),
    ],
)
def test_the_relays_own_error_tells_the_truth(outcomes, status, kind):
    world = World(a=2)
    script = iter(outcomes)
    message = refused(world.ask(lambda attempt: next(script, outcomes[-1])), status, *([1] if status == 529 else []))
    assert error_type(status) == kind
    assert "a " in message


def test_the_upstreams_own_error_is_passed_on_whatever_else_happened():
    ends(World(a=2).ask(lambda attempt: Outcome(500)), PassedOn, "upstream_error")
    world = World(a=2)
    script = iter([DOWN])
    ends(world.ask(lambda attempt: next(script, Outcome(503))), PassedOn, "upstream_error")


def test_overloaded_honours_a_retry_after_that_fits():
    world = World(a=1)
    ends(world.ask([Outcome(529, {"retry-after": "3"}), OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("wait", 3.0), ("a", "k1")]


def test_overloaded_with_a_retry_after_that_does_not_fit_goes_on():
    world = World(a=2, b=1)
    ends(world.ask([Outcome(529, {"retry-after": "60"}), OK]), Accepted, "ok")
    assert world.tries == [("a", "k1"), ("a", "k2")]
    world = World(a=2)
    ends(world.ask([Outcome(529, {"retry-after": "60"})] * 2), PassedOn, "overloaded")
    assert world.tries == [("a", "k1"), ("a", "k2")]


def test_an_overloaded_event_at_the_end_is_a_529_of_the_relay():
    event = Outcome(200, {"retry-after": "60"}, b'{"error":{"type":"overloaded_error"}}', Failure.ERROR_EVENT)
    refused(World(a=1).ask([event]), 529, 60)


@pytest.mark.parametrize(
    "bad",
    [
        DOWN,
        Outcome(500),
        Outcome(408),
        *(Outcome(200, failure=f) for f in (Failure.CUT, Failure.EMPTY, Failure.GARBAGE)),
        Outcome(None, failure=Failure.TIMEOUT),
    ],
)
def test_route_failures_pause_take_another_key_then_the_next_provider(bad):
    world = World(a=3, b=1)
    ends(world.ask([bad, bad, OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("wait", 0.25), ("a", "k2"), ("b", "k1")]


def test_after_a_route_failure_other_keys_come_first_whatever_the_strategy():
    world = World(a=3)
    world.pools["a"].replace(World.keys("a", 3), strategy="priority")
    ends(world.ask([DOWN, OK]), Accepted, "ok")
    assert world.tries == [("a", "k1"), ("a", "k2")]


def test_route_failures_with_one_key_try_the_same_again():
    world = World(a=1)
    ends(world.ask([DOWN, DOWN, DOWN, OK]), Accepted, "ok")
    assert world.tries == [("a", "k1")] * 4
    assert [entry[1] for entry in world.log if entry[0] == "wait"] == [0.25, 0.5, 1.0]


def test_all_providers_down_goes_round_again_and_ends_as_502():
    world = World(a=1, b=1)
    message = refused(world.ask(lambda attempt: DOWN), 502)
    assert [provider for provider, _ in world.tries] == ["a", "a", "b", "b", "a"]
    assert "a and b" in message
    assert "connect" in message


def test_the_upstreams_own_529_is_passed_on_at_the_end():
    ends(World(a=1).ask(lambda attempt: BUSY), PassedOn, "overloaded")


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_the_requests_own_fault_is_passed_on(status):
    world = World(a=3, b=3)
    ends(world.ask([Outcome(status)]), PassedOn, "bad_request")
    assert world.busy == 0


REFUSED_SIGNATURE = Outcome(
    400, body=b'{"error":{"message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}'
)


def test_a_refused_signature_gets_one_repaired_try_with_the_same_key():
    world = World(a=3)
    ends(world.ask([REFUSED_SIGNATURE, OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k1")]
    ends(World(a=3).ask([REFUSED_SIGNATURE, REFUSED_SIGNATURE]), PassedOn, "signature")


def test_a_provider_that_cannot_be_asked_gives_way_to_the_next():
    unsuited = Outcome(400, failure=Failure.UNSUITED, message="messages.0.content.0: it has no files")
    world = World(a=2, b=1)
    ends(world.ask([unsuited, OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("b", "k1")]
    ends(World(a=2).ask([unsuited]), PassedOn, "unsuited")


def test_an_unexplained_429_tries_the_other_keys_and_providers_at_once():
    world = World(a=3, b=1)
    ends(world.ask([LIMITED] * 4), PassedOn, "unexplained_429")
    assert world.log == [("a", "k1"), ("a", "k2"), ("b", "k1"), ("a", "k3")]
    assert world.pools["a"].state(world.now).ready == 3
    ends(world.ask([LIMITED, OK]), Accepted, "ok")
    ends(World(a=1, b=1).ask([LIMITED, OK]), Accepted, "ok")


def test_waits_for_a_key_that_comes_back_in_time():
    world = World(a=2)
    ends(world.ask([limited(20), limited(10), OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k2"), ("wait", 10.125), ("a", "k2")]


def test_waits_before_the_first_attempt_too():
    world = World(a=1)
    world.cool_down("a", 1, limited(5))
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("wait", 5.125), ("a", "k1")]


def test_waits_again_while_time_is_left():
    world = World(a=1)
    refused(world.ask([limited(20), limited(20)]), 429, 20)
    assert world.waited == pytest.approx(20.125)


def test_no_waiting_for_what_comes_too_late():
    world = World(a=2)
    message = refused(world.ask([limited(300), limited(42)]), 429, 42)
    assert world.waited == 0
    assert "42 s" in message
    assert "k2" in message


def test_no_waiting_for_an_end_that_nobody_stated():
    world = World(a=1)
    refused(world.ask([Outcome(403)]), 429, 1.05)
    assert world.tries == [("a", "k1")]


def test_the_next_provider_comes_before_waiting():
    world = World(a=1, b=1)
    ends(world.ask([limited(3), OK]), Accepted, "ok")
    assert world.log == [("a", "k1"), ("b", "k1")]


def test_the_last_try_is_kept_for_a_key_that_comes_back():
    world = World(a=1, b=1)
    world.cool_down("a", 1, limited(20))
    ends(world.ask(lambda attempt: OK if attempt.provider == "a" else DOWN), Accepted, "ok")
    assert world.tries[-1] == ("a", "k1")
    assert len(world.tries) == 5


def test_all_out_for_good_is_503_and_says_what_to_do():
    world = World(a=2)
    message = refused(world.ask(lambda attempt: DENIED), 503, final=True)
    assert "invalid x-api-key" in message
    assert "start the relay again" in message
    refused(world.ask([]), 503, final=True)


def test_out_and_in_cooldown_is_429():
    world = World(a=2)
    refused(world.ask([DENIED, limited(99)]), 429, 99)


def test_keys_that_are_found_out_do_not_count_as_attempts():
    world = World(a=9)
    message = refused(world.ask(lambda attempt: limited(99)), 429, 99)
    assert len(world.tries) == 9
    assert "not asked" not in message


def test_a_denied_model_is_passed_on_at_once():
    world = World(a=2)
    ends(world.ask([NO_MODEL, NO_MODEL]), PassedOn, "model_denied")
    assert world.waited == 0
    ends(world.ask([NO_MODEL]), PassedOn, "model_denied")
    assert len(world.tries) == 1, "while the pairs rest, one key is asked so that the client hears it from the provider"


@pytest.mark.parametrize("bad", [DENIED, Outcome(402), BUSY, Outcome(500), DOWN, Outcome(200, failure=Failure.CUT)])
@pytest.mark.parametrize("providers", [{"a": 4}, {"a": 2, "b": 2}])
def test_one_request_that_all_keys_are_denied_spoils_them_for_no_other(bad, providers):
    world = World(**providers)
    for name, count in providers.items():
        for number in range(count):
            world.cool_down(name, number + 1, NO_MODEL)
    good = list(providers)[-1], f"k{providers[list(providers)[-1]]}"
    ends(world.ask(lambda attempt: OK if (attempt.provider, attempt.key.alias) == good else bad), Accepted, "ok")
    assert world.busy == 0


def test_a_429_without_a_reason_is_not_exchanged_for_what_a_denied_key_says():
    world = World(a=2)
    world.cool_down("a", 1, NO_MODEL)
    ends(world.ask([LIMITED]), PassedOn, "unexplained_429")


SILENT = Outcome(None, failure=Failure.TIMEOUT)


@pytest.mark.parametrize(
    ("answers", "status", "says"),
    [
        ({"a": DOWN, "b": OK}, 502, "a gave no usable answer (2 tries)"),
        ({"a": SILENT, "b": OK}, 504, "a did not answer in time (2 tries)"),
        ({"a": limited(600), "b": SILENT}, 504, "b did not answer in time (2 tries)"),
        ({"a": DENIED, "b": DOWN}, 502, "b gave no usable answer (2 tries)"),
    ],
)
def test_the_last_message_names_those_who_failed_so(answers, status, says):
    world = World(retry=Retry(attempts=2), a=2, b=2)
    assert says in refused(world.ask(lambda attempt: answers[attempt.provider]), status)


def test_only_who_said_so_is_called_overloaded():
    world = World(retry=Retry(attempts=3), a=1, b=2)
    error = world.ask(lambda attempt: BUSY if attempt.provider == "a" else DOWN).error
    assert (error.status, error.message.partition(" overloaded")[0]) == (529, "a")


def test_keys_of_a_provider_that_cannot_take_the_request_promise_nothing():
    world = World(a=2, b=1)
    refused(world.ask([BLOCKED, limited(600)]), 429, 600)
    world = World(a=2, b=1)
    message = refused(world.ask([BLOCKED, DENIED]), 503, final=True)
    assert "a/k1" not in message


def test_a_key_that_waits_hinders_no_denied_model():
    world = World(a=2)
    world.cool_down("a", 1, limited(10))
    ends(world.ask([NO_MODEL]), PassedOn, "model_denied")
    assert world.log == [("a", "k2")]


def client_only(**more):
    world = World(a=0, **more)
    world.pools["a"].replace([], passthrough=True)
    return world


def test_an_empty_pool_lets_the_client_through():
    world = client_only()
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("a", None)]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429])
@pytest.mark.parametrize("endpoint", Endpoint)
def test_an_empty_pool_passes_the_clients_own_errors_on(status, endpoint):
    world = client_only(b=1)
    outcome = Outcome(status, {"retry-after": "5"})
    assert type(world.ask([outcome], Facts(endpoint, model=OPUS))) is PassedOn
    assert world.log == [("a", None)]


def test_an_empty_pool_retries_the_route_and_the_next_provider():
    world = client_only(b=1)
    ends(world.ask([DOWN, BUSY, OK]), Accepted, "ok")
    assert world.log == [("a", None), ("wait", 0.25), ("a", None), ("wait", 0.5), ("a", None)]
    world = client_only(b=1)
    ends(world.ask([DOWN, DOWN, OK]), Accepted, "ok")
    assert world.log == [("a", None), ("wait", 0.25), ("a", None), ("b", "k1")]


def test_an_empty_pool_that_rejects():
    assert "ANTHROPIC_API_KEYS" in refused(World(a=0).ask([]), 503, final=True)
    world = World(a=0, b=1)
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("b", "k1")]


def test_a_provider_that_has_no_pool_is_skipped():
    world = World(b=1)
    world.targets = (Target("gone", OPUS), *world.targets)
    ends(world.ask([OK]), Accepted, "ok")
    world.targets = (Target("gone", OPUS),)
    refused(world.ask([]), 503, final=True)


COUNT = Facts(Endpoint.COUNT_TOKENS, model=OPUS)


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_count_tokens_tries_other_keys_and_nobody_cools_down(status):
    world = World(a=3)
    ends(world.ask([Outcome(status), Outcome(status), OK], COUNT), Accepted, "ok")
    assert world.log == [("a", "k1"), ("a", "k2"), ("a", "k3")]
    ends(world.ask(lambda attempt: Outcome(status, {"retry-after": "60"}), COUNT), PassedOn, "endpoint")
    assert world.pools["a"].state(world.now).ready == 3
    assert not world.pools["a"].cooldowns.known()


def test_count_tokens_that_does_not_exist_is_passed_on():
    ends(World(a=3).ask([Outcome(404)], COUNT), PassedOn, "bad_request")


def test_count_tokens_without_an_answer():
    world = World(a=3)
    for _ in range(5):
        refused(world.ask(lambda attempt: DOWN, COUNT), 502)
        ends(world.ask([OK]), Accepted, "ok")
    assert world.pools["a"].state(world.now).ready == 3


def test_a_good_count_tokens_says_nothing_about_a_key():
    world = World(a=1)
    world.cool_down("a", 1, Outcome(402))
    world.now += 3600
    ends(world.ask([OK], COUNT), Accepted, "ok")
    assert world.pools["a"].state(world.now).keys[0].status == "probing"
    ends(world.ask([OK]), Accepted, "ok")
    assert world.pools["a"].state(world.now).keys[0].status == "ready"


def test_one_request_probes_and_the_others_wait_for_what_it_finds():
    world = World(a=1)
    world.cool_down("a", 1, limited(60))
    world.now += 60
    first, second = world.begin(), world.begin()
    assert next(first).probe
    wait = next(second)
    assert isinstance(wait, Wait)
    with pytest.raises(StopIteration):
        first.send(OK)
    world.now += wait.seconds
    assert not second.send(None).probe
    second.close()


def test_one_request_spends_one_try_on_probes():
    world = World(a=6)
    for number in range(1, 6):
        world.cool_down("a", number, limited(60))
    world.now += 60
    ends(world.ask(lambda attempt: OK if attempt.key.alias == "k6" else DENIED), Accepted, "ok")
    assert len(world.tries) <= 2


def test_a_probe_that_is_given_up_is_left_to_the_next_request():
    world = World(a=1)
    world.cool_down("a", 1, limited(60))
    world.now += 60
    steps = world.begin()
    assert next(steps).probe
    steps.close()
    assert world.busy == 0
    assert next(world.begin()).probe


def test_the_key_of_an_accepted_answer_stays_busy_until_the_caller_says():
    world = World(a=1)
    steps = world.begin()
    attempt = next(steps)
    assert world.busy == 1
    with pytest.raises(StopIteration):
        steps.send(OK)
    assert world.busy == 1
    world.pools.finished(attempt)
    assert world.busy == 0


def test_keys_may_be_replaced_under_way():
    world = World(a=2)
    steps = world.begin()
    next(steps)
    world.pools["a"].replace(World.keys("a", 5)[2:])
    step = steps.send(limited(9))
    assert step.key.alias in {"k3", "k4", "k5"}
    steps.close()
    assert world.busy == 0


def owned(number):
    return Owner("a", f"a-{number}")


def test_what_a_key_made_is_asked_of_that_key_only():
    world = World(a=3, b=1)
    world.owner = owned(2)
    ends(world.ask([DOWN, DOWN, OK], Facts(Endpoint.RESOURCE)), Accepted, "ok")
    assert world.tries == [("a", "k2")] * 3
    world.targets = (Target("b", OPUS),)
    ends(world.ask([OK], Facts(Endpoint.RESOURCE)), Accepted, "ok")
    assert world.tries == [("a", "k2")], "also when no route leads there any more"


def test_an_owner_in_cooldown_is_waited_for_and_named():
    world = World(a=3)
    world.owner = owned(2)
    world.cool_down("a", 2, limited(20))
    ends(world.ask([OK]), Accepted, "ok")
    assert world.log == [("wait", 20.125), ("a", "k2")]
    message = refused(world.ask([limited(300)]), 429, 300)
    assert "k2" in message
    world.cool_down("a", 1, DENIED)
    assert "k1" not in refused(world.ask([]), 429, 300)


def test_an_owner_that_left_leaves_it_to_the_others():
    world = World(a=2)
    world.owner = owned(9)
    ends(world.ask([OK]), Accepted, "ok")
    world.owner = Owner("gone", "x")
    ends(world.ask([OK]), Accepted, "ok")


def test_an_owner_that_is_denied_a_model_still_is_the_only_one():
    world = World(a=3)
    world.owner = owned(2)
    for number in (1, 2, 3):
        world.cool_down("a", number, NO_MODEL)
    ends(world.ask([NO_MODEL]), PassedOn, "model_denied")
    assert world.tries == [("a", "k2")]


def test_no_attempts_and_no_waiting_allowed_still_makes_one():
    world = World(Retry(0, 0.0), a=2)
    refused(world.ask(lambda attempt: DOWN), 502)
    assert len(world.log) == 1


ANSWERS = [
    OK, DENIED, LIMITED, limited(0), limited(2), limited(70), BUSY, Outcome(529, {"retry-after": "4"}), DOWN, NO_MODEL, Outcome(400),
    Outcome(403), Outcome(402), Outcome(500), Outcome(200, failure=Failure.EMPTY), Outcome(200, body=b"{}", failure=Failure.ERROR_EVENT),
]  # fmt: skip
retries = st.builds(Retry, st.integers(0, 8), st.floats(0, 60))
worlds = st.builds(
    World,
    retries,
    st.integers(0, 9),
    a=st.integers(0, 3),
    b=st.integers(0, 3),
)
scripts = st.lists(st.sampled_from(ANSWERS), max_size=12)
endpoints = st.sampled_from([Endpoint.MESSAGES, Endpoint.COUNT_TOKENS, Endpoint.RESOURCE])


@settings(max_examples=100, deadline=None)
@given(worlds, st.lists(st.tuples(scripts, endpoints, st.booleans()), max_size=5))
def test_bounds_hold_whatever_comes(world, requests):
    for script, endpoint, pass_through in requests:
        world.pools["b"].passthrough = pass_through
        answers = iter(script)
        conclusion = world.ask(lambda attempt, answers=answers: next(answers, DOWN), Facts(endpoint, model=OPUS))
        count = sum(len(pool.keys) + 1 for pool in world.pools.values())
        assert len(world.tries) <= 2 * max(1, world.retry.attempts) + 2 * count
        assert world.waited <= world.retry.max_wait + 1e-6
        assert world.busy == 0
        assert not any(pool.cooldowns._probes for pool in world.pools.values())
        if isinstance(conclusion, Refused):
            assert conclusion.error.status in {429, 502, 503, 529}
        else:
            assert world.tries, "there is an outcome to answer with"


@settings(max_examples=100, deadline=None)
@given(
    worlds, st.lists(st.tuples(st.integers(0, 4), st.sampled_from([*ANSWERS, None]), st.floats(0, 100)), max_size=40)
)
def test_nothing_stays_busy_whatever_the_interleaving(world, moves):
    """Five requests at once; None: that client leaves. No key is used while it rests, and none by two probes."""
    running = {}
    accepted = []
    for number, answer, passed in moves:
        world.now += passed
        try:
            if number not in running:
                steps = world.begin()
                running[number] = (steps, steps.send(None))
                continue
            steps, step = running.pop(number)
            if answer is None:
                steps.close()
            else:
                was = step
                step = steps.send(None if isinstance(step, Wait) else answer)
                running[number] = (steps, step)
        except StopIteration as end:
            running.pop(number, None)
            if isinstance(end.value, Accepted):
                accepted.append(was)
        probing = [step.key.id for _, step in running.values() if isinstance(step, Attempt) and step.probe]
        assert len(probing) == len(set(probing))
    for steps, _ in running.values():
        steps.close()
    assert world.busy == len([attempt for attempt in accepted if attempt.key])
    for attempt in accepted:
        world.pools.finished(attempt)
    assert world.busy == 0
    assert not any(pool.cooldowns._probes for pool in world.pools.values())


@settings(max_examples=100, deadline=None)
@given(
    worlds,
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([*ANSWERS, None]), st.floats(0, 1e5), st.sets(st.integers(1, 3))), max_size=40
    ),
)  # fmt: skip
def test_no_disabled_key_and_none_that_is_out_is_ever_chosen(world, moves):
    """Keys are switched off and on while requests of two sessions run; a request may hold on to nothing that is switched off."""
    keys, running = {name: pool.keys for name, pool in world.pools.items()}, {}
    for number, answer, passed, disabled in moves:
        world.now += passed
        for name, pool in world.pools.items():
            pool.replace([key for n, key in enumerate(keys[name], 1) if n not in disabled], strategy="priority")
        step = None
        try:
            if number not in running:
                steps = world.begin(Facts(Endpoint.MESSAGES, model=OPUS, session=f"s{number % 2}"))
                running[number] = steps, (step := steps.send(None))
            else:
                steps, was = running.pop(number)
                if answer is None:
                    steps.close()
                else:
                    running[number] = steps, (step := steps.send(None if isinstance(was, Wait) else answer))
        except StopIteration as end:
            running.pop(number, None)
            if isinstance(end.value, Accepted):
                world.pools.finished(was)
        if isinstance(step, Attempt) and step.key:
            assert step.key in world.pools[step.provider].keys
            rest = world.pools[step.provider].cooldowns.of(step.key.id).get("")
            assert not rest or world.now >= rest.opens
            assert step.probe or not rest or rest.until != math.inf
    for steps, _ in running.values():
        steps.close()
    assert world.busy == 0


@pytest.mark.parametrize("behind", [0.0, 1e-7, 0.4, 7200.123])
def test_a_clock_that_was_set_back_neither_lengthens_nor_ends_a_cooldown(behind):
    world = World(a=1, now=1795305600.7)
    world.wall = lambda: world.now - behind
    by_date = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": stamp(world.wall() + 40.0),
    }
    refused(world.ask([Outcome(429, by_date)]), 429, pytest.approx(40.0, abs=1.0))
    world.pools["a"].cooldowns.lift("a-1")
    refused(world.ask([limited(50)]), 429, 50)
    world.pools["a"].cooldowns.lift("a-1")
    refused(world.ask([Outcome(403)]), 429, 1.05)


def stamp(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


# --- faults ---


def met(*numbers, kind="401", **more):
    return lambda facts, n: Fault(kind, **more) if n in numbers else None


def state_of(world):
    return [
        (
            pool.cooldowns.snapshot(),
            dict(pool.load._eased),
            pool._outliers._failed,
            world.busy,
            world.sessions.snapshot(),
        )
        for pool in world.pools.values()
    ]


@pytest.mark.parametrize("outcome", [DENIED, limited(60), LIMITED, BUSY, DOWN, NO_MODEL])
@pytest.mark.parametrize("dispatched", [False, True])
def test_a_fault_moves_the_request_on_and_nobody_else(outcome, dispatched):
    world = World(a=3)
    before = state_of(world)
    world.faults = met(1, dispatched=dispatched)
    ends(world.ask([outcome, OK]), Accepted, "ok")
    assert len(world.tries) == 2
    world.faults = None
    assert state_of(world) == before


def test_keys_that_all_met_a_fault_are_waited_for_and_refused_as_ever():
    world = World(a=2)
    world.faults = met(*range(1, 99))
    refused(world.ask([limited(60)] * 2), 429, retry_after=60)
    world.faults = met(1, 2)
    ends(world.ask([limited(3), limited(5), OK]), Accepted, "ok")
    assert 3.0 <= world.waited < 3.5
    world.faults = None
    ends(world.ask([OK]), Accepted, "ok")
    assert world.waited == 0.0


def test_what_is_real_is_learnt_after_a_fault():
    world = World(a=3)
    world.faults = met(1)
    ends(world.ask([DENIED, DENIED, OK]), Accepted, "ok")
    assert [row["key_id"] for row in world.pools["a"].cooldowns.snapshot()] == ["a-2"]
    assert world.busy == 0


def test_failures_that_were_meant_make_no_outlier():
    world = World(a=2)
    world.faults = met(1)
    for _ in range(10):
        ends(world.ask(lambda attempt: DOWN if attempt.n == 1 else OK), Accepted, "ok")
    assert not world.pools["a"]._outliers._failed
    world.faults = None
    for _ in range(10):
        ends(world.ask(lambda attempt: DOWN if attempt.key.alias == "k1" else OK), Accepted, "ok")
    assert world.pools["a"]._outliers._failed


def test_a_session_keeps_its_key_through_a_fault():
    world = World(a=3)
    facts = replace(FACTS, session="s")
    world.ask([OK], facts)
    bound = world.sessions.snapshot()
    world.faults = met(1)
    world.ask([DENIED, OK], facts)
    assert world.tries == [("a", "k1"), ("a", "k2")]
    assert world.sessions.snapshot() == bound


def test_a_client_that_leaves_within_a_fault_leaves_nothing_busy():
    for dispatched in (False, True):
        world = World(a=1)
        world.faults = met(1, dispatched=dispatched)
        steps = world.begin()
        next(steps)
        steps.close()
        assert world.busy == 0


# -- tokens of accounts


def accounts(number=1, **more):
    return [
        Key("a", f"v{n}", f"token-{n}", f"account-{n}", kind="oauth", renews=True, **more) for n in range(1, number + 1)
    ]


def renewing(world, done=None):
    """The account's next token, as the relay puts it into the pool."""

    def renew(key):
        pool = world.pools["a"]
        pool.replace([replace(one, secret=one.secret + "+") if one.id == key.id else one for one in pool.keys])
        if done is not None:
            done.append(key.secret)

    world.renew = renew


def test_a_refused_token_is_exchanged_and_tried_again_with_the_same_key():
    world = World(a=accounts(2))
    renewing(world)
    secrets = []
    answers = iter([DENIED, OK])
    ends(world.ask(lambda step: (secrets.append(step.key.secret), next(answers))[1]), Accepted, "ok")
    assert world.log == [("a", "v1"), ("renew", "v1"), ("a", "v1")]
    assert secrets == ["token-1", "token-1+"]
    assert world.pools["a"].cooldowns.of("account-1") == {}
    assert world.busy == 0


def test_what_the_first_refusal_is_called():
    world = World(a=accounts())
    renewing(world)
    steps = world.begin()
    next(steps)
    renew = steps.send(DENIED)
    assert (type(renew), renew.because.name) == (Renew, "token_refused")
    world.renew(renew.key)
    again = steps.send(None)
    assert (again.n, again.because.name, again.key.secret) == (2, "token_refused", "token-1+")


def test_a_second_refusal_is_the_keys():
    world = World(a=accounts(2))
    renewing(world)
    ends(world.ask([DENIED, DENIED, OK]), Accepted, "ok")
    assert world.log == [("a", "v1"), ("renew", "v1"), ("a", "v1"), ("a", "v2")]
    assert world.pools["a"].cooldowns.of("account-1")


def test_without_a_next_token_the_first_refusal_counts():
    world = World(a=accounts(1), b=1)
    ends(world.ask([DENIED, OK]), Accepted, "ok")
    assert world.log == [("a", "v1"), ("renew", "v1"), ("b", "k1")]
    assert world.pools["a"].cooldowns.of("account-1")
    alone = World(a=accounts(1))
    refused(alone.ask([DENIED]), 503, final=True)


def test_a_renewal_costs_no_attempt():
    world = World(retry=Retry(attempts=1), a=accounts(3))
    renewing(world)
    ends(world.ask([DENIED, DENIED, DENIED, DENIED, DENIED, OK]), Accepted, "ok")
    assert [entry[0] for entry in world.log].count("renew") == 3


def test_keys_and_tokens_that_nobody_renews_are_not_renewed():
    world = World(a=[replace(accounts()[0], renews=False)], b=1)
    ends(world.ask([DENIED, OK]), Accepted, "ok")
    assert world.log == [("a", "v1"), ("b", "k1")]


def test_an_account_that_left_the_pool_meanwhile_is_not_asked_again():
    world = World(a=accounts(1), b=1)
    world.renew = lambda key: world.pools["a"].replace([])
    ends(world.ask([DENIED, OK]), Accepted, "ok")
    assert world.log == [("a", "v1"), ("renew", "v1"), ("b", "k1")]


@pytest.mark.parametrize("endpoint", [Endpoint.COUNT_TOKENS, Endpoint.MODELS, Endpoint.RESOURCE])
def test_other_endpoints_renew_too(endpoint):
    world = World(a=accounts(1))
    renewing(world)
    ends(world.ask([DENIED, OK], Facts(endpoint, model=OPUS)), Accepted, "ok")
    assert world.log == [("a", "v1"), ("renew", "v1"), ("a", "v1")]


def test_other_errors_renew_nothing():
    for outcome in (Outcome(403), limited(60), DOWN, Outcome(400)):
        world = World(a=accounts(1))
        world.ask(lambda step, outcome=outcome: outcome)
        assert "renew" not in [entry[0] for entry in world.log]


def test_a_refusal_on_purpose_renews_nothing():
    world = World(a=accounts(1))
    world.faults = lambda facts, n: Fault("401") if n == 1 else None
    done = []
    renewing(world, done)
    world.ask([DENIED])
    assert done == []


def test_who_leaves_during_a_renewal_leaves_nothing_busy():
    world = World(a=accounts(1))
    steps = world.begin()
    next(steps)
    assert isinstance(steps.send(DENIED), Renew)
    steps.close()
    assert world.busy == 0


def test_a_next_token_is_not_out_because_the_one_before_was():
    world = World(a=accounts(1), b=1)
    ends(world.ask([DENIED, OK]), Accepted, "ok")
    world.cool_down("a", 1, NO_MODEL)
    assert set(world.pools["a"].cooldowns.of("account-1")) == {"", f"model:{OPUS}"}
    (key,) = world.pools["a"].keys
    world.pools["a"].replace([key])
    assert "" in world.pools["a"].cooldowns.of("account-1"), "the same token"
    world.pools["a"].replace([replace(key, secret="the-next")])
    assert set(world.pools["a"].cooldowns.of("account-1")) == {f"model:{OPUS}"}


def test_accounts_that_are_out_are_logged_in_with_again():
    world = World(a=accounts(2))
    message = refused(world.ask(lambda attempt: DENIED), 503, final=True)
    assert message.endswith("Log in again with accounts; replace or mend other keys.")
