"""`own_credential`: the client's own login or key beside the pool, over real connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from waiting import eventually

from . import steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .forked import Breeder
from .relay import Relay, config, provider, rows
from .team import Team
from .test_several import Group, Member
from .upstream import FakeUpstream

LOGIN = "sk-ant-oat01-the-clients-own-login"
OTHER = "sk-ant-oat01-of-somebody-else"
KEY = "sk-ant-api03-of-the-pool"
BETA = "oauth-2025-04-20,claude-code-20250219"
UNIFIED = "anthropic-ratelimit-unified-"


def used_up(seconds: float) -> steps.Step:
    """A 429 of a window of five hours that is open again then."""
    reset = str(int(time.time() + seconds))
    headers = [
        (f"{UNIFIED}status", "rejected"),
        (f"{UNIFIED}representative-claim", "five_hour"),
        (f"{UNIFIED}5h-status", "rejected"),
        (f"{UNIFIED}5h-reset", reset),
        (f"{UNIFIED}reset", reset),
    ]
    return steps.status(429, "rate_limit_error", "This request would exceed your limit", headers=headers)


def relay_with(start: StartRelay, upstream: FakeUpstream, mode: str, keys: tuple[str, ...] = (KEY,)) -> Relay:
    own = provider(upstream.url, list(keys), own_credential=mode)
    return start(config(providers={"p": own}, retry={"attempts": 3, "max_wait": "1s"}))


def ask(relay: Relay, login: str = LOGIN, **headers: str) -> Any:
    said = [("authorization", f"Bearer {login}"), ("anthropic-beta", BETA), *headers.items()]
    with RawClient(relay.base_port) as client:
        return client.ask("POST", "/v1/messages", headers=said, body=messages_body())


def told(relay: Relay) -> list[tuple[str | None, str]]:
    """Of each attempt in the ledger: with which key, and what came of it."""
    return [(row["key"], row["verdict"]) for row in rows(relay.database, "attempts")]


@pytest.mark.parametrize(("mode", "used"), [("first", LOGIN), ("last", KEY), ("never", KEY)])
def test_whose_turn_it_is(start: StartRelay, upstream: FakeUpstream, mode: str, used: str) -> None:
    relay = relay_with(start, upstream, mode)
    answer = ask(relay)
    assert (answer.status, upstream.used_keys()) == (200, [used])
    assert answer.header("x-relay-key") == ("client" if used == LOGIN else "k1")
    assert [row["key"] for row in rows(relay.database)] == [None if used == LOGIN else "k1"]


def test_the_pool_takes_over_and_gives_back(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = relay_with(start, upstream, "first")
    upstream.for_key(LOGIN, used_up(2), steps.message())
    answers = [ask(relay).header("x-relay-key") for _ in range(3)]
    assert answers == ["k1"] * 3
    assert upstream.used_keys() == [LOGIN, KEY, KEY, KEY]
    assert ask(relay, OTHER).header("x-relay-key") == "client"  # another login has a window of its own
    eventually(lambda: ask(relay).header("x-relay-key") == "client")
    assert told(relay)[:2] == [(None, "window_exhausted"), ("k1", "ok")]


def test_flags_of_a_login_go_with_the_login_alone(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = relay_with(start, upstream, "first")
    upstream.for_key(LOGIN, steps.status(401, "authentication_error", "OAuth token has expired."))
    assert ask(relay).status == 200
    own, pools = upstream.requests
    assert (own.header("authorization"), own.header("anthropic-beta")) == (f"Bearer {LOGIN}", BETA)
    assert own.header("x-api-key") is None
    assert (pools.header("x-api-key"), pools.header("anthropic-beta")) == (KEY, "claude-code-20250219")
    assert pools.header("authorization") is None
    assert LOGIN not in relay.log_text()


def test_last_when_the_pool_is_used_up(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = relay_with(start, upstream, "last")
    upstream.for_key(KEY, used_up(600))
    assert [ask(relay).header("x-relay-key") for _ in range(2)] == ["client"] * 2
    assert upstream.used_keys() == [KEY, LOGIN, LOGIN]
    assert told(relay) == [("k1", "window_exhausted"), (None, "ok"), (None, "ok")]


def test_what_both_were_told(start: StartRelay, upstream: FakeUpstream) -> None:
    """With nobody left the client hears what its own account said."""
    relay = relay_with(start, upstream, "last")
    upstream.script(used_up(600), used_up(300))
    answer = ask(relay)
    assert answer.status == 429
    assert answer.json()["error"]["message"] == "This request would exceed your limit"
    assert answer.header(f"{UNIFIED}status") == "rejected"


def test_without_a_credential_of_its_own(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = relay_with(start, upstream, "first")
    assert ask(relay, "placeholder").header("x-relay-key") == "k1"
    assert upstream.used_keys() == [KEY]


def test_an_empty_pool(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = relay_with(start, upstream, "first", ())
    upstream.for_key(LOGIN, used_up(600), used_up(600))
    assert [ask(relay).status for _ in range(2)] == [429, 429]
    assert upstream.used_keys()[:1] == [LOGIN]


def test_a_key_of_the_relays_own_is_none(start: StartRelay, upstream: FakeUpstream) -> None:
    """Whether it comes alone or beside a login, which is one."""
    relay = relay_with(start, upstream, "first")
    own = Team(relay).add("ann")
    assert ask(relay, own).header("x-relay-key") == "k1"
    assert ask(relay, **{"x-api-key": own}).header("x-relay-key") == "client"
    assert upstream.used_keys() == [KEY, LOGIN]
    assert all(own not in str(request.headers) for request in upstream.requests)


@pytest.fixture
def group(tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder) -> Iterator[Group]:
    with closing(Group(tmp_path, confdir, upstream.url, breeder)) as found:
        found.config["providers"]["anthropic"]["own_credential"] = "first"
        found.add_keys(1)
        yield found


def from_member(member: Member, login: str = LOGIN) -> str | None:
    """Which key a request with this login is served with."""
    assert member.client is not None
    said = [("authorization", f"Bearer {login}")]
    return member.client.ask("POST", "/v1/messages", headers=said, body=messages_body()).header("x-relay-key")


def test_relays_over_one_database_tell_each_other(group: Group, upstream: FakeUpstream) -> None:
    upstream.for_key(LOGIN, used_up(600), steps.message())
    one, other = group.start(2)
    assert from_member(one) == "v1"
    eventually(lambda: from_member(other) == "v1")
    asked = upstream.used_keys().count(LOGIN)
    assert [from_member(member) for member in (one, other)] == ["v1", "v1"]
    assert upstream.used_keys().count(LOGIN) == asked
    assert from_member(other, OTHER) == "client"
    ((mark, reason),) = group.sql("SELECT key_id, reason FROM cooldowns")
    assert str(mark).startswith("own:")
    assert LOGIN not in f"{mark} {reason}"


def test_a_window_that_is_used_up_by_a_good_answer_is_told_too(group: Group, upstream: FakeUpstream) -> None:
    reset = str(int(time.time() + 600))
    headers = [(f"{UNIFIED}status", "allowed"), (f"{UNIFIED}5h-utilization", "1.0"), (f"{UNIFIED}5h-reset", reset)]
    upstream.for_key(LOGIN, steps.message(headers=headers))
    one, other = group.start(2)
    assert from_member(one) == "client"
    eventually(lambda: from_member(other) == "v1")
    assert from_member(one) == "v1"


def test_what_is_known_survives_a_restart(group: Group, upstream: FakeUpstream) -> None:
    upstream.for_key(LOGIN, used_up(600), steps.message())
    (one,) = group.start(1)
    assert from_member(one) == "v1"
    eventually(lambda: marks(group) != [])
    one.kill()
    one.begin()
    one.wait_until_it_answers()
    assert [from_member(one) for _ in range(2)] == ["v1", "v1"]
    assert upstream.used_keys().count(LOGIN) == 1


def test_a_credential_that_could_be_guessed_is_told_to_nobody(group: Group, upstream: FakeUpstream) -> None:
    upstream.for_key("short", used_up(600))
    upstream.for_key(LOGIN, used_up(600))
    (one,) = group.start(1)
    assert [from_member(one, login) for login in ("short", LOGIN)] == ["v1", "v1"]
    eventually(lambda: marks(group) != [])
    assert len(marks(group)) == 1


def marks(group: Group) -> list[tuple[object, ...]]:
    """The credentials of which something is stored."""
    return group.sql("SELECT key_id FROM cooldowns")
