"""The system's clock is set back while the relay runs: cooldowns and waits take as long as they should."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from waiting import eventually

from . import steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay
from .upstream import FakeUpstream


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the system's clock back by so many seconds, for everybody in this process."""
    true = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: true() - seconds)


def test_three_seconds_stay_three_seconds(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Callable[[Relay], RawClient],
    set_back: Callable[[float], None],
) -> None:
    client = base_client(start(keys=["sk-1"], retry={"attempts": 3, "max_wait": 0}))
    limited = steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "2")])
    upstream.script(limited)
    assert client.ask("POST", "/v1/messages", body=messages_body()).header("retry-after") == "2"
    set_back(7200.0)
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert answer.status == 200 or int(answer.header("retry-after") or 0) in (1, 2)
    eventually(lambda: client.ask("POST", "/v1/messages", body=messages_body()).status == 200)
    upstream.script(limited)
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert answer.header("retry-after") == "2", "a cooldown that begins after it is as long as it should be, too"
