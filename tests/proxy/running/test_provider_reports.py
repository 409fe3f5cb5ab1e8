"""What a relay does by itself with providers' reports: fetched when due, said once, no request concerned."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claude_relay.core.config import parse
from claude_relay.core.notices import Kind, Notice
from claude_relay.proxy.running.provider_reports import Reports
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.store.audit import Actor
from claude_relay.store.vault.admin_keys import AdminKeys
from claude_relay.store.vault.vault import Vault
from upstream.providers import serving
from upstream.report_server import ADMIN, ReportServer
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with serving(ReportServer()) as found:  # type: ignore[type-var]
        yield found


class One:
    """A relay's part, and what it said."""

    def __init__(self, path: Path, server: ReportServer, *, key: bool = True) -> None:
        config = parse(json.dumps({"providers": {"anthropic": {"base_url": server.url}}}), environ={})
        self.runtime = Runtime.of(config, environ={})
        self.heard: list[Notice] = []
        self.came = threading.Event()
        if key:
            with closing(Vault(path, environ={})) as vault:
                AdminKeys(vault).put(Actor("alice", "cli"), "anthropic", "anthropic", server.url, ADMIN)
        self.reports = Reports(path, {}, lambda: self.runtime, self.hear, first=0.0, every=0.01)

    def hear(self, notices: object) -> None:
        self.heard += notices  # type: ignore[arg-type]
        self.came.set()


def days_ago(days: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"


def test_drift_is_said(tmp_path: Path, server: ReportServer) -> None:
    one = One(tmp_path / "relay.db", server)
    server.used(days_ago(4), "claude-opus-4-8", output_tokens=400_000)
    server.cost(days_ago(4), "claude-opus-4-8", "1000")
    one.reports.start()
    assert one.came.wait(PATIENCE)
    one.reports.close()
    one.reports.thread.join(PATIENCE)
    (notice,) = one.heard
    assert (notice.kind, notice.key) == (Kind.REPORT, "anthropic")
    assert notice.text == "anthropic reports $10.00 (100 %) more than the ledger has for the last 7 days."
    assert notice.again == pytest.approx(notice.at + 72000)
    assert len(server.requests) == 2, "it is fetched once, however often somebody looks"


def test_what_somebody_has_to_do_is_said_once(
    tmp_path: Path, server: ReportServer, caplog: pytest.LogCaptureFixture
) -> None:
    one = One(tmp_path / "relay.db", server)
    server.plan.append(403)
    with caplog.at_level(logging.WARNING):
        one.reports.look(time.time())
        one.reports.look(time.time())
        server.plan.append(403)
        one.reports.look(time.time() + 6 * 3600)
    notice, again = one.heard
    assert (again.key, again.text) == (notice.key, notice.text), "so that it is told again from time to time"
    assert notice.key == "anthropic report"
    assert "it has to be an admin key of the organisation" in notice.text
    assert len(caplog.records) == 1
    assert ADMIN not in caplog.text + notice.text


def test_what_mends_itself_is_said_to_nobody(tmp_path: Path, server: ReportServer) -> None:
    one = One(tmp_path / "relay.db", server)
    server.plan += [500, b"garbage"]
    now = time.time()
    for later in (0, 901, 901 + 1801):
        one.reports.look(now + later)
    assert one.heard == []
    assert len(server.requests) == 4


def test_without_an_admin_key_nobody_is_asked(tmp_path: Path, server: ReportServer) -> None:
    one = One(tmp_path / "relay.db", server, key=False)
    one.reports.look(time.time())
    assert (server.requests, one.heard) == ([], [])
    assert not (tmp_path / "relay.db").exists()


def test_a_database_that_cannot_be_used_is_said_once(
    tmp_path: Path, server: ReportServer, caplog: pytest.LogCaptureFixture
) -> None:
    one = One(tmp_path / "relay.db", server)
    (tmp_path / "relay.db").write_bytes(b"no database" * 1000)
    for file in ("relay.db-wal", "relay.db-shm"):
        (tmp_path / file).unlink(missing_ok=True)
    looked = threading.Event()
    complain = one.reports.complain

    def heard(text: str) -> None:
        complain(text)
        if len(caplog.records) and text:
            (looked.set if hasattr(one, "twice") else lambda: setattr(one, "twice", True))()

    one.reports.complain = heard  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        one.reports.start()
        assert looked.wait(PATIENCE)
        one.reports.close()
        one.reports.thread.join(PATIENCE)
    assert [record.message for record in caplog.records if "reports cannot be fetched" in record.message] == [
        caplog.records[0].message
    ]
