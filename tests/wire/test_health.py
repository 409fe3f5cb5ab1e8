"""What /healthz tells of a relay that runs."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from claude_relay.cli.console import running
from claude_relay.cli.console.common import Source
from claude_relay.core.config import default
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import eventually

from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import free_ports
from .upstream import FakeUpstream

SECRET = "sk-ant-api03-not-to-be-told-0123456789"


def health(port: int) -> tuple[int, dict[str, Any]]:
    with RawClient(port) as client:
        answer = client.ask("GET", "/healthz")
        return answer.status, json.loads(answer.body)


def health_with(port: int, part: str) -> tuple[int, dict[str, Any]]:
    """When it tells of this."""

    def found() -> tuple[int, dict[str, Any]] | None:
        status, told = health(port)
        return (status, told) if part in str(told.get("problems")) else None

    return eventually(found, lambda: health(port)) or (0, {})


def test_a_relay_that_is_well(start: StartRelay) -> None:
    (port,) = free_ports(1)
    start(keys=["good-1"], listen={"status": f"127.0.0.1:{port}"})
    assert health(port) == (200, {"ok": True})


def test_a_database_that_goes_and_comes_back(start: StartRelay) -> None:
    (port,) = free_ports(1)
    relay = start(keys=["good-1"], listen={"status": f"127.0.0.1:{port}"})
    away = relay.database.with_name("away.db")
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        relay.database.rename(away)
        relay.database.mkdir()
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        status, found = health_with(port, "the ledger cannot be written")
        assert (status, found["ok"]) == (200, True)
        relay.wait_for_log("ledger: cannot write")
        relay.database.rmdir()
        away.rename(relay.database)
        relay.wait_for_log("ledger: writing works again")
    with contextlib.closing(sqlite3.connect(relay.database)) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT id) FROM requests").fetchone() == (2, 2)


def test_a_damaged_row_of_the_vault_is_named(start: StartRelay, tmp_path: Path, upstream: FakeUpstream) -> None:
    (port,) = free_ports(1)
    environ = {"RELAY_SECRET": "a secret for this test"}
    relay = start(keys=["good-1"], listen={"status": f"127.0.0.1:{port}"}, relay={"environ": environ})
    Vault(relay.database).import_many([NewKey("anthropic", SECRET), NewKey("anthropic", SECRET + "b")])
    relay.wait_for_log("keys that the vault issues: 2")
    with contextlib.closing(sqlite3.connect(relay.database)) as connection, connection:
        connection.execute("UPDATE keys SET secret = x'0102', label = CAST(x'ff' AS TEXT) WHERE alias = 'v2'")
    status, found = health_with(port, "anthropic/v2")
    assert (status, found["ok"]) == (200, True)
    assert SECRET not in str(found)
    assert "anthropic/v2" in relay.wait_for_log("stored keys cannot be used")
    rows = [row for row in running.running(relay.database, time.time()) if row.listener("status")]
    said = running.health(running.Found(rows[0]), Source(default({}), None, b""))
    assert said is not None
    assert said[0]
    assert "anthropic/v2" in said[1][0]
