"""How often anybody may try."""

from __future__ import annotations

import pytest

from claude_relay.core.clients.guesses import Attempts, whole


def test_so_many_at_once_and_then_evenly() -> None:
    attempts = Attempts(each=3, all=100, within=60.0)
    for _ in range(3):
        assert attempts.wait("192.0.2.7", 1000.0) == 0
        attempts.count("192.0.2.7", 1000.0)
    assert attempts.wait("192.0.2.7", 1000.0) == pytest.approx(20.0)
    assert attempts.wait("192.0.2.8", 1000.0) == 0
    assert attempts.wait("192.0.2.7", 1020.0) == 0
    attempts.count("192.0.2.7", 1020.0)
    assert attempts.wait("192.0.2.7", 1030.0) == pytest.approx(10.0)
    assert attempts.wait("192.0.2.7", 2000.0) == 0


def test_all_together() -> None:
    attempts = Attempts(each=3, all=5, within=60.0)
    for n in range(5):
        attempts.count(f"192.0.2.{n}", 0.0)
    assert attempts.wait("192.0.2.99", 0.0) == pytest.approx(12.0)


def test_one_network_of_ipv6_is_one_visitor() -> None:
    attempts = Attempts(each=1, all=100, within=60.0)
    attempts.count("2001:db8:1:2::1", 0.0)
    assert attempts.wait("2001:db8:1:2:ffff::9", 0.0) > 0
    assert attempts.wait("2001:db8:1:3::1", 0.0) == 0
    assert whole("::ffff:192.0.2.7") == whole("192.0.2.7")
    assert whole("") == whole("nonsense")


def test_only_so_many_addresses_are_remembered() -> None:
    attempts = Attempts(each=1, all=10**6, within=60.0, most=10)
    for n in range(1000):
        attempts.count(f"10.0.{n // 256}.{n % 256}", float(n) / 1000)
    assert len(attempts._of) == 10
    assert attempts.wait("10.0.3.231", 1.0) > 0
    assert attempts.wait("10.0.0.1", 1.0) == 0
