from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
import sqlite_utils

from claude_relay.store.db import migrations
from claude_relay.store.db.database import NewerDatabase, connect
from claude_relay.store.db.migrations import MIGRATIONS, migrate
from claude_relay.store.ledger.ledger import AttemptRow, ChargeRow, RequestRow
from claude_relay.store.shared.state import State
from waiting import PATIENCE

REQUESTS = [
    "id",
    "started_at",
    "client",
    "session",
    "user_agent",
    "method",
    "path",
    "requested_model",
    "served_model",
    "provider",
    "key",
    "stream",
    "status",
    "error_type",
    "attempts",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_requests",
    "cost_usd",
    "priced_by",
    "ttft_ms",
    "duration_ms",
    "request_bytes",
    "response_bytes",
    "finished",
    "notes",
    "project",
    "estimated",
    "upstream_request_id",
    "client_program",
    "agent",
    "route",
    "error",
    "origin",
    "cache_miss",
    "cache_miss_tokens",
    "cache_miss_usd",
    "client_group",
    "agent_tree",
    "proxy",
]
ATTEMPTS = [
    "request",
    "n",
    "provider",
    "key",
    "status",
    "verdict",
    "error",
    "started_at",
    "first_byte_ms",
    "duration_ms",
    "model",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_requests",
    "cost_usd",
    "terms",
    "upstream_request_id",
    "waited_ms",
    "proxy",
]
CHARGES = [
    "request",
    "attempt",
    "n",
    "model",
    "kind",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_requests",
    "terms",
    "cost_usd",
]

START = """
import sys
from pathlib import Path
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
print("ready", flush=True)
sys.stdin.readline()
connection = connect(Path(sys.argv[1]), patience=60.0)
migrate(connection)
connection.execute("INSERT INTO requests (id, started_at, method, path, stream, attempts, finished) "
                   "VALUES (?, '', '', '', 0, 1, 'complete')", [sys.argv[2]])
connection.close()
"""


def columns(connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def applied(connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]


def test_tables_are_as_the_design_says(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        assert columns(connection, "requests") == REQUESTS
        assert columns(connection, "attempts") == ATTEMPTS
        assert columns(connection, "charges") == CHARGES
        assert connection.execute("PRAGMA foreign_key_list(attempts)").fetchone()[2] == "requests"


def test_rows_have_one_field_a_column() -> None:
    assert {field.name for field in fields(RequestRow)} == set(REQUESTS)
    assert {field.name for field in fields(AttemptRow)} - {"charges"} == set(ATTEMPTS)
    assert {field.name for field in fields(ChargeRow)} == set(CHARGES)


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        changes = connection.total_changes
        version = connection.execute("PRAGMA data_version").fetchone()
        migrate(connection)
        assert connection.total_changes == changes
        assert connection.execute("PRAGMA data_version").fetchone() == version
        assert applied(connection) == [step.__name__ for step in MIGRATIONS]


def test_processes_that_start_at_once(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(path), f"req_{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(migrations.__file__).parents[3])},
        )
        for number in range(4)
    ]
    for process in starting:
        assert process.stdout.readline() == "ready\n"
    for process in starting:  # all imports are done: the four meet at the file
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in starting]
    assert ends == [("", 0)] * 4
    with closing(connect(path, patience=1)) as connection:
        assert applied(connection) == [step.__name__ for step in MIGRATIONS]
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (4,)


def test_a_second_start_waits_for_the_first_and_finds_it_done(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "relay.db"
    begun, read = threading.Event(), threading.Event()

    def slow(db) -> None:
        begun.set()
        read.wait(0.3)  # in vain: the second may not read before the first is done
        db.execute("CREATE TABLE slow (x)")

    def start(connection) -> list[str]:
        migrate(connection)
        return applied(connection)

    def heard(statement: str) -> None:
        if "BEGIN" in seen:
            read.set()
        seen.append(statement.split()[0])

    seen: list[str] = []
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, slow))
    connections = [
        sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False) for _ in range(2)
    ]
    connections[0].execute("PRAGMA journal_mode = WAL")
    connections[1].set_trace_callback(heard)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(start, connections[0])
        assert begun.wait(PATIENCE)
        second = threads.submit(start, connections[1])
        assert first.result() == second.result() == [step.__name__ for step in (*MIGRATIONS, slow)]
    for connection in connections:
        connection.close()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
        sql = "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('claude_relay', 'add_warp', '')"
        connection.execute(sql)
    before = path.read_bytes()
    with closing(connect(path, patience=1)) as connection:
        with pytest.raises(NewerDatabase, match=r"relay\.db: .*newer Claude Relay .*add_warp.* – update Claude Relay"):
            migrate(connection)
        assert not connection.in_transaction
    assert path.read_bytes() == before


