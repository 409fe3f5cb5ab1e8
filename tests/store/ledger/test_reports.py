from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.store.db import rollups
from claude_relay.store.db.database import StoreError, connect, read_only
from claude_relay.store.ledger import reports
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.ledger import Ledger, RequestRow
from claude_relay.store.ledger.lines import Line
from claude_relay.store.ledger.lookups import NotOne, find, sessions
from claude_relay.store.ledger.reports import GROUPS, Report, summarise
from claude_relay.store.ledger.tables import Tables
from store.rows import STARTED, attempt, request

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
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (x)")
    with pytest.raises(StoreError, match=r"other\.db: it holds no ledger of Claude Relay"):
        report(path, by="model")


# -- which requests


@pytest.mark.parametrize(
    ("only", "ids"),
    [
        (Only(model="claude-*"), "ab"),
        (Only(model="glm-?"), "b"),
        (Only(provider="p2"), "bc"),
        (Only(key="k1"), "ac"),
        (Only(key="p2/k1"), "c"),
        (Only(client="alice"), "a"),
        (Only(session="s-1"), "ab"),
        (Only(session="s-10"), "a"),
        (Only(project="x", provider="p2"), "b"),
        (Only(client="nobody"), ""),
    ],
)
@pytest.mark.parametrize("exact", [0, 100])
def test_filters(path: Path, only: Only, ids: str, exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "EXACT", exact)
    models = {"requested_model": "claude-x", "served_model": "claude-x"}
    fill(
        path,
        [
            request(output_tokens=1, **models, provider="p1", client="alice", session="s-10", project="x"),
            request(
                output_tokens=2,
                **models | {"served_model": "glm-5"},
                provider="p2",
                key="k2",
                session="s-11",
                project="x",
            ),
            request(output_tokens=4, requested_model="o", provider="p2", session="s-2"),
        ],
    )
    total = sum(1 << "abc".index(name) for name in ids)
    assert (report(path, by="model", only=only).total.output_tokens or 0) == total


