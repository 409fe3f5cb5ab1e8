"""Routes: first match wins, names are mapped."""

from dataclasses import dataclass, field

import pytest

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Target
from claude_relay.core.routing.routes import route


@dataclass(frozen=True)
class Match:
    model: str | None = None
    header: dict = field(default_factory=dict)
    stream: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None
    client: str | None = None
    program: str | None = None
    min_input_tokens: int | None = None
    background: bool | None = None
    subagent: bool | None = None


@dataclass(frozen=True)
class Route:
    to: tuple
    match: Match = Match()


@dataclass(frozen=True)
class Provider:
    models: dict = field(default_factory=dict)


PROVIDERS = {
    "anthropic": Provider(),
    "glm": Provider({"claude-haiku-*": "glm-air", "Claude-*": "glm-4.6"}),
    "spare": Provider({"*": "spare-1"}),
}


def facts(model="claude-opus-4-5", **more):
    return Facts(Endpoint.MESSAGES, model=model, **more)


def names(routes, about):
    return [target.provider for target in route(about, routes, PROVIDERS)]


def test_without_routes_every_provider_in_order():
    assert names([], facts()) == ["anthropic", "glm", "spare"]


def test_first_match_wins_and_keeps_the_order_of_providers():
    routes = [Route(("glm", "anthropic"), Match(model="claude-haiku-*")), Route(("anthropic",)), Route(("spare",))]
    assert names(routes, facts("Claude-Haiku-4-5")) == ["glm", "anthropic"]
    assert names(routes, facts()) == ["anthropic"]


@pytest.mark.parametrize(
    ("match", "about", "fits"),
    [
        (Match(model="*opus*"), facts(), True),
        (Match(model="claude-*"), facts(""), False),
        (Match(model="claude-opus-4-[56]"), facts("claude-opus-4-6"), True),
        (Match(model="*"), facts("claude-opus-4-6[1m]"), True),
        (Match(stream=True), facts(stream=True), True),
        (Match(stream=False), facts(stream=True), False),
        (Match(tools=True), facts(), False),
        (Match(tools=False), facts(), True),
        (Match(thinking=True), facts(thinking=True), True),
        (Match(thinking=True), facts(), False),
        (Match(header={"X-App": "cli*"}), facts(headers={"x-app": "cli-bg"}), True),
        (Match(header={"x-app": "cli*"}), facts(headers={"x-app": "web"}), False),
        (Match(header={"x-app": "*"}), facts(), False),
        (Match(header={"x-app": "*", "user-agent": "a*"}), facts(headers={"x-app": "cli", "user-agent": "b"}), False),
        (Match(model="claude-*", stream=True), facts(), False),
        (Match(program="Claude-*"), facts(program="claude-cli"), True),
        (Match(program="claude-*"), facts(client="claude-1"), False),
        (Match(client="Alice*"), facts(client="alice-2"), True),
        (Match(client="*"), facts(program="claude-cli"), True),
        (Match(client="a*"), facts(program="a"), False),
        (Match(min_input_tokens=1000), facts(body=b"x" * 4000), True),
        (Match(min_input_tokens=1000), facts(body=b"x" * 3999), False),
        (Match(background=True), facts(), False),
        (Match(background=False), facts(), True),
        (Match(subagent=True), facts(subagent=True), True),
        (Match(subagent=False), facts(subagent=True), False),
    ],
)
def test_matching(match, about, fits):
    routes = [Route(("spare",), match), Route(("anthropic",))]
    assert names(routes, about) == (["spare"] if fits else ["anthropic"])


@pytest.mark.parametrize(
    ("model", "there"),
    [("claude-haiku-4-5", "glm-air"), ("claude-opus-4-5", "glm-4.6"), ("gpt-5", "gpt-5"), ("", "")],
)
def test_the_first_glob_names_the_model_there(model, there):
    assert route(facts(model), [Route(("glm",))], PROVIDERS) == (Target("glm", there),)


def test_a_request_without_a_model_gets_none():
    assert route(facts(""), [Route(("spare",))], PROVIDERS) == (Target("spare", ""),)


@pytest.mark.parametrize(
    ("default", "targets"),
    [
        (None, [("anthropic", "claude-opus-4-5"), ("glm", "glm-4.6")]),
        ("glm", [("glm", "glm-4.6"), ("anthropic", "claude-opus-4-5")]),
        ("glm/vendor/glm-5", [("glm", "vendor/glm-5"), ("anthropic", "claude-opus-4-5")]),
        ("spare", [("spare", "spare-1"), ("anthropic", "claude-opus-4-5"), ("glm", "glm-4.6")]),
        ("gone/x", [("anthropic", "claude-opus-4-5"), ("glm", "glm-4.6")]),
    ],
)
def test_the_default_comes_first_and_falls_back_to_the_route(default, targets):
    routes = [Route(("anthropic", "glm"))]
    assert route(facts(), routes, PROVIDERS, default) == tuple(Target(*target) for target in targets)


def test_the_default_takes_what_no_route_takes_and_names_no_model_where_there_is_none():
    routes = [Route(("anthropic",), Match(model="gpt-*"))]
    assert route(facts(), routes, PROVIDERS, "glm/x") == (Target("glm", "x"),)
    assert route(facts(""), routes, PROVIDERS, "glm/x") == (Target("glm", ""),)


def test_nothing_configured_is_404_and_says_what_to_do():
    with pytest.raises(RelayError, match="routes") as caught:
        route(facts(), [Route(("anthropic",), Match(model="gpt-*"))], PROVIDERS)
    assert (caught.value.status, caught.value.final) == (404, True)


def test_a_provider_that_is_gone_is_skipped():
    assert names([Route(("gone", "anthropic"))], facts()) == ["anthropic"]
    with pytest.raises(RelayError):
        route(facts(), [Route(("gone",))], PROVIDERS)
