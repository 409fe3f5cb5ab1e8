from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.clients.demand import bounds_of
from claude_relay.core.clients.gcra import Change
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.clients.slots import Want
from claude_relay.store.clients.limit_use import LimitUse
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.shared.leases import Leases

NOW = time.time()


def bounds(*limits: str) -> dict[str, str]:
    """Limit as text → the key by which it is known."""
    policy = Policy(limits=tuple(map(parse, limits)))
    return {str(bound.limit): bound.key for bound in bounds_of("client", "ann", policy)}


def use(path: Path, *limits: str) -> dict[str, tuple[float, bool]]:
    """Limit → used, and whether it is known when it is free again."""
    policy = Policy(limits=tuple(map(parse, limits)))
    found = LimitUse(path).of(bounds_of("client", "ann", policy), NOW)
    return {str(one.limit): (round(one.used, 3), one.resets_at is not None) for one in found.values()}


def test_without_a_database_nothing_is_used(tmp_path: Path) -> None:
    found = use(tmp_path / "none.db", "60 requests/minute", "$5/day", "2 concurrent", "$1/day per session")
    assert found == {"60 requests/minute": (0.0, False), "$5/day": (0.0, True), "2 concurrent": (0.0, False)}


def test_it_is_as_relays_wrote_it_down(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    limits = ("60 requests/minute", "$5/day", "$9/5h model claude-opus-*", "2 concurrent")
    keys = bounds(*limits)
    with closing(connect(path, patience=1.0)) as connection:
        migrate(connection)
        for model, usd in (("claude-opus-4-5", 3.0), ("claude-haiku-4-5", 0.5)):
            connection.execute(
                "INSERT INTO client_spending (client, slot, session, agent_tree, model, client_group, usd) "
                "VALUES ('ann', ?, 's', '', ?, '', ?)",
                [int(NOW // 300), model, usd],
            )
    relay = Leases(path)
    relay.exchange(
        {keys["2 concurrent"]: Want(2, 1, 0)},
        {keys["60 requests/minute"]: Change(NOW + 30, 30.0, 0.0)},
        time.monotonic(),
    )
    found = use(path, *limits)
    assert found["$5/day"] == (3.5, True)
    assert found["$9/5h model claude-opus-*"] == (3.0, True)
    assert found["2 concurrent"] == (1.0, False)
    assert found["60 requests/minute"] == (pytest.approx(30.0, abs=0.01), True)
    relay.leave()
