"""Money that stands beside an answer or was never told, through the real relay: charges, estimates, and what people see of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from claude_relay.cli.usage import usage as command

from . import claude, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, rows
from .upstream import FakeUpstream

Base = Callable[[Relay], RawClient]
PRICES = [
    {"model": "claude-sonnet-*", "input": 3, "output": 15},
    {"model": "claude-opus-*", "input": 5, "output": 25},
    {"model": "claude-2*", "input": 8, "output": 24},
]
ADVICE = {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 2000, "output_tokens": 400}
SUMMARY = {"type": "compaction", "input_tokens": 1000, "output_tokens": 100}


def advised() -> list[bytes]:
    told = {"input_tokens": 0, "output_tokens": 200, "iterations": [ADVICE, {"type": "message"}, SUMMARY]}
    end = claude.event("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told})
    return [
        claude.start(usage={"input_tokens": 100}),
        claude.BLOCK_START,
        claude.delta("Hi"),
        claude.BLOCK_STOP,
        end,
        claude.STOP,
    ]


def shown(relay: Relay, *arguments: str) -> str:
    result = CliRunner().invoke(command, [*arguments, "--database", str(relay.database)], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "--json" in arguments or max(map(len, result.stdout.splitlines())) <= 80, result.stdout
    return result.stdout


def test_an_advisor_and_a_compaction_are_lines_of_their_own(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    relay = start(prices=PRICES)
    upstream.script(steps.stream(advised()))
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True)).status == 200
    (request,), (attempt,) = rows(relay.database), rows(relay.database, "attempts")
    assert (attempt["input_tokens"], attempt["output_tokens"]) == (100, 200)
    assert attempt["cost_usd"] == pytest.approx((100 * 3 + 200 * 15) / 1e6)
    charges = [
        (row["kind"], row["model"], row["input_tokens"], row["cost_usd"]) for row in rows(relay.database, "charges")
    ]
    assert charges == [
        ("advisor", "claude-opus-5", 2000, pytest.approx((2000 * 5 + 400 * 25) / 1e6)),
        ("compaction", claude.MODEL, 1000, pytest.approx((1000 * 3 + 100 * 15) / 1e6)),
    ]
    assert (request["input_tokens"], request["output_tokens"], request["estimated"]) == (3100, 700, 0)
    assert request["cost_usd"] == pytest.approx(attempt["cost_usd"] + sum(row[3] for row in charges))
    told = shown(relay, "show", request["id"])
    assert "+ advisor" in told
    assert "claude-opus-5" in "".join(told.split())
    assert [one["kind"] for one in json.loads(shown(relay, "show", request["id"], "--json"))["charges"]] == [
        "advisor",
        "compaction",
    ]
    for by in ("model", "served"):
        lines = {line["name"]: line for line in json.loads(shown(relay, "--by", by, "--json"))["rows"]}
        assert (lines["claude-opus-5"]["requests"], lines["claude-opus-5"]["input_tokens"]) == (0, 2000)
        assert (lines[claude.MODEL]["requests"], lines[claude.MODEL]["input_tokens"]) == (1, 1100)
        assert lines["claude-opus-5"]["cost_usd"] == pytest.approx(0.02)
    shown(relay, "--by", "model")


def test_a_stream_that_broke_off_is_estimated_and_says_so(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    relay = start(prices=PRICES)
    upstream.script(steps.cut_after_content(300), steps.stream())
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body(stream=True))
    base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    broken, whole = rows(relay.database)
    assert (broken["estimated"], broken["input_tokens"], whole["estimated"]) == (1, 25, 0)
    assert 600 <= broken["output_tokens"] <= 1500  # 300 words and as many numbers
    assert broken["cost_usd"] is not None
    table = shown(relay)
    assert "~ 1 request estimated" in table
    assert "~$" in table
    assert "~ 1 request estimated" in shown(relay, "show", broken["id"])
    assert "estimated" not in shown(relay, "show", whole["id"])
    found = json.loads(shown(relay, "--json"))
    assert (found["total"]["estimated"], [row["estimated"] for row in found["rows"]]) == (1, [1])


@pytest.mark.parametrize("stream", [True, False])
def test_an_old_text_completion_has_a_price(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, stream: bool
) -> None:
    relay = start(prices=PRICES)
    text = "word " * 300
    whole = {"type": "completion", "completion": text, "stop_reason": "stop_sequence", "model": "claude-2.1"}
    if stream:
        parts = [
            claude.event("completion", whole | {"stop_reason": None}),
            claude.event("completion", whole | {"completion": ""}),
        ]
        upstream.script(steps.stream(parts))
    else:
        upstream.script(steps.answer([claude.dump(whole)]))
    body = json.dumps(
        {"model": "claude-2.1", "prompt": "Say it. " * 100, "max_tokens_to_sample": 400, "stream": stream}
    )
    assert base_client(relay).ask("POST", "/v1/complete", body=body.encode()).status == 200
    (row,) = rows(relay.database)
    assert (row["estimated"], row["finished"], row["status"]) == (1, "complete", 200)
    assert row["output_tokens"] == pytest.approx(350, abs=3)
    assert row["input_tokens"] == len(body) // 4
    assert row["cost_usd"] == pytest.approx((row["input_tokens"] * 8 + row["output_tokens"] * 24) / 1e6)
