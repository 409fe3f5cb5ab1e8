from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click import BadParameter
from click.testing import CliRunner, Result

from claude_relay.cli.console.when import When
from claude_relay.cli.spending.cells import CELLS
from claude_relay.cli.usage import usage
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.lines import Line
from claude_relay.store.ledger.reports import GROUPS
from store.rows import request

BELOW = ("Without", "No", "cost")
NOW = datetime.now().astimezone()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a busy model today and a quiet one ten days ago."""
    path = tmp_path / "relay.db"
    busy = {
        "started_at": NOW.timestamp() - 60,
        "input_tokens": 12_345,
        "output_tokens": 481,
        "cache_read_tokens": 4_560_000,
        "cache_write_5m_tokens": 0,
        "ttft_ms": 1234.5,
        "duration_ms": 1234.5 + 9620,
        "stream": True,
    }
    quiet = {"started_at": (NOW - timedelta(days=10)).timestamp(), "requested_model": "claude-haiku-5", "key": None}
    rows = [request(**busy), request(**busy, attempts=3), request(**quiet, finished="error"), request(**busy)]
    fill(path, rows)
    return path


def fill(path: Path, rows: list) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for row in rows:
        ledger.put(row, [])
    ledger.close()


def run(*arguments: object, **environ: str) -> Result:
    alone: dict[str, str | None] = {"COLUMNS": None}  # tests that run side by side have a width
    return CliRunner().invoke(usage, [str(argument) for argument in arguments], env=alone | environ)


def lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [
        line.split()
        for line in result.stdout.splitlines()
        if line.strip() and "──" not in line and line.split()[0] not in BELOW
    ]


def test_a_table(path: Path) -> None:
    assert lines(run("--database", path)) == [
        ["er-", "re-", "tok.", "tok.", "cache", "cache", "cache", "ttft", "ttft", "tok/s", "tok/s"],
        ["model", "reqs", "rors", "tried", "in", "out", "read", "write", "hit", "cost", "p50", "p95", "p50", "p95"],
        [
            "claude-sonnet-5",
            "3",
            "0",
            "33%",
            "37.0k",
            "1.44k",
            "13.7M",
            "0",
            "100%",
            "—",
            "1.2s",
            "1.2s",
            "50",
            "50",
        ],
        ["claude-haiku-5", "1", "1", "0%", *["—"] * 10],
        ["total", "4", "1", "25%", "37.0k", "1.44k", "13.7M", "0", "100%", "—", "1.2s", "1.2s", "50", "50"],
    ]


@pytest.mark.parametrize("by", list(GROUPS))
def test_the_widest_figures_fit_into_eighty_columns(tmp_path: Path, by: str) -> None:
    path = tmp_path / "relay.db"
    tokens = dict.fromkeys(["input_tokens", "output_tokens", "cache_write_5m_tokens"], 99_951)
    slow = {"cache_read_tokens": 12_345_678, "cost_usd": 9999.99, "ttft_ms": 1_234_567, "attempts": 2}
    fill(path, [request(session="0123456789abcdef-" * 4, finished="error", **tokens, **slow)])
    result = run("--database", path, "--by", by, COLUMNS="80")
    assert max(map(len, result.stdout.splitlines())) <= 80
    total = next(line for line in lines(result) if line[0] == "total")
    assert {"1", "100k", "98%", "$9,999.99", "1235s"} <= set(total)
    assert "No room for: " in result.stdout
    # So many requests would take long to write.
    assert max(len(CELLS[title](Line(None, 99_950, 99_950, *[None] * 9))) for title in ("reqs", "er-\nrors")) <= 5


def test_the_cache_hit_rate_of_sessions(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    moved = {"session": "moved", "input_tokens": 10, "cache_read_tokens": 0, "cache_write_5m_tokens": 990}
    stayed = {"session": "stayed", "input_tokens": 10, "cache_read_tokens": 900, "cache_write_1h_tokens": 90}
    fill(path, [request(**moved), request(**stayed), request(session="unknown", output_tokens=7)])
    position = 1 + list(CELLS).index("cache\nhit")
    shown = {line[0]: line[position] for line in lines(run("--database", path, "--by", "session"))[2:]}
    assert shown == {"moved": "0%", "stayed": "90%", "unknown": "—", "total": "45%"}
    document = json.loads(run("--database", path, "--by", "session", "--json").stdout)
    assert [row["cache_hit_rate"] for row in (*document["rows"], document["total"])] == [0, 0.9, None, 0.45]
    rows = csv.DictReader(run("--database", path, "--by", "session", "--csv").stdout.splitlines())
    assert [row["cache_hit_rate"] for row in rows] == ["0.0", "0.9", ""]


def test_long_names_are_whole_where_nothing_limits_the_width(tmp_path: Path) -> None:
    path, session = tmp_path / "relay.db", "0123456789abcdef-" * 4
    fill(path, [request(session=session), request(session="[bold]not markup")])
    result = run("--database", path, "--by", "session")
    assert session in result.stdout
    assert "[bold]not markup" in result.stdout


def test_what_has_no_name_gets_one(path: Path) -> None:
    assert "(the client's own)" in run("--database", path, "--by", "key").stdout
    assert "anthropic/k1" in run("--database", path, "--by", "key").stdout


def test_since(path: Path) -> None:
    for since in ("7d", "1h", (NOW - timedelta(days=9)).date()):
        assert [line[:2] for line in lines(run("--database", path, "--since", since))[2:]] == [
            ["claude-sonnet-5", "3"],
            ["total", "3"],
        ]
    assert lines(run("--database", path, "--since", "11d"))[-1][:2] == ["total", "4"]


def test_nothing_since(path: Path) -> None:
    result = run("--database", path, "--since", "1s")
    assert result.exit_code == 0
    assert result.output.startswith("No requests since ")


@pytest.mark.parametrize("text", ["yesterday", "", "7 days", "2026-13-01", "-1d", "9" * 400 + "w"])
def test_a_since_that_is_none(text: str) -> None:
    with pytest.raises(BadParameter, match="neither a length of time"):
        When().convert(text, None, None)


def test_a_date_is_midnight_here() -> None:
    assert When().convert("2026-11-01", None, None) == datetime(2026, 11, 1).astimezone()
    assert When().convert("2026-11-01T08:00Z", None, None) == datetime(2026, 11, 1, 8, tzinfo=UTC)


def test_json(path: Path) -> None:
    result = run("--database", path, "--json", "--by", "model", "--since", "7d")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["database"] == str(path)
    assert found["by"] == "model"
    assert NOW - datetime.fromisoformat(found["since"]) >= timedelta(days=6, hours=23)
    sums = {
        "requests": 3,
        "errors": 0,
        "retried": 1,
        "input_tokens": 37_035,
        "output_tokens": 1_443,
        "cache_read_tokens": 13_680_000,
        "cache_write_tokens": 0,
        "cache_hit_rate": 13_680_000 / 13_717_035,
        "cost_usd": None,
        "ttft_p50_ms": 1234.5,
        "ttft_p95_ms": 1234.5,
        "speed_p50": 50.0,
        "speed_p95": 50.0,
        "estimated": 0,
    }
    assert found["rows"] == [{"name": "claude-sonnet-5"} | sums]
    assert found["total"] == sums


def test_csv(path: Path) -> None:
    result = run("--database", path, "--csv")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [(row["model"], row["requests"], row["input_tokens"], row["cost_usd"]) for row in rows] == [
        ("claude-sonnet-5", "3", "37035", ""),
        ("claude-haiku-5", "1", "", ""),
    ]


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_no_ledger(tmp_path: Path, form: tuple[str, ...]) -> None:
    result = run("--database", tmp_path / "relay.db", *form)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "There is no ledger at" in result.stderr
    assert "start scripts/relay" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_ledger(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    fill(path, [])
    result = run("--database", path)
    assert result.exit_code == 0
    assert result.stdout.startswith("No requests yet in ")
    assert "scripts/env -- claude" in result.stdout
    assert json.loads(run("--database", path, "--json").stdout)["rows"] == []
    assert len(run("--database", path, "--csv").stdout.splitlines()) == 1


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    path.write_text("hello " * 1000)
    result = run("--database", path)
    assert result.exit_code == 1
    assert "file is not a database" in result.stderr


def test_the_database_of_the_configuration(path: Path) -> None:
    config = path.with_name("relay.yaml")
    config.write_text("database: relay.db\n")
    assert lines(run("--config", config))[-1][:2] == ["total", "4"]
    assert lines(run(RELAY_CONFIG=str(config)))[-1][:2] == ["total", "4"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "—"),
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (4_560_000, "4.56M"),
        (99_951, "100k"),
    ],
)
def test_numbers(path: Path, number: int | None, text: str) -> None:
    path = path.with_name("other.db")
    fill(path, [request(output_tokens=number)])
    position = 1 + list(CELLS).index("tok.\nout")
    assert lines(run("--database", path))[-1][position] == text


@pytest.mark.parametrize(
    ("cost", "text"), [(0.0123, "$0.0123"), (12.5, "$12.50"), (1234.5, "$1,234.50"), (0.0, "$0.0000")]
)
def test_costs(tmp_path: Path, cost: float, text: str) -> None:
    path = tmp_path / "relay.db"
    fill(path, [request(cost_usd=cost), request()])
    assert text in lines(run("--database", path))[-1]


# -- nothing to show


def test_a_filter_that_nothing_fits_is_to_blame(path: Path) -> None:
    said = run("--database", path, "--model", "zzz*", "--provider", "nobody").stdout
    assert said.startswith("None of the 4 requests in ")
    assert said.endswith("relay.db fits --model 'zzz*' --provider nobody.\n")
    said = run("--database", path, "--model", "zzz*", "--since", "1h").stdout
    assert said.startswith("None of the 3 requests since ")
    assert run("--database", path, "--since", "2000-01-01", "--until", "2000-01-02", "--key", "k1").stdout.startswith(
        "No requests since 2000-01-01"
    )
    assert json.loads(run("--database", path, "--model", "zzz*", "--json").stdout)["rows"] == []


def test_a_session_that_no_filter_fits(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    fill(path, [request(session="s1", project="p", started_at=0.0)])
    said = run("sessions", "--database", path, "--project", "q", "--since", "1h").stdout
    assert said.startswith("The only session in ")
    assert " does not fit --project q --since 20" in said


def test_why_nobody_has_a_name(path: Path) -> None:
    assert "Clients have names when they have keys" in run("--database", path, "--by", "client").stdout
    assert "Clients have names when they have keys" in run("--database", path, "--client", "alice").stdout
    assert "Clients have names when they have keys" not in run("--database", path, "--by", "model").stdout
