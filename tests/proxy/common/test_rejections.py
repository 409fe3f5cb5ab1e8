"""Refusals are counted by their reason, and told."""

from __future__ import annotations

import logging

import pytest

from claude_relay.proxy.common.rejections import Reason, counted, rejected


def test_each_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    before = counted()
    for _ in range(3):
        rejected(Reason.FLOOD, "%s sent %d frames", "127.0.0.1", 7)
    after = counted()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {"flood": 3}
    assert (
        caplog.record_tuples
        == [("claude_relay.proxy.common.rejections", logging.WARNING, "127.0.0.1 sent 7 frames")] * 3
    )
    assert {record.msg for record in caplog.records} == {"%s sent %d frames"}  # the log folds by it


def test_every_reason_has_a_count() -> None:
    assert counted().keys() == set(map(str, Reason))
    counted().clear()
    assert counted()
