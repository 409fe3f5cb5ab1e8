"""Two terminals: the relay in one, with its variables, and commands in another one that lacks them."""

import hashlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.env import OWN, env
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.shared.relays import RelayRow, Relays, running
from claude_relay.store.vault.rows import moment
from waiting import PATIENCE, eventually
from wire.relay import RelayProcess, free_ports, make_confdir

ROOT = Path(__file__).parents[2]
RUN = ROOT / "scripts" / "lib" / "run.py"
KEYS = ("sk-ant-api03-abcdefghijklmnopqrstuvwxyz-aaAA", "hunter2", "sk-ant-api03-abcdefghijklmnopqrstuvwxyz-ccCC")
PROVIDERS = {
    "anthropic": {"preset": "anthropic", "keys": ["${ANTHROPIC_API_KEYS}"]},
    "glm": {"preset": "zhipu", "keys": ["${GLM_KEYS}"], "empty_pool": "reject"},
}
CONFIG = {"providers": PROVIDERS, "routes": [{"to": ["anthropic"]}]}
VARIABLES = {"ANTHROPIC_API_KEYS": ",".join(KEYS), "GLM_KEYS": ""}


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_confdir(tmp_path_factory.mktemp("conf"))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[RelayProcess]:
    """Started as README says, in the first terminal."""
    folder = tmp_path_factory.mktemp("relay")
    start = [sys.executable, str(RUN), "relay"]
    with RelayProcess(folder, confdir, CONFIG, environ=VARIABLES, command=start) as found:
        yield found


