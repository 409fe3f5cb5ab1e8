"""Verdicts, tables and columns, queries, metrics, notices, states, headers: all that is named exists, and the other way round."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from claude_relay.core.accounting.metrics import Gauges, Metrics
from claude_relay.core.keys.status import KeyState
from claude_relay.core.notices import Kind
from claude_relay.core.retry.verdicts import MEANINGS
from claude_relay.proxy.commands import RelayCommands
from claude_relay.proxy.common.rejections import Reason, counted
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.rows import ATTEMPT, CHARGE, REQUEST
from claude_relay.store.vault.records import STATES

from .pages import ALL, DOCS, ROOT, quoted

LEDGER = DOCS["docs/ledger.md"]
METRICS = DOCS["docs/metrics.md"]
TABLES = {"requests": REQUEST, "attempts": ATTEMPT, "charges": CHARGE}


def first_column(page: str, title: str) -> list[str]:
    return [word for row in DOCS[page].table(title) for word in quoted(row[0])]


def test_verdicts() -> None:
    table = DOCS["docs/failures.md"].table("the upstream says")
    assert sorted(row[1].strip("`") for row in table) == sorted(MEANINGS)


@pytest.mark.parametrize("name", TABLES)
def test_columns(name: str) -> None:
    listed = dict(re.findall(r"^- `(\w+)`: ((?:[\w, ]|\n  )+)", LEDGER.section("Tables"), re.MULTILINE))
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
    assert re.split(r",\s+", listed[name].strip()) == columns
    assert set(columns) == set(TABLES[name])


def test_tables() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection)
        known = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    named = set(re.findall(r"tables? `([a-z_]+)`", ALL)) | {"requests", "attempts", "charges"}
    [others] = re.findall(r"other tables are the relay's own: (.+?)\n\n", LEDGER.text, re.DOTALL)
    assert named | set(quoted(others)) <= known


def test_explained_columns_exist() -> None:
    words = {word for row in LEDGER.table("column") for word in quoted(row[0])}
    assert words <= {*REQUEST, *ATTEMPT, *CHARGE}


def test_how_requests_finish() -> None:
    [row] = [row for row in LEDGER.table("column") if row[0] == "`finished`"]
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection)
        [sql] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'requests'").fetchone()
    assert set(quoted(row[1])) == set(re.findall(r"'(\w+)'", sql.partition("finished IN (")[2].partition(")")[0]))


def test_queries_run() -> None:
    queries = re.findall(r'sqlite-utils relay\.db "([^"]+)"', LEDGER.text)
    assert len(queries) >= 4
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        for query in queries:
            connection.execute(query).fetchall()


def families() -> dict[str, str]:
    """Name → kind of every metric."""
    text = "".join(Metrics().render(Gauges(rejected=counted())))
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))


def test_metrics() -> None:
    assert first_column("docs/metrics.md", "metric")[:3]
    named = [word for row in METRICS.table("metric") for word in quoted(row[0])]
    assert sorted(named) == sorted(families())


def test_reasons_of_what_is_refused() -> None:
    assert first_column("docs/metrics.md", "reason") == [str(reason) for reason in Reason]


def test_notices() -> None:
    assert first_column("docs/metrics.md", "notice") == [str(kind) for kind in Kind]


def test_states_of_keys() -> None:
    """Those of `KeyState`, as its docstring has them; /metrics counts some of them."""
    [line] = re.findall(r"^ *status  (.+)$", str(KeyState.__doc__), re.MULTILINE)
    assert set(first_column("docs/keys.md", "state")) == set(re.findall(r"(?:^|\| )(\w+)", line))
    [row] = [row for row in METRICS.table("metric") if row[0] == "`claude_relay_keys`"]
    assert set(quoted(row[1])) < set(first_column("docs/keys.md", "state"))


def test_states_of_the_list_of_keys() -> None:
    """Those that `--status` takes."""
    [text] = re.findall(r"`scripts/keys list` has (.+?)\n\n", DOCS["docs/keys.md"].text, re.DOTALL)
    assert set(quoted(text)) == set(STATES)


def test_commands_of_mitmproxy() -> None:
    known = {found.command_name for method in vars(RelayCommands).values() if (found := annotated(method)) is not None}
    named = {word.split()[0] for word in first_column("docs/inspecting.md", "command")}
    assert named == known
    assert {word.rstrip(".") for word in re.findall(r"`(relay\.[a-z]+)(?= |`)", ALL)} - {
        "relay.yaml",
        "relay.db",
    } <= known


def annotated(method: Any) -> Any:
    """What mitmproxy's decorator leaves: a function with `command_name`."""
    return method if hasattr(method, "command_name") else None


def test_headers() -> None:
    """Every `x-relay-…` that the code reads or writes is explained, and the other way round."""
    code = "".join(path.read_text("utf-8") for path in (ROOT / "addon").rglob("*.py"))
    written = set(re.findall(r"""["'b](x-relay-[a-z]+)["']""", code)) | {"x-relay-signature"}
    named = set(re.findall(r"`(x-relay-[a-z]+)", ALL))
    assert named == written


def test_statuses_of_own_errors() -> None:
    """Those with which the code makes a RelayError, and those that it may make of all attempts."""
    code = "".join(path.read_text("utf-8") for path in (ROOT / "addon" / "claude_relay").rglob("*.py"))
    made = set(re.findall(r"RelayError\(\s*(\d{3})", code)) | set(re.findall(r"BudgetError\(\s*(\d{3})", code))
    shown = {row[0] for row in DOCS["docs/failures.md"].table("status")}
    assert shown == made
