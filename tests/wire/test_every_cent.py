"""Money that stands beside an answer or was never told, through the real relay: charges, estimates, and what people see of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from claude_relay.cli.usage import usage as command

from . import claude, foreign, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import FakeUpstream, Step

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
    upstream.script(steps.after_content(300, steps.cut), steps.stream())
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


CALL = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {"text": "word " * 300}}
CALL_AT_ONCE = claude.event("content_block_start", {"type": "content_block_start", "index": 0, "content_block": CALL})
NOTHING = {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": None}
WORDS = [f"word {number} " for number in range(300)]


def last(told: dict[str, object]) -> bytes:
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told}
    return claude.event("message_delta", end)


def said(*parts: bytes, usage: dict[str, object] | None = None) -> list[bytes]:
    return [claude.start(usage=usage), claude.BLOCK_START, *map(claude.delta, WORDS), claude.BLOCK_STOP, *parts]


@pytest.mark.parametrize(
    ("step", "stream", "counts"),
    [
        (steps.stream(said(last({"output_tokens": 400}), last(NOTHING), claude.STOP)), True, (25, 400, 0)),
        (steps.stream(said(last({"output_tokens": 400}), claude.STOP, usage={"a": 1})), True, ("asked", 400, 1)),
        (steps.message("word " * 300, usage={}), False, ("asked", (300, 400), 1)),
        (steps.message("word " * 300, usage=NOTHING), False, ("asked", (300, 400), 1)),
        (steps.answer([claude.dump(claude.message(content=[CALL], usage=NOTHING))]), False, ("asked", (300, 400), 1)),
        (steps.stream([claude.start(), CALL_AT_ONCE, steps.cut]), True, (25, (300, 400), 1)),
    ],
    ids=["told again as nothing", "input never told", "no usage", "usage of nothing", "a call", "a call at once"],
)
def test_what_was_told_stays_and_what_was_not_is_estimated(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, step: Step, stream: bool, counts: tuple[object, ...]
) -> None:
    relay = start(prices=PRICES)
    upstream.script(step)
    body = messages_body(stream=stream)
    assert base_client(relay).ask("POST", "/v1/messages", body=body).status == 200
    assert_counts(relay, body, counts)


def assert_counts(relay: Relay, body: bytes, counts: tuple[object, ...]) -> None:
    """Input tokens, or that they are those of the request's size; output tokens, or their bounds; whether it is estimated."""
    into, out, estimated = counts
    (row,) = rows(relay.database)
    assert (row["input_tokens"], row["estimated"]) == (len(body) // 4 if into == "asked" else into, estimated)
    least, most = out if isinstance(out, tuple) else (out, out)
    assert least <= row["output_tokens"] <= most


def chat_usage(prompt: int | None, completion: int | None, cached: int | None = None) -> bytes:
    details = {"prompt_tokens_details": {"cached_tokens": cached}} if cached is not None else {}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion} | details
    return foreign.data({"choices": [], "usage": usage})


def gemini(text: str, finish: str | None = None, **usage: int | None) -> bytes:
    chunk = foreign.gemini_chunk([{"text": text}] if text else [], finish)
    return foreign.data(chunk | {"usageMetadata": usage})


def response(kind: str, usage: object, **more: object) -> bytes:
    status = kind.partition(".")[2]
    whole = {"id": "resp_1", "model": "gpt-5.1", "status": status, "output": [], "usage": usage}
    return foreign.named({"type": kind, "response": whole | more})