@pytest.mark.parametrize("exact", [0, 100])
def test_groups_of_clients(path: Path, exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they were then: clients move from one to another, and the bill stays."""
    monkeypatch.setattr(reports, "EXACT", exact)
    groups = (("alice", "team"), ("bob", "team"), ("alice", "other"), ("carol", None), (None, None))
    fill(path, [request(client=name, client_group=group, output_tokens=n) for n, (name, group) in enumerate(groups, 1)])
    lines = report(path, by="client-group").lines
    assert {line.name: line.output_tokens for line in lines} == {"team": 3, "other": 3, None: 9}
    of_team = report(path, by="client", only=Only(client_group="team"))
    assert [line.name for line in of_team.lines] == ["alice", "bob"]
    assert str(of_team.only) == "--client-group team"


def test_until_is_exclusive(path: Path) -> None:
    fill(path, [request(started_at=STARTED + step) for step in (-0.001, 0, 0.001)])
    assert report(path, by="model", until=BEGIN).total.requests == 1
    assert report(path, by="model", since=BEGIN, until=BEGIN + timedelta(milliseconds=1)).total.requests == 1


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("hour", ["2026-12-31 23:00", "2027-01-01 00:00"]),
        ("day", ["2026-12-31", "2027-01-01"]),
        ("week", ["2026-W53"]),
        ("month", ["2026-12", "2027-01"]),
    ],
)
def test_groups_by_time(path: Path, by: str, names: list[str]) -> None:
    local = datetime(2027, 1, 1).astimezone().timestamp()
    fill(path, [request(started_at=local), request(started_at=local - 1)])
    assert [line.name for line in report(path, by=by).lines] == names


def test_errors_by_kind_and_models_without_a_price(path: Path) -> None:
    failed = {"finished": "error", "error_type": "overloaded_error"}
    fill(path, [request(**failed), request(served_model="m", input_tokens=1), request(cost_usd=1.0, input_tokens=1)])
    found = report(path, by="error")
    assert [(line.name, line.errors) for line in found.lines] == [(None, 0), ("overloaded_error", 1)]
    assert found.unpriced == {"m": 1}


def test_a_speed_is_that_of_a_stream_after_its_first_token(path: Path) -> None:
    streamed = {"stream": True, "ttft_ms": 500, "duration_ms": 2_500, "output_tokens": 100}
    others = ({"stream": False, "output_tokens": 9_999}, {"output_tokens": 0}, {"duration_ms": 500})
    fill(path, [request(**streamed | other) for other in ({}, *others)])
    assert report(path, by="model").total.speed_p50 == 50.0


# -- rollups

HOUR = 3600
WHEN = st.sampled_from([STARTED + offset for offset in (0, 0.5, 60, HOUR, 2 * HOUR, 3 * HOUR + 1, 30 * HOUR)])
COUNT = st.none() | st.integers(0, 10**6)
SPAN = st.none() | st.floats(0, 10**6)
ROW = st.fixed_dictionaries(
    {
        "started_at": WHEN,
        "requested_model": st.sampled_from([None, "m1", "m2"]),
        "key": st.sampled_from([None, "k1"]),
        "session": st.sampled_from([None, "s1", "s2"]),
        "error_type": st.sampled_from([None, "api_error"]),
        "proxy": st.sampled_from([None, "direct", "office"]),
        "finished": st.sampled_from(["complete", "error", "client_closed", "upstream_closed"]),
        "attempts": st.integers(1, 3),
        "stream": st.booleans(),
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "cache_read_tokens": COUNT,
        "cache_write_5m_tokens": COUNT,
        "cache_write_1h_tokens": COUNT,
        "cost_usd": st.none() | st.integers(0, 64).map(lambda n: n / 8),
        "ttft_ms": SPAN,
        "duration_ms": SPAN,
    }
)
MOMENT = st.none() | st.floats(-HOUR, 4 * HOUR).map(lambda offset: BEGIN + timedelta(seconds=offset))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tables, sqlite3.Connection]]:
    path = tmp_path_factory.mktemp("rollups") / "relay.db"
    tables = Tables(path, patience=1)
    tables.open()
    with closing(connect(path, patience=1)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield tables, connection
    tables.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=12), st.data())
def test_rollups_are_the_sums_whatever_happens_to_requests(kept, rows: list[dict], data: st.DataObject) -> None:
    tables, connection = kept
    connection.execute("DELETE FROM requests")
    written = [request(**row) for row in rows]
    tables.write([(row, ()) for row in written])
    for row in data.draw(st.lists(st.sampled_from(written), max_size=4)):
        changed = data.draw(ROW) | {"started_at": "2026-11-18T10:00:00.000Z"}
        assigned = ", ".join(f"{name} = :{name}" for name in changed)
        connection.execute(f"UPDATE requests SET {assigned} WHERE id = :id", changed | {"id": row.id})
    for row in data.draw(st.lists(st.sampled_from(written), max_size=6)):
        connection.execute("DELETE FROM requests WHERE id = ?", [row.id])
    key, sums = ", ".join(rollups._key("")), ", ".join(rollups.measured("requests").values())
    groups = ", ".join(str(n + 1) for n in range(len(rollups._key(""))))
    direct = connection.execute(f"SELECT {key}, {sums} FROM requests GROUP BY {groups}")
    assert sorted(connection.execute("SELECT * FROM rollups")) == sorted(direct)
    options = {"by": data.draw(st.sampled_from(list(GROUPS))), "since": data.draw(MOMENT), "until": data.draw(MOMENT)}
    one, many = summarise(connection, **options), summed(connection, **options)
    assert [without_percentiles(line) for line in many.lines] == [without_percentiles(line) for line in one.lines]
    assert without_percentiles(many.total) == without_percentiles(one.total)
    for exact, near, lowest in (
        (one.total.ttft_p50_ms, many.total.ttft_p50_ms, 100),
        (one.total.speed_p95, many.total.speed_p95, 1),
    ):
        assert (exact is None) == (near is None)
        if exact is not None:
            assert near == pytest.approx(min(max(exact, lowest), 1_000 * lowest), rel=0.171)


def summed(connection, **options) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "EXACT", -1)
        return summarise(connection, **options)


def test_lines_of_many_groups_are_those_of_single_requests(path: Path) -> None:
    known = {"output_tokens": 3, "cache_write_5m_tokens": 4, "cost_usd": 0.25}
    used = known | {"input_tokens": 5, "cache_read_tokens": 7, "attempts": 2}
    kinds = ({}, {"session": "a"} | used, {"session": "a", "finished": "error"}, {"session": "b"} | known)
    fill(path, [request(started_at=STARTED + n * 900, **kinds[n % 7 % 4]) for n in range(30)])
    ends = {"since": BEGIN + timedelta(minutes=20), "until": BEGIN + timedelta(hours=6, minutes=10)}
    with closing(read_only(path)) as connection:
        for span in ({}, ends):
            one = summarise(connection, by="session", **span)
            assert summed(connection, by="session", **span).lines == one.lines
            assert {line.name for line in one.lines} == {None, "a", "b"}


def without_percentiles(line: Line) -> Line:
    return replace(line, ttft_p50_ms=None, ttft_p95_ms=None, speed_p50=None, speed_p95=None)


def test_a_ledger_that_is_not_up_to_date_yet(path: Path) -> None:
    fill(path, [request()])
    with closing(connect(path, patience=1)) as connection:
        connection.execute("ALTER TABLE requests DROP COLUMN notes")
        with pytest.raises(StoreError, match="start scripts/relay once"):
            find(connection, "req")


# -- one request, and sessions


def test_a_request_is_found_by_the_beginning_of_its_id(path: Path) -> None:
    rows = [request(id=f"req_relay_{name}") for name in ("ab1", "ab2", "ab")] + [request(id="msg_1")]
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for row in rows:
        ledger.put(row, [attempt(row, 1, status=529), attempt(row, 2)])
    ledger.close()
    with closing(read_only(path)) as connection:
        for name in ("ab1", "req_relay_ab1"):
            assert find(connection, name).request["id"] == "req_relay_ab1"
        assert find(connection, "ab").request["id"] == "req_relay_ab"
        assert [each["status"] for each in find(connection, "msg").attempts] == [529, 200]
        for name, candidates in (("a", ("req_relay_ab", "req_relay_ab1", "req_relay_ab2")), ("zz", ())):
            with pytest.raises(NotOne) as caught:
                find(connection, name)
            assert caught.value.candidates == candidates


def test_a_session_is_told_whole(path: Path) -> None:
    day = 86_400
    one = {"session": "one", "project": "p", "input_tokens": 1, "cache_read_tokens": 3, "cost_usd": 0.5}
    fill(path, [request(**one), request(**one, started_at=STARTED + day), request(session="two"), request()])
    with closing(read_only(path)) as connection:
        first, second = sessions(connection)
        assert [found.id for found in sessions(connection, since=BEGIN + timedelta(seconds=1))] == ["one"]
        assert [found.id for found in sessions(connection, project="p")] == ["one"]
    assert (first.id, first.project, first.requests, first.cost_usd, first.cache_hit_rate) == ("one", "p", 2, 1.0, 0.75)
    assert datetime.fromisoformat(first.last) - datetime.fromisoformat(first.first) == timedelta(days=1)
    assert (second.id, second.cost_usd, second.input_tokens) == ("two", None, None)
