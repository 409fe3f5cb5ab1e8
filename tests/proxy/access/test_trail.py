"""A request that has come through this relay before is known by its trail, which goes to near peers only."""

from __future__ import annotations

import time

import pytest
from mitmproxy.connection import Client

from claude_relay.proxy.access import trail
from claude_relay.proxy.access.trail import NAME, came_round, heard, marked

FIELDS = ((b"host", b"h"), (b"Relay-Via", b"other"))


def client() -> Client:
    return Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=time.time())


@pytest.mark.parametrize(
    ("peer", "near"),
    [("127.0.0.1", True), ("10.1.2.3", True), ("::1", True), ("fd00::1", True), ("8.8.8.8", False), ("a.name", False)],
)
def test_the_trail_goes_to_near_peers_only(peer: str, near: bool) -> None:
    fields = dict(marked(FIELDS[:1], (peer, 443), ""))
    assert fields.get(NAME.encode()) == (trail.TOKEN.encode() if near else None)


def test_what_was_said_before_is_handed_on_or_taken_out() -> None:
    near = marked(FIELDS, ("127.0.0.1", 1), "other")
    assert [value for name, value in near if name.lower() == b"relay-via"] == [f"other, {trail.TOKEN}".encode()]
    assert marked(FIELDS, ("8.8.8.8", 1), "other") == FIELDS[:1]
    assert marked(FIELDS, None, "other") == FIELDS[:1]


def test_a_circle_is_known_also_within_a_tunnel() -> None:
    one = client()
    assert not came_round(one, None)
    assert not came_round(one, "other")
    assert came_round(one, f"other, {trail.TOKEN}")
    assert came_round(one, None)  # as its CONNECT has said
    assert heard(one, None) == f"other, {trail.TOKEN}"
    assert not came_round(client(), None)


def test_a_forked_process_is_another_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trail.TOKEN
    monkeypatch.setattr(trail, "TOKEN", before)
    trail.renew()
    assert before != trail.TOKEN
