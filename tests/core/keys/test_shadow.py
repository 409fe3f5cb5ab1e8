"""What a fault says of keys holds for one request."""

import math

from claude_relay.core.exchange import Cause, Fault, Key, KeyLimits, Length, Verdict
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.shadow import Shadow

NOW = 1000.0
KEYS = [Key("p", f"k{n}", f"secret-{n}", f"id{n}", limits=KeyLimits(concurrent=1)) for n in (1, 2)]
OUT = Verdict("unauthorized", Cause.KEY, math.inf, "401", Length.CHECK)
UNSENT, SENT = Fault("401"), Fault("cut", dispatched=True)


def begun(fault):
    behind = Pool("p", KEYS, strategy="round-robin")
    pool = Shadow(behind)
    pool.fault = fault
    key = pool.choose("m", NOW)
    assert key is KEYS[0]
    pool.started(key, "m", NOW)
    return behind, pool, key


def ended(pool, key, verdict=OUT):
    pool.apply(verdict, key, "m", NOW)
    pool.answered(key)
    pool.finished(key)


def test_nothing_of_what_did_not_leave_is_known_behind_it():
    behind, pool, key = begun(UNSENT)
    assert (pool.busy(key), behind.busy(key), behind.used(key)) == (1, 0, 0)
    ended(pool, key)
    assert not pool.is_ready(key, "m", NOW)
    assert pool.choose("m", NOW) is KEYS[1]
    assert behind.is_ready(key, "m", NOW)
    assert (behind.cooldowns.snapshot(), behind.used(key)) == ([], 0)


def test_that_it_is_under_way_is_true_of_what_left():
    behind, pool, key = begun(SENT)
    assert (behind.busy(key), behind.is_ready(key, "m", NOW)) == (1, False)
    ended(pool, key)
    assert behind.is_ready(key, "m", NOW)
    assert (behind.cooldowns.snapshot(), behind.used(key)) == ([], 1)


def test_what_is_real_is_known_to_all():
    behind, pool, key = begun(None)
    ended(pool, key)
    assert behind.busy(key) == 0
    assert not behind.is_ready(key, "m", NOW)
    pool.overloaded(KEYS[1], NOW)
    assert behind.load.is_eased("id2", NOW)


def test_an_overload_that_was_meant_eases_nobody():
    behind, pool, key = begun(UNSENT)
    pool.overloaded(key, NOW)
    assert pool.load.is_eased(key.id, NOW)
    assert not behind.load.is_eased(key.id, NOW)


def test_a_probe_that_met_a_fault_is_left_to_the_next_request():
    behind = Pool("p", KEYS)
    for key in KEYS:
        behind.cooldowns.extend(key.id, "", until=NOW + 100, now=NOW, reason="429", stated=True)
    later = NOW + 200
    pool = Shadow(behind)
    pool.fault = SENT
    assert pool.started(KEYS[0], "m", later)
    assert not behind.is_ready(KEYS[0], "m", later)
    pool.apply(OUT, KEYS[0], "m", later, probe=True)
    pool.finished(KEYS[0])
    assert behind.is_ready(KEYS[0], "m", later)
    assert behind.cooldowns.look("id1", ("", "m"), later).half_open


def test_a_success_ends_a_probe_only_when_it_is_real():
    for fault, half_open in ((None, False), (SENT, True)):
        behind = Pool("p", KEYS)
        behind.cooldowns.extend("id1", "", until=NOW + 100, now=NOW, reason="429", stated=True)
        pool = Shadow(behind)
        pool.fault = fault
        probe = pool.started(KEYS[0], "m", NOW + 200)
        pool.succeeded(KEYS[0], "m", {}, NOW + 200, probe=probe)
        assert behind.cooldowns.look("id1", ("", "m"), NOW + 200).half_open is half_open


def test_what_is_known_already_is_known_here():
    behind = Pool("p", KEYS)
    behind.cooldowns.extend("id1", "", until=NOW + 100, now=NOW, reason="429", stated=True)
    assert Shadow(behind).choose("m", NOW) is KEYS[1]
    assert Shadow(behind).opens(KEYS[0], "m", NOW) == behind.opens(KEYS[0], "m", NOW) == (NOW + 100, True)
