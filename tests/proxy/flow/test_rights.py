"""What the client of a request may do: which targets are left, and which keys. The rules are in tests/core/clients/test_permitting.py."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import tflow

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.clients.directory import Client, Directory, Stop
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.config import parse
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Key, Target
from claude_relay.proxy.flow.rights import KeyRights, permit, permitted
from claude_relay.proxy.request.bodies import facts_of
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime

TEXT = """
clients: {contact: ops}
providers:
  a: {preset: anthropic, empty_pool: passthrough}
  b: {preset: anthropic, empty_pool: passthrough}
"""
KEYS = tuple(
    Key("a", name, f"sk-{name}", name, group=group) for name, group in (("one", ""), ("two", "red"), ("three", "red"))
)
TARGETS = (Target("a", "m"), Target("b", "m"))


def relayed(policy: Policy | None = None, keys: tuple[Key, ...] = KEYS, **facts: Any) -> Relayed:
    runtime = Runtime.of(parse(TEXT, environ={}), issued={"a": keys}, environ={})
    client = None if policy is None else Client("1", "alice", policy)
    found = Relayed("req_relay_1", Facts(Endpoint.MESSAGES, **facts), runtime, runtime.limits, started_at=0.0)
    found.client = client
    return found


def test_targets() -> None:
    assert permitted(relayed(), TARGETS) == TARGETS
    assert permitted(relayed(Policy(providers=("b", "c"))), TARGETS) == TARGETS[1:]
    assert permitted(relayed(Policy(providers=("c",))), ()) == ()
    with pytest.raises(RelayError, match=r"may not be sent to a, b; permitted: none of relay.yaml. Ask ops") as caught:
        permitted(relayed(Policy(providers=("c",))), TARGETS)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, {"a": {"two", "three"}}),
        (Policy(), {"a": {"two", "three"}}),
        (Policy(key_groups=("red",)), {"a": {"one"}}),
        (Policy(key_groups=("red", "")), {}),
    ],
)
def test_keys(policy: Policy | None, expected: dict[str, set[str]]) -> None:
    assert KeyRights().barred(relayed(policy), TARGETS, None) == expected


def test_no_key_is_left() -> None:
    rights = KeyRights()
    with pytest.raises(RelayError, match="kept for certain clients"):
        rights.barred(relayed(Policy(key_groups=("blue",))), TARGETS[:1], None)
    assert rights.barred(
        relayed(Policy(key_groups=("blue",))), TARGETS, None
    )  # the other lets its own credential through


def test_rights_follow_keys_and_clients() -> None:
    rights = KeyRights()
    assert rights.barred(relayed(), TARGETS, None) == {"a": {"two", "three"}}
    assert rights.barred(relayed(keys=KEYS[:2]), TARGETS, None) == {"a": {"two"}}
    assert rights.barred(relayed(Policy(key_groups=("red",))), TARGETS, None) == {"a": {"one"}}
    assert rights.barred(relayed(Policy()), TARGETS, None) == {"a": {"two", "three"}}


def test_what_a_key_made() -> None:
    """It is read with that key, or not at all."""
    rights = KeyRights()
    own = relayed(Policy(key_groups=("red",)))
    assert rights.barred(own, TARGETS, Owner("a", "two")) == {"a": {"one"}}
    for who, owner in ((own, "one"), (relayed(), "two"), (relayed(Policy(providers=("b",))), "one")):
        with pytest.raises(RelayError, match="made with a key that it may not use"):
            rights.barred(who, TARGETS[1:], Owner("a", owner))
    assert rights.barred(relayed(), TARGETS[1:], Owner("a", "gone")) == {}


def test_a_client_that_is_stopped_and_its_name_for_routes() -> None:
    who = relayed(Policy(), session="s1")
    now = time.time()

    def with_stops(*stops: Stop) -> Any:
        return SimpleNamespace(directory=Directory(stops=stops))

    asyncio.run(permit(tflow.tflow(), who, with_stops(Stop(1, "1", "s2", now + 60), Stop(2, "2", None, now + 60))))
    assert asyncio.run(facts_of(who)).client == "alice"
    for session in ("s1", "s"):  # people type how it begins
        with pytest.raises(RelayError, match="was stopped in the session s") as caught:
            asyncio.run(permit(tflow.tflow(), who, with_stops(Stop(3, "1", session, now + 60))))
    assert (caught.value.status, caught.value.final) == (403, True)
