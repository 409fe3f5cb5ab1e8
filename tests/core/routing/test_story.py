"""Why a request goes where it goes, in words."""

import pytest

from claude_relay.core.config.models import Match
from claude_relay.core.config.models import Route as Rule
from claude_relay.core.exchange import Endpoint, Facts, Target
from claude_relay.core.routing.story import BUSY, CONDITIONS, Route


def facts(model="claude-haiku-5", **fields):
    return Facts(endpoint=Endpoint.MESSAGES, model=model, **fields)


HAIKU = Rule(match=Match(model="claude-haiku-*"), to=["gemini", "openai"])
REST = Rule(to=["anthropic"])


@pytest.mark.parametrize(
    ("routes", "default", "rule"),
    [
        ([HAIKU, REST], None, "route 1 (model claude-haiku-*)"),
        ([Rule(match=Match(model="x"), to=["a"]), REST], None, "route 2"),
        ([], None, "all providers"),
        ([Rule(match=Match(model="x"), to=["a"])], None, "no route"),
        ([HAIKU], "openai/gpt-5", "default openai/gpt-5, then route 1 (model claude-haiku-*)"),
    ],
)
def test_the_rule_that_counts_is_named(routes, default, rule):
    assert Route.of(facts(), routes, default).rule == rule


def test_conditions_are_said_in_few_words():
    match = Match(tools=False, header={"x-team": "blue*"}, program="claude-*", min_input_tokens=0)
    rule = Rule(match=match, to=["a"])
    story = Route.of(facts(headers={"x-team": "blue1"}, program="claude-cli"), [rule], None)
    assert story.rule == "route 1 (header x-team: blue*, program claude-*, not tools, min_input_tokens 0)"


def test_every_condition_is_one_that_is_told():
    assert set(Match.model_fields) == {"header", *CONDITIONS}


def test_who_was_passed_over_and_why():
    story = Route.of(facts(), [HAIKU], None)
    story.goes_to([Target(name, "m") for name in ("gemini", "openai", "anthropic")])
    story.goes_to([Target("openai", "m"), Target("anthropic", "m")], "a budget does not let it pay")
    assert story.described(["anthropic"]) == (
        "route 1 (model claude-haiku-*): gemini, openai, anthropic; gemini: a budget does not let it pay; "
        f"openai: {BUSY}"
    )
    assert BUSY not in story.described(["openai", "anthropic"])
    assert BUSY not in story.described([])
