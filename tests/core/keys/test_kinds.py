"""What a request is for the health of keys."""

from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.core.keys.kinds import kind_of, scopes_of

OPUS = "claude-opus-5"


def scopes(**more):
    return scopes_of(kind_of(Facts(Endpoint.MESSAGES, **more), OPUS))


def test_an_ordinary_request_is_its_model():
    assert kind_of(Facts(Endpoint.MESSAGES), OPUS) == OPUS
    assert scopes_of("Claude-Opus-5") == ("", "model:claude-opus-5", "family:opus")


def test_others_have_limits_of_their_own():
    assert scopes(speed="fast") == ("", "model:claude-opus-5/fast", "family:opus/fast", "limits:fast")
    assert scopes(speed="fast", tier="standard_only")[3] == "limits:fast/standard_only"


def test_the_long_context_has_no_limits_of_its_own_but_may_be_refused():
    assert scopes(long=True) == ("", "model:claude-opus-5/long", "family:opus")


def test_a_name_cannot_pretend_to_be_a_kind():
    assert scopes_of(kind_of(Facts(Endpoint.MESSAGES), "a\0fast")) == ("", "model:afast", "family:afast")
    assert scopes_of(kind_of(Facts(Endpoint.MESSAGES, speed="fast"), "a\0b"))[1] == "model:ab/fast"


def test_names_are_remembered_up_to_a_length():
    """Cooldowns are stored by them, and a client chooses them."""
    facts = Facts(Endpoint.MESSAGES, tier="t" * 1_000_000)
    kind = kind_of(facts, "m" * 1_000_000)
    assert len(kind) < 600
    assert sum(map(len, scopes_of(kind))) < 3000
