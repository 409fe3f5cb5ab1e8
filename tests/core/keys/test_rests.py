"""Rests: they only get longer, grow when nobody states their length, and end with a probe."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.keys.cooldowns import LONG, MOST_PER_KEY, PROBE_HELD, Rests, scopes_of

OPUS = scopes_of("claude-opus-4-5")
SONNET = scopes_of("claude-sonnet-4-5")


def rest(rests, until, now=0.0, scope="", **more):
    return rests.extend("k", scope, until=until, now=now, reason="r", stated=True, **more)


def grow(rests, now, scope="", first=1.0, longest=1800.0):
    return rests.grow("k", scope, now=now, reason="r", first=first, longest=longest).until - now


def test_a_key_rests_until_its_end():
    rests = Rests()
    rest(rests, 5.0)
    assert rests.blocked("k", OPUS, 4.99)
    assert not rests.blocked("k", OPUS, 5.0)
    assert not rests.blocked("other", OPUS, 1.0)


def test_a_shorter_rest_changes_nothing_not_even_the_reason():
    rests = Rests()
    rest(rests, 50.0)
    rests.extend("k", "", until=10.0, now=1.0, reason="shorter", stated=False)
    assert rests.of("k")[""].until == 50.0
    assert rests.of("k")[""].reason == "r"


def test_pairs_rest_by_themselves():
    rests = Rests()
    rest(rests, 50.0, scope=OPUS[1])
    rest(rests, 60.0, scope=SONNET[2])
    assert rests.blocked("k", OPUS, 1.0)
    assert not rests.blocked("k", OPUS, 51.0)
    assert not rests.blocked("k", scopes_of("claude-opus-4-1"), 1.0)
    assert rests.blocked("k", scopes_of("claude-3-5-sonnet-20241022"), 55.0)


def test_growth_doubles_to_a_limit_and_a_success_begins_anew():
    rests, now, lengths = Rests(), 0.0, []
    for _ in range(13):
        lengths.append(grow(rests, now))
        now += lengths[-1]
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800]
    rests.succeeded("k", OPUS, now, probe=True)
    assert grow(rests, now) == 1.0


def test_failures_during_a_rest_are_one_incident():
    rests = Rests()
    for _ in range(20):
        grow(rests, 0.0)
    assert rests.of("k")[""].until == 1.0
    assert grow(rests, 1.0) == 2.0


def test_growth_never_shortens_a_stated_rest():
    rests = Rests()
    rest(rests, 100.0)
    assert grow(rests, 1.0) == 99.0


def test_a_success_does_not_end_a_running_rest():
    rests = Rests()
    rest(rests, 100.0)
    rests.succeeded("k", OPUS, 50.0, probe=True)
    assert rests.blocked("k", OPUS, 99.0)


def test_after_a_long_rest_one_request_probes():
    rests = Rests()
    rest(rests, LONG)
    assert rests.look("k", OPUS, LONG).half_open
    assert rests.probe("k", OPUS, LONG)
    assert rests.blocked("k", OPUS, LONG)
    rests.release("k", OPUS)
    assert not rests.blocked("k", OPUS, LONG)
    rests.succeeded("k", OPUS, LONG, probe=False)  # an answer from before the rest
    assert rests.look("k", OPUS, LONG).half_open
    rests.succeeded("k", OPUS, LONG, probe=True)
    assert rests.look("k", OPUS, LONG) == (False, False, math.inf)


def two_half_open():
    one, other = Rests(), Rests()
    for rests in (one, other):
        rest(rests, LONG)
    return one, other


def test_who_hears_of_a_probe_holds_off_until_it_is_over():
    one, other = two_half_open()
    one.probe("k", OPUS, LONG)
    other.hear(one.probes())
    assert other.blocked("k", OPUS, LONG + 1)
    assert other.look("k", OPUS, LONG + 1) == (True, True, LONG + PROBE_HELD)
    assert other.opens("k", OPUS, LONG + 1, busy_until=LONG + 2) == (LONG + 2, True)
    version = other.version
    other.hear(one.probes())
    assert other.version == version, "nothing new, and nothing to reckon anew"
    one.release("k", OPUS)
    other.hear(one.probes())
    assert other.look("k", OPUS, LONG + 1) == (False, True, math.inf)
    assert other.version > version


def test_nobody_waits_for_the_probe_of_another_process_for_ever():
    one, other = two_half_open()
    one.probe("k", OPUS, LONG)
    other.hear(one.probes())
    assert other.blocked("k", OPUS, LONG + PROBE_HELD - 0.1)
    assert not other.blocked("k", OPUS, LONG + PROBE_HELD)
    assert one.blocked("k", OPUS, LONG + PROBE_HELD), "its own probe goes on"


def test_processes_that_probe_before_they_hear_of_it_both_do():
    one, other = two_half_open()
    for rests in (one, other):
        assert rests.probe("k", OPUS, LONG)
    one.hear(other.probes())
    one.succeeded("k", OPUS, LONG + 1, probe=True)
    assert not one.blocked("k", OPUS, LONG + 1), "a verdict is a verdict, whoever still probes"


def test_half_open_ends_with_a_success_only():
    rests = Rests()
    rest(rests, LONG)
    assert rests.probe("k", OPUS, LONG)
    rest(rests, LONG + 2, now=LONG)  # of a request that was under way all the time
    assert rests.look("k", OPUS, LONG + 2).blocked, "somebody still probes"
    rests.release("k", OPUS)
    assert rests.look("k", OPUS, LONG + 2).half_open


def test_after_a_short_rest_everybody_goes():
    rests = Rests()
    rest(rests, LONG - 1)
    assert not rests.probe("k", OPUS, LONG)
    assert not rests.look("k", OPUS, LONG).half_open


def test_a_failed_probe_of_a_long_rest_leaves_the_next_one_half_open_too():
    rests, now = Rests(), 0.0
    for _ in range(9):
        now += grow(rests, now)
    assert rests.look("k", OPUS, now).half_open


def test_out_is_out_but_may_be_looked_at():
    rests = Rests()
    rest(rests, math.inf, recheck=100.0)
    assert rests.opens("k", OPUS, 1.0, busy_until=2.0) == (math.inf, True)
    assert rests.blocked("k", OPUS, 99.0)
    assert rests.probe("k", OPUS, 100.0)
    rest(rests, 130.0, now=100.0)  # the look brought a 429: still out, the next look not before its end
    assert rests.of("k")[""].until == math.inf
    assert rests.of("k")[""].opens == 160.0
    rests.release("k", OPUS)
    rests.probe("k", OPUS, 160.0)
    rests.succeeded("k", OPUS, 160.0, probe=True)
    assert not rests.of("k")


def test_out_without_a_look_ends_by_hand_only():
    rests = Rests()
    rest(rests, math.inf)
    rests.succeeded("k", OPUS, 1e12, probe=True)
    assert rests.blocked("k", OPUS, 1e12)
    assert rests.lift("k")
    assert not rests.blocked("k", OPUS, 0.0)
    assert not rests.lift("k")


def test_a_long_rest_is_looked_at_before_its_end():
    rests = Rests()
    rest(rests, 1000.0, recheck=300.0)
    assert rests.blocked("k", OPUS, 299.0)
    assert rests.opens("k", OPUS, 299.0, busy_until=300.0) == (1000.0, True), "nobody can promise more"
    assert rests.look("k", OPUS, 300.0).half_open
    assert rests.probe("k", OPUS, 300.0)
    assert rests.blocked("k", OPUS, 301.0)
    assert rests.opens("k", OPUS, 301.0, busy_until=302.0) == (1000.0, True)
    rests.release("k", OPUS)
    rests.succeeded("k", OPUS, 301.0, probe=True)
    assert not rests.known(), "back early"


def test_a_look_in_vain_shortens_nothing():
    rests = Rests()
    rest(rests, 1000.0, recheck=300.0)
    rest(rests, 320.0, now=300.0)
    assert (rests.of("k")[""].until, rests.of("k")[""].opens) == (1000.0, 360.0)
    rest(rests, 2000.0, now=360.0, recheck=300.0)
    assert (rests.of("k")[""].until, rests.of("k")[""].opens) == (2000.0, 660.0)
    rest(rests, 1.0, now=1990.0)
    assert (rests.of("k")[""].until, rests.of("k")[""].opens) == (2000.0, 2000.0)


def test_only_what_changed_is_drained():
    rests = Rests()
    rest(rests, 50.0)
    rest(rests, 60.0, scope=OPUS[1])
    assert [row["scope"] for row in rests.drain()] == ["", OPUS[1]]
    assert rests.drain() == []
    rests.succeeded("k", OPUS, 55.0, probe=False)
    (row,) = rests.drain()
    assert (row["scope"], row["lifted"]) == ("", 0.0)
    assert row["since"] <= row["lifted"], "such a row is no rest"
    rests.prune([])
    assert rests.drain() == [], "where keys that left the pool are stored they still rest"


def test_a_rest_after_a_lift_is_later_even_when_the_clock_is_set_back():
    rests = Rests()
    rest(rests, 500.0, now=100.0)
    rests.lift("k")
    rest(rests, 90.0, now=40.0)
    (row,) = rests.drain()
    assert row["since"] > row["lifted"]


def test_lift_one_scope():
    rests = Rests()
    rest(rests, 50.0)
    rest(rests, 50.0, scope=OPUS[1])
    assert rests.lift("k", OPUS[1])
    assert list(rests.of("k")) == [""]


def test_models_that_clients_invent_do_not_pile_up():
    rests = Rests()
    for number in range(1000):
        rests.grow("k", f"model:{number}", now=2.0 * number, reason="r", first=1.0, longest=9.0)
    assert len(rests.of("k")) <= MOST_PER_KEY + 1
    assert len(rests.drain()) <= MOST_PER_KEY + 1, "nor where they wait for a database that is away"


scopes = st.sampled_from([*OPUS, *SONNET])
ends = st.floats(0, 1e9) | st.just(math.inf)
steps = st.lists(
    st.tuples(st.sampled_from(["extend", "grow", "succeed", "fail"]), scopes, st.floats(0, 5000), ends), max_size=30
)


@given(steps)
def test_no_running_rest_is_ever_shortened(steps):
    """Not by any failure, whether it runs or is being looked at; a success ends it only where a probe was due."""
    rests, now = Rests(), 0.0
    for what, scope, passed, length in steps:
        now += passed
        before = {name: rest for name, rest in rests.of("k").items() if now < rest.until}
        match what:
            case "extend":
                rests.extend("k", scope, until=now + length, now=now, reason="", stated=True, recheck=600.0)
            case "grow":
                rests.grow("k", scope, now=now, reason="", first=1.0, longest=1800.0)
            case "succeed":
                rests.probe("k", OPUS, now)
                rests.release("k", OPUS)
                rests.succeeded("k", OPUS, now, probe=True)
                before = {name: rest for name, rest in before.items() if now < rest.opens}
            case "fail":
                rests.release("k", SONNET)
        for name, old in before.items():
            new = rests.of("k")[name]
            assert new.until >= old.until
            assert new.until >= new.opens >= old.opens


@given(steps)
def test_rests_survive_as_plain_values(steps):
    rests, now = Rests(), 0.0
    for _, scope, passed, length in steps:
        now += passed
        rests.extend("k", scope, until=now + length, now=now, reason="because", stated=True, recheck=600.0)
    copy = Rests()
    copy.restore(json.loads(json.dumps(rests.snapshot())))
    assert copy.of("k") == rests.of("k")
    copy.restore(rests.snapshot())
    assert copy.of("k") == rests.of("k")


def test_restoring_never_shortens():
    old, new = Rests(), Rests()
    rest(old, 50.0)
    rest(new, 90.0)
    new.restore(old.snapshot())
    assert new.of("k")[""].until == 90.0


def test_prune():
    rests = Rests()
    rest(rests, 50.0)
    rests.prune(["other"])
    assert not rests.known()
