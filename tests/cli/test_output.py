"""What commands print, and where to: 80 columns, ASCII, a pipe that nobody reads, a full disk."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from claude_relay.cli import main
from claude_relay.cli.checks import FAIL, OK, Check
from claude_relay.cli.console.output import ALIKE, CLOSED
from claude_relay.cli.console.running import Found
from claude_relay.cli.console.width import fitting, shares
from claude_relay.cli.doctor import show
from claude_relay.core.keys.check_results import CheckResult
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.reports import GROUPS
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from store.rows import request

RUN = Path(__file__).parents[2] / "scripts" / "lib" / "run.py"
LONG = "a-provider-with-a-name-of-40-characters0"
SECRET = "sk-ant-api03-0123456789abcdefghijklmnop"
READING = [
    ["usage"],
    ["usage", "--by", "day"],
    ["usage", "--json"],
    ["usage", "--csv"],
    ["usage", "sessions"],
    ["keys", "list"],
    ["keys", "list", "--json"],
    ["keys", "export", "--csv"],
    ["doctor"],
    ["env"],
    ["relay", "--help"],
    ["relay", "--version"],
    ["ledger", "export", "-", "--format", "csv"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger and a vault in which every name is as long as it may be, and long and wide figures."""
    folder = tmp_path_factory.mktemp("a folder with a name that is long enough to be folded in every table")
    providers = f"{LONG}: {{base_url: 'http://127.0.0.1:9', keys: [{SECRET}]}}"
    listen = "{proxy: '127.0.0.1:29', base_url: null, panel: null, status: null}"
    (folder / "relay.yaml").write_text(f"listen: {listen}\nproviders: {{{providers}}}\n")
    ledger = Ledger(folder / "relay.db", report=pytest.fail)
    ledger.open()
    for n in range(40):
        said = {
            "requested_model": f"openrouter/anthropic/claude-sonnet-4-5-20250929-thinking-é-{n % 3}",
            "served_model": f"anthropic.claude-sonnet-4-5-20250929-v1:0-region-{n % 3}",
            "session": f"5f0c2f3e-1111-2222-3333-44444444444{n % 5}",
            "project": f"a project with a rather long name … {n % 4}",
            "tokens": 123_456_789,
        }
        tokens = said.pop("tokens")
        counts = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens"), tokens)
        times = {"ttft_ms": 12_345.6, "duration_ms": 99_999.0, "stream": True}
        started = datetime.now().timestamp() - n * 3600
        cost = 12_345.67 if n % 2 else None
        ledger.put(request(started_at=started, provider=LONG, key="k1", cost_usd=cost, **said, **counts, **times), [])
    ledger.close()
    vault = Vault(folder / "relay.db", environ={})
    more = {"tier": "public", "weight": 123.0, "notes": "bought in November " * 20, "concurrent": 123_456}
    fields = [more | {"label": f"a label of some length, number {n}"} for n in range(3)]
    found = vault.import_many([NewKey.of(LONG, f"{SECRET}{n}", said) for n, said in enumerate(fields)])
    until = datetime.now().timestamp() + 1e7
    vault.record({key.id: CheckResult("limited", until, "429: requests per minute " * 8) for key in found.added})
    return folder


def run(folder: Path, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "RELAY_CONFIG": str(folder / "relay.yaml")}
    environ |= {"COLUMNS": "80", "LANG": "C.UTF-8"} | more.pop("environ", {})  # type: ignore[operator]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run([sys.executable, str(RUN), *words], cwd=folder, env=environ, check=False, **how)  # type: ignore[call-overload, no-any-return]


# -- 80 columns


@pytest.mark.parametrize("words", [["usage", "--by", by] for by in GROUPS] + [["usage", "sessions"], ["keys", "list"]])
def test_tables_fit(folder: Path, words: list[str]) -> None:
    environ = {"COLUMNS": "80", "RELAY_CONFIG": str(folder / "relay.yaml"), "RELAY_SECRET": None}
    result = CliRunner().invoke(main.main, words, env=environ)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("─" in line for line in lines) == 1
    rule = lines.index(next(line for line in lines if "─" in line))
    assert not [line for line in lines[: rule + 1] if "…" in line]  # rich's mark of a cell that was cut


