"""What clients may do, as they meet it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.clients.permissions import Policy
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import eventually

from . import claude, steps
from .budgets import PRICES
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import FakeUpstream

ME = Actor("me", "cli", "here")
HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-5"


class Stage:
    """One client of a running relay."""

    def __init__(self, relay: Relay, book: ClientBook) -> None:
        self.relay, self.book = relay, book
        self.key = ""

    def may(self, **policy: Any) -> Stage:
        self.book.add_group(ME, "team", {})
        self.key = self.book.add(ME, "alice", {"group": "team", "policy": Policy(**policy)}).key
        return self

    def ask(self, path: str = "/v1/messages", *, body: bytes | None = None, **headers: str) -> Any:
        model = headers.pop("model", HAIKU)
        body = messages_body(model=model) if body is None else body
        fields = [("authorization", f"Bearer {self.key}"), *((n.replace("_", "-"), v) for n, v in headers.items())]
        with RawClient(self.relay.base_port) as client:
            return client.ask("POST" if body else "GET", path, body=body, headers=fields)


@pytest.fixture
def stage(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> Callable[..., Stage]:
    """stage(providers=["a", "b"]): each with a key of its name."""

    def make(*names: str, **sections: Any) -> Stage:
        found = {name: provider(upstream.url, [f"key-of-{name}"]) for name in names or ("a",)}
        relay = start(config(providers=found, **sections))
        return Stage(relay, ClientBook(tmp_path / "relay.db"))

    return make


def refused(answer: Any, status: int, kind: str) -> str:
    assert (answer.status, answer.error_type, answer.header("x-should-retry")) == (status, kind, "false")
    return str(answer.json()["error"]["message"])


def batch(*models: str) -> bytes:
    return json.dumps({"requests": [{"custom_id": m, "params": {"model": m}} for m in models]}).encode()


def test_models(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    alice = stage(clients={"contact": "ops"}).may(models=("claude-haiku-*",))
    assert alice.ask().status == 200
    for answer in (
        alice.ask(model=OPUS),
        alice.ask("/v1/messages/count_tokens", model=OPUS),
        alice.ask(body=b"{nonsense"),
        alice.ask("/v1/messages/batches", body=batch(HAIKU, OPUS)),
        alice.ask(x_relay_target=f"a/{OPUS}"),
    ):
        message = refused(answer, 400, "invalid_request_error")
        assert "'alice'" in message
        assert "claude-haiku-*" in message
        assert message.endswith("Ask ops.")
    assert len(upstream.requests) == 1
    upstream.default = steps.answer([b'{"type": "message_batch", "id": "msgbatch_01abc"}'])
    assert alice.ask("/v1/messages/batches", body=batch(HAIKU)).status == 200


def test_a_list_of_models_has_those_that_are_permitted(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    upstream.default = steps.answer([claude.dump({"data": [{"type": "model", "id": m} for m in (HAIKU, OPUS)]})])
    alice = stage().may(models=("claude-haiku-*",))
    assert [model["id"] for model in alice.ask("/v1/models", body=b"").json()["data"]] == [HAIKU]
    assert alice.ask(f"/v1/models/{HAIKU}", body=b"").status == 200
    assert alice.ask(f"/v1/models/{OPUS}", body=b"").status == 404


def test_providers(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    """No route, no header and no second try leads elsewhere."""
    routes = [{"match": {"model": "claude-opus-*"}, "to": ["a"]}, {"to": ["a", "b"]}]
    alice = stage("a", "b", routes=routes).may(providers=("b",))
    assert alice.ask().header("x-relay-provider") == "b"
    assert "permitted: b" in refused(alice.ask(model=OPUS), 403, "permission_error")
    assert "permitted: b" in refused(alice.ask(x_relay_target="a"), 403, "permission_error")
    upstream.default = steps.status(529, "overloaded_error", "busy")
    alice.ask()
    assert set(upstream.used_keys()) == {"key-of-b"}


def test_a_budget_leads_to_no_provider_that_is_not_permitted(
    stage: Callable[..., Stage], upstream: FakeUpstream
) -> None:
    budgets = [{"provider": "a", "per": "day", "usd": 0.01, "then": "b"}]
    upstream.default = steps.message(usage={"input_tokens": 1000, "output_tokens": 1000})
    alice = stage("a", "b", routes=[{"to": ["a"]}], budgets=budgets, prices=PRICES).may(providers=("a",))
    assert [alice.ask(model="claude-sonnet-5").status for _ in range(2)] == [200, 429]
    assert upstream.used_keys() == ["key-of-a"]
    with RawClient(alice.relay.base_port) as nobody:
        answer = nobody.ask("POST", "/v1/messages", body=messages_body())
    assert answer.header("x-relay-provider") == "b"


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"endpoints": ("models",)}, "/v1/messages"),
        ({"endpoints": ("messages",)}, "/v1/files"),
        ({"programs": ("claude-cli",)}, "/v1/messages"),
        ({"addresses": ("192.0.2.0/24",)}, "/v1/messages"),
    ],
)
def test_what_else_it_may_not(
    stage: Callable[..., Stage], upstream: FakeUpstream, policy: dict[str, Any], path: str
) -> None:
    alice = stage().may(**policy)
    assert next(iter(policy.values()))[0] in refused(alice.ask(path, user_agent="curl/8"), 403, "permission_error")
    assert upstream.requests == []
    row = rows(alice.relay.database)[-1]
    assert (row["client"], row["status"], row["finished"]) == ("alice", 403, "error")


def test_a_groups_policy_counts_too(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    alice = stage().may()
    assert alice.ask().status == 200
    alice.book.edit_group(ME, "team", {"policy": Policy(models=("none",))})
    eventually(lambda: alice.ask().status != 200)
    refused(alice.ask(), 400, "invalid_request_error")


def test_tiers_of_keys(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    """Other tiers' keys are not used even where its own are of no use."""
    alice = stage().may(key_tiers=("public",))
    secrets = {tier: f"sk-ant-api03-{tier}-secret" for tier in ("admin", "public")}
    news = [NewKey("a", secret, tier=tier) for tier, secret in secrets.items()]
    Vault(alice.relay.database, environ=os.environ).import_many(news)
    alice.relay.wait_for_log("keys that the vault issues")
    assert [alice.ask().status for _ in range(3)] == [200] * 3
    assert set(upstream.used_keys()) == {secrets["public"]}
    upstream.for_key(secrets["public"], steps.status(401, "authentication_error", "invalid x-api-key"))
    assert alice.ask().status >= 400
    assert set(upstream.used_keys()) == {secrets["public"]}
    alice.book.edit(ME, "alice", {"policy": Policy(key_tiers=("none",))})
    eventually(lambda: alice.ask().error_type == "permission_error")
    assert "kept for certain clients" in refused(alice.ask(), 403, "permission_error")


