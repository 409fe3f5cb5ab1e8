"""`clients` and `audit` as people use them, through their real entry points, in a terminal of 80 columns that knows ASCII only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.main import load
from claude_relay.core.clients.credentials import SECRET
from claude_relay.core.clients.directory import REPLACED
from claude_relay.core.times import iso
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.db.database import connect
from claude_relay.store.ledger.ledger import Ledger
from store.rows import attempt, request

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
listen: {proxy: '127.0.0.1:18080', base_url: '0.0.0.0:18082', panel: null, status: null, hosts: [relay.example]}
providers: {anthropic: {preset: anthropic}, glm: {preset: zhipu}}
"""

type Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(config.parent)

    def run(*words: str, stdin: str = "", status: int = 0, **environ: str) -> Result:
        variables = {"RELAY_CONFIG": str(config), "COLUMNS": "80", "SSH_CONNECTION": None, **environ}
        result = CliRunner().invoke(load(words[0]), list(words[1:]), input=stdin, env=variables)
        assert result.exit_code == status, result.output
        return result

    return run


def book(config: Path) -> ClientBook:
    return ClientBook(config.with_name("relay.db"))


def used(config: Path, *names: str, group: str | None = None) -> None:
    """A request of each, when it was in this group."""
    ledger = Ledger(config.with_name("relay.db"), report=print)
    ledger.open()
    for number, name in enumerate(names):
        row = request(
            id=f"req_{number}",
            started_at=time.time() - 1,
            client=name,
            client_group=group,
            cost_usd=0.25,
            input_tokens=1000,
        )
        ledger.put(row, [attempt(row)])
    ledger.close()


def wide(output: str) -> list[str]:
    return [line for line in output.splitlines() if len(line) > 80]


# -- who there is


def test_a_key_is_shown_once(run: Run, config: Path) -> None:
    said = run("clients", "add", "alice", "--usd-per-day", "20")
    [key] = SECRET.findall(said.output)
    assert said.stdout.strip() == key
    assert "clients show alice --setup" in said.stderr
    assert book(config).directory().find(key) is not None
    everything = (
        "".join(
            run("clients", *words).output
            for words in (
                ["list", "--json"],
                ["show", "alice", "--json"],
                ["export"],
                ["show", "alice", "--setup"],
                ["list"],
            )
        )
        + run("audit", "--json").output
    )
    assert key not in everything
    assert key.encode() not in config.with_name("relay.db").read_bytes()


def test_all_that_may_be_said_of_a_client(run: Run, config: Path) -> None:
    run("clients", "group", "add", "team", "--rpm", "600")
    run(
        "clients", "add", "alice", "--group", "team", "--note", "web", "--tag", "a", "--tag", "b", "--owner", "ext-1", "--priority", "3",
        "--expires", "2099-01-01", "--expires-after", "8h", "--provider", "anthropic", "--model", "claude-*", "--key-tier", "usual",
        "--key-group", "eu", "--endpoint", "messages", "--address", "10.0.0.7/24", "--program", "claude-cli", "--tunnel",
        "--limit", "$5/day per session", "--rpm", "60", "--tpm", "100k", "--concurrent", "4", "--usd-per-5h", "1.5",
    )  # fmt: skip
    [found] = json.loads(run("clients", "list", "--json").output)
    assert {name: found[name] for name in ("group", "note", "tags", "owner", "priority", "expires_after", "state")} == {
        "group": "team", "note": "web", "tags": ["a", "b"], "owner": "ext-1", "priority": 3, "expires_after": 28800.0, "state": "enabled",
    }  # fmt: skip
    assert {name: found[name] for name in ("providers", "models", "key_tiers", "key_groups", "endpoints", "addresses", "programs")} == {
        "providers": ["anthropic"], "models": ["claude-*"], "key_tiers": [""], "key_groups": ["eu"], "endpoints": ["messages"],
        "addresses": ["10.0.0.0/24"], "programs": ["claude-cli"],
    }  # fmt: skip
    assert found["tunnel"] is True
    assert sorted(found["limits"]) == [
        "$1.5/5h", "$5/day per session", "100000 tokens/minute", "4 concurrent", "60 requests/minute",
    ]  # fmt: skip
    shown = run("clients", "show", "alice").output
    assert wide(shown) == []
    assert re.search(r"^of group +limits: 600 requests/minute$", shown, re.MULTILINE)
    assert "8h after the first use" in shown


