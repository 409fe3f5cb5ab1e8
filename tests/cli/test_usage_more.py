"""What `usage` shows beyond the plain table: filters, pictures, single requests, sessions, and a table that stays."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.spending import forms
from claude_relay.cli.spending import sessions as session_table
from claude_relay.cli.spending.charts import bar, sparkline, squeezed
from claude_relay.cli.usage import usage
from claude_relay.store.ledger.ledger import Ledger
from store.rows import STARTED, attempt, request
from waiting import PATIENCE

ROUTE = "route 2 (model claude-opus-*): anthropic"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two models, two sessions, a failure, and a request that took two attempts."""
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    opus = {"requested_model": "claude-opus-4-5", "session": "s-opus", "project": "relay", "client": "alice"}
    used = {"input_tokens": 10, "output_tokens": 200, "cache_read_tokens": 90, "cache_write_5m_tokens": 0}
    timed = {"ttft_ms": 900.0, "duration_ms": 4_900.0, "stream": True}
    twice = request(
        id="req_relay_twice", attempts=2, cost_usd=1.5, priced_by="relay.yaml", route=ROUTE, **opus, **used, **timed
    )
    ledger.put(
        twice,
        [
            attempt(
                twice,
                1,
                status=529,
                verdict="overloaded",
                error="Overloaded",
                duration_ms=400.0,
                upstream_request_id="req_011A",
            ),
            attempt(
                twice,
                2,
                started_at=STARTED + 0.5,
                waited_ms=100.0,
                first_byte_ms=400.0,
                duration_ms=4_400.0,
                cost_usd=1.5,
                **used,
            ),
        ],
    )
    ledger.put(request(id="req_relay_later", started_at=STARTED + 86_400, cost_usd=0.5, **opus, **used), [])
    failed = {"finished": "error", "error_type": "overloaded_error", "session": "s-failed", "origin": "fault"}
    ledger.put(request(id="req_relay_failed", requested_model="claude-haiku-4-5", **failed), [])
    ledger.put(request(id="req_relay_free", served_model="glm-9", input_tokens=5), [])
    ledger.close()
    return path


def run(*arguments: object, width: int | None = 80) -> Result:
    environ = {"COLUMNS": str(width) if width else None}
    result = CliRunner().invoke(usage, [str(argument) for argument in arguments], env=environ)
    if width:
        assert max(map(len, result.stdout.splitlines()), default=0) <= width, result.stdout
    return result


def names(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [row["name"] for row in json.loads(result.stdout)["rows"]]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--model", "*opus*"], ["claude-opus-4-5"]),
        (["--model", "glm*", "--by", "served"], ["glm-9"]),
        (["--client", "alice", "--project", "relay", "--session", "s-o"], ["claude-opus-4-5"]),
        (["--key", "anthropic/k1", "--provider", "anthropic", "--by", "key"], ["anthropic/k1"]),
        (["--key", "k2"], []),
        (["--by", "error"], [None, "overloaded_error"]),
        (["--until", datetime.fromtimestamp(STARTED, UTC).isoformat()], []),
        (["--by", "month", "--session", "s-failed"], [f"{datetime.fromtimestamp(STARTED):%Y-%m}"]),
    ],
)
def test_filters(path: Path, arguments: list[str], found: list[str | None]) -> None:
    assert names(run("--database", path, "--json", *arguments, width=None)) == found


def test_bars_stand_beside_names_in_a_terminal_only(path: Path) -> None:
    shown = run("--database", path).stdout
    (line,) = (line for line in shown.splitlines() if "claude-opus-4-5" in line or "████" in line)
    assert "████" in line
    assert "█" not in run("--database", path, width=None).stdout


def test_times_have_a_sparkline(path: Path) -> None:
    last = [line for line in run("--database", path, "--by", "day").stdout.splitlines() if line.startswith("cost ")]
    assert [line.split()[2] for line in last] == ["█▃"]