def test_keys_that_were_checked_fit(folder: Path) -> None:
    environ = {"COLUMNS": "80", "RELAY_CONFIG": str(folder / "relay.yaml"), "RELAY_SECRET": None}
    result = CliRunner().invoke(main.main, ["keys", "check", "--all"], env=environ)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "unreachable" in "".join(result.stdout.split())


def test_that_no_relay_runs_fits(folder: Path) -> None:
    environ = {"RELAY_CONFIG": str(folder / "relay.yaml"), "RELAY_SECRET": None}
    result = CliRunner().invoke(main.main, ["keys", "list"], env=environ)
    first, second = result.stderr.splitlines()[:2]
    assert first == "no relay runs at http://127.0.0.1:29;"
    assert second.startswith("  start it: RELAY_CONFIG=")
    assert Found(None, "no relay runs; start it: scripts/relay").in_lines == "no relay runs; start it: scripts/relay"


def test_doctor_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = "/a/very/long/path" * 9
    show([Check(f"provider {LONG}", FAIL, f"{path} is [not] there", f"make {path}\nor {path}"), Check("ca", OK, path)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "[not]" in "".join(lines)
    remedy = lines.index(next(line for line in lines if "→" in line))
    column = lines[remedy].index("→")
    assert lines[remedy + 1][column : column + 2] == "  "  # what follows stands below its beginning


@pytest.mark.parametrize("name", main.COMMANDS)
def test_help_fits(name: str) -> None:
    command = main.load(name)
    groups = [[name], *([name, inner] for inner in getattr(command, "commands", {}))]
    for words in groups:
        result = CliRunner().invoke(main.main, [*words, "--help"], env={"COLUMNS": "80"})
        assert result.exit_code == 0
        assert max(map(len, result.stdout.splitlines())) <= 80, words


def test_room_is_shared() -> None:
    least, wanted = {"a": 10, "b": 10, "c": 5}, {"a": 30, "b": 10, "c": 12}
    assert shares(least, wanted, 40) == {"a": 18, "b": 10, "c": 12}
    assert shares(least, wanted, 28) == {"a": 10, "b": 10, "c": 8}
    assert shares(least, wanted, 10) == least
    assert shares(least, wanted, 100) == wanted


def test_columns_are_left_out_in_order() -> None:
    widths = {"a": 10, "b": 20, "c": 30}
    assert fitting(widths, ["c", "b"], 60) == ["a", "b", "c"]
    assert fitting(widths, ["c", "b"], 59) == ["a", "b"]
    assert fitting(widths, ["x", "b", "c"], 1) == ["a"]


# -- characters


@pytest.mark.parametrize("words", READING)
def test_ascii_is_enough(folder: Path, words: list[str]) -> None:
    plain = run(folder, *words, environ={"PYTHONIOENCODING": "ascii"})
    usual = run(folder, *words)
    assert (plain.returncode, b"Traceback" in plain.stderr) == (usual.returncode, False)
    if words[0] != "ledger":  # rows for other programs are UTF-8
        assert (plain.stdout + plain.stderr).isascii()
    assert len(plain.stdout.splitlines()) == len(usual.stdout.splitlines())


def test_json_loses_nothing_in_ascii(folder: Path) -> None:
    found = run(folder, "usage", "--json", environ={"PYTHONIOENCODING": "ascii"}).stdout
    assert rb"thinking-\u00e9-0" in found


def test_other_encodings_and_no_locale(folder: Path) -> None:
    latin = run(folder, "doctor", environ={"PYTHONIOENCODING": "latin-1"}).stdout.decode("latin-1")
    assert " + " in latin.splitlines()[0]
    assert "─" in run(folder, "usage", environ={"LC_ALL": "C", "LANG": ""}).stdout.decode()


def test_each_character_has_one_for_it() -> None:
    assert all(chr(after).isascii() for after in ALIKE.values())


# -- where it goes to


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("words", [*READING, ["ledger", "backup", "copy.db"]])
def test_a_closed_pipe_ends_it_quietly(folder: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(folder, *words, stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == CLOSED
    assert b"rror" not in done.stderr
    assert b"roken" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("words", READING)
def test_a_full_disk_is_said_in_one_line(folder: Path, words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = run(folder, *words, stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "Error: the output cannot be written: No space left on device"
    assert b"Traceback" not in done.stderr
