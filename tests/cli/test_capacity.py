"""`usage capacity` over a database with windows and requests."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.usage import usage
from claude_relay.core.bodies.ratelimits import Window
from claude_relay.core.oauth.grants import Tokens
from claude_relay.core.times import HOUR
from claude_relay.store.db.database import connect
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.shared.key_windows import Seen, StoredWindows
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.vault import Vault
from store.rows import attempt, request

pytestmark = pytest.mark.usefixtures("cheap_secrets")


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


def run(path: Path, *words: str, columns: int = 80) -> Result:
    environ = {"RELAY_CONFIG": None, "COLUMNS": str(columns)}
    result = CliRunner().invoke(usage, ["capacity", "--database", str(path), *words], env=environ)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def account(path: Path, n: int) -> Account:
    with closing(Vault(path, environ={})) as vault:
        found = Accounts(vault).add("anthropic", Tokens(f"oat-{n:012d}", f"ort-{n:012d}"), time.time())
    assert isinstance(found, Account)
    return found


def test_nothing_known(path: Path) -> None:
    account(path, 1)
    assert "No requests of OAuth accounts have said yet" in run(path).stdout
    assert json.loads(run(path, "--json").stdout)["forecasts"] == []


def test_two_accounts(path: Path) -> None:
    now, (one, two) = time.time(), (account(path, 1), account(path, 2))
    with closing(StoredWindows(path)) as known:
        for ago, used in ((HOUR, 0.1), (1.0, 0.2)):
            for which in (one, two):
                five, seven = (
                    Window("5h", "allowed", now + 2 * HOUR, used),
                    Window("7d", "", now + 90 * HOUR, used / 10),
                )
                known.exchange([Seen("anthropic", which.id, (five, seven), now - ago)])
    ledger = Ledger(path, report=print)
    ledger.open()
    for session in ("a", "b", "b"):
        row = request(started_at=now - 60, session=session, provider="anthropic", key="v1")
        ledger.put(row, [attempt(row, provider="anthropic", key="v1")])
    ledger.close()
    found = json.loads(run(path, "--json").stdout)
    assert [row["window"] for row in found["windows"]] == ["5h", "5h", "7d", "7d"]
    five, seven = found["forecasts"]
    assert (five["window"], five["accounts"], five["agents"]) == ("5h", 2, 2)
    assert (five["left"], five["pace"]) == (pytest.approx(1.6), pytest.approx(0.2, rel=0.05))
    assert five["sustainable"] == pytest.approx(0.8, rel=0.05)
    assert five["more_agents"] in (5, 6)
    assert seven["window"] == "7d"
    output = run(path).stdout
    assert max(map(len, output.splitlines())) <= 80
    assert "more fit" in output
    assert "anthropic/v2" in output


def test_accounts_that_are_not_in_use_do_not_count(path: Path) -> None:
    one, now = account(path, 1), time.time()
    with closing(StoredWindows(path)) as known:
        known.exchange([Seen("anthropic", one.id, (Window("5h", "allowed", now + HOUR, 0.5),), now)])
    assert len(json.loads(run(path, "--json").stdout)["windows"]) == 1
    with closing(Vault(path, environ={})) as vault:
        vault.disable([one.id])
    assert json.loads(run(path, "--json").stdout)["windows"] == []


def test_what_others_saw_is_heard_once(path: Path) -> None:
    with closing(connect(path, patience=1)):
        pass
    seen = Seen("anthropic", "id", (Window("5h", "allowed", (now := time.time()) + HOUR, 0.5),), now)
    older = Seen("anthropic", "id", (Window("5h", "allowed", now + HOUR, 0.4),), now - 5)
    with (
        closing(StoredWindows(path)) as mine,
        closing(StoredWindows(path)) as theirs,
        closing(StoredWindows(path)) as later,
    ):
        assert mine.exchange([seen]) == ()
        assert theirs.exchange([]) == (seen,)
        assert theirs.exchange([]) == mine.exchange([]) == ()
        theirs.exchange([older])
        (found,) = later.exchange([])
        assert found.windows[0].utilization == 0.5


def test_what_was_seen_before_the_clock_was_set_back_holds_up_nothing(path: Path) -> None:
    now = time.time()
    ahead, *later = (
        Seen("anthropic", "id", (Window("5h", "allowed", at + HOUR, used),), at)
        for at, used in ((now + 5 * HOUR, 0.9), (now, 0.2), (now + 1, 0.3))
    )
    with closing(connect(path, patience=1)):
        pass
    with closing(StoredWindows(path)) as mine, closing(StoredWindows(path)) as theirs:
        mine.exchange([ahead])
        assert theirs.exchange([]) == (), "it is of a time that is yet to come"
        for seen in later:
            mine.exchange([seen])
            assert theirs.exchange([]) == (seen,)