def test_models_without_a_price_are_named(path: Path) -> None:
    assert (
        "Without a price: 1 requests of glm-9; `prices` in relay.yaml gives one."
        in run("--database", path, width=None).stdout
    )
    assert "Without a price" not in run("--database", path, "--model", "*opus*").stdout
    found = json.loads(run("--database", path, "--json", width=None).stdout)
    assert found["unpriced"] == [{"model": "glm-9", "requests": 1}]


def test_a_request_tells_its_story(path: Path) -> None:
    shown = run("--database", path, "show", "twice").stdout
    assert f"route    {ROUTE}" in shown
    assert "attempt 1: Overloaded (req_011A)" in shown
    assert "attempt 2: began after a wait of 100ms" in shown


@pytest.mark.parametrize(("name", "id"), [("req_011A", "twice"), ("last", "later"), ("req_relay_free", "free")])
def test_a_request_is_found_by_any_of_its_names(path: Path, name: str, id: str) -> None:
    assert run("--database", path, "show", name).stdout.startswith(f"req_relay_{id} ")


def test_what_no_upstream_knows_is_not_found(path: Path) -> None:
    result = run("--database", path, "show", "req_011B")
    assert (result.exit_code, "req_011B" in result.output) == (1, True)


def test_the_newest_requests_come_first(path: Path) -> None:
    found = json.loads(run("--database", path, "list", "--json", width=None).stdout)["requests"]
    assert [row["id"] for row in found] == [f"req_relay_{name}" for name in ("later", "twice", "free", "failed")]
    assert found[1]["route"] == ROUTE
    few = json.loads(run("--database", path, "list", "--json", "--limit", 1, width=None).stdout)["requests"]
    assert [row["id"] for row in few] == ["req_relay_later"]


def test_only_failed_ones_or_those_of_somebody(path: Path) -> None:
    assert run("--database", path, "list", "--failed").stdout.count("failed") == 1
    assert len(run("--database", path, "list", "--client", "alice").stdout.splitlines()) == 4
    assert (
        len(
            list(
                csv.reader(run("--database", path, "list", "--csv", "--model", "glm-*", width=None).stdout.splitlines())
            )
        )
        == 2
    )
    assert "No requests like that" in run("--database", path, "list", "--provider", "nobody", width=None).stdout


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_list_fits(path: Path, width: int) -> None:
    lines = run("--database", path, "list", width=width).stdout.splitlines()
    assert ("out" in lines[0]) is (width == 120)
    assert len(lines) == 6


def test_a_request_is_shown_with_its_attempts(path: Path) -> None:
    shown = run("show", "twi", "--database", path)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("req_relay_twice  2026-")
    assert "cost     $1.50 by relay.yaml" in lines
    assert "attempt 1: Overloaded (req_011A)" in lines
    first = next(line for line in lines if line.startswith("1 anthropic"))
    second = next(line for line in lines if line.startswith("2 anthropic"))
    assert "░" in first
    assert "█" not in first
    assert second.index("░") > first.index("░")
    assert second.index("█") > second.index("░")
    assert second.split()[-5:] == ["10", "200", "90", "0", "$1.50"]
    assert next(line for line in lines if line.startswith("request")).split() == [
        "request",
        "10",
        "200",
        "90",
        "0",
        "$1.50",
    ]


def test_a_request_that_is_no_clients_says_so(path: Path) -> None:
    assert "origin   fault" in run("show", "failed", "--database", path).stdout.splitlines()
    assert "origin" not in run("show", "twice", "--database", path).stdout


