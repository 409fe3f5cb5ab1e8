from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.store.database import StoreError, read_only
from claude_relay.store.ledger import Ledger, RequestRow
from claude_relay.store.reports import GROUPS, Line, Report, summarise

from .rows import STARTED, request

BEGIN = datetime.fromtimestamp(STARTED, UTC)


def fill(path: Path, rows: Iterable[RequestRow]) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for row in rows:
        ledger.put(row, [])
    ledger.close()


def report(path: Path, **options) -> Report:
    with closing(read_only(path)) as connection:
        return summarise(connection, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


def test_sums(path: Path) -> None:
    fill(
        path,
        [
            request(
                input_tokens=10,
                output_tokens=1,
                cache_read_tokens=100,
                cache_write_5m_tokens=5,
                cache_write_1h_tokens=7,
                ttft_ms=100,
                cost_usd=0.5,
            ),
            request(input_tokens=20, output_tokens=2, cache_write_5m_tokens=1, attempts=3, ttft_ms=300),
            request(finished="error", status=529, attempts=4),
            request(finished="upstream_closed", output_tokens=4, ttft_ms=200),
            request(finished="client_closed", output_tokens=8),
            request(requested_model="claude-haiku-5", cache_write_1h_tokens=9),
        ],
    )
    expected = Line(
        name="claude-sonnet-5",
        requests=5,
        errors=2,
        retried=2,
        input_tokens=30,
        output_tokens=15,
        cache_read_tokens=100,
        cache_write_tokens=13,
        cache_hit_rate=100 / 122,
        cost_usd=0.5,
        ttft_p50_ms=200,
        ttft_p95_ms=300,
    )
    found = report(path, by="model")
    assert found.lines == (
        expected,
        Line("claude-haiku-5", 1, 0, 0, None, None, None, 9, None, None, None, None),
    )
    assert found.total == Line(None, 6, 2, 2, 30, 15, 100, 22, 100 / 122, 0.5, 200, 300)


def test_nothing(path: Path) -> None:
    fill(path, [])
    assert report(path, by="model") == Report("model", None, (), Line(None, 0, 0, 0, *[None] * 8))


@pytest.mark.parametrize(
    ("counts", "rate"),  # input, cache reads, cache writes for 5 minutes and for 1 hour
    [
        ([(10, 60, 20, 10)], 0.6),
        ([(10, 60, 20, 10), (100, 0, None, None)], 0.3),
        ([(10, 60, 20, 10), (None, 500, 1, 1), (500, None, None, None)], 0.6),
        ([(1, 0, 0, 0)], 0.0),
        ([(0, 0, 0, 0)], None),
        ([(10, None, 5, 5), (None,) * 4], None),
    ],
)
def test_the_cache_hit_rate_is_of_what_is_known(path: Path, counts: list[tuple], rate: float | None) -> None:
    names = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
    fill(path, [request(**dict(zip(names, row, strict=True))) for row in counts])
    found = report(path, by="session")
    assert [line.cache_hit_rate for line in (*found.lines, found.total)] == [rate, rate]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", ["m1", "m2", None]),
        ("key", ["p1/k1", "p2/k1", None]),
        ("client", ["alice", "bob", None]),
        ("provider", ["p1", "p2", None]),
        ("session", ["s1", "s2", None]),
    ],
)
def test_groups(path: Path, by: str, names: list[str | None]) -> None:
    one = {"requested_model": "m1", "provider": "p1", "client": "alice", "session": "s1"}
    two = {"requested_model": "m2", "provider": "p2", "client": "bob", "session": "s2"}
    nothing = {"requested_model": None, "provider": None, "key": None}
    fill(path, [request(**fields) for fields in (one, one, one, two, two, nothing)])
    found = report(path, by=by)
    assert [(line.name, line.requests) for line in found.lines] == list(zip(names, [3, 2, 1], strict=True))
    assert found.total.requests == 6


def test_a_key_is_of_its_provider_and_none_is_the_clients_own(path: Path) -> None:
    fill(path, [request(provider="anthropic", key=None), request(provider="glm", key="k1")])
    assert {line.name for line in report(path, by="key").lines} == {None, "glm/k1"}


def test_days_are_days_here_and_in_order(path: Path, monkeypatch) -> None:
    # 23:30 UTC is the next day already in Kiritimati (UTC+14), and 01:00 UTC the day before in Honolulu (UTC-10).
    late = datetime(2026, 11, 1, 23, 30, tzinfo=UTC).timestamp()
    early = datetime(2026, 11, 3, 1, 0, tzinfo=UTC).timestamp()
    fill(path, [request(started_at=early), request(started_at=late), request(started_at=late)])
    days = {}
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Honolulu"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        days[zone] = [(line.name, line.requests) for line in report(path, by="day").lines]
    monkeypatch.undo()
    time.tzset()
    assert days == {
        "UTC": [("2026-11-01", 2), ("2026-11-03", 1)],
        "Pacific/Kiritimati": [("2026-11-02", 2), ("2026-11-03", 1)],
        "Pacific/Honolulu": [("2026-11-01", 2), ("2026-11-02", 1)],
    }


def test_since_is_inclusive_to_the_millisecond(path: Path) -> None:
    fill(path, [request(started_at=STARTED + step) for step in (-0.001, 0, 0.001, 3600)])

    def counted(since: datetime) -> int:
        return report(path, by="model", since=since).total.requests

    assert counted(BEGIN) == 3
    assert counted(BEGIN + timedelta(milliseconds=1)) == 2
    assert counted(BEGIN.astimezone(datetime.now().astimezone().tzinfo)) == 3
    assert counted(BEGIN + timedelta(days=1)) == 0
    assert counted(BEGIN - timedelta(days=1)) == 4


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_percentiles_are_by_nearest_rank(times: list[float]) -> None:
    from claude_relay.store.reports import _percentiles

    for percent, found in zip((50, 95), _percentiles(list(times)), strict=True):
        not_above = sum(time <= found for time in times)
        below = sum(time < found for time in times)
        assert found in times
        assert not_above * 100 >= percent * len(times) > below * 100


def test_every_group_has_the_same_total(path: Path) -> None:
    fill(path, [request(client=f"c{n % 3}", session=f"s{n % 7}", ttft_ms=n, input_tokens=n) for n in range(50)])
    assert len({report(path, by=by).total for by in GROUPS}) == 1


def test_it_works_while_the_relay_writes(path: Path) -> None:
    fill(path, [request()])
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    with closing(read_only(path)) as connection:
        assert summarise(connection, by="model").total.requests == 1
        ledger.put(request(), [])
        ledger.close()
        assert summarise(connection, by="model").total.requests == 2


def test_a_database_without_a_ledger(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (x)")
    with pytest.raises(StoreError, match=r"other\.db: it holds no ledger of Claude Relay"):
        report(path, by="model")
