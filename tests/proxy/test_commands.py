"""The commands work on the pools of the running relay, as mitmproxy's console calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from claude_relay.core.config import parse
from claude_relay.core.faults import Faults
from claude_relay.core.routing.routes import matches
from claude_relay.proxy.commands import RelayCommands
from claude_relay.proxy.exporting import Exporting
from claude_relay.proxy.flow.deciding import dice
from claude_relay.proxy.recordings import Recordings
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.stream.resending import Resending

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pyparsing, which mitmproxy calls
TEXT = "providers: {anthropic: {preset: anthropic, keys: [one-key, two-key]}, glm: {preset: zhipu, keys: [third]}}"


@pytest.fixture
def call() -> Callable[..., Any]:
    """Runs commands, each with its arguments as a person types them, and returns the last one's value."""
    runtime = Runtime.of(parse(TEXT, environ={}))
    reloads: list[int] = []
    defaults: list[str | None] = []
    faults = Faults((), matches=matches, dice=dice)

    def run(*lines: str) -> Any:
        async def main() -> Any:
            with taddons.context() as tctx:
                recordings = Recordings(lambda: runtime, Resending(lambda: runtime, lambda layer: None), {})
                tctx.master.addons.add(
                    RelayCommands(
                        lambda: runtime,
                        lambda: reloads.append(1),
                        defaults.append,
                        faults,
                        recordings,
                        Exporting(lambda: runtime),
                    )
                )
                return [tctx.master.commands.execute(line) for line in lines][-1]

        return asyncio.run(main())

    run.faults = faults  # type: ignore[attr-defined]
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


def test_cooldown_and_enable(call: Callable[..., Any]) -> None:
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


def test_faults_are_added_listed_and_taken_away(call: Callable[..., Any]) -> None:
    added = call("relay.fault add 529 attempt=1 model=claude-opus-* count=3", "relay.fault add cut after=200")
    assert added == [
        ["fault", "left", "rule"],
        ["529", "3", "attempt=1 count=3 model=claude-opus-*"],
        ["cut after 200 bytes", "", ""],
    ]
    assert call("relay.fault list") == added
    assert call("relay.fault clear") == [["fault", "left", "rule"]]
    assert not call.faults  # type: ignore[attr-defined]
    assert call("relay.fault.actions") == ["add", "list", "clear"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("relay.fault add 530", "no fault has this name"),
        ("relay.fault add", "which fault"),
        ("relay.fault add cut lasts=1s", "has no length"),
        ("relay.fault add 529 nth=1", "is none of a rule's names"),
        ("relay.fault clear 529", "takes no rule"),
        ("relay.fault list 529", "takes no rule"),
    ],
)
def test_a_wrong_fault_is_explained(call: Callable[..., Any], line: str, told: str) -> None:
    with pytest.raises(exceptions.CommandError, match=told):
        call(line)
    assert not call.faults  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("relay.replay nowhere.flow", "nowhere.flow is no file"),
        ("relay.replay nowhere.flow openai", "there are: anthropic, glm"),
        ("relay.replay nowhere.flow glm/", "name a model or a key"),
        ("relay.duel nowhere.flow glm", "two targets"),
        ("relay.duel nowhere.flow glm glm", "two targets"),
        ("relay.duel nowhere.flow glm openai", "there are: anthropic, glm"),
    ],
)
def test_what_cannot_be_sent_again(call: Callable[..., Any], line: str, why: str) -> None:
    with pytest.raises(exceptions.CommandError, match=why):
        call(line)