def second_terminal(relay: RelayProcess, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command where none of the relay's variables is set; the configuration is named as the banner says."""
    own = {"PATH": os.environ["PATH"], "HOME": str(relay.folder), "RELAY_CONFIG": str(relay.config_file)} | environ
    return subprocess.run([sys.executable, str(RUN), *words], env=own, capture_output=True, text=True, check=False)


def in_process(relay: RelayProcess, *words: str, **environ: str) -> Result:
    """`scripts/env` as in a second terminal, without the time that an interpreter takes."""
    cleared = dict.fromkeys((*OWN, *VARIABLES, "RELAY_ENV", "HTTPS_PROXY", "https_proxy"))
    return CliRunner().invoke(env, words, env={**cleared, "RELAY_CONFIG": str(relay.config_file), **environ})


def row_of(relay: RelayProcess) -> RelayRow:
    """As soon as it is there."""
    return eventually(lambda: running(relay.database, time.time()), relay.output)[0]


# -- what the relay tells


def test_a_row_says_how_the_relay_is_and_nothing_of_its_secrets(relay: RelayProcess, confdir: Path) -> None:
    row = row_of(relay)
    assert (row.pid, row.host, row.in_flight) == (relay.process.pid, socket.gethostname(), 0)
    assert (row.config, row.confdir) == (str(relay.config_file), str(confdir))
    assert json.loads(row.listeners) == {
        "proxy": f"127.0.0.1:{relay.proxy_port}",
        "base_url": f"127.0.0.1:{relay.base_port}",
    }
    told = [(key["alias"], key["mask"], key["source"], key["state"]) for key in row.keys()["anthropic"]]
    assert told == [
        ("k1", "sk-ant-…aaAA", "relay.yaml", "ready"),
        ("k2", "…", "relay.yaml", "ready"),
        ("k3", "sk-ant-…ccCC", "relay.yaml", "ready"),
    ]
    assert row.keys()["glm"] == []
    with closing(sqlite3.connect(relay.database)) as connection:
        everything = "\n".join(connection.iterdump())
    assert not [key for key in KEYS if key in everything]
    short = hashlib.sha256(KEYS[1].encode()).hexdigest()[:16]
    assert short not in "".join(map(str, (row.pools, row.load)))  # who has it can try all short ones


def test_the_row_is_written_again_and_again(relay: RelayProcess) -> None:
    first = row_of(relay)
    eventually(lambda: row_of(relay).seen_at != first.seen_at)
    later = row_of(relay)
    assert (later.id, later.started_at) == (first.id, first.started_at)


def test_it_goes_with_the_relay_and_relays_side_by_side_have_their_own(tmp_path: Path, confdir: Path) -> None:
    shared = CONFIG | {"database": str(tmp_path / "relay.db")}
    (tmp_path / "other").mkdir()
    with (
        RelayProcess(tmp_path, confdir, shared, environ=VARIABLES) as one,
        RelayProcess(tmp_path / "other", confdir, shared, environ=VARIABLES | {"ANTHROPIC_API_KEYS": ""}) as two,
    ):
        eventually(lambda: len(running(one.database, time.time())) == 2, lambda: one.output() + two.output())
        for relay, expected in ((one, True), (two, False)):
            done = in_process(relay)
            assert f"http://127.0.0.1:{relay.proxy_port}" in done.stdout
            assert ("sk-ant-placeholder-relay" in done.stdout) is expected, done.output
        two.kill()
        assert [row.pid for row in running(one.database, time.time())] == [one.process.pid]
        one.process.terminate()
        assert one.process.wait(PATIENCE) == 0
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        assert connection.execute("SELECT pid FROM relays").fetchall() == [
            (two.process.pid,)
        ]  # it could not say goodbye


# -- scripts/env


@pytest.mark.parametrize("way", [(), ("--base-url",)])
def test_the_second_terminal_gets_a_placeholder_for_keys_that_it_cannot_see(
    relay: RelayProcess, confdir: Path, way: tuple[str, ...]
) -> None:
    row_of(relay)
    done = second_terminal(relay, "env", *way)
    assert (done.returncode, done.stderr) == (0, "")
    assert "export ANTHROPIC_AUTH_TOKEN=sk-ant-placeholder-relay" in done.stdout
    if not way:
        assert f"export HTTPS_PROXY=http://127.0.0.1:{relay.proxy_port}" in done.stdout
        assert f"export NODE_EXTRA_CA_CERTS={confdir}" in done.stdout  # where the relay's CA is, and not ~/.mitmproxy
    script = 'echo "$ANTHROPIC_AUTH_TOKEN"'
    assert second_terminal(relay, "env", *way, "--", "sh", "-c", script).stdout == "sk-ant-placeholder-relay\n"
    for own in OWN:
        assert "placeholder" not in in_process(relay, *way, **{own: "mine"}).stdout
        assert "sk-ant-placeholder-relay" in in_process(relay, *way, **{own: ""}).stdout


def test_the_relay_knows_where_it_listens_better_than_the_file(tmp_path: Path, confdir: Path) -> None:
    """Ports that only the first terminal's variables say, providers that it cannot make out."""
    proxy, base = free_ports(2)
    text = (
        "listen: {proxy: '127.0.0.1:${PORT}', base_url: '127.0.0.1:${OTHER}', panel: null, status: null}\n"
        "providers: {p: {base_url: '${WHERE}', keys: ['${KEY}']}}\n"
    )
    variables = {"PORT": str(proxy), "OTHER": str(base), "WHERE": "http://127.0.0.1:9", "KEY": "a-key-of-the-tests"}
    relay = RelayProcess(tmp_path, confdir, text, environ=variables)
    relay.proxy_port, relay.base_port = proxy, base
    with relay:
        row_of(relay)
        done = second_terminal(relay, "env")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"export HTTPS_PROXY=http://127.0.0.1:{proxy}" in done.stdout
        assert "export ANTHROPIC_AUTH_TOKEN=" in done.stdout
        assert "p/k1" in second_terminal(relay, "keys", "list").stdout
        doctor = json.loads(second_terminal(relay, "doctor", "--json").stdout)["checks"]
        assert [c["status"] for c in doctor if c["name"] == "relay"] == ["ok"]
    done = second_terminal(relay, "env")
    assert (done.returncode, done.stdout) == (2, "")
    assert "PORT is not set" in done.stderr


def test_a_relay_over_another_database_is_not_taken_for_none(relay: RelayProcess, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    ports = f"proxy: '127.0.0.1:{relay.proxy_port}', base_url: '127.0.0.1:{relay.base_port}'"
    other.write_text(f"listen: {{{ports}, panel: null, status: null}}\n")
    done = second_terminal(relay, "env", RELAY_CONFIG=str(other))
    assert f"a relay answers at http://127.0.0.1:{relay.proxy_port}, but it does not write to" in done.stderr
    assert f"export HTTPS_PROXY=http://127.0.0.1:{relay.proxy_port}" in done.stdout


# -- scripts/keys, scripts/doctor


def test_keys_list_shows_what_the_relay_has(relay: RelayProcess) -> None:
    row_of(relay)
    done = second_terminal(relay, "keys", "list")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("anthropic/k1", "sk-ant-…aaAA", "anthropic/k2", "anthropic/k3"):
        assert text in done.stdout
    listed = json.loads(second_terminal(relay, "keys", "list", "--json").stdout)
    assert [(key["name"], key["source"]) for key in listed] == [(f"anthropic/k{n}", "running relay") for n in (1, 2, 3)]
    own = {"ANTHROPIC_API_KEYS": f"{KEYS[0]},{KEYS[2]}"}
    listed = json.loads(second_terminal(relay, "keys", "list", "--json", **own).stdout)
    assert [(key["alias"], key["source"]) for key in listed] == [
        ("k1", "relay.yaml"),
        ("k2", "running relay"),
        ("k3", "relay.yaml"),
    ]


@pytest.mark.parametrize("words", [("check",), ("reset",), ("disable",)])
def test_what_needs_the_key_itself_says_so(relay: RelayProcess, words: tuple[str, ...]) -> None:
    row_of(relay)
    done = second_terminal(relay, "keys", *words, "k1")
    assert done.returncode == 2
    assert "anthropic/k1 " in done.stderr
    assert ("known to the running relay alone" in done.stderr) is (words != ("disable",))


def test_all_keys_are_those_at_hand_and_the_others_are_named(relay: RelayProcess) -> None:
    row_of(relay)
    done = second_terminal(relay, "keys", "check", "--all")
    assert (done.returncode, done.stdout) == (0, "There is no key to check. See: scripts/keys list\n")
    assert "Left out: anthropic/k1, anthropic/k2, anthropic/k3: known to the running relay alone" in done.stderr


def test_doctor_counts_the_relays_keys(relay: RelayProcess) -> None:
    row_of(relay)
    checks = json.loads(second_terminal(relay, "doctor", "--json").stdout)["checks"]
    found = {check["name"]: check for check in reversed(checks)}
    assert found["configuration"]["found"].endswith("anthropic: 3 keys, glm: no key")
    assert f"process {relay.process.pid}" in found["relay"]["found"]
    assert (found["relay"]["status"], found["ca"]["status"]) == ("ok", "ok")


def test_both_say_when_no_relay_runs(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = tmp_path / "r.yaml"
    config.write_text(f"listen: {{proxy: '127.0.0.1:{port}', base_url: null, panel: null, status: null}}\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RELAY_CONFIG": "r.yaml", "ANTHROPIC_API_KEYS": "k"}
    for words in (("keys", "list"), ("doctor",)):
        done = subprocess.run(
            [sys.executable, str(RUN), *words], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        said = " ".join((done.stdout + done.stderr).split())
        assert f"no relay runs at http://127.0.0.1:{port}" in said
        assert f"start it: RELAY_CONFIG={config} scripts/relay" in said
        assert "anthropic" in said


def test_doctor_says_which_file_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("wat: 1")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    words = [sys.executable, str(RUN), "doctor", "--json"]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    found = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "configuration"]
    assert found[0]["found"].startswith(f"{ROOT / 'relay.yaml'}; ")
    assert (found[1]["found"], found[1]["remedy"]) == (
        "./relay.yaml is not used",
        "to use it: RELAY_CONFIG=./relay.yaml",
    )


# -- the table


ROW = RelayRow("a", os.getpid(), socket.gethostname(), "1", "", "", 0, None, "/c", "{}", "{}", "{}")


def said(path: Path, row: RelayRow, at: float) -> None:
    table = Relays(path)
    table.say(replace(row, started_at=str(moment(at)), seen_at=str(moment(at))))
    table.close()


def test_who_runs(tmp_path: Path) -> None:
    path, now = tmp_path / "relay.db", 1795341600.0
    assert running(path, now) == ()
    path.touch()
    assert running(path, now) == ()
    dead = subprocess.Popen(["true"])
    dead.wait()
    for row, at in (
        (ROW, now),
        (replace(ROW, id="of-another-host", host="elsewhere", pid=dead.pid), now - 1),
        (replace(ROW, id="dead", pid=dead.pid), now),
        (replace(ROW, id="silent"), now - 6),
        (replace(ROW, id="clock-set-back"), now + 50),
    ):
        said(path, row, at)
    assert [row.id for row in running(path, now)] == ["a", "of-another-host"]


def test_rows_of_those_that_could_not_take_them_away_do_not_pile_up(tmp_path: Path) -> None:
    path, now = tmp_path / "relay.db", 1795341600.0
    for id, at in (("a", now - 61), ("b", now + 61), ("c", now - 59), ("d", now)):
        said(path, replace(ROW, id=id), at)
    with closing(sqlite3.connect(path)) as connection:
        kept = {name for (name,) in connection.execute("SELECT id FROM relays")}
    assert kept == {"c", "d"}


def test_a_row_that_only_says_alive_costs_one_page(tmp_path: Path) -> None:
    """Each second, for ever, with a thousand keys."""
    path = tmp_path / "relay.db"
    keys = [{"alias": f"k{n}", "mask": "sk-ant-…abcd", "source": "relay.yaml"} for n in range(1000)]
    row = replace(ROW, pools=json.dumps({"anthropic": {"keys": keys}}))
    with closing(connect(path, patience=1)) as reader:
        migrate(reader)
        reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        table, wal = Relays(path), path.with_name("relay.db-wal")
        table.say(replace(row, seen_at=str(moment(1795341600.0))))
        before = wal.stat().st_size
        table.say(replace(row, seen_at=str(moment(1795341601.0))))
        assert wal.stat().st_size - before < 3 * 4200
        table.close()


def test_another_file_in_the_databases_place_gets_the_row(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    table = Relays(path)
    table.say(replace(ROW, seen_at=str(moment(1795341600.0))))
    path.rename(tmp_path / "old.db")
    for suffix in ("-wal", "-shm"):
        path.with_name(f"relay.db{suffix}").unlink(missing_ok=True)
    table.say(replace(ROW, seen_at=str(moment(1795341601.0))))
    assert [row.id for row in running(path, 1795341601.0)] == ["a"]
    table.leave("a")
    assert running(path, 1795341601.0) == ()