def test_a_newer_file_is_left_alone_even_with_steps_pending(tmp_path: Path, monkeypatch) -> None:
    def add_colour(db) -> None:
        db.execute("ALTER TABLE requests ADD COLUMN colour TEXT")

    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        sql = "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('claude_relay', 'add_warp', '')"
        connection.execute(sql)
        monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, add_colour))
        with pytest.raises(NewerDatabase):
            migrate(connection)
        assert columns(connection, "requests") == REQUESTS


def test_other_peoples_migrations_in_the_file_do_not_matter(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('theirs', 'x', '')"
        )
        migrate(connection)


def test_a_new_step_is_added_to_a_file_with_rows(tmp_path: Path, monkeypatch) -> None:
    def add_colour(db) -> None:
        db["requests"].add_column("colour", str)

    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        connection.execute(
            "INSERT INTO requests (id, started_at, method, path, stream, attempts, finished) "
            "VALUES ('req_1', '', '', '', 0, 1, 'complete')"
        )
        monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, add_colour))
        migrate(connection)
        assert columns(connection, "requests") == [*REQUESTS, "colour"]
        assert connection.execute("SELECT id, colour FROM requests").fetchall() == [("req_1", None)]


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch) -> None:
    def half_done(db) -> None:
        db.execute("CREATE TABLE half (x)")
        db.execute("CREATE TABLE half (x)")

    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, half_done))
        with pytest.raises(Exception, match="half"):
            migrate(connection)
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == []
        assert not connection.in_transaction


def test_sqlite_utils_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
    with closing(sqlite_utils.Database(path)) as db:
        assert {"requests", "attempts"} <= set(db.table_names())
        assert db["attempts"].pks == ["request", "n"]


