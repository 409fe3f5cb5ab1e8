"""Cooldowns: they only get longer, grow when nobody states their length, and end with a probe."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.keys.cooldowns import LONG, MOST_PER_KEY, PROBE_HELD, Cooldowns, scopes_of

OPUS = scopes_of("claude-opus-4-5")
SONNET = scopes_of("claude-sonnet-4-5")


def cool_down(cooldowns, until, now=0.0, scope="", **more):
    return cooldowns.extend("k", scope, until=until, now=now, reason="r", stated=True, **more)


def grow(cooldowns, now, scope="", first=1.0, longest=1800.0):
    return cooldowns.grow("k", scope, now=now, reason="r", first=first, longest=longest).until - now


def test_a_key_is_in_cooldown_until_its_end():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 5.0)
    assert cooldowns.blocked("k", OPUS, 4.99)
    assert not cooldowns.blocked("k", OPUS, 5.0)
    assert not cooldowns.blocked("other", OPUS, 1.0)


def test_a_shorter_cooldown_changes_nothing_not_even_the_reason():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 50.0)
    cooldowns.extend("k", "", until=10.0, now=1.0, reason="shorter", stated=False)
    assert cooldowns.of("k")[""].until == 50.0
    assert cooldowns.of("k")[""].reason == "r"


def test_pairs_have_cooldowns_of_their_own():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 50.0, scope=OPUS[1])
    cool_down(cooldowns, 60.0, scope=SONNET[2])
    assert cooldowns.blocked("k", OPUS, 1.0)
    assert not cooldowns.blocked("k", OPUS, 51.0)
    assert not cooldowns.blocked("k", scopes_of("claude-opus-4-1"), 1.0)
    assert cooldowns.blocked("k", scopes_of("claude-3-5-sonnet-20241022"), 55.0)


def test_growth_doubles_to_a_limit_and_a_success_begins_anew():
    cooldowns, now, lengths = Cooldowns(), 0.0, []
    for _ in range(13):
        lengths.append(grow(cooldowns, now))
        now += lengths[-1]
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800]
    cooldowns.succeeded("k", OPUS, now, probe=True)
    assert grow(cooldowns, now) == 1.0


def test_failures_during_a_cooldown_are_one_incident():
    cooldowns = Cooldowns()
    for _ in range(20):
        grow(cooldowns, 0.0)
    assert cooldowns.of("k")[""].until == 1.0
    assert grow(cooldowns, 1.0) == 2.0


def test_growth_never_shortens_a_stated_cooldown():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 100.0)
    assert grow(cooldowns, 1.0) == 99.0


def test_a_success_does_not_end_a_running_cooldown():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 100.0)
    cooldowns.succeeded("k", OPUS, 50.0, probe=True)
    assert cooldowns.blocked("k", OPUS, 99.0)


def test_after_a_long_cooldown_one_request_probes():
    cooldowns = Cooldowns()
    cool_down(cooldowns, LONG)
    assert cooldowns.look("k", OPUS, LONG).half_open
    assert cooldowns.probe("k", OPUS, LONG)
    assert cooldowns.blocked("k", OPUS, LONG)
    cooldowns.release("k", OPUS)
    assert not cooldowns.blocked("k", OPUS, LONG)
    cooldowns.succeeded("k", OPUS, LONG, probe=False)  # an answer from before the rest
    assert cooldowns.look("k", OPUS, LONG).half_open
    cooldowns.succeeded("k", OPUS, LONG, probe=True)
    assert cooldowns.look("k", OPUS, LONG) == (False, False, math.inf)


def two_half_open():
    one, other = Cooldowns(), Cooldowns()
    for cooldowns in (one, other):
        cool_down(cooldowns, LONG)
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
    for cooldowns in (one, other):
        assert cooldowns.probe("k", OPUS, LONG)
    one.hear(other.probes())
    one.succeeded("k", OPUS, LONG + 1, probe=True)
    assert not one.blocked("k", OPUS, LONG + 1), "a verdict is a verdict, whoever still probes"


def test_half_open_ends_with_a_success_only():
    cooldowns = Cooldowns()
    cool_down(cooldowns, LONG)
    assert cooldowns.probe("k", OPUS, LONG)
    cool_down(cooldowns, LONG + 2, now=LONG)  # of a request that was under way all the time
    assert cooldowns.look("k", OPUS, LONG + 2).blocked, "somebody still probes"
    cooldowns.release("k", OPUS)
    assert cooldowns.look("k", OPUS, LONG + 2).half_open


def test_after_a_short_cooldown_everybody_goes():
    cooldowns = Cooldowns()
    cool_down(cooldowns, LONG - 1)
    assert not cooldowns.probe("k", OPUS, LONG)
    assert not cooldowns.look("k", OPUS, LONG).half_open


def test_a_failed_probe_of_a_long_cooldown_leaves_the_next_one_half_open_too():
    cooldowns, now = Cooldowns(), 0.0
    for _ in range(9):
        now += grow(cooldowns, now)
    assert cooldowns.look("k", OPUS, now).half_open


def test_out_is_out_but_may_be_looked_at():
    cooldowns = Cooldowns()
    cool_down(cooldowns, math.inf, recheck=100.0)
    assert cooldowns.opens("k", OPUS, 1.0, busy_until=2.0) == (math.inf, True)
    assert cooldowns.blocked("k", OPUS, 99.0)
    assert cooldowns.probe("k", OPUS, 100.0)
    cool_down(cooldowns, 130.0, now=100.0)  # the look brought a 429: still out, the next look not before its end
    assert cooldowns.of("k")[""].until == math.inf
    assert cooldowns.of("k")[""].opens == 160.0
    cooldowns.release("k", OPUS)
    cooldowns.probe("k", OPUS, 160.0)
    cooldowns.succeeded("k", OPUS, 160.0, probe=True)
    assert not cooldowns.of("k")


def test_out_without_a_look_ends_by_hand_only():
    cooldowns = Cooldowns()
    cool_down(cooldowns, math.inf)
    cooldowns.succeeded("k", OPUS, 1e12, probe=True)
    assert cooldowns.blocked("k", OPUS, 1e12)
    assert cooldowns.lift("k")
    assert not cooldowns.blocked("k", OPUS, 0.0)
    assert not cooldowns.lift("k")


def test_a_long_cooldown_is_looked_at_before_its_end():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 1000.0, recheck=300.0)
    assert cooldowns.blocked("k", OPUS, 299.0)
    assert cooldowns.opens("k", OPUS, 299.0, busy_until=300.0) == (1000.0, True), "nobody can promise more"
    assert cooldowns.look("k", OPUS, 300.0).half_open
    assert cooldowns.probe("k", OPUS, 300.0)
    assert cooldowns.blocked("k", OPUS, 301.0)
    assert cooldowns.opens("k", OPUS, 301.0, busy_until=302.0) == (1000.0, True)
    cooldowns.release("k", OPUS)
    cooldowns.succeeded("k", OPUS, 301.0, probe=True)
    assert not cooldowns.known(), "back early"


def test_a_look_in_vain_shortens_nothing():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 1000.0, recheck=300.0)
    cool_down(cooldowns, 320.0, now=300.0)
    assert (cooldowns.of("k")[""].until, cooldowns.of("k")[""].opens) == (1000.0, 360.0)
    cool_down(cooldowns, 2000.0, now=360.0, recheck=300.0)
    assert (cooldowns.of("k")[""].until, cooldowns.of("k")[""].opens) == (2000.0, 660.0)
    cool_down(cooldowns, 1.0, now=1990.0)
    assert (cooldowns.of("k")[""].until, cooldowns.of("k")[""].opens) == (2000.0, 2000.0)


def test_only_what_changed_is_drained():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 50.0)
    cool_down(cooldowns, 60.0, scope=OPUS[1])
    assert [row["scope"] for row in cooldowns.drain()] == ["", OPUS[1]]
    assert cooldowns.drain() == []
    cooldowns.succeeded("k", OPUS, 55.0, probe=False)
    (row,) = cooldowns.drain()
    assert (row["scope"], row["lifted"]) == ("", 0.0)
    assert row["since"] <= row["lifted"], "such a row is no rest"
    cooldowns.prune([])
    assert cooldowns.drain() == [], "where keys that left the pool are stored they still rest"


def test_a_cooldown_after_a_lift_is_later_even_when_the_clock_is_set_back():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 500.0, now=100.0)
    cooldowns.lift("k")
    cool_down(cooldowns, 90.0, now=40.0)
    (row,) = cooldowns.drain()
    assert row["since"] > row["lifted"]


def test_lift_one_scope():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 50.0)
    cool_down(cooldowns, 50.0, scope=OPUS[1])
    assert cooldowns.lift("k", OPUS[1])
    assert list(cooldowns.of("k")) == [""]


def test_models_that_clients_invent_do_not_pile_up():
    cooldowns = Cooldowns()
    for number in range(1000):
        cooldowns.grow("k", f"model:{number}", now=2.0 * number, reason="r", first=1.0, longest=9.0)
    assert len(cooldowns.of("k")) <= MOST_PER_KEY + 1
    assert len(cooldowns.drain()) <= MOST_PER_KEY + 1, "nor where they wait for a database that is away"


scopes = st.sampled_from([*OPUS, *SONNET])
ends = st.floats(0, 1e9) | st.just(math.inf)
steps = st.lists(
    st.tuples(st.sampled_from(["extend", "grow", "succeed", "fail"]), scopes, st.floats(0, 5000), ends), max_size=30
)


@given(steps)
def test_no_running_cooldown_is_ever_shortened(steps):
    """Not by any failure, whether it runs or is being looked at; a success ends it only where a probe was due."""
    cooldowns, now = Cooldowns(), 0.0
    for what, scope, passed, length in steps:
        now += passed
        before = {name: cool_down for name, cool_down in cooldowns.of("k").items() if now < cool_down.until}
        match what:
            case "extend":
                cooldowns.extend("k", scope, until=now + length, now=now, reason="", stated=True, recheck=600.0)
            case "grow":
                cooldowns.grow("k", scope, now=now, reason="", first=1.0, longest=1800.0)
            case "succeed":
                cooldowns.probe("k", OPUS, now)
                cooldowns.release("k", OPUS)
                cooldowns.succeeded("k", OPUS, now, probe=True)
                before = {name: cool_down for name, cool_down in before.items() if now < cool_down.opens}
            case "fail":
                cooldowns.release("k", SONNET)
        for name, old in before.items():
            new = cooldowns.of("k")[name]
            assert new.until >= old.until
            assert new.until >= new.opens >= old.opens


@given(steps)
def test_cooldowns_survive_as_plain_values(steps):
    cooldowns, now = Cooldowns(), 0.0
    for _, scope, passed, length in steps:
        now += passed
        cooldowns.extend("k", scope, until=now + length, now=now, reason="because", stated=True, recheck=600.0)
    copy = Cooldowns()
    copy.restore(json.loads(json.dumps(cooldowns.snapshot())))
    assert copy.of("k") == cooldowns.of("k")
    copy.restore(cooldowns.snapshot())
    assert copy.of("k") == cooldowns.of("k")


def test_restoring_never_shortens():
    old, new = Cooldowns(), Cooldowns()
    cool_down(old, 50.0)
    cool_down(new, 90.0)
    new.restore(old.snapshot())
    assert new.of("k")[""].until == 90.0


def test_prune():
    cooldowns = Cooldowns()
    cool_down(cooldowns, 50.0)
    cooldowns.prune(["other"])
    assert not cooldowns.known()
