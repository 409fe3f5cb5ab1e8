"""`usage cache`, and what `usage show` says of a miss."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from claude_relay.cli.usage import usage
from claude_relay.store.ledger.ledger import Ledger
from store.rows import STARTED, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for n, (cause, tokens, usd) in enumerate(
        [
            ("tools[3]", 84_200, 0.38),
            ("tools[3]", 2_000_000, 4.25),
            ("messages[1234].content[12]", 8_000, 2.0),
            ("key", 160_000, None),
            (None, None, None),
        ]
    ):
        missed = {"cache_miss": cause, "cache_miss_tokens": tokens, "cache_miss_usd": usd}
        ledger.put(request(id=f"req_relay_{n}", session=f"s{n}", started_at=STARTED + n, **missed), [])
    ledger.close()
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(usage, [str(argument) for argument in arguments], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_table_of_causes_fits(path: Path) -> None:
    shown = run("cache", "--database", path)
    assert max(map(len, shown.splitlines())) <= 80
    lines = [line.split() for line in shown.splitlines()]
    assert [line[0] for line in lines if len(line) > 4][1:] == ["tools", "messages", "key", "total"][:3]
    assert ["total", "4", "2.25M", "$6.63"] in lines
    assert "tools[3] changed" in shown
    assert "Without a price: 1." in shown


def test_for_other_programs(path: Path) -> None:
    found = json.loads(run("cache", "--database", path, "--json", "--session", "s1"))
    assert (found["usd"], [cause["place"] for cause in found["causes"]]) == (4.25, ["tools[3]"])
    rows = list(csv.DictReader(run("cache", "--database", path, "--csv").splitlines()))
    assert [(row["cause"], row["requests"], row["usd"]) for row in rows] == [
        ("tools", "2", "4.63"),
        ("messages", "1", "2.0"),
        ("key", "1", ""),
    ]


def test_nothing_was_missed(path: Path) -> None:
    assert run("cache", "--database", path, "--session", "s4").startswith("No requests in")
    assert json.loads(run("cache", "--database", path, "--session", "s4", "--json"))["usd"] is None


def test_a_request_says_what_it_missed(path: Path) -> None:
    said = " ".join(run("show", "0", "--database", path).split())
    assert "cache missed 84.2k tokens for $0.3800 more: tools[3] changed; all that follows it is lost with it" in said
    assert "cache missed 160k tokens: another key was used" in " ".join(run("show", "3", "--database", path).split())
    assert "missed" not in run("show", "4", "--database", path)
