"""What `bench --kills` finds in a ledger; the run itself, with its kills, is for the command line."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from benchmark.bars import bars
from benchmark.figures import Kills, Results
from benchmark.kills import in_ledger, torn


def test_names_are_counted_and_halves_are_found(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE requests (id, user_agent, attempts);
            CREATE TABLE attempts (request, n);
            INSERT INTO requests VALUES (1, 'kill-1', 1), (2, 'kill-2', 2), (3, 'kill-2', 0);
            INSERT INTO attempts VALUES (1, 1), (2, 1), (9, 1);
        """)
    assert in_ledger(path) == Counter({"kill-1": 1, "kill-2": 2})
    assert torn(path) == 2


def test_a_lost_a_doubled_and_a_torn_row_each_fail_their_bar() -> None:
    for wrong in ("missing", "doubled", "torn"):
        found = bars(
            Results(kills=Kills(100, 9.0, 50, 40, 41, **({"missing": 0, "doubled": 0, "torn": 0} | {wrong: 1})))
        )
        assert [bar.holds for bar in found].count(False) == 1