def test_what_a_key_made_that_a_client_may_not_use(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    alice = stage("a", "b", routes=[{"to": ["a"]}]).may(providers=("a",))
    file = "file_011CNha8iCJcU1wXNR6q4V8w"
    upstream.script(steps.answer([b'{"type": "file", "id": "%s"}' % file.encode()]))
    with RawClient(alice.relay.base_port) as other:
        made = other.ask("POST", "/v1/files", body=b"--x--", headers=[("x-relay-target", "b")])
    assert made.header("x-relay-provider") == "b"
    assert "made with a key" in refused(alice.ask(f"/v1/files/{file}", body=b""), 403, "permission_error")
    assert len(upstream.requests) == 1


def test_routes_by_client_and_by_program(stage: Callable[..., Stage], upstream: FakeUpstream) -> None:
    routes = [
        {"match": {"client": "al*"}, "to": ["a"]},
        {"match": {"program": "curl"}, "to": ["b"]},
        {"match": {"client": "claude-cli"}, "to": ["b"]},
        {"to": ["c"]},
    ]
    alice = stage("a", "b", "c", routes=routes).may()
    assert alice.ask(user_agent="curl/8").header("x-relay-provider") == "a"
    with RawClient(alice.relay.base_port) as nobody:
        for program, there in (("curl/8", "b"), ("claude-cli/2", "c")):
            answer = nobody.ask("POST", "/v1/messages", body=messages_body(), headers=[("user-agent", program)])
            assert answer.header("x-relay-provider") == there
    assert "write program: claude-cli" in alice.relay.wait_for_log("looks like a program")