def test_the_checks_hold(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        with pytest.raises(Exception, match="CHECK constraint failed: finished"):
            connection.execute(
                "INSERT INTO requests (id, started_at, method, path, stream, attempts, finished) "
                "VALUES ('req_1', '', '', '', 0, 1, 'nearly')"
            )


def test_cooldowns_of_an_earlier_version_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their table had another name."""
    path = tmp_path / "relay.db"
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("rename_cooldowns")]
    with monkeypatch.context() as earlier, closing(sqlite3.connect(path)) as connection:
        earlier.setattr(migrations, "MIGRATIONS", before)
        migrate(connection)
        row = "('p', 'k', '', 1.0, 500.0, NULL, 0, 1, 0, '429', -1.0, 1)"
        connection.execute(f"INSERT INTO rests VALUES {row}")
        connection.commit()
    with closing(State(path)) as state:
        [kept] = state.load_cooldowns()
    assert (kept["provider"], kept["key_id"], kept["until"], kept["reason"]) == ("p", "k", 500.0, "429")
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    assert {"cooldowns", "cooldowns_by_change"} <= names
    assert not {name for name in names if "rests" in name}


def test_requests_of_an_earlier_version_are_their_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "relay.db"
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("add_origin")]
    row = "INSERT INTO requests (id, started_at, method, path, stream, attempts, finished{}) VALUES ('{}', '', '', '', 0, 1, 'complete'{})"
    with closing(sqlite3.connect(path)) as connection:
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "MIGRATIONS", before)
            migrate(connection)
        connection.execute(row.format("", "old", ""))
        connection.commit()
        migrate(connection)
        connection.execute(row.format(", origin", "new", ", 'fault'"))
        assert dict(connection.execute("SELECT id, origin FROM requests")) == {"old": "client", "new": "fault"}
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(row.format(", origin", "other", ", 'mine'"))


def test_what_clients_spent_before_stays_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("lighten_clients")]
    row = (
        "INSERT INTO requests (id, started_at, client, method, path, stream, attempts, finished, cost_usd) "
        "VALUES (?, '2026-01-01T00:00:00.000Z', 'alice', '', '', 0, 1, 'complete', ?)"
    )
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "MIGRATIONS", before)
            migrate(connection)
        connection.execute(row, ["old", 1.0])
        connection.commit()
        migrate(connection)
        connection.execute(row, ["new", 2.0])
        assert connection.execute("SELECT client, usd FROM client_spending").fetchall() == [("alice", 3.0)]
        hours = "SELECT kind, owner, hour * 3600, usd FROM client_spending_hours"
        assert connection.execute(hours).fetchall() == [("client", "alice", 1767225600, 3.0)]
        connection.execute("UPDATE requests SET cost_usd = 0.5 WHERE id = 'old'")
        assert connection.execute("SELECT client, usd FROM client_spending").fetchall() == [("alice", 2.5)]
        assert connection.execute(hours).fetchall() == [("client", "alice", 1767225600, 2.5)]


def test_hours_of_what_was_spent_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("add_client_hours")]
    row = "INSERT INTO client_spending (client, slot, session, agent_tree, model, client_group, usd) VALUES (?, ?, ?, '', ?, ?, ?)"
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "MIGRATIONS", before)
            migrate(connection)
        connection.executemany(
            row,
            [
                ("alice", 12, "s", "opus", "team", 1.0),
                ("alice", 23, "t", "opus", "team", 2.0),
                ("bob", 23, "s", "opus", "team", 4.0),
                ("bob", 24, "s", "opus", "", 8.0),
            ],
        )
        connection.commit()
        migrate(connection)
        connection.execute(row, ("bob", 24, "u", "haiku", "", 16.0))
        assert connection.execute("SELECT * FROM client_spending_hours ORDER BY 1, 2, 3, 4").fetchall() == [
            ("client", "alice", 1, "opus", 3.0),
            ("client", "bob", 1, "opus", 4.0),
            ("client", "bob", 2, "haiku", 16.0),
            ("client", "bob", 2, "opus", 8.0),
            ("group", "team", 1, "opus", 7.0),
        ]


@pytest.mark.parametrize("spent", [True, False])
def test_hours_of_before_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spent: bool) -> None:
    """As far as there are any: later ones are not written down before they are."""
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("close_client_hours")]
    row = "INSERT INTO client_spending (client, slot, session, agent_tree, model, client_group, usd) VALUES (?, ?, ?, '', 'opus', ?, ?)"
    triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '*_hours_*' ORDER BY 1"
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "MIGRATIONS", before)
            migrate(connection)
        assert len(connection.execute(triggers).fetchall()) == 4
        if spent:
            connection.executemany(row, [("alice", 23, "s", "team", 1.0), ("bob", 24, "s", "", 2.0)])
        connection.commit()
        migrate(connection)
        assert connection.execute(triggers).fetchall() == [("client_hours_insert",), ("client_hours_update",)]
        assert connection.execute("SELECT row, closed FROM client_spending_state").fetchall() == [
            (1, 3 if spent else 0)
        ]
        connection.executemany(
            row,
            [
                ("alice", 22, "s", "team", 4.0),
                ("carol", 35, "s", "", 8.0),
                ("alice", 36, "s", "team", 16.0),
            ],
        )
        connection.execute("UPDATE client_spending SET usd = usd + 0.5 WHERE slot IN (23, 36)")
        assert connection.execute("SELECT * FROM client_spending_hours ORDER BY 1, 2, 3, 4").fetchall() == (
            [
                ("client", "alice", 1, "opus", 5.5),
                ("client", "bob", 2, "opus", 2.0),
                ("client", "carol", 2, "opus", 8.0),
                ("group", "team", 1, "opus", 5.5),
            ]
            if spent
            else []
        )


def test_ways_out_of_before_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as attempts say them; sums by the hour stay true."""
    before = MIGRATIONS[: [step.__name__ for step in MIGRATIONS].index("create_proxies")]
    row = (
        "INSERT INTO requests (id, started_at, method, path, stream, attempts, finished, cost_usd) "
        "VALUES (?, '2026-01-01T00:00:00.000Z', '', '', 0, 1, 'complete', 1.5)"
    )
    attempt = "INSERT INTO attempts (request, n, provider, started_at, proxy) VALUES (?, ?, 'p', '', ?)"
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "MIGRATIONS", before)
            migrate(connection)
        connection.executemany(row, [("a",), ("b",)])
        connection.executemany(attempt, [("a", 1, None), ("a", 2, "office"), ("b", 1, None)])
        connection.commit()
        migrate(connection)
        assert dict(connection.execute("SELECT id, proxy FROM requests")) == {"a": "office", "b": None}
        sums = "SELECT proxy, requests, cost_usd FROM rollups ORDER BY 1"
        assert connection.execute(sums).fetchall() == [("", 1, 1.5), ("office", 1, 1.5)]
        connection.execute("UPDATE requests SET proxy = 'direct' WHERE id = 'b'")
        connection.execute("DELETE FROM requests WHERE id = 'a'")
        assert connection.execute(sums).fetchall() == [("direct", 1, 1.5)]


def test_the_vault_does_not_count_what_failed_on_purpose(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        migrate(connection)
        key = "INSERT INTO keys (id, provider, alias, mask, fingerprint, secret) VALUES ('1', 'p', 'v1', '', '', '')"
        connection.execute(key)
        attempt = "INSERT INTO attempts (request, n, provider, key, verdict, error, started_at) VALUES ('r', ?, 'p', 'v1', ?, ?, '')"
        told = [
            ("unauthorized", "fault: 401; invalid x-api-key"),
            ("ok", "fault: slow"),
            ("ok", None),
            ("broken", "reset"),
        ]
        for n, (verdict, error) in enumerate(told):
            connection.execute(attempt, [n, verdict, error])
        assert connection.execute("SELECT attempts, failures FROM keys").fetchone() == (2, 1)