RESPONSE_WORDS = [
    foreign.named({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": word})
    for word in WORDS
]
CHAT_WORDS = [foreign.chat_chunk({"content": word}) for word in WORDS]
CALLS = [
    foreign.chat_chunk({"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]})
    for index in range(2)
    for function in ({"name": f"tool_{index}", "arguments": '{"a": "'}, *({"arguments": word} for word in WORDS))
]
GEMINI = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 300,
    "candidatesTokenCount": 400,
    "thoughtsTokenCount": 50,
}
GEMINI_WORDS = [gemini(word, **GEMINI) for word in WORDS]
RESPONSES = {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 300}, "output_tokens": 450}
FAILED = {"error": {"code": "server_error", "message": "no"}}
CHAT_END = foreign.chat_chunk({}, "stop")


@pytest.mark.parametrize(
    ("format", "parts", "counts"),
    [
        (
            "openai-chat",
            [*CHAT_WORDS, chat_usage(1000, 450, 300), CHAT_END, chat_usage(1000, None)],
            (700, 450, 300, 0),
        ),
        ("openai-chat", [*CHAT_WORDS, CHAT_END, chat_usage(None, 450)], (None, 450, 0, 1)),
        ("openai-chat", [*CHAT_WORDS, chat_usage(1000, 450, 300), steps.cut], (700, (600, 1500), 300, 1)),
        ("openai-chat", [*CALLS, steps.cut], (None, (1100, 3000), None, 1)),
        ("gemini", [*GEMINI_WORDS, gemini("", "STOP", **GEMINI | {"candidatesTokenCount": None})], (700, 450, 300, 0)),
        ("gemini", [*GEMINI_WORDS, gemini("", "STOP", **GEMINI | {"cachedContentTokenCount": 0})], (700, 450, 300, 0)),
        ("gemini", [*GEMINI_WORDS, steps.cut], (700, (600, 1500), 300, 1)),
        (
            "openai-responses",
            [response("response.in_progress", RESPONSES), *RESPONSE_WORDS, response("response.completed", None)],
            (700, 450, 300, 0),
        ),
        (
            "openai-responses",
            [*RESPONSE_WORDS, response("response.failed", RESPONSES, **FAILED)],
            (700, (600, 1500), 300, 1),
        ),
    ],
    ids=[
        "chat: the end tells less",
        "chat: input never told",
        "chat: cut after it was told",
        "chat: cut in the second of two calls",
        "gemini: the end tells less",
        "gemini: the cache is told once",
        "gemini: cut after it was told",
        "responses: told at the beginning",
        "responses: failed",
    ],
)
def test_what_other_formats_told_stays_and_what_they_did_not_is_estimated(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    format: str,
    parts: list[steps.Part],
    counts: tuple[object, ...],
) -> None:
    providers = {"other": provider(upstream.url, ["one"], format=format, auth="bearer")}
    relay = start(config(providers=providers))
    upstream.script(foreign.events(parts))
    body = messages_body(stream=True, text="word " * 200)
    assert base_client(relay).ask("POST", "/v1/messages", body=body).status == 200
    (row,) = rows(relay.database)
    into, out, read, estimated = counts
    least, most = out if isinstance(out, tuple) else (out, out)
    assert (row["cache_read_tokens"], row["estimated"]) == (read, estimated)
    assert least <= row["output_tokens"] <= most
    assert row["input_tokens"] == into or (into is None and row["input_tokens"] >= 200)


@pytest.mark.parametrize(
    ("step", "stream", "counts"),
    [
        (steps.stream([claude.PING, steps.cut]), True, ("asked", 0)),
        (steps.stream([claude.start(), steps.cut]), True, (25, 1)),
        (steps.answer([claude.dump(claude.message("word " * 300))[:-300], steps.cut], framing="chunked"), False, None),
    ],
    ids=["before anything was told", "before content", "in a whole answer"],
)
def test_a_try_that_broke_off_and_was_made_again_is_estimated(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    step: Step,
    stream: bool,
    counts: tuple[object, int] | None,
) -> None:
    relay = start(prices=PRICES)
    upstream.script(step)
    body = messages_body(stream=stream)
    assert base_client(relay).ask("POST", "/v1/messages", body=body).status == 200
    (row,), (first, second) = rows(relay.database), rows(relay.database, "attempts")
    assert (row["attempts"], row["finished"], row["estimated"]) == (2, "complete", 1)
    if counts is None:
        assert first["input_tokens"] == len(body) // 4
        assert 200 <= first["output_tokens"] <= 400
    else:
        into, out = counts
        assert (first["input_tokens"], first["output_tokens"]) == (len(body) // 4 if into == "asked" else into, out)
    assert first["cost_usd"] > 0
    assert (second["input_tokens"], second["output_tokens"]) == (25, 15)
