"""What a client may do: its own policy and its group's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.addresses import ip_of
from claude_relay.core.clients.directory import ANYTHING, Client, Group
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.clients.permitting import (
    Wanted,
    barred,
    endpoint_of,
    permits_model,
    permits_provider,
    refuse,
    restricts_lists,
)
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Key

ASKED = Wanted("messages", ("claude-haiku-4-5",), "claude-cli", ip_of("192.0.2.7"))


def client(own: Policy = ANYTHING, group: Policy | None = None) -> Client:
    return Client("1", "alice", own, None if group is None else Group("team", group))


@pytest.mark.parametrize(
    ("policy", "asked", "status", "words"),
    [
        ({}, {}, None, ""),
        ({"endpoints": ("messages", "models")}, {}, None, ""),
        ({"endpoints": ("models",)}, {}, 403, "may not use messages requests; permitted: models"),
        ({"models": ("Claude-Haiku-*",)}, {}, None, ""),
        ({"models": ("claude-haiku-*",)}, {"models": ("claude-opus-5",)}, 400, "it may use: claude-haiku-*"),
        ({"models": ("*",)}, {"models": ("",)}, None, ""),
        ({"models": ("claude-*",)}, {"models": ("",)}, 400, "cannot read"),
        ({"models": ("claude-*",)}, {"models": ()}, None, ""),
        ({"models": ("a", "b")}, {"models": ("a", "b", "c")}, 400, "'c'"),
        ({"addresses": ("192.0.2.0/24", "10.0.0.0/8")}, {}, None, ""),
        ({"addresses": ("10.0.0.0/8",)}, {}, 403, "192.0.2.7; permitted: 10.0.0.0/8"),
        ({"addresses": ("192.0.2.7",)}, {"address": None}, 403, "from here"),
        ({"addresses": ("no network",)}, {}, 403, "used from"),
        ({"addresses": ("2001:db8::/32",)}, {}, 403, "used from"),
        ({"programs": ("claude-*",)}, {}, None, ""),
        ({"programs": ("claude-*",)}, {"program": ""}, 403, "without a name; permitted: claude-*"),
    ],
)
@pytest.mark.parametrize("whose", ["own", "group"])
def test_what_a_policy_permits(
    policy: dict[str, Any], asked: dict[str, Any], status: int | None, words: str, whose: str
) -> None:
    found = Policy(**policy)
    who = client(found) if whose == "own" else client(group=found)
    if status is None:
        refuse(who, replace(ASKED, **asked), "ops")
        return
    with pytest.raises(RelayError) as caught:
        refuse(who, replace(ASKED, **asked), "ops")
    assert (caught.value.status, caught.value.final) == (status, True)
    assert words in caught.value.message
    assert caught.value.message.startswith("The client 'alice' may not")
    assert caught.value.message.endswith(" Ask ops.")


@pytest.mark.parametrize(
    ("endpoint", "path", "name"),
    [
        (Endpoint.MESSAGES, "/v1/messages", "messages"),
        (Endpoint.COUNT_TOKENS, "/v1/messages/count_tokens", "count_tokens"),
        (Endpoint.MODELS, "/v1/models/x", "models"),
        (Endpoint.COMPLETE, "/v1/complete", "complete"),
        (Endpoint.RESOURCE, "/v1/files/file_1/content", "files"),
        (Endpoint.RESOURCE, "/v1/messages/batches", "batches"),
        (Endpoint.RESOURCE, "/v1/filesystem", "other"),
    ],
)
def test_endpoints_as_policies_call_them(endpoint: Endpoint, path: str, name: str) -> None:
    assert endpoint_of(endpoint, path) == name


def test_both_policies_have_to_permit_a_provider_and_a_model() -> None:
    who = client(Policy(providers=("a", "b"), models=("claude-*",)), Policy(providers=("b", "c"), models=("*-5",)))
    assert [name for name in "abcd" if permits_provider(who, name)] == ["b"]
    assert [name for name in ("claude-5", "claude-4", "gpt-5") if permits_model(who, name)] == ["claude-5"]
    assert restricts_lists(who)
    assert not restricts_lists(client(Policy(key_tiers=("admin",)), Policy()))
    assert permits_provider(None, "a")
    assert permits_model(None, "x")
    assert not restricts_lists(None)


KEYS = [
    Key("p", "plain", "s", "plain"),
    Key("p", "admin", "s", "admin", tier="admin"),
    Key("p", "red", "s", "red", group="red"),
    Key("p", "red-admin", "s", "red-admin", tier="admin", group="red"),
    Key("p", "blue", "s", "blue", group="blue"),
]


@pytest.mark.parametrize(
    ("who", "permitted"),
    [
        (None, {"plain", "admin"}),
        (client(), {"plain", "admin"}),
        (client(Policy(key_tiers=("admin",))), {"admin"}),
        (client(Policy(key_tiers=("",))), {"plain"}),
        (client(Policy(key_groups=("red",))), {"red", "red-admin"}),
        (client(group=Policy(key_groups=("red", "blue"))), {"red", "red-admin", "blue"}),
        (client(Policy(key_groups=("red",)), Policy(key_groups=("blue",))), set()),
        (client(Policy(key_groups=("red",)), Policy(key_tiers=("admin",))), {"red-admin"}),
        (client(Policy(key_groups=("", "red"))), {"plain", "admin", "red", "red-admin"}),
    ],
)
def test_keys_that_are_for_somebody(who: Client | None, permitted: set[str]) -> None:
    assert {key.id for key in KEYS} - barred(who, KEYS) == permitted
