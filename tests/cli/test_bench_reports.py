"""The ledger that reports are timed over is what the relay would have written, and every report of it is timed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from benchmark.reports import all_reports, make_ledger, measure_reports
from claude_relay.store.db.database import connect
from claude_relay.store.ledger import reports
from claude_relay.store.ledger.reports import summarise

ROWS = 300


def test_the_made_ledger_has_true_sums_and_its_triggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ledger(tmp_path / "reports.db", ROWS)
    monkeypatch.setattr(reports, "EXACT", -1)
    with closing(connect(tmp_path / "reports.db", patience=1)) as connection:
        assert summarise(connection, by="session").total.requests == ROWS
        connection.execute("DELETE FROM requests WHERE rowid % 3 = 0")
        assert summarise(connection, by="day").total.requests == ROWS - ROWS // 3


def test_every_report_is_timed(tmp_path: Path) -> None:
    found = measure_reports(tmp_path / "reports.db", ROWS)
    assert [one.name for one in found] == list(all_reports())
    assert all(one.rows == ROWS and one.seconds.low > 0 for one in found)
