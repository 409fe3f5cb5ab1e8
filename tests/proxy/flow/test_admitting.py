"""One request under its client's limits, however it ends."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from mitmproxy import http

from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.config import Config
from claude_relay.core.endpoints import classify
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Facts, Fault, Refused
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.flow import admitting
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.limiting import Limiting
from claude_relay.proxy.running.runtime import Runtime
from store.rows import request
from waiting import PATIENCE

CONFIG = {
    "providers": {"anthropic": {"format": "anthropic", "base_url": "https://api.anthropic.com"}},
    "retry": {"max_wait": "20s"},
}
RUNTIME = Runtime.of(Config.model_validate(CONFIG))


def relayed(*limits: str, path: str = "/v1/messages", size: int = 400, **headers: str) -> Relayed:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"x" * size
    facts = Facts(classify(path), "m", headers=names, body=body, session="s")
    made = Relayed("req_relay_1", facts, RUNTIME, RUNTIME.limits, started_at=time.time())
    made.client = Client("1", "alice", Policy(limits=tuple(map(parse, limits))))
    made.keep_request(http.Request.make("POST", f"https://api.anthropic.com{path}", body), body)
    return made


def run(path: Path, work: Callable[[Limiting], Awaitable[None]]) -> None:
    async def inside() -> None:
        limiting = Limiting(path / "relay.db", lambda: True)
        limiting.start()
        try:
            await asyncio.wait_for(work(limiting), PATIENCE)
        finally:
            limiting.close()

    asyncio.run(inside())


def busy(limiting: Limiting) -> int:
    return sum(held.busy + held.waiting for held in limiting.limiter.slots.held.values())


def is_near(found: float, expected: float, amount: float, began: float, within: float) -> bool:
    """What was used of a rate since `began`, of which `amount` is made good again in a minute."""
    again = amount / 60 * (time.time() - began)
    return expected - again - within <= found <= expected + within


def used(limiting: Limiting, amount: float) -> float:
    (rate,) = limiting.limiter.rates.values()
    return rate.used(amount, time.time())


def test_without_a_client_or_limits_nothing_happens(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        stranger = relayed("1 concurrent")
        stranger.client = None
        for one in (stranger, relayed()):
            await admitting.admit(one, limiting)
            assert one.admission is None
        await admitting.admit(relayed("1 concurrent"), None)
        assert limiting.limiter.is_unused

    run(tmp_path, work)


def test_a_place_is_free_when_nobody_says_how_it_ended(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        one = relayed("1 concurrent")
        await admitting.admit(one, limiting)
        assert busy(limiting) == 1
        del one
        gc.collect()
        assert busy(limiting) == 0

    run(tmp_path, work)


def test_a_place_is_given_back_once(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        first, second = relayed("2 concurrent"), relayed("2 concurrent")
        for one in (first, second):
            await admitting.admit(one, limiting)
        for _ in range(3):
            admitting.settle(first, Usage(), NOW())
            first.forget()
        assert busy(limiting) == 1

    run(tmp_path, work)


async def _until_it_waits(limiting: Limiting) -> None:
    while not limiting.limiter.queues:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["the client leaves", "the relay ends"])
def test_who_waits_is_taken_out(tmp_path: Path, how: str) -> None:
    async def work(limiting: Limiting) -> None:
        first, second, third = (relayed("1 concurrent") for _ in range(3))
        await admitting.admit(first, limiting)
        waiting = asyncio.ensure_future(admitting.admit(second, limiting))
        await _until_it_waits(limiting)
        if how == "the client leaves":
            second.client_left()
            await waiting
        else:
            second.ended = RelayError(503, "the relay is ending")
            second.wake()
            with pytest.raises(RelayError, match="is ending"):
                await waiting
        assert (second.admission, second.waited > 0) == (None, True)
        assert limiting.limiter.queues == {}
        assert busy(limiting) == 1
        later = asyncio.ensure_future(admitting.admit(third, limiting))
        await _until_it_waits(limiting)
        admitting.settle(first, Usage(), NOW())
        await later
        assert third.admission is not None
        assert busy(limiting) == 1

    run(tmp_path, work)


def test_a_rate_that_is_over_is_not_waited_for(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        limits = "1 concurrent", "1 requests/minute"
        await admitting.admit(first := relayed(*limits), limiting)
        with pytest.raises(ClientLimitError, match="requests/minute"):
            await admitting.admit(relayed(*limits), limiting)
        admitting.settle(first, Usage(), NOW())
        assert busy(limiting) == 0

    run(tmp_path, work)


def test_tokens_as_they_were_used(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        began = time.time()
        await admitting.admit(one := relayed("1k tokens/minute", size=400), limiting)
        estimate = one.facts.input_estimate
        assert is_near(used(limiting, 1000), estimate, 1000, began, within=2)
        admitting.settle(one, Usage(input_tokens=10, cache_read_tokens=200, output_tokens=300), NOW())
        assert is_near(used(limiting, 1000), 510, 1000, began, within=5)

    run(tmp_path, work)


def test_what_nobody_was_given_used_no_tokens_and_a_refusal_nothing(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        await admitting.admit(one := relayed("1k tokens/minute"), limiting)
        admitting.settle(one, Usage(), NOW())
        assert used(limiting, 1000) == pytest.approx(0, abs=1)
        limiting.limiter.rates.clear()
        began = time.time()
        await admitting.admit(one := relayed("10 requests/minute"), limiting)
        assert is_near(used(limiting, 10), 1, 10, began, within=0.1)
        one.step = Refused(ClientLimitError(429, "no money"))
        admitting.settle(one, Usage(), NOW())
        assert used(limiting, 10) == pytest.approx(0, abs=0.1)

    run(tmp_path, work)


def test_counts_and_lists_are_requests_only(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        limits = "3 requests/minute", "10 tokens/minute", "1 concurrent"
        for path in ("/v1/messages/count_tokens", "/v1/models", "/v1/files"):
            await admitting.admit(one := relayed(*limits, path=path), limiting)
            assert one.admission is not None
            assert not one.admission.weight.runs
        with pytest.raises(ClientLimitError, match="'3 requests/minute'"):
            await admitting.admit(relayed(*limits), limiting)

    run(tmp_path, work)


def test_agents_of_a_tree(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        trees = []
        for agent in ({}, {"agent": "a"}, {"agent": "b", "parent": "a"}, {"agent": "c", "parent": "b"}):
            named = {"agent": "x_claude_code_agent_id", "parent": "x_claude_code_parent_agent_id"}
            await admitting.admit(one := relayed(**{named[what]: name for what, name in agent.items()}), limiting)
            trees.append(one.agent_tree)
        assert trees == [None, "a", "a", "a"]

    run(tmp_path, work)


def test_what_fails_on_purpose_costs_nothing(tmp_path: Path) -> None:
    async def work(limiting: Limiting) -> None:
        for fault, spent in ((Fault("500"), 0.0), (None, 0.5)):
            await admitting.admit(one := relayed("$1/day"), limiting)
            one.begin_attempt(Attempt(1, "anthropic", None, "m", fault=fault))
            admitting.counted(one, request(origin=one.origin, started_at=one.started_at, cost_usd=0.5))
            (spending,) = limiting.limiter.spendings.values()
            assert spending.spent(time.time()) == spent

    run(tmp_path, work)
