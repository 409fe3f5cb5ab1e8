"""Budgets under requests that run at the same time: what is reserved, how a refusal is told, and that nothing stays reserved."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from claude_relay.proxy.request.records import AttemptRecord
from claude_relay.proxy.request.relayed import Relayed

from . import claude, steps
from .budgets import PRICES, ask, body, is_soon, nothing_is_reserved, reporting, reserved, spent, usage
from .clients import RawClient, async_sdk
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import FakeUpstream, Signal

Base = Callable[[Relay], RawClient]
NINE = [{"per": "day", "usd": 9}]


async def hundred(port: int, most: int, text: str) -> Counter[str]:
    """How so many requests at once were answered: `answered`, `soon` or `spent`."""

    async def one(client: anthropic.AsyncAnthropic) -> str:
        try:
            messages: Any = [{"role": "user", "content": text}]
            await client.messages.create(model=claude.MODEL, max_tokens=most, messages=messages)
        except anthropic.RateLimitError as error:
            return "spent" if error.response.headers.get("x-should-retry") == "false" else "soon"
        return "answered"

    async with async_sdk(base_port=port) as client:
        return Counter(await asyncio.gather(*(one(client) for _ in range(100))))


@pytest.mark.parametrize("output", [1_500, 2_500, 10_000])
def test_a_dollar_under_a_hundred_requests_at_once(
    start: StartRelay, upstream: FakeUpstream, capsys: pytest.CaptureFixture[str], output: int
) -> None:
    """Shorter than was expected, as long as it may be at most, and longer than it may be."""
    most, text = 2_500, "x" * 8_000
    cost = (2_500 * 10 + output * 50) / 1e6
    told = {"input_tokens": 2_500, "output_tokens": output}
    upstream.default = steps.message(usage=told)
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 1}])
    found = asyncio.run(hundred(relay.base_port, most, text))
    total = sum(row["cost_usd"] or 0 for row in rows(relay.database))
    reserve = (len(text) / 4 * 10 + most * 50) / 1e6
    bound = max(found["answered"] * max(0.0, cost - reserve), cost)
    with capsys.disabled():
        print(f"\n$1 under 100 requests of ${cost:.2f} at once: ${total:.2f} spent, at most ${1 + bound:.2f}; {found}")
    assert total == pytest.approx(found["answered"] * cost)
    assert 0.5 < total <= 1 + bound
    assert found["answered"] + found["soon"] + found["spent"] == 100
    nothing_is_reserved(relay)
    assert spent(relay) == pytest.approx(total)


def test_reserved_is_told_as_soon_and_spent_as_final(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    go = Signal("go")
    upstream.script(steps.after(go, steps.message(usage=usage(20_000))))
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 1}])
    first, second = base_client(relay), base_client(relay)
    first.request("POST", "/v1/messages", body=body(most=19_000))
    upstream.wait_for_requests(1)
    assert 0.2 < reserved(relay) < 0.201  # 4,000 tokens, without history
    large = body(most=19_000, text="x" * 320_000)
    assert is_soon(ask(second, large))
    go.set()
    assert first.answer().status == 200
    assert not is_soon(ask(second))
    assert len(upstream.requests) == 1


def test_a_full_budget_leads_elsewhere(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    go = Signal("go")
    upstream.for_key("dear", steps.after(go, steps.message()))
    two = {"dear": provider(upstream.url, ["dear"]), "cheap": provider(upstream.url, ["cheap"])}
    budgets = [{"provider": "dear", "per": "day", "usd": 0.09, "then": "cheap"}]
    relay = start(config(providers=two, routes=[{"to": ["dear"]}], prices=PRICES, budgets=budgets))
    first, second = base_client(relay), base_client(relay)
    first.request("POST", "/v1/messages", body=body())
    upstream.wait_for_requests(1)
    assert ask(second).header("x-relay-provider") == "cheap"
    go.set()
    assert first.answer().header("x-relay-provider") == "dear"
    assert ask(second).header("x-relay-provider") == "dear"


def test_a_budget_that_only_warns_reserves_nothing(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    go = Signal("go")
    upstream.script(steps.after(go, steps.message()))
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 0.01, "then": "warn"}])
    first, second = base_client(relay), base_client(relay)
    first.request("POST", "/v1/messages", body=body())
    upstream.wait_for_requests(1)
    assert relay.on_loop(lambda: len(reporting(relay).holds)) == 0
    assert ask(second).status == 200
    go.set()
    assert first.answer().status == 200


def test_the_reservation_goes_where_the_attempt_goes(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    """Both may go to either, but when the first has failed there is room for one of them at the second."""
    fail, go = Signal("fail"), Signal("go")
    down = steps.status(403, "permission_error", "user location is not supported")
    upstream.for_key("first", steps.after(fail, down))
    upstream.for_key("second", steps.after(go, steps.message()))
    two = {"first": provider(upstream.url, ["first"]), "second": provider(upstream.url, ["second"])}
    budgets = [{"provider": "first", "per": "day", "usd": 9}, {"provider": "second", "per": "day", "usd": 0.09}]
    relay = start(config(providers=two, prices=PRICES, budgets=budgets))
    clients = [base_client(relay) for _ in range(2)]
    for client in clients:
        client.request("POST", "/v1/messages", body=body())
    upstream.wait_for_requests(2)
    assert (reserved(relay, 0) > 0.1, reserved(relay, 1)) == (True, 0)
    fail.set()
    upstream.wait_for_requests(3)
    relay.wait_for_log("at first/k1: unsuited", 2)  # said when it is known what follows
    assert (reserved(relay, 0), reserved(relay, 1) > 0.05) == (0, True)
    go.set()
    answers = sorted((client.answer() for client in clients), key=lambda answer: answer.status)
    assert answers[0].header("x-relay-provider") == "second"
    assert is_soon(answers[1])
    assert upstream.used_keys() == ["first", "first", "second"]


def test_what_a_broken_try_never_told_stays_reserved_beside_the_next(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    go = Signal("go")
    upstream.script(steps.stream([claude.PING, steps.cut]), steps.after(go, steps.stream()))
    relay = start(prices=PRICES, budgets=NINE)
    client = base_client(relay)
    asked = body(stream=True, text="x" * 8_000)
    client.request("POST", "/v1/messages", body=asked)
    upstream.wait_for_requests(2)
    into = len(asked) // 4 * 10e-6
    assert reserved(relay) == pytest.approx(2 * into + 1000 * 50e-6)
    go.set()
    assert client.answer().status == 200
    client.close()
    nothing_is_reserved(relay)
    assert spent(relay) > into


def test_a_wait_for_keys_reserves_nothing_and_room_is_asked_for_after_it(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    slow = steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "1")])
    go = Signal("go")
    upstream.script(slow, steps.after(go, steps.message()))
    relay = start(prices=PRICES, budgets=NINE)
    client = base_client(relay)
    client.request("POST", "/v1/messages", body=body())
    upstream.wait_for_requests(2)
    assert 0.05 < reserved(relay) < 0.06
    go.set()
    assert client.answer().status == 200
    client.close()
    nothing_is_reserved(relay)


def test_a_long_answer_is_topped_up_while_it_streams(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    go, more = Signal("go"), Signal("more")
    begun = [claude.start(usage=usage(30, read=100_000)), claude.BLOCK_START, claude.delta("Hi")]
    text = [claude.delta("word " * 400) for _ in range(50)]  # 100 KB
    upstream.script(
        steps.stream(
            [*begun, more, *text, claude.delta("end"), go, claude.BLOCK_STOP, claude.message_delta(25_000), claude.STOP]
        )
    )
    relay = start(prices=PRICES, budgets=NINE)
    client = base_client(relay)
    client.request("POST", "/v1/messages", body=body(most=64_000, stream=True))
    client.head()
    client.until(b"Hi")
    assert reserved(relay) == pytest.approx(0.1003 + 4_000 * 50e-6)  # what was read from the cache, too
    more.set()
    client.until(b'"end"')
    assert reserved(relay) > 0.1003 + 22_000 * 50e-6
    go.set()
    client.until(b"message_stop")
    client.close()
    nothing_is_reserved(relay)
    assert spent(relay) == pytest.approx(0.1003 + 25_000 * 50e-6)


# -- however it ends


WAYS: dict[str, Any] = {
    "whole": (steps.message(), False),
    "stream": (steps.stream(), True),
    "refused": (steps.status(400, "invalid_request_error", "no"), False),
    "cut": (steps.fault("cut_late"), True),
    "cut before": (steps.fault("cut_early"), True),
    "reset": (steps.reset_before_head, False),
    "html": (steps.fault("bad_gateway"), False),
    "overloaded": (steps.status(529, "overloaded_error", "Overloaded"), False),
    "error event": (steps.fault("error_first"), True),
    "unauthorized": (steps.status(401, "authentication_error", "invalid x-api-key"), False),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_stays_reserved(start: StartRelay, upstream: FakeUpstream, base_client: Base, way: str) -> None:
    step, stream = WAYS[way]
    upstream.script(*[step] * 4)
    relay = start(prices=PRICES, budgets=NINE, retry={"attempts": 2, "max_wait": "1s"})
    client = base_client(relay)
    assert ask(client, body(stream=stream)).status
    client.close()
    nothing_is_reserved(relay)
    assert upstream.requests


LEAVING: dict[str, Any] = {
    "before the head": steps.stall_before_head,
    "before content": steps.stall_before_body(),
    "in mid-stream": steps.fault("stall_late"),
}


@pytest.mark.parametrize("when", LEAVING)
def test_a_client_that_leaves(start: StartRelay, upstream: FakeUpstream, base_client: Base, when: str) -> None:
    upstream.script(LEAVING[when])
    relay = start(prices=PRICES, budgets=NINE)
    client = base_client(relay)
    client.request("POST", "/v1/messages", body=body(stream=True))
    upstream.wait_for_requests(1)
    if when == "in mid-stream":
        client.head()
        client.until(b"word 0")
    assert reserved(relay) > 0
    client.close()
    nothing_is_reserved(relay)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("whose", "slip"), [(Relayed, "begin_attempt"), (Relayed, "open_meter"), (Relayed, "count"), (AttemptRecord, "end")]
)
def test_a_hook_that_fails(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    monkeypatch: pytest.MonkeyPatch,
    whose: type,
    slip: str,
    stream: bool,
) -> None:
    relay = start(prices=PRICES, budgets=NINE)
    relay.expect_error("failed")

    def fail(*_: object) -> None:
        raise RuntimeError("a slip")

    monkeypatch.setattr(whose, slip, fail)
    client = base_client(relay)
    assert ask(client, body(stream=stream)).status
    client.close()
    nothing_is_reserved(relay)


def test_budgets_that_are_edited_while_a_request_runs(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    go = Signal("go")
    upstream.script(steps.after(go, steps.message(usage=usage(1000))))
    text = config(upstream.url, ["good-1"], prices=PRICES)
    relay = start(text | {"budgets": NINE})
    client = base_client(relay)
    client.request("POST", "/v1/messages", body=body())
    upstream.wait_for_requests(1)
    before = reserved(relay)
    assert before > 0.05
    relay.write_config(text | {"budgets": [{"per": "month", "usd": 0.09}, {"per": "day", "usd": 8}]})
    relay.wait_for_log("applies from now on")
    assert (reserved(relay, 0), reserved(relay, 1)) == (before, before)
    other = base_client(relay)
    assert is_soon(ask(other))
    other.close()
    go.set()
    assert client.answer().status == 200
    client.close()
    nothing_is_reserved(relay)
    assert (reserved(relay, 0), reserved(relay, 1)) == (0, 0)
    assert spent(relay, 0) == pytest.approx(0.06)
