"""One good key among bad ones: every request is answered, alone and sixteen at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from waiting import BRIEF

from . import claude, foreign, steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import Exchange, FakeUpstream, Step

GOOD = "sk-ant-api03-good"
STREAM = b"".join(claude.events())
SOON = [("retry-after", "1")]
LATE = [("retry-after", "600")]
SLOW_DOWN = ("rate_limit_error", "This request would exceed your rate limit.")

CERTAIN: dict[str, Step] = {
    "401": steps.status(401, "authentication_error", "invalid x-api-key"),
    "402": steps.status(402, "billing_error", "Your account needs a payment method"),
    "403": steps.status(403, "permission_error", "Your API key may not do this."),
    "no credit": steps.status(
        400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."
    ),
    "tier": steps.status(
        400, "invalid_request_error", "The long context beta is not yet available for this subscription."
    ),
    "limited": steps.status(429, *SLOW_DOWN, headers=LATE),
    "limited shortly": steps.status(429, *SLOW_DOWN, headers=SOON),
    "model": steps.status(404, "not_found_error", f"model: {claude.MODEL}"),
}
UNCERTAIN: dict[str, Step] = {
    "bare 429": steps.status(429, *SLOW_DOWN),
    "529": steps.status(529, "overloaded_error", "Overloaded"),
    "529 first": steps.fault("error_first"),
    "500": steps.status(500, "api_error", "Internal server error"),
    "error first": steps.stream([claude.error_event("api_error", "oops")]),
    "cut": steps.fault("cut_early"),
    "reset": steps.reset_before_head,
    "silent": steps.stall_before_head,
    "html": steps.html(200),
    "html 503": steps.html(503),
}
POOLS: dict[str, list[str]] = {
    **{f"{name} x 7": [name] * 7 for name in CERTAIN},
    **{f"{name} x 4": [name] * 4 for name in UNCERTAIN},
    "one of each certain kind": list(CERTAIN)[:7],
    "limited and out": ["401", "401", "401", "limited", "limited", "limited", "limited"],
    "529 for ever": ["529"],
    "mixed": ["401", "limited", "529", "no credit", "cut", "error first", "403"],
}
QUICK = {"attempts": 5, "max_wait": "2s", "first_byte": BRIEF, "whole": "4s", "idle": "2s"}


def by_key(answers: dict[str, Step], good: Step) -> Step:
    """Each key always gets the same answer."""

    async def run(exchange: Exchange) -> None:
        await answers.get(exchange.request.key, good).run(exchange)

    return Step(run)


def ask(relay: Relay, model: str) -> Answer:
    with RawClient(relay.base_port) as client:
        return client.ask("POST", "/v1/messages", body=messages_body(stream=True, model=model))


def ask_at_once(relay: Relay, count: int, model: str = claude.MODEL) -> list[Answer]:
    with ThreadPoolExecutor(count) as threads:
        return [asked.result() for asked in [threads.submit(ask, relay, model) for _ in range(count)]]


def pool_of(name: str, bad: list[str]) -> tuple[list[str], dict[str, Step]]:
    """Keys of a pool of its own, the good one last, and what the upstream says to the bad ones."""
    keys = [f"sk-ant-{name.replace(' ', '-')}-{n}" for n in range(len(bad))]
    kinds = CERTAIN | UNCERTAIN
    return [*keys, f"{GOOD}-{name}"], {key: kinds[kind] for key, kind in zip(keys, bad, strict=True)}


@pytest.fixture(scope="class")
def pools(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Relay]:
    """One relay with a provider for every pool; the model of a request names it."""
    found = {name.replace(" ", "-"): pool_of(name, bad) for name, bad in POOLS.items()}
    answers = {key: said for _, bad in found.values() for key, said in bad.items()}
    folder = tmp_path_factory.mktemp("pools")
    with FakeUpstream(default=by_key(answers, steps.stream())) as upstream:
        providers = {name: provider(upstream.url, keys, strategy="priority") for name, (keys, _) in found.items()}
        routes = [{"match": {"model": name}, "to": [name]} for name in found]
        with Relay(folder, confdir, config(providers=providers, routes=routes, retry=QUICK), patience=60) as relay:
            yield relay


class TestPools:
    @pytest.mark.parametrize("name", [name.replace(" ", "-") for name in POOLS])
    def test_every_request_is_answered(self, pools: Relay, name: str) -> None:
        found = [ask(pools, name), *ask_at_once(pools, 16, name)]
        failed = [(one.status, one.body[:300]) for one in found if (one.status, one.body) != (200, STREAM)]
        assert not failed


def test_sixteen_at_once_find_it_from_the_start(start: StartRelay, upstream: FakeUpstream) -> None:
    keys, bad = pool_of("fresh", ["401", "limited", "529", "no credit", "cut", "error first", "403"])
    upstream.default = by_key(bad, steps.stream())
    relay = start(config(providers={"anthropic": provider(upstream.url, keys, strategy="priority")}, retry=QUICK))
    assert [answer.status for answer in ask_at_once(relay, 16)] == [200] * 16


def test_a_good_key_of_the_second_provider(start: StartRelay, upstream: FakeUpstream) -> None:
    keys, bad = pool_of("first", ["529", "529", "529", "401", "401", "limited"])
    bad[keys.pop()] = CERTAIN["limited"]
    upstream.default = by_key(bad, steps.stream())
    providers = {"one": provider(upstream.url, keys), "two": provider(upstream.url, [GOOD])}
    found = ask_at_once(start(config(providers=providers, retry=QUICK)), 16)
    assert {(answer.status, answer.header("x-relay-provider")) for answer in found} == {(200, "two")}


# -- what an answer means


def state(relay: Relay, key: str) -> str:
    """Of a key, as the relay's own command tells it."""
    keys = next(iter(relay.master.addons.get("claude_relay").runtime.pools.values())).state(0.0).keys
    return next(found.status for found in keys if found.alias == key)


