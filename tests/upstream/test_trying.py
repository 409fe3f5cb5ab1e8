"""Outbound proxies, tried with real ones. What is said of each case: tests/cli/test_ways_out."""

from __future__ import annotations

from claude_relay.core.config import OutboundProxy, Trust
from claude_relay.upstream.trying import Trying, remedy_for, tried
from waiting import PATIENCE
from wire.socks import microsocks
from wire.upstream import FakeUpstream, refusing_port, silent_port

from .providers import answering, raw

NOBODY = Trust()


def test_all_at_once_and_in_order() -> None:
    with microsocks("me", "hunter2") as proxy, FakeUpstream() as upstream, refusing_port() as port:
        ways = [proxy.url_for("me", "hunter2"), proxy.url_for("me", "wrong-one"), f"http://127.0.0.1:{port}"]
        good, bad, gone = tried(
            [Trying(OutboundProxy.parse(way), upstream.url, NOBODY) for way in ways], limit=PATIENCE
        )
    assert good.reason == ""
    assert good.seconds is not None
    assert bad.reason == "the proxy refused the user or the password"
    assert "cannot be reached" in gone.reason
    assert "wrong-one" not in repr(bad)
    assert remedy_for(bad.reason, None, "") != ""


def test_the_address_that_is_seen() -> None:
    answer = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n192.0.2.7\x1b\n")
    with microsocks() as proxy, FakeUpstream() as upstream, raw(answer) as echo:
        [found] = tried([Trying(OutboundProxy.parse(proxy.url), upstream.url, NOBODY)], f"http://{echo}/ip", PATIENCE)
    assert found.seen == "127.0.0.1 sees 192.0.2.7"
    assert upstream.requests == []


def test_silence_ends() -> None:
    with silent_port() as port:
        [found] = tried(
            [Trying(OutboundProxy.parse(f"http://127.0.0.1:{port}"), "http://h.example", NOBODY)], limit=0.2
        )
    assert "no answer in time" in found.reason


def test_an_echo_that_is_no_url() -> None:
    with microsocks() as proxy, FakeUpstream() as upstream:
        [found] = tried([Trying(OutboundProxy.parse(proxy.url), upstream.url, NOBODY)], "http://h:nonsense/", PATIENCE)
    assert "did not say" in found.seen
