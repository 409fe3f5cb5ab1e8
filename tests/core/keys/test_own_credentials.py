"""Credentials of clients, as they are remembered; what requests make of them: tests/core/retry/test_own_credential."""

from claude_relay.core.exchange import Cause, Verdict
from claude_relay.core.keys.own_credentials import MOST, OwnCredentials

OPUS = "claude-opus-4-5"
LIMITED = Verdict("rate_limited", Cause.KEY, cooldown_until=60.0)


def test_not_all_are_remembered():
    known = OwnCredentials("a")
    for n in range(3 * MOST):
        known.of(str(n), first=True)
    assert len(known) == MOST


def test_the_oldest_go_and_those_in_use_stay():
    known = OwnCredentials("a")
    mine = known.of("mine", first=True)
    mine.failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    for n in range(3 * MOST):
        known.of(str(n), first=True)
        assert not known.of("mine", first=False).is_ready(OPUS, 1.0)
    assert known.of("mine", first=True).is_ready(OPUS, 61.0)
    assert known.of("0", first=True).is_ready(OPUS, 1.0)


def test_one_says_nothing_of_another():
    known = OwnCredentials("a")
    known.of("mine", first=True).failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    assert known.of("yours", first=True).is_ready(OPUS, 1.0)
    assert not known.of("mine", first=True).is_ready(OPUS, 1.0)
