"""The relay's clock goes on when the system's is set back."""

from __future__ import annotations

import time

import pytest

from claude_relay.proxy.common.clock import NOW
from waiting import PATIENCE


def test_setting_the_systems_clock_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = NOW()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert before <= NOW() < before + PATIENCE
    assert NOW.wall() == pytest.approx(before - 3600, abs=PATIENCE)
    assert NOW.ahead() == pytest.approx(3600, abs=PATIENCE)
    monkeypatch.undo()
    assert NOW.ahead() == 0.0
