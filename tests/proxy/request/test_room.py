"""How much memory held answers take: all together, not each."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from claude_relay.core.bodies.gate import Decision
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.request.room import EACH, TOGETHER, crowded, held_of_all
from proxy.stage import mitmproxy_with

from .made import relayed


@pytest.fixture
def holding() -> Iterator[list[Relayed]]:
    """Three requests whose answers are held."""
    flows: dict[http.HTTPFlow, Relayed] = {}
    for _ in range(3):
        flows[tflow.tflow()] = found = relayed()
        found.incoming.gate = SimpleNamespace(decision=Decision.HOLD)  # type: ignore[assignment]
        found.incoming.size = TOGETHER // 4
    RELAYED.update(flows)
    with mitmproxy_with(SimpleNamespace(name="proxyserver", connections={})):
        yield list(flows.values())
    for flow in flows:
        del RELAYED[flow]


def test_who_holds_what(holding: list[Relayed]) -> None:
    assert held_of_all() == 3 * (TOGETHER // 4)
    holding[0].gone = True
    holding[1].incoming.gate.decision = Decision.PASS  # type: ignore[union-attr]
    holding[2].incoming.gate = None
    assert held_of_all() == 0


def test_a_large_answer_goes_on_where_all_together_hold_too_much(holding: list[Relayed]) -> None:
    assert not crowded(10 * EACH, EACH)
    holding[0].incoming.size = TOGETHER
    assert crowded(10 * EACH, EACH)


def test_a_small_one_is_held_in_any_case_and_it_is_looked_once_for_each_piece(holding: list[Relayed]) -> None:
    holding[0].incoming.size = TOGETHER
    assert not crowded(EACH - 1, 100)
    assert crowded(EACH + 1, 100)
    assert not crowded(EACH + 101, 100)