def test_a_request_as_json(path: Path) -> None:
    found = json.loads(run("--database", path, "show", "req_relay_twice", "--json", width=None).stdout)
    assert (found["id"], found["project"], [each["status"] for each in found["attempts"]]) == (
        "req_relay_twice",
        "relay",
        [529, 200],
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("nobody", "No request of the ledger is called 'nobody'"), ("f", "req_relay_failed, req_relay_free")],
)
def test_a_name_that_fits_no_single_request(path: Path, name: str, said: str) -> None:
    result = run("show", name, "--database", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_sessions(path: Path) -> None:
    shown = run("sessions", "--database", path)
    assert shown.exit_code == 0, shown.output
    rows = [line.split() for line in shown.stdout.splitlines()[3:]]
    assert [row[:2] for row in rows] == [["s-opus", "relay"], ["s-failed", "—"]]
    assert rows[0][-5:] == ["2", "200", "400", "90%", "$2.00"]
    found = list(csv.DictReader(run("sessions", "--database", path, "--csv", width=None).stdout.splitlines()))
    assert [(row["session"], row["requests"], row["cost_usd"]) for row in found] == [
        ("s-opus", "2", "2.0"),
        ("s-failed", "1", ""),
    ]
    document = json.loads(run("sessions", "--database", path, "--json", "--project", "relay", width=None).stdout)
    assert [one["id"] for one in document["sessions"]] == ["s-opus"]
    since = datetime.fromtimestamp(STARTED + 1, UTC).isoformat()
    assert "s-failed" not in run("sessions", "--database", path, "--since", since).stdout


@pytest.mark.parametrize(
    ("arguments", "kept", "note"),
    [
        (["--by", "session"], "s-opus", "1 of 3 lines: those with most cost."),
        (["--by", "day"], f"{datetime.fromtimestamp(STARTED + 86_400):%Y-%m-%d}", "1 of 2 lines: the last."),
        (["sessions"], "s-opus", "1 of 2 sessions: the latest."),
    ],
)
def test_a_long_table_is_cut_and_says_so(
    path: Path, arguments: list[str], kept: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (forms, session_table):
        monkeypatch.setattr(module, "ROWS", 1)
    shown = run(*arguments, "--database", path, width=120).stdout.splitlines()
    (rule,) = (n for n, line in enumerate(shown) if line.startswith("──"))
    assert shown[rule + 1].split()[0] == kept
    assert shown[rule + 2].strip() == "" or shown[rule + 2].startswith(note)
    assert any(line.startswith(note) for line in shown)
    if arguments[0] == "--by":
        (total,) = (line.split() for line in shown if line.startswith("total"))
        assert "4" in total
    whole = run(*arguments, "--csv", "--database", path, width=None).stdout.splitlines()
    assert len(whole) - 1 == int(note.split()[2])


def test_wide_session_ids_fold(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    big = {"input_tokens": 99_951, "output_tokens": 99_951, "cache_read_tokens": 12_345_678, "cost_usd": 9_999.99}
    ledger.put(request(session="0123456789abcdef-" * 3, project="a-project-with-a-long-name", **big), [])
    ledger.close()
    assert "$9,999.99" in run("sessions", "--database", path).stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(os.name == "nt", reason="sends signals")
def test_watching_ends_quietly_with_a_signal(path: Path, sign: signal.Signals) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from claude_relay.cli.main import script; script('usage', sys.argv[1:])",
        "--watch",
        "--database",
        str(path),
    ]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "addon"), "COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        seen = b""
        while b"total" not in seen:
            piece = os.read(process.stdout.fileno(), 65_536)
            assert piece, process.stderr and process.stderr.read()
            seen += piece
        process.send_signal(sign)
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, b"")


def test_watching_is_a_table(path: Path) -> None:
    result = run("--database", path, "--watch", "--json")
    assert result.exit_code == 2
    assert "leave out --json and --csv" in " ".join(result.stderr.split())


def test_pictures() -> None:
    assert sparkline([0, 1, 2, 4]) == "▁▃▅█"
    assert sparkline([]) == ""
    assert [bar(share, 2) for share in (0, 0.001, 0.5, 0.75, 1)] == ["  ", "▏ ", "█ ", "█▌", "██"]
    assert squeezed([1, 2, 3, 4, 5], 2) == [6, 9]
    assert squeezed([1, 2], 5) == [1, 2]
