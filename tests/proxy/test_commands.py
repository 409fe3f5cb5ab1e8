"""The commands work on the pools of the running relay, as mitmproxy's console calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from claude_relay.core.config import parse
from claude_relay.proxy.commands import RelayCommands
from claude_relay.proxy.running.runtime import Runtime

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pyparsing, which mitmproxy calls
TEXT = "providers: {anthropic: {preset: anthropic, keys: [one-key, two-key]}, glm: {preset: zhipu, keys: [third]}}"


@pytest.fixture
def call() -> Callable[..., Any]:
    """Runs commands, each with its arguments as a person types them, and returns the last one's value."""
    runtime = Runtime.of(parse(TEXT, environ={}))
    reloads: list[int] = []
    defaults: list[str | None] = []

    def run(*lines: str) -> Any:
        async def main() -> Any:
            with taddons.context() as tctx:
                tctx.master.addons.add(RelayCommands(lambda: runtime, lambda: reloads.append(1), defaults.append))
                return [tctx.master.commands.execute(line) for line in lines][-1]

        return asyncio.run(main())

    run.reloads = reloads  # type: ignore[attr-defined]
    run.defaults = defaults  # type: ignore[attr-defined]
    return run


def states(rows: list[list[str]]) -> dict[str, str]:
    return {row[0]: row[1] for row in rows[1:]}


def test_keys_are_listed_without_their_secrets(call: Callable[..., Any]) -> None:
    rows = call("relay.keys")
    assert states(rows) == {"anthropic/k1": "ready", "anthropic/k2": "ready", "glm/k1": "ready"}
    assert "one-key" not in str(rows)
    assert call("relay.names") == list(states(rows))


def test_rest_and_enable(call: Callable[..., Any]) -> None:
    assert states(call("relay.cooldown anthropic/k2 60", "relay.keys"))["anthropic/k2"] == "cooldown"
    assert states(call("relay.cooldown anthropic/k2 5", "relay.keys"))["anthropic/k2"] == "cooldown"
    assert states(call("relay.enable anthropic/k2", "relay.keys"))["anthropic/k2"] == "ready"


def test_disable_and_enable(call: Callable[..., Any]) -> None:
    assert states(call("relay.disable glm/k1", "relay.keys")) == {
        "anthropic/k1": "ready",
        "anthropic/k2": "ready",
        "glm/k1": "out",
    }
    assert states(call("relay.enable glm/k1", "relay.keys"))["glm/k1"] == "ready"


@pytest.mark.parametrize(
    "line", ["relay.cooldown anthropic/k9 5", "relay.disable nobody", "relay.cooldown anthropic/k1 0"]
)
def test_what_cannot_be_done_is_said(call: Callable[..., Any], line: str) -> None:
    with pytest.raises(exceptions.CommandError):
        call(line)


def test_reload(call: Callable[..., Any]) -> None:
    call("relay.reload")
    assert call.reloads == [1]  # type: ignore[attr-defined]


def test_everything_goes_to_one_provider_until_it_is_said_again(call: Callable[..., Any]) -> None:
    assert "glm/glm-4.6" in call("relay.default glm/glm-4.6")
    call("relay.default ''")
    assert call.defaults == ["glm/glm-4.6", None]  # type: ignore[attr-defined]
    with pytest.raises(exceptions.CommandError, match="anthropic, glm"):
        call("relay.default openai")
