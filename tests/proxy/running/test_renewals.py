"""Which accounts a relay renews now; how it does, with real relays: tests/wire/test_accounts."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from claude_relay.proxy.running.renewals import Renewals
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.vault import Vault

HOUR = 3600.0


def test_an_account_is_due_when_its_token_is_over_by_the_systems_clock(tmp_path: Path) -> None:
    """A machine that slept: no time has passed by the clock that never jumps."""
    now = time.time()
    account = Account("id", "p", "v1", "", True, None, 1, True, "", (), now, now + 8 * HOUR, 8 * HOUR)
    runtime: Any = SimpleNamespace(config=SimpleNamespace(providers={"p": None}))
    with closing(Vault(tmp_path / "relay.db", environ={})) as vault:
        stored: Any = SimpleNamespace(vault=vault)
        renewals = Renewals(stored, lambda: runtime, lambda notices: None)
        assert not renewals.is_due(account, now)
        assert not renewals.is_due(account, now + 7.9 * HOUR), "by its own clock it is good for hours"
        assert not renewals.is_due(account, now - 100 * HOUR)
        assert renewals.is_due(account, now + 8 * HOUR)
        assert not renewals.is_due(replace(account, removed_at="2026-11-27"), now + 8 * HOUR)
        assert not renewals.is_due(replace(account, revoked_at=now), now + 8 * HOUR)
        assert not renewals.is_due(replace(account, retry_at=now + 8.5 * HOUR), now + 8 * HOUR)
        renewals.threads.shutdown()
