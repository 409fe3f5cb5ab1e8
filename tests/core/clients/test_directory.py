"""Keys, limits, policies and the picture of who there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_relay.core.clients.credentials import SECRET, Kind, digest, is_own, mask, new_key
from claude_relay.core.clients.directory import Client, Directory, Grant, Group, Stop
from claude_relay.core.clients.limits import Limit, parse
from claude_relay.core.clients.permissions import Policy, decode, encode

NOW = 1_800_000_000.0
ALICE = Client("c1", "alice", group=Group("team"))


@pytest.mark.parametrize("kind", Kind)
def test_a_key_is_random_and_recognised(kind: Kind) -> None:
    keys = {new_key(lambda size, n=n: n.to_bytes(size, "big"), kind) for n in range(3)}
    assert len(keys) == 3
    assert all(SECRET.fullmatch(key) and is_own(key) and len(digest(key)) == 32 for key in keys)
    assert all(key[:-4] not in mask(key) for key in keys)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("60 requests/minute", Limit("requests", 60, "minute")),
        ("1 request / min", Limit("requests", 1, "minute")),
        ("100k tokens/minute", Limit("tokens", 100_000, "minute")),
        ("2M tokens/minute model claude-opus-*", Limit("tokens", 2_000_000, "minute", "claude-opus-*")),
        ("4 concurrent", Limit("concurrent", 4)),
        ("4 concurrent requests per session", Limit("concurrent", 4, scope="session")),
        ("$20/day", Limit("usd", 20, "day")),
        ("$0.05/5h per agent", Limit("usd", 0.05, "5h", scope="agent")),
        ("$0.000001/day", Limit("usd", 0.000001, "day")),
        ("$ 5 / total per session model *", Limit("usd", 5, "total", "*", "session")),
    ],
)
def test_a_limit_is_read_and_written(text: str, limit: Limit) -> None:
    assert parse(text) == limit
    assert parse(str(limit)) == limit


@pytest.mark.parametrize(
    "text", ["", "60", "60/minute", "$5", "$5/year", "0 concurrent", "$0/day", "-1 concurrent", "5 requests/day"]
)
def test_what_is_no_limit_says_which_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="limit"):
        parse(text)


def test_a_key_that_has_come_is_known_and_never_shown() -> None:
    key, other = (new_key(lambda size, n=n: n.to_bytes(size, "big")) for n in range(2))
    directory = Directory(grants={digest(key): Grant(ALICE, Kind.KEY)})
    for _ in range(2):
        assert directory.find(key) == Grant(ALICE, Kind.KEY)
        assert directory.find(other) is None
    assert list(directory.known) == [key]
    assert key not in repr(directory)
    assert not replace(directory).known


def test_a_policy_survives_being_stored() -> None:
    policy = Policy(models=("claude-*",), tunnel=True, limits=(parse("$20/day per session"), parse("4 concurrent")))
    assert decode(encode(policy)) == policy
    assert decode("{}") == Policy()
    with pytest.raises(ValueError, match="policy"):
        decode('{"limits": [{"measure": "apples"}]}')


def test_who_is_served() -> None:
    directory = Directory(stops=(Stop(1, "c1", "s", NOW + 5),))

    def why(client: Client, until: float | None = None, kind: Kind = Kind.KEY) -> str | None:
        return Grant(client, kind, until).refusal(NOW)

    assert why(ALICE) is why(ALICE, NOW + 1) is why(replace(ALICE, expires_at=NOW + 1)) is None
    assert "replaced" in (why(ALICE, NOW) or "")
    assert "expired" in (why(ALICE, NOW, Kind.ACCESS) or "")
    assert "disabled" in (why(replace(ALICE, enabled=False)) or "")
    assert "group 'team'" in (why(replace(ALICE, group=Group("team", enabled=False))) or "")
    assert "expired" in (why(replace(ALICE, expires_at=NOW)) or "")
    assert directory.stopped(ALICE, "s", NOW)
    assert not directory.stopped(ALICE, "t", NOW)
    assert not directory.stopped(ALICE, "s", NOW + 5)


@pytest.mark.parametrize(
    ("policy", "restricted"),
    [
        (Policy(), False),
        (Policy(limits=(parse("4 concurrent"),), providers=("glm",), tunnel=True), False),
        (Policy(models=("claude-haiku-*",)), True),
        (Policy(endpoints=("messages",)), True),
        (Policy(addresses=("10.0.0.0/8",)), True),
        (Policy(programs=("claude-cli*",)), True),
    ],
)
def test_a_client_is_restricted_by_its_own_policy_or_its_groups(policy: Policy, restricted: bool) -> None:
    assert Client("c1", "alice", policy).restricted is restricted
    assert Client("c1", "alice", group=Group("team", policy)).restricted is restricted
    assert replace(ALICE, policy=policy).restricted is restricted