PAGE = steps.html(403, b"<!DOCTYPE html><title>Just a moment...</title>")
NOT_ALLOWED = steps.status(403, "forbidden", "Request not allowed")


@pytest.mark.parametrize("step", [PAGE, NOT_ALLOWED], ids=["page", "not allowed"])
def test_a_403_that_is_not_the_apis_own(start: StartRelay, upstream: FakeUpstream, step: Step) -> None:
    upstream.default = step
    relay = start(keys=["sk-1", "sk-2", "sk-3"], retry=QUICK)
    for count in (1, 2):
        answer = ask(relay, claude.MODEL)
        assert (answer.status, answer.error_type in ("permission_error", "forbidden")) == (403, True)
        assert len(upstream.requests) == count, "nobody else is asked, and no key cools down"
    with FakeUpstream() as second:
        providers = {"one": provider(upstream.url, ["sk-1", "sk-2"]), "two": provider(second.url, [GOOD])}
        relay.write_config(config(providers=providers, retry=QUICK) | {"database": "relay.db"})
        relay.wait_for_log("was read again")
        answer = ask(relay, claude.MODEL)
        assert (answer.status, answer.header("x-relay-provider"), answer.header("x-relay-attempts")) == (
            200,
            "two",
            "2",
        )


ELSEWHERE = ["/v1/organizations/me", "/v1/files", "/v1/messages/batches", "/v1/models/claude-opus-5", "/v1/skills"]


@pytest.mark.parametrize("kind", ["401", "402", "403", "limited", "no credit", "500", "529", "bare 429"])
def test_endpoints_outside_inference_put_no_key_out(start: StartRelay, upstream: FakeUpstream, kind: str) -> None:
    relay = start(keys=["sk-1", "sk-2"], retry=QUICK | {"max_wait": "20ms"})
    upstream.default = (CERTAIN | UNCERTAIN)[kind]
    with RawClient(relay.base_port) as client:
        for path in ELSEWHERE:
            assert client.ask("GET", path).status >= 400
    assert [state(relay, key) for key in ("k1", "k2")] == ["ready", "ready"]
    upstream.default = steps.stream()
    before = len(upstream.requests)
    assert ask(relay, claude.MODEL).status == 200
    assert len(upstream.requests) == before + 1
    assert {row["verdict"] for row in rows(relay.database, "attempts")} <= {
        "endpoint",
        "ok",
        "bad_request",
        "unexplained_429",
    }


def test_a_fast_request_has_limits_of_its_own(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = start(keys=["sk-1"], retry=QUICK | {"max_wait": 0})
    with RawClient(relay.base_port) as client:
        upstream.script(CERTAIN["limited"])
        fast = messages_body(stream=True, speed="fast")
        assert client.ask("POST", "/v1/messages", body=fast).status == 429
        assert client.ask("POST", "/v1/messages", body=fast).status == 429
        assert client.ask("POST", "/v1/messages", body=messages_body(stream=True)).status == 200
    assert len(upstream.requests) == 2


# -- errors of providers of another format

OPENAI = {"format": "openai-chat", "keys": ["sk-only"], "models": {"*": "gpt-5.1"}}


@pytest.mark.parametrize(
    ("step", "status", "kind"),
    [
        (foreign.openai_error(401, "invalid_api_key", "Incorrect API key provided"), 401, "authentication_error"),
        (foreign.openai_error(500, "server_error", "The server had an error"), 500, "api_error"),
        (steps.reset_before_head, 502, "api_error"),
        (steps.stall_before_head, 504, "timeout_error"),
    ],
    ids=["401", "500", "reset", "silent"],
)
def test_a_translated_provider_tells_the_truth(
    start: StartRelay, upstream: FakeUpstream, step: Step, status: int, kind: str
) -> None:
    upstream.default = step
    relay = start(config(providers={"openai": OPENAI | {"base_url": upstream.url}}, retry=QUICK | {"attempts": 2}))
    answer = ask(relay, claude.MODEL)
    assert (answer.status, answer.error_type) == (status, kind)


def test_a_translated_providers_keys_are_all_refused(start: StartRelay, upstream: FakeUpstream) -> None:
    upstream.default = foreign.openai_error(401, "invalid_api_key", "Incorrect API key provided")
    two = OPENAI | {"base_url": upstream.url, "keys": ["sk-1", "sk-2"]}
    answer = ask(start(config(providers={"openai": two}, retry=QUICK)), claude.MODEL)
    assert (answer.status, answer.error_type, answer.header("x-should-retry")) == (503, "api_error", "false")


@pytest.mark.parametrize("told", [[], [foreign.CHAT_START]], ids=["nothing", "a role"])
def test_a_translated_stream_that_says_nothing_but_its_end(
    start: StartRelay, upstream: FakeUpstream, told: list[bytes]
) -> None:
    upstream.default = by_key({"sk-empty": foreign.events([*told, foreign.DONE])}, foreign.chat_stream())
    two = OPENAI | {"base_url": upstream.url, "keys": ["sk-empty", GOOD], "strategy": "priority"}
    relay = start(config(providers={"openai": two}, retry=QUICK))
    answer = ask(relay, claude.MODEL)
    assert (answer.status, answer.header("x-relay-attempts"), b"lo!" in answer.body) == (200, "2", True)
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == ["empty", "ok"]
