"""`clients import --from` and `keys import --from`: another gateway's files, as people use them."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.main import load
from claude_relay.core.clients.credentials import SECRET
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.vault.vault import Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")

ONE, TWO = (f"sk-ant-api03-{word}-0123456789abcdef" for word in ("one", "two"))
THEIRS = "sk-0123456789abcdef0123456789abcdef0123456789abcdef"
LITELLM: dict[str, Any] = {
    "keys": [
        {"key_alias": "alice", "key_name": "sk-...91ab", "team_id": "t", "rpm_limit": 60, "max_budget": 20, "budget_duration": "1d"},
        {"key_alias": "bob", "key_name": "sk-...77aa", "max_budget": 9, "budget_duration": "12h", "models": ["claude-haiku-4-5"]},
    ],
    "teams": [{"team_id": "t", "team_alias": "team", "max_budget": 100, "budget_duration": "30d"}],
}  # fmt: skip
TOKEN = {
    "id": 1, "user_id": 7, "key": THEIRS, "status": 1, "name": "alice", "expired_time": -1, "remain_quota": 2500000, "unlimited_quota": 0,
    "group": "default", "deleted_at": None,
}  # fmt: skip
CHANNEL = {
    "id": 1,
    "type": 14,
    "key": f"{ONE}\n{TWO}",
    "status": 1,
    "name": "claude",
    "weight": 3,
    "base_url": "",
    "channel_info": "{}",
}

type Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.chdir(tmp_path)
    listen = "listen: {proxy: '127.0.0.1:18080', base_url: '127.0.0.1:18082', panel: null, status: null}\n"
    (tmp_path / "relay.yaml").write_text(
        f"{listen}providers: {{anthropic: {{preset: anthropic}}, glm: {{preset: zhipu}}}}"
    )

    def run(*words: str, status: int = 0) -> Result:
        variables = {"RELAY_CONFIG": str(tmp_path / "relay.yaml"), "RELAY_SECRET": None, "COLUMNS": "80"}
        result = CliRunner().invoke(load(words[0]), list(words[1:]), env=variables)
        assert result.exit_code == status, result.output
        assert "0123456789" not in result.output  # no key of a provider, none of their clients
        assert [line for line in result.stdout.splitlines() if len(line) > 80] == []
        return result

    return run


@pytest.fixture
def new_api(tmp_path: Path) -> Path:
    path = tmp_path / "one-api.db"
    with closing(sqlite3.connect(path)) as connection:
        for table, row in (("tokens", TOKEN), ("channels", CHANNEL)):
            names = ", ".join(f'"{name}"' for name in row)
            connection.execute(f"CREATE TABLE {table} ({names})")
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", list(row.values()))
        connection.commit()
    return path


def test_clients_move_in_with_limits_and_new_keys(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(LITELLM))
    planned = run("clients", "import", "keys.json", "--from", "litellm", "--dry-run").output
    assert "2 clients and 1 group would be added" in planned
    book = ClientBook(tmp_path / "relay.db")
    assert (book.clients(), list(tmp_path.glob("new-keys*"))) == ((), [])

    run("clients", "import", "keys.json", "--from", "litellm")
    assert {client.name: [str(limit) for limit in client.policy.limits] for client in book.clients()} == {
        "alice": ["60 requests/minute", "$20/day"],
        "bob": ["$9/day"],
    }
    assert book.client("alice").group == "team"
    assert [str(limit) for limit in book.group("team").policy.limits] == ["$100/month"]
    [written] = tmp_path.glob("new-keys-*.csv")
    assert written.stat().st_mode & 0o777 == 0o600
    text = written.read_text()
    assert "sk-...77aa,a budget per 12h became one per day" in text
    grants = [book.directory().find(key) for key in SECRET.findall(text)]
    assert [grant.client.name for grant in grants if grant] == ["alice", "bob"]


def test_two_imports_at_once_have_two_files_of_keys(run: Run, tmp_path: Path) -> None:
    for name in ("alice", "bob", "carol"):
        (tmp_path / "keys.json").write_text(json.dumps({"keys": [{"key_alias": name}]}))
        run("clients", "import", "keys.json", "--from", "litellm")
    written = [path.read_text() for path in tmp_path.glob("new-keys-*.csv")]
    assert sorted(text.splitlines()[1].partition(",")[0] for text in written) == ["alice", "bob", "carol"]


def test_who_has_expired_there_is_said_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{"key_alias": "old", "expires": "2020-01-01T00:00:00Z"}]}))
    assert "expired" in run("clients", "import", "keys.json", "--from", "litellm", "--dry-run").output


def test_clients_of_an_sqlite_file(run: Run, new_api: Path, tmp_path: Path) -> None:
    run("clients", "import", "one-api.db", "--from", "new-api", "--keys", "out.csv")
    [client] = ClientBook(tmp_path / "relay.db").clients()
    assert [str(limit) for limit in client.policy.limits] == ["$5/total"]
    assert THEIRS not in (tmp_path / "out.csv").read_text()


def test_keys_of_an_sqlite_file(run: Run, new_api: Path, tmp_path: Path) -> None:
    assert "2 keys would be added" in run("keys", "import", "one-api.db", "--from", "new-api", "--dry-run").output
    vault = Vault(tmp_path / "relay.db", environ={})
    assert vault.list() == ()
    assert "2 keys added: anthropic/v1, anthropic/v2" in run("keys", "import", "one-api.db", "--from", "new-api").output
    assert [(key.label, key.weight) for key in vault.list()] == [("claude", 3.0)] * 2
    assert {key.secret for key in vault.issue()["anthropic"]} == {ONE, TWO}


def test_keys_go_to_the_provider_at_their_host(run: Run, tmp_path: Path) -> None:
    hosts = ["https://open.bigmodel.cn/api/anthropic", "https://llm.example/v1", "https://api.anthropic.com"]
    accounts = [
        {"name": f"a{n}", "isActive": True, "credentials": {"api_key": f"{ONE}{n}", "base_url": url}}
        for n, url in enumerate(hosts)
    ]
    accounts.append(
        {**accounts[2], "name": "far", "proxy": {"protocol": "gopher", "host": "proxy.example", "port": 1080}}
    )
    (tmp_path / "accounts.json").write_text(json.dumps({"data": {"claudeConsoleAccounts": accounts}}))
    said = run("keys", "import", "accounts.json", "--from", "claude-relay-service")
    assert "1 key for llm.example: no provider of relay.yaml is there" in said.stderr
    assert "Left out: far: its proxy" in said.stderr
    assert "2 keys added: anthropic/v1, glm/v1" in said.stdout
    again = run("keys", "import", "accounts.json", "--from", "claude-relay-service", "--provider", "glm")
    assert "2 keys added; 1 known already: glm/v2, glm/v3" in again.stdout


@pytest.mark.parametrize(
    ("name", "text"), [("x.json", "{}"), ("x.json", "{"), ("x.yaml", "a: [1"), ("missing.json", None)]
)
def test_what_cannot_be_read_says_so(run: Run, tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    for command in ("clients", "keys"):
        assert "Error: " in run(command, "import", name, "--from", "litellm", status=1).output
    assert not (tmp_path / "relay.db").exists()
