"""What a request says itself of where it goes and what it is."""

from __future__ import annotations

import pytest
from mitmproxy.test.tflow import tflow

from claude_relay.core.config import parse
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Origin, Target
from claude_relay.proxy.flow.aiming import aim_of, provider_of, source_of
from claude_relay.proxy.running.runtime import Runtime

TEXT = """
providers:
  anthropic: {preset: anthropic, keys: [one-key, two-key]}
  glm: {preset: zhipu, keys: [third], models: {"claude-*": glm-4.6}}
"""


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime.of(parse(TEXT, environ={}))


def facts(target: str, model: str = "claude-sonnet-5", endpoint: Endpoint = Endpoint.MESSAGES) -> Facts:
    return Facts(endpoint, model=model, headers={"x-relay-target": target})


@pytest.mark.parametrize(
    ("named", "target"),
    [
        ("anthropic", Target("anthropic", "claude-sonnet-5")),
        ("glm", Target("glm", "glm-4.6")),
        ("glm/glm-5", Target("glm", "glm-5")),
        ("glm/zai/glm-5", Target("glm", "zai/glm-5")),
        ("glm/k2", Target("glm", "k2")),
    ],
)
def test_a_provider_or_a_model_of_one(runtime: Runtime, named: str, target: Target) -> None:
    aim = aim_of(facts(named), runtime)
    assert aim is not None
    assert (aim.target, aim.key) == (target, None)
    assert aim.route.described([target.provider]) == f"x-relay-target {named}: {target.provider}"


def test_a_key(runtime: Runtime) -> None:
    aim = aim_of(facts("anthropic/k2"), runtime)
    assert aim is not None
    assert aim.target == Target("anthropic", "claude-sonnet-5")
    assert aim.key == ("anthropic", runtime.pools["anthropic"].keys[1].id)


def test_without_the_header_the_routes_say(runtime: Runtime) -> None:
    assert aim_of(Facts(Endpoint.MESSAGES, headers={}), runtime) is None
    assert aim_of(facts("anthropic", endpoint=Endpoint.MODELS), runtime) is None


@pytest.mark.parametrize(("named", "why"), [("openai", "there are: anthropic, glm"), ("glm/", "after the slash")])
def test_what_is_no_target(runtime: Runtime, named: str, why: str) -> None:
    with pytest.raises(RelayError, match=why) as caught:
        aim_of(facts(named), runtime)
    assert caught.value.status == 400
    with pytest.raises(ValueError, match=why):
        provider_of(named, runtime)


def test_where_it_comes_from() -> None:
    live, again = tflow(), tflow()
    again.is_replay = "request"
    assert source_of(live, {}) is Origin.CLIENT
    assert source_of(again, {}) is Origin.REPLAY
    assert source_of(again, {"x-relay-origin": "duel"}) is Origin.DUEL
    assert source_of(live, {"x-relay-origin": "replay"}) is Origin.REPLAY


@pytest.mark.parametrize("named", ["fault", "client", "", "Duel"])
def test_what_nobody_may_claim_to_be(named: str) -> None:
    with pytest.raises(RelayError, match="replay or duel"):
        source_of(tflow(), {"x-relay-origin": named})
