"""The list of models through the real relay: what providers say, for the client that asks, and what stands in for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from claude_relay.core.routing.catalogue import known
from claude_relay.proxy.provider import remembering
from claude_relay.proxy.running import discovery

from . import foreign, steps
from .clients import PLACEHOLDER, RawClient, sdk
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import Exchange, FakeUpstream, Recorded, Signal, Step

OPUS, SONNET, HAIKU, GLM = "claude-opus-7", "claude-sonnet-7", "claude-haiku-7", "glm-9"
BUILT_IN = list(known())
Client = Callable[[Relay], RawClient]


def model(name: str) -> dict[str, Any]:
    """As Claude's API tells of one, with what the relay knows nothing of."""
    return {
        "type": "model",
        "id": name,
        "display_name": name.title(),
        "created_at": "2027-01-02T00:00:00Z",
        "max_input_tokens": 1_000_000,
        "capabilities": {"batch": {"supported": True}},
    }


def page(names: Sequence[str], *, more: bool = False) -> Step:
    told = [model(name) for name in names]
    return foreign.json_answer({"data": told, "has_more": more, "first_id": names[0], "last_id": names[-1]})


def lists(*names: str) -> Step:
    """Answers lists page by page and single models, whatever the key."""

    async def run(exchange: Exchange) -> None:
        url = urlsplit(exchange.request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if (one := url.path.partition("/v1/models/")[2]) and one not in names:
            return await steps.status(404, "not_found_error", f"model: {one}").run(exchange)
        if one:
            return await foreign.json_answer(model(one)).run(exchange)
        start = names.index(query["after_id"]) + 1 if "after_id" in query else 0
        end = start + int(query.get("limit", 20))
        return await page(names[start:end], more=end < len(names)).run(exchange)

    return Step(run)


def ids(body: bytes) -> list[str]:
    return [model["id"] for model in json.loads(body)["data"]]


@pytest.fixture
def claude_upstream(stack: ExitStack) -> FakeUpstream:
    """Of Claude's format, with three models."""
    return stack.enter_context(FakeUpstream(default=lists(OPUS, SONNET, HAIKU)))


@pytest.fixture
def client(stack: ExitStack) -> Client:
    return lambda relay: stack.enter_context(RawClient(relay.base_port))


def both(own: FakeUpstream, other: FakeUpstream, keys: Sequence[str] = ("sk-ant-pool-1",), **more: Any) -> dict:
    """Claude's own, and OpenAI's with a name for Claude's small models."""
    openai = provider(f"{other.url}/base", ["sk-other-key-1"], models={"claude-haiku-*": "gpt-mini"}, auth="bearer")
    return {
        "anthropic": provider(own.url, list(keys), **more),
        "openai": openai | {"format": "openai-chat"},
    }


SPLIT = [{"match": {"model": "claude-haiku-*"}, "to": ["openai"]}, {"to": ["anthropic"]}]


def test_the_providers_own_list_is_the_answer(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    """Whole objects in the provider's order; models that go elsewhere too, and then what the configuration names."""
    providers = both(claude_upstream, upstream, headers={"x-team": "blue"})
    routes = [{"match": {"model": "gpt-9"}, "to": ["openai"]}, *SPLIT]
    relay = start(config(providers=providers, routes=routes))
    answer = client(relay).ask("GET", "/v1/models")
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    told = answer.json()
    assert told["data"][:3] == [model(name) for name in (OPUS, SONNET, HAIKU)]  # type: ignore[index]
    assert [entry["id"] for entry in told["data"][3:]] == ["gpt-9"]  # type: ignore[index]
    assert (told["has_more"], told["first_id"], told["last_id"]) == (False, OPUS, "gpt-9")
    [asked] = claude_upstream.requests
    assert (asked.path, asked.key, asked.header("x-team")) == ("/v1/models?limit=1000", "sk-ant-pool-1", "blue")
    assert asked.header("anthropic-version")
    assert not upstream.requests
    [row] = rows(relay.database)
    assert (row["path"], row["status"], row["finished"], row["provider"]) == ("/v1/models", 200, "complete", None)


def test_pages_are_of_the_merged_list(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, stack: ExitStack
) -> None:
    routes = [{"match": {"model": "gpt-9"}, "to": ["openai"]}, *SPLIT]
    relay = start(config(providers=both(claude_upstream, upstream), routes=routes))
    found = stack.enter_context(sdk(base_port=relay.base_port)).models
    first = found.list(limit=3)
    assert ([entry.id for entry in first.data], first.has_more, first.last_id) == ([OPUS, SONNET, HAIKU], True, HAIKU)
    assert [entry.id for entry in first.get_next_page().data] == ["gpt-9"]
    assert [entry.id for entry in found.list(limit=1, before_id=HAIKU).data] == [SONNET]
    assert [entry.id for entry in found.list(limit=1)] == [OPUS, SONNET, HAIKU, "gpt-9"]
    assert len(claude_upstream.requests) == 1


def test_a_long_list_of_a_provider_is_fetched_to_its_end(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    every = [f"claude-model/{n}" for n in range(2100)]
    claude_upstream.default = lists(*every)
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    assert ids(client(relay).ask("GET", "/v1/models?limit=1000").body) == every[:1000]
    after = f"/v1/models?limit=1000&after_id={every[1999]}"
    assert ids(client(relay).ask("GET", after).body) == every[2000:]
    assert [request.path for request in claude_upstream.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=claude-model%2F999",
        "/v1/models?limit=1000&after_id=claude-model%2F1999",
    ]


MATCHES = {
    "a header": ({"header": {"x-team": "b*"}}, [("x-team", "blue")]),
    "a program": ({"program": "claude-*"}, [("user-agent", "claude-cli/2.1 (external)")]),
    "a sub-agent": ({"subagent": True}, [("x-relay-subagent", "true")]),
    "a side query": ({"background": True}, [("x-claude-code-request-class", "auxiliary")]),
}


@pytest.mark.parametrize("case", MATCHES)
def test_the_list_is_for_the_client_that_asks(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client, case: str
) -> None:
    match, fields = MATCHES[case]
    upstream.default = lists(GLM)
    providers = {"anthropic": provider(claude_upstream.url, ["sk-ant-pool-1"]), "glm": provider(upstream.url, ["k-1"])}
    routes = [
        {"match": {"model": "glm-*", **match}, "to": ["glm"]},
        {"match": {"model": "claude-*"}, "to": ["anthropic"]},
    ]
    relay = start(config(providers=providers, routes=routes))
    assert ids(client(relay).ask("GET", "/v1/models").body) == [OPUS, SONNET, HAIKU]
    assert ids(client(relay).ask("GET", "/v1/models", headers=fields).body) == [GLM, OPUS, SONNET, HAIKU]
    assert client(relay).ask("GET", f"/v1/models/{GLM}").error_type == "not_found_error"
    assert client(relay).ask("GET", f"/v1/models/{GLM}", headers=fields).json() == model(GLM)


def test_names_that_no_route_serves_are_left_out(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    """Small models go to a provider that has other ones, and the rest only where they are listed."""
    upstream.default = lists(GLM, "glm-8")
    providers = {"anthropic": provider(claude_upstream.url, ["sk-ant-pool-1"]), "glm": provider(upstream.url, ["k-1"])}
    routes = [
        {"match": {"model": "claude-haiku-*"}, "to": ["glm"]},
        {"match": {"model": "glm-9"}, "to": ["glm"]},
        {"match": {"model": "*"}, "to": ["anthropic"]},
    ]
    relay = start(config(providers=providers, routes=routes))
    assert ids(client(relay).ask("GET", "/v1/models").body) == [GLM, OPUS, SONNET]


def test_one_provider_says_it_all_by_itself(
    start: StartRelay, claude_upstream: FakeUpstream, upstream: FakeUpstream, client: Client
) -> None:
    """However its routes are cut: as any other request, with a row that names it and a key that is judged."""
    routes = [{"match": {"model": "claude-haiku-*"}, "to": ["anthropic"]}, {"to": ["anthropic"]}]
    relay = start(config(providers=both(claude_upstream, upstream), routes=routes))
    answer = client(relay).ask("GET", "/v1/models?limit=2", headers=[("x-mine", "1")])
    assert (ids(answer.body), answer.header("x-relay-key")) == ([OPUS, SONNET], "k1")
    [asked] = claude_upstream.requests
    assert (asked.path, asked.header("x-mine")) == ("/v1/models?limit=2", "1")
    assert rows(relay.database)[0]["provider"] == "anthropic"


def test_a_client_without_a_route_for_every_model_gets_what_it_has(
    start: StartRelay, claude_upstream: FakeUpstream, client: Client
) -> None:
    routes = [{"match": {"model": "claude-opus-*"}, "to": ["anthropic"]}]
    relay = start(config(claude_upstream.url, ["sk-ant-pool-1"], routes=routes))
    assert ids(client(relay).ask("GET", "/v1/models").body) == [OPUS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [(OPUS, model(OPUS)), (HAIKU, model(HAIKU)), ("claude-haiku-old", None)],
    ids=["listed", "listed, but served by another", "served by another under its own name"],
)
def test_one_model(
    start: StartRelay,
    upstream: FakeUpstream,
    claude_upstream: FakeUpstream,
    client: Client,
    name: str,
    expected: dict[str, Any] | None,
) -> None:
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    answer = client(relay).ask("GET", f"/v1/models/{name}")
    assert answer.status == 200
    assert answer.json()["id"] == name
    assert expected is None or answer.json() == expected
    assert [request.path for request in claude_upstream.requests] == ["/v1/models?limit=1000"]


def test_a_model_that_a_provider_does_not_list_is_asked_for(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    """An alias exists though it is in no list; what does not, is refused in the provider's words, and no key is worse for it."""
    claude_upstream.script(page([OPUS]))
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    asking = client(relay)
    found = asking.ask("GET", f"/v1/models/{SONNET}")
    assert (found.json(), found.header("x-relay-key")) == (model(SONNET), "k1")
    lacking = asking.ask("GET", "/v1/models/claude-none")
    assert (lacking.status, lacking.error_type) == (404, "not_found_error")
    assert "claude-none" in str(lacking.json()["error"])
    again = asking.ask("GET", f"/v1/models/{SONNET}")
    assert again.json() == model(SONNET)
    assert [row["provider"] for row in rows(relay.database)] == ["anthropic"] * 3


def test_many_who_ask_at_once_ask_the_provider_once(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    go = Signal("all have asked")
    claude_upstream.default = steps.after(go, page([OPUS]))
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    asking = [client(relay) for _ in range(4)]
    for one in asking:
        one.request("GET", "/v1/models")
    claude_upstream.wait_for_requests(1)
    assert relay.on_loop(lambda: 1) == 1  # the loop is free meanwhile
    go.set()
    assert [ids(one.answer().body) for one in asking] == [[OPUS]] * 4
    assert len(claude_upstream.requests) == 1


FAILING = {
    "an error": steps.status(500),
    "a refusal": steps.status(404, "not_found_error", "no such path"),
    "HTML": steps.html(200),
    "no JSON": steps.answer([b'{"data": [']),
    "an empty list": foreign.json_answer({"data": [], "has_more": False}),
    "another shape": foreign.json_answer({"data": {"claude": 1}}),
    "odd models": foreign.json_answer({"data": [{"id": 1}, {}, None, "x", {"id": ""}]}),
    "a key told back": foreign.json_answer({"data": [model("sk-ant-pool-1")]}),
    "a broken answer": steps.answer([b'{"data": [', steps.cut], framing="chunked"),
    "a reset": steps.reset_before_head,
}


@pytest.mark.parametrize("case", FAILING)
def test_the_built_in_list_stands_in_for_a_provider_that_does_not_tell(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client, case: str
) -> None:
    claude_upstream.default = FAILING[case]
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    assert ids(client(relay).ask("GET", "/v1/models?limit=1000").body) == BUILT_IN
    assert client(relay).ask("GET", f"/v1/models/{BUILT_IN[0]}").json()["id"] == BUILT_IN[0]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that are soon too old, for providers that soon take too long."""
    monkeypatch.setattr(remembering, "FRESH", 0.0)
    monkeypatch.setattr(remembering, "FRESH_FAILURE", 0.0)
    monkeypatch.setattr(discovery, "PATIENCE", 0.3)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "trouble", [steps.stall_before_head, steps.stall_before_body("application/json"), steps.status(500)]
)
def test_what_a_provider_said_last_counts_while_it_says_nothing(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client, trouble: Step
) -> None:
    claude_upstream.script(page([OPUS]), trouble, page([SONNET]))
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    asking = client(relay)
    began = time.monotonic()
    assert [ids(asking.ask("GET", "/v1/models").body) for _ in range(2)] == [[OPUS], [OPUS]]
    assert time.monotonic() - began < 2
    last = [OPUS]
    while last == [OPUS]:  # until the one that takes too long has been given up
        last = ids(asking.ask("GET", "/v1/models").body)
    assert last == [SONNET]


@pytest.mark.usefixtures("impatient")
def test_a_slow_provider_holds_up_no_other(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    upstream.default = steps.stall_before_head
    providers = {"anthropic": provider(claude_upstream.url, ["sk-ant-pool-1"]), "glm": provider(upstream.url, ["k-1"])}
    routes = [{"match": {"model": "glm-*"}, "to": ["glm"]}, {"to": ["anthropic"]}]
    relay = start(config(providers=providers, routes=routes))
    assert ids(client(relay).ask("GET", "/v1/models").body) == [OPUS, SONNET, HAIKU]


@pytest.mark.parametrize("refusal", [401, 403, 429, 402])
def test_another_key_is_asked_and_none_is_worse_for_it(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client, refusal: int
) -> None:
    for key in ("sk-ant-bad-1", "sk-ant-bad-2"):
        claude_upstream.for_key(key, steps.status(refusal, "authentication_error", "no"), *[steps.claude_default()] * 3)
    keys = ["sk-ant-bad-1", "sk-ant-bad-2", "sk-ant-good"]
    relay = start(config(providers=both(claude_upstream, upstream, keys), routes=SPLIT))
    asking = client(relay)
    assert ids(asking.ask("GET", "/v1/models").body) == [OPUS, SONNET, HAIKU]
    assert claude_upstream.used_keys() == keys
    claude_upstream.default = steps.claude_default()
    body = json.dumps({"model": OPUS, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    used = [asking.ask("POST", "/v1/messages", body=body).header("x-relay-key") for _ in range(3)]
    assert sorted(map(str, used)) == ["k1", "k2", "k3"]
    assert [row["attempts"] for row in rows(relay.database)] == [0, 1, 1, 1]


def test_without_a_key_the_clients_own_gets_the_list(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    """Nobody gets what another client's credential was told; a placeholder gets none."""
    claude_upstream.for_key("sk-ant-first-one", page([OPUS]))
    claude_upstream.for_key("tokentoken", page([SONNET]))
    relay = start(config(providers=both(claude_upstream, upstream, [], empty_pool="passthrough"), routes=SPLIT))
    asking = client(relay)
    bearer = [("Authorization", "Bearer tokentoken"), ("anthropic-beta", "oauth-2025-04-20")]
    for _ in range(2):
        assert ids(asking.ask("GET", "/v1/models", key="sk-ant-first-one").body) == [OPUS]
        assert ids(asking.ask("GET", "/v1/models", headers=bearer).body) == [SONNET]
    assert ids(asking.ask("GET", "/v1/models?limit=1000", key=PLACEHOLDER).body) == BUILT_IN
    first, second = claude_upstream.requests
    assert (first.header("x-api-key"), first.header("authorization")) == ("sk-ant-first-one", None)
    assert (second.header("x-api-key"), second.header("authorization")) == (None, "Bearer tokentoken")
    assert second.header("anthropic-beta") == "oauth-2025-04-20"


def test_a_key_asks_through_its_own_way_out(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client
) -> None:
    """The proxy is asked for the provider, by CONNECT; it says no, so that nothing reaches the provider."""
    with FakeUpstream(default=steps.status(403)) as way:
        providers = both(claude_upstream, upstream, proxy=way.url)
        relay = start(config(providers=providers, routes=SPLIT))
        assert ids(client(relay).ask("GET", "/v1/models?limit=1000").body) == BUILT_IN
        asked: list[Recorded] = way.requests
        assert [(request.method, request.path) for request in asked] == [
            ("CONNECT", claude_upstream.url.removeprefix("http://"))
        ]
    assert not claude_upstream.requests


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "after_id=none", f"after_id={OPUS}&before_id={OPUS}"]
)
def test_a_page_that_is_none_is_refused(
    start: StartRelay, upstream: FakeUpstream, claude_upstream: FakeUpstream, client: Client, query: str
) -> None:
    relay = start(config(providers=both(claude_upstream, upstream), routes=SPLIT))
    answer = client(relay).ask("GET", f"/v1/models?{query}")
    assert (answer.status, answer.error_type) == (400, "invalid_request_error")
