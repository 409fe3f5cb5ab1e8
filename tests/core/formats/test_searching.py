"""What of a search's restrictions a provider heeds."""

import pytest

from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.searching import place_of, restrict


@pytest.mark.parametrize("name", ["allowed_domains", "blocked_domains"])
def test_a_restriction_that_is_not_heeded_makes_a_provider_unsuited(name):
    settings = {"max_uses": 3, name: ["a.org"]}
    restrict(settings, name, "user_location")
    with pytest.raises(Unsuited, match=rf"tools\.web_search\.{name}: "):
        restrict(settings, "user_location")


def test_a_place_restricts_too():
    settings = {"user_location": {"type": "approximate", "city": "Rome"}}
    restrict(settings, "user_location")
    with pytest.raises(Unsuited, match="user_location"):
        restrict(settings, "allowed_domains")


@pytest.mark.parametrize("settings", [{}, {"allowed_domains": [], "user_location": None}, {"max_uses": 1}])
def test_what_restricts_nothing_is_taken_by_all(settings):
    restrict(settings)


def test_a_place_is_what_is_told_of_it():
    place = {"type": "approximate", "city": "Rome", "region": "", "country": None, "timezone": 3, "street": "x"}
    assert place_of({"user_location": place}) == {"city": "Rome"}
    assert place_of({}) == {}