def test_fields_are_changed_one_by_one(run: Run, config: Path) -> None:
    run(
        "clients",
        "add",
        "alice",
        "--rpm",
        "60",
        "--limit",
        "$20/day",
        "--model",
        "claude-*",
        "--note",
        "x",
        "--expires",
        "30d",
    )
    run("clients", "edit", "alice", "--usd-per-day", "30", "--limit", "$5/day per session", "--concurrent", "2")
    run("clients", "edit", "alice", "--no-limit", "60 requests/minute", "--concurrent", "none", "--clear", "expires")
    run("clients", "edit", "alice", "--model", "claude-haiku-*", "--clear", "note")
    client = book(config).client("alice")
    assert [str(limit) for limit in client.policy.limits] == ["$30/day", "$5/day per session"]
    assert (client.policy.models, client.note, client.expires_at) == (("claude-haiku-*",), "", None)
    run("clients", "edit", "alice", "--clear", "limits", "--clear", "models", "--tpm", "5k")
    client = book(config).client("alice")
    assert ([str(limit) for limit in client.policy.limits], client.policy.models) == (["5000 tokens/minute"], ())
    assert run("clients", "edit", "alice", "--tpm", "5k").output == "alice was like that already\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["add", "a b"], "is no name"),
        (["add", "rk-123"], "begins as a key does"),
        (["add", "alice"], "there already"),
        (["add", "x", "--rpm", "many"], "no number above 0"),
        (["add", "x", "--limit", "5 apples"], "is no limit"),
        (["add", "x", "--expires", "2020-01-01"], "over already"),
        (["add", "x", "--expires", "soon"], "neither a date"),
        (["add", "x", "--expires-after", "0"], "above 0"),
        (["add", "x", "--address", "nowhere"], "no address or network"),
        (["add", "x", "--provider", "antropic"], "did you mean 'anthropic'"),
        (["add", "x", "--group", "nobody"], "no group 'nobody'"),
        (["add", "x", "--tag", " "], "must not be empty"),
        (["edit", "alice", "--model", ""], "must not be empty"),
        (["stop", "alice", "--session", ""], "must not be empty"),
        (["list", "--group", "nobody"], "no group 'nobody'"),
        (["remove", "alice", "bob"], "no client 'bob'"),
        (["add", "x", "--note", "sk-ant-api03-0123456789abcdef"], "looks like a key"),
        (["edit", "alice"], "Say what to change"),
        (["edit", "alice", "--no-limit", "$1/day"], "there are: '60 requests/minute'"),
        (["edit", "Alice", "--rpm", "1"], "do you mean 'alice'"),
        (["show", "alice", "--new-key"], "go with --setup"),
        (["show", "alice", "--setup", "--host", "https://"], "is no name and no address"),
        (["show", "alice", "--setup", "--host", "https://[x"], "is no name and no address"),
        (["approve", "WDJB-MJHT"], "--as NAME"),
        (["approve", "WDJB-MJHT", "--as", "alice"], "no sign-in waits"),
        (["group", "edit", "nobody", "--rpm", "1"], "no group 'nobody'"),
        (["restore", "alice"], "is not removed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_with_the_remedy(run: Run, words: list[str], why: str) -> None:
    run("clients", "add", "alice", "--rpm", "60")
    result = CliRunner().invoke(load("clients"), words, env={"RELAY_CONFIG": os.fspath(Path.cwd() / "relay.yaml")})
    assert result.exit_code in (1, 2)
    assert why in " ".join(result.output.split())


def test_a_key_in_a_wrong_place_is_not_repeated(run: Run) -> None:
    key = run("clients", "add", "alice").stdout.strip()
    for words in (["show", key], ["edit", "alice", key], ["list", f"--{key}"], ["group", "add", key]):
        result = CliRunner().invoke(load("clients"), words, env={"RELAY_CONFIG": os.fspath(Path.cwd() / "relay.yaml")})
        assert result.exit_code != 0
        assert key not in result.output


def test_a_rotation_and_its_overlap(run: Run, config: Path) -> None:
    old = run("clients", "add", "alice").stdout.strip()
    new = json.loads(run("clients", "rotate", "alice", "--overlap", "2h", "--json").stdout)["key"]
    grant = book(config).directory().find(old)
    assert grant is not None
    assert grant.until == pytest.approx(time.time() + 7200, abs=60)
    assert book(config).directory().find(new) is not None
    last = run("clients", "rotate", "alice", "--overlap", "0").stdout.strip()
    directory = book(config).directory()
    grants = [directory.find(key) for key in (old, new, last)]
    assert [grant and grant.refusal(time.time()) for grant in grants] == [REPLACED, REPLACED, None]


def test_switching_off_and_on(run: Run, config: Path) -> None:
    run("clients", "add", "alice")
    run("clients", "disable", "alice")
    assert "disabled" in run("clients", "list").output
    run("clients", "enable", "alice")
    asked = run("clients", "remove", "alice", status=1)
    assert "say --yes" in asked.output
    run("clients", "remove", "alice", "--yes")
    gone = run("clients", "list")
    assert "1 removed" in gone.stderr
    assert "removed" in run("clients", "list", "--removed").stdout
    run("clients", "restore", "alice")
    run("clients", "stop", "alice", "--session", "s-1", "--for", "10m")
    [stop] = book(config).directory().stops
    assert (stop.session, stop.until) == ("s-1", pytest.approx(time.time() + 600, abs=60))
    acts = [entry["act"] for entry in json.loads(run("audit", "--subject", "alice", "--json").output)]
    assert acts == ["stop", "restore", "remove", "enable", "disable", "add"]


def test_a_sign_in_is_approved(run: Run, config: Path) -> None:
    run("clients", "add", "alice")
    with closing(connect(config.with_name("relay.db"), patience=1.0)) as connection:
        connection.execute(
            "INSERT INTO device_codes (digest, user_code, valid_until, interval) VALUES (x'00', 'WDJB-MJHT', ?, 5)",
            [iso(time.time() + 60)],
        )
    assert run("clients", "approve", "wdjbmjht", "--as", "alice").output == "WDJB-MJHT signs in as alice\n"


def test_groups(run: Run, config: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"model": "claude-sonnet-5"}')
    run("clients", "group", "add", "team", "--usd-per-month", "500", "--settings", str(settings), "--note", "web")
    run("clients", "add", "alice", "--group", "team")
    assert "has clients (alice)" in run("clients", "group", "remove", "team", status=1).output  # before it asks
    shown = run("clients", "group", "list").output
    assert "$500/month" in shown
    assert wide(shown) == []
    [found] = json.loads(run("clients", "group", "show", "team", "--json").output)
    assert (found["clients"], found["settings"], found["limits"]) == (["alice"], str(settings), ["$500/month"])
    run("clients", "group", "edit", "team", "--clear", "settings")
    assert "team disabled" in run("clients", "group", "disable", "team").output
    assert "like that already" in run("clients", "group", "disable", "team").output
    assert "group disabled" in run("clients", "list").output
    run("clients", "edit", "alice", "--clear", "group")
    run("clients", "group", "remove", "team", "--yes")
    run("clients", "group", "restore", "team")
    settings.write_text("[]")
    assert (
        "settings are an object"
        in run("clients", "group", "edit", "team", "--settings", str(settings), status=2).output
    )


# -- what they used


def test_use_of_today_and_in_all(run: Run, config: Path) -> None:
    run("clients", "group", "add", "team")
    for name in ("alice", "bob", "never"):
        run("clients", "add", name, *(["--group", "team"] if name == "alice" else []))
    used(config, "alice", "alice", "bob", "stranger")
    listed = run("clients", "list")
    assert wide(listed.output) == []
    assert re.search(r"^alice +team +enabled .*just now +2 +\$0\.50", listed.output, re.MULTILINE)
    assert re.search(r"^never +enabled .*never *$", listed.output, re.MULTILINE)
    found = json.loads(run("clients", "stats", "--json").output)
    assert [(row["name"], row["requests"], row["cost_usd"]) for row in found] == [("alice", 2, 0.5), ("bob", 1, 0.25)]
    table = run("clients", "stats", "--since", "7d").output
    assert wide(table) == []
    assert re.search(r"^total +3 +3\.00k .*\$0\.75", table, re.MULTILINE)
    assert run("clients", "stats", "--group", "team", "--csv").output.splitlines()[1].startswith("alice,team,2,")
    assert "No requests of never" in run("clients", "stats", "never").output
    assert "2 requests" in run("clients", "show", "alice").output


def test_how_much_of_limits_of_money_is_used(run: Run, config: Path) -> None:
    run("clients", "group", "add", "team", "--usd-per-month", "500")
    run(
        "clients",
        "add",
        "alice",
        "--group",
        "team",
        "--usd-per-day",
        "20",
        "--limit",
        "$1/day per session",
        "--rpm",
        "60",
    )
    run("clients", "add", "bob", "--group", "team")
    assert "used)" not in run("clients", "show", "alice").output
    used(config, "alice", "bob", "alice", group="team")
    shown = run("clients", "show", "alice").output
    assert "$20/day ($0.5000 used)\n" in shown
    assert "$1/day per session\n" in shown
    assert "$500/month ($0.7500 used)" in shown
    assert "$500/month ($0.7500 used)" in run("clients", "group", "show", "team").output
    assert json.loads(run("clients", "show", "alice", "--json").output)["used_of_limits"] == {"$20/day": 0.5}


# -- what a person needs


def test_what_a_person_needs(run: Run) -> None:
    run("clients", "add", "alice", "--model", "claude-*")
    said = run("clients", "show", "alice", "--setup")
    assert "export ANTHROPIC_BASE_URL=http://relay.example:18082\nexport ANTHROPIC_AUTH_TOKEN='rk-…'\n" in said.stdout
    assert "export HTTPS_PROXY='http://alice:rk-…@127.0.0.1:18080'" in said.stdout
    assert 'curl -fsS http://relay.example:18082/relay/ca.pem -o "$HOME/claude-relay-ca.pem"' in said.stdout
    assert 'export NODE_EXTRA_CA_CERTS="$HOME/claude-relay-ca.pem"' in said.stdout
    assert "ANTHROPIC_API_KEY" not in said.stdout
    assert "listen.proxy is 127.0.0.1:18080, which only this machine reaches" in said.stderr
    assert "plain text" in said.stderr
    assert "forceLogin" not in said.stdout


def test_the_lines_can_be_evaluated(run: Run, config: Path) -> None:
    run("clients", "add", "alice@web")
    said = run("clients", "show", "alice@web", "--setup", "--new-key", "--host", "10.0.0.5")
    [key] = set(SECRET.findall(said.stdout))
    assert book(config).directory().find(key) is not None
    exports = "\n".join(line for line in said.stdout.splitlines() if line.startswith("export "))
    names = ("ANTHROPIC_BASE_URL", "HTTPS_PROXY", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
    script = f"{exports}\nprintf '%s\\n' " + " ".join(f'"${name}"' for name in names)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={"HOME": "/home/a b"}, check=True)
    ca = "/home/a b/claude-relay-ca.pem"
    assert done.stdout.splitlines() == ["http://10.0.0.5:18082", f"http://alice%40web:{key}@10.0.0.5:18080", ca, ca]


def test_a_sign_in_is_offered_where_claude_code_would_do_it(run: Run, config: Path) -> None:
    config.write_text(config.read_text().replace("listen: {", "listen: {sign_in: true, "))
    run("clients", "add", "alice")
    plain = run("clients", "show", "alice", "--setup")
    assert "forceLogin" not in plain.stdout
    assert "to sign in Claude Code wants https://" in plain.stderr
    behind = run("clients", "show", "alice", "--setup", "--host", "https://claude.example.com/")
    assert '"forceLoginGatewayUrl": "https://claude.example.com"' in behind.stdout
    assert "export ANTHROPIC_BASE_URL=https://claude.example.com\n" in behind.stdout
    assert "@claude.example.com:18080" in behind.stdout
    assert "forceLogin" in run("clients", "show", "alice", "--setup", "--host", "127.0.0.1").stdout


@pytest.mark.parametrize(
    ("shell", "line"),
    [("fish", "set -gx ANTHROPIC_AUTH_TOKEN 'rk-…'"), ("powershell", "$env:ANTHROPIC_AUTH_TOKEN = 'rk-…'")],
)
def test_other_shells(run: Run, shell: str, line: str) -> None:
    run("clients", "add", "alice")
    assert line in run("clients", "show", "alice", "--setup", "--shell", shell).stdout


def test_the_file_of_the_ca_holds_the_systems_too(run: Run, tmp_path: Path) -> None:
    """Without them a program that is told of this file trusts nothing but the relay: not even the certificate of `listen.tls`."""
    run("clients", "add", "alice")
    lines = run("clients", "show", "alice", "--setup").stdout.splitlines()
    [get] = [line for line in lines if line.startswith("cat ")]
    (tmp_path / "system.pem").write_text("THE SYSTEM'S\n")
    ca = tmp_path / "claude-relay-ca.pem"
    ca.write_text("THE RELAY'S\n")
    get = get.replace("/etc/ssl/cert.pem", str(tmp_path / "system.pem"))
    subprocess.run(["sh", "-c", get], env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, check=False)
    text = ca.read_text()
    assert text.startswith("THE RELAY'S\n")
    assert "THE SYSTEM'S\n" in text


# -- moving


def test_an_export_comes_back(run: Run, config: Path, tmp_path: Path) -> None:
    run("clients", "group", "add", "team", "--usd-per-month", "500", "--model", "claude-*")
    run(
        "clients",
        "add",
        "alice",
        "--group",
        "team",
        "--key-tier",
        "usual",
        "--expires-after",
        "8h",
        "--limit",
        "4 concurrent per agent",
    )
    run("clients", "add", "bob", "--tag", "a", "--tag", "b", "--expires", "2099-01-01")
    exported = run("clients", "export").output
    (tmp_path / "own.json").write_text(exported)
    run("clients", "import", "own.json", "--database", "other.db", "--keys", "keys.csv")
    assert run("clients", "export", "--database", "other.db").output == exported
    keys = (tmp_path / "keys.csv").read_text()
    assert len(set(SECRET.findall(keys))) == 2
    assert (tmp_path / "keys.csv").stat().st_mode & 0o777 == 0o600
    again = run("clients", "import", "own.json", "--database", "other.db", "--keys", "more.csv")
    assert "left as they are: alice, bob" in again.stderr
    assert not (tmp_path / "more.csv").exists()


def test_a_table_comes_back(run: Run, tmp_path: Path) -> None:
    run("clients", "add", "bob", "--tag", "a", "--tag", "b", "--rpm", "60", "--limit", "$5/day", "--note", "-x, =1")
    (tmp_path / "own.csv").write_text(run("clients", "export", "--csv").output)
    run("clients", "import", "own.csv", "--database", "other.db", "--keys", "-")
    assert run("clients", "export", "--database", "other.db").output == run("clients", "export").output


def test_all_are_added_or_none(run: Run, config: Path, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"clients": [{"name": "good"}, {"name": "not a name"}]}')
    run("clients", "import", "own.json", "--keys", "keys.csv", status=1)
    assert book(config).clients() == ()
    assert not (tmp_path / "keys.csv").exists()
    (tmp_path / "keys.csv").write_text("mine")
    (tmp_path / "own.json").write_text('{"clients": [{"name": "good"}]}')
    assert "there already" in run("clients", "import", "own.json", "--keys", "keys.csv", status=1).output
    assert (book(config).clients(), (tmp_path / "keys.csv").read_text()) == ((), "mine")


# -- the audit log


def test_the_audit_log_in_a_terminal(run: Run) -> None:
    assert "Nothing was done yet" in run("audit").output
    run("clients", "add", "alice", "--rpm", "60", SSH_CONNECTION="192.0.2.7 1 198.51.100.1 22")
    run("clients", "edit", "alice", "--rpm", "90", "--note", "web")
    shown = run("audit").output
    assert wide(shown) == []
    first, second = json.loads(run("audit", "--json").output)
    assert (first["act"], first["before"]["note"], first["after"]["note"]) == ("edit", "", "web")
    assert second["place"].endswith("from 192.0.2.7")
    page = run("audit", "--limit", "1")
    assert f"--before {first['id']}" in page.stderr
    assert "add" in run("audit", "--before", str(first["id"])).output
    assert "No act fits" in run("audit", "--kind", "nothing").output


def test_the_database_s_upkeep_is_in_it(run: Run) -> None:
    run("clients", "add", "alice")
    run("ledger", "prune", "--keep", "90d", "--yes")
    run("ledger", "vacuum")
    run("usage", "reprice", "--all")
    found = json.loads(run("audit", "--kind", "ledger", "--json").output)
    assert [entry["act"] for entry in found] == ["reprice", "vacuum", "prune"]
    missing = run("ledger", "prune", "--keep", "90d", "--yes", "--database", "nowhere.db", status=1)
    assert "There is no database" in missing.output
    assert not Path("nowhere.db").exists()


def test_as_scripts_run_them_where_only_ascii_can_be_shown(run: Run, config: Path) -> None:
    run("clients", "add", "alice", "--note", "a note that is rather long, about the team", "--rpm", "60")
    environ = {
        **os.environ, "PYTHONPATH": str(ROOT / "addon"), "RELAY_CONFIG": str(config), "COLUMNS": "80", "LC_ALL": "C",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "claude_relay.cli.main", "clients", "list"]
    done = subprocess.run(command, capture_output=True, env=environ, check=True, cwd=config.parent)
    text = done.stdout.decode("ascii")
    assert "alice" in text
    assert wide(text) == []
