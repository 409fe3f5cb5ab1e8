"""The client's own credential beside the pool: before it, after it, and when it is of no use."""

import pytest

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.exchange import Accepted, Fault, Outcome, PassedOn, Refused
from claude_relay.core.keys.own_credentials import OwnCredentials
from core.world import BUSY, DENIED, FACTS, OK, OPUS, World, limited

FORBIDDEN = Outcome(403, body=b'{"type":"error","error":{"type":"permission_error","message":"no"}}')


def world(first=True, known=None, mark="mine", **pools):
    """One in which the client has a credential of its own for provider a."""
    found = World(**pools)
    known = known or OwnCredentials("a")
    found.known = known
    found.own = {"a": known.of(mark, first=first)}
    return found


@pytest.mark.parametrize("first", [True, False])
def test_first_or_last(first):
    here = world(first, a=1)
    assert isinstance(here.ask([OK]), Accepted)
    assert here.log == [("a", None if first else "k1")]
    here.own = {}
    here.ask([OK])
    assert here.log == [("a", "k1")]


@pytest.mark.parametrize("bad", [limited(60), DENIED, FORBIDDEN])
def test_the_pool_takes_over_until_it_is_back(bad):
    here = world(a=2)
    assert isinstance(here.ask([bad, OK]), Accepted)
    assert here.log == [("a", None), ("a", "k1")]
    here.ask([OK])
    assert here.log == [("a", "k2")]
    here.now += 24 * 3600.0
    here.ask([OK])
    assert here.log == [("a", None)]


def test_back_at_the_reset():
    here = world(a=1)
    here.ask([limited(60), OK])
    here.now += 59.0
    here.ask([OK])
    assert here.log == [("a", "k1")]
    here.now += 1.5
    here.ask([OK])
    assert here.log == [("a", None)]


def test_a_window_that_is_used_up_is_known_before_the_429():
    reset = 1000.0 + 600
    used = {
        "anthropic-ratelimit-unified-5h-utilization": "1.0",
        "anthropic-ratelimit-unified-5h-reset": str(int(reset)),
        "anthropic-ratelimit-unified-reset": str(int(reset)),
    }
    here = world(a=1)
    here.ask([Outcome(200, used)])
    here.ask([OK])
    assert here.log == [("a", "k1")]
    here.now = reset + 1
    here.ask([OK])
    assert here.log == [("a", None)]


def test_another_login_is_another_credential():
    here = world(a=1)
    here.ask([DENIED, OK])
    here.own = {"a": here.known.of("new", first=True)}
    here.ask([OK])
    assert here.log == [("a", None)]
    here.own = {"a": here.known.of("mine", first=True)}
    here.ask([OK])
    assert here.log == [("a", "k1")]


def test_last_when_the_pool_has_nothing():
    here = world(first=False, a=2)
    assert isinstance(here.ask([limited(60), DENIED, OK]), Accepted)
    assert here.log == [("a", "k1"), ("a", "k2"), ("a", None)]
    here.ask([OK])
    assert here.log == [("a", None)]
    here.now += 61
    here.ask([OK])
    assert here.log == [("a", "k1")]


@pytest.mark.parametrize("first", [True, False])
def test_what_it_was_told_is_passed_on_when_nobody_is_left(first):
    here = world(first, a=1)
    end = here.ask([limited(60), limited(60)] if first else [limited(60), limited(90)])
    here_log = [("a", None), ("a", "k1")]
    assert here.log == (here_log if first else here_log[::-1])
    assert isinstance(end, Refused if first else PassedOn)
    assert isinstance(world(first, a=0).ask([limited(60)]), PassedOn)


def test_overloaded_is_nobodys_fault():
    here = world(a=1)
    assert isinstance(here.ask([BUSY, BUSY, OK]), Accepted)
    here.ask([OK])
    assert here.log == [("a", None)]


def test_the_next_provider_when_both_are_used_up():
    here = world(a=1, b=1)
    assert isinstance(here.ask([limited(600), limited(600), OK]), Accepted)
    assert here.log == [("a", None), ("a", "k1"), ("b", "k1")]


def test_a_fault_made_on_purpose_says_nothing_of_it():
    here = world(a=1)
    here.faults = lambda facts, n: Fault("401") if n == 1 else None
    here.ask([DENIED, OK])
    here.faults = None
    here.ask([OK])
    assert here.log == [("a", None)]


def test_what_a_key_made_is_the_keys():
    here = world(a=2)
    here.owner = Owner("a", "a-2")
    here.ask([OK])
    assert here.log == [("a", "k2")]


def test_a_session_goes_over_to_the_pool_and_comes_back():
    from dataclasses import replace

    facts = replace(FACTS, session="s")
    here = world(a=3)
    here.ask([limited(60), OK], facts)
    taken = here.log[-1]
    for _ in range(3):
        here.ask([OK], facts)
        assert here.log == [taken]
    here.now += 61
    here.ask([OK], facts)
    assert here.log == [("a", None)]


def test_one_that_left_is_looked_at_again():
    """A probe whose client went away does not stay under way."""
    here = world(a=1)
    here.ask([DENIED, OK])
    here.now += 6 * 3600.0 + 1
    steps = here.begin()
    assert next(steps).key is None
    steps.close()
    here.ask([OK])
    assert here.log == [("a", None)]
    assert here.own["a"].is_ready(OPUS, here.now)
