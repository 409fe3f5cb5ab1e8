"""The shell part: finding Python, setting .venv up once, taking turns, repairing what was interrupted."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX scripts")

ROOT = Path(__file__).parents[2]
COMMANDS = ("relay", "env", "doctor", "keys", "usage", "ledger", "test")
PROGRAM = """
import os, sys
def script(name, arguments):
    print("ran", name, arguments, os.getcwd())
    print(sys.prefix)
    sys.exit(int(os.environ.get("STATUS", 0)))
"""


def launch(script: Path, *words: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), "RELAY_PYTHON": sys.executable, **environ}
    return subprocess.Popen(
        [script, *words], cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts over a program that only says how it was called, and nothing to install; a blank in the name."""
    root = tmp_path_factory.mktemp("my checkout")
    shutil.copytree(ROOT / "scripts", root / "scripts")
    program = root / "addon" / "claude_relay" / "cli" / "main.py"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    (root / "requirements.lock").write_text("# nothing\n")
    (root / "requirements-dev.lock").write_text("# nothing\n")
    for extra in ("one", "two"):
        (root / f"requirements-with-{extra}.lock").write_text(f"# nothing for {extra}\n")
    return root


def stand_in(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def first(checkout: Path) -> list[tuple[int, str, str]]:
    """Two first starts at once, after one that was killed: it has left a .venv that looks usable."""
    stand_in(checkout / ".venv" / "bin" / "python", "exit 0")
    (checkout / ".venv" / "relay-unfinished").touch()
    starts = [launch(checkout / "scripts" / "relay", "--web", "a b") for _ in range(2)]
    return [finish(start) for start in starts]


def test_two_first_starts_at_once(first: list[tuple[int, str, str]], checkout: Path) -> None:
    for status, stdout, _ in first:
        assert status == 0
        assert stdout == f"ran relay ['--web', 'a b'] {os.getcwd()}\n{checkout / '.venv'}\n"
    said = "".join(stderr for _, _, stderr in first)
    assert (said.count("Making "), said.count("Installing "), said.count("waiting for it")) == (1, 1, 1)
    assert not (checkout / ".venv" / "relay-unfinished").exists()


@pytest.mark.parametrize(("python", "usable"), [(None, False), ("exit 1", False), ("exit 0", True)])
def test_a_venv_is_made_where_none_works(tmp_path: Path, python: str | None, usable: bool) -> None:
    if python is not None:
        stand_in(tmp_path / "bin" / "python", python)
    assert runpy.run_path(str(ROOT / "scripts" / "lib" / "install.py"))["_usable"](tmp_path) is usable


def test_later_starts_do_nothing_but_start(first: list[tuple[int, str, str]], checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(checkout / "scripts" / "env")
    for script in (link, checkout / "scripts" / "env"):
        status, stdout, stderr = finish(launch(script, "--", "x", cwd=tmp_path, STATUS="7", RELAY_PYTHON="/none"))
        assert (status, stderr) == (7, "")
        assert stdout.startswith(f"ran env ['--', 'x'] {tmp_path}\n")


@pytest.fixture
def quick(first: list[tuple[int, str, str]], checkout: Path, tmp_path: Path) -> Iterator[Path]:
    """A marker file that only packages inside .venv survive to show: a rebuilt .venv has lost it."""
    witness = checkout / ".venv" / "witness"
    witness.touch()
    yield witness
    (checkout / "requirements.lock").write_text("# nothing\n")


def test_a_changed_lock_file_is_installed_into_what_is_there(quick: Path, checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("# nothing, in other words\n")
    status, stdout, stderr = finish(launch(checkout / "scripts" / "relay"))
    assert (status, stdout[:9]) == (0, "ran relay")
    assert "Installing what requirements.lock names" in stderr
    assert "Making" not in stderr
    assert quick.exists()


def test_a_failed_installation_says_so_and_is_tried_again(quick: Path, checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("click==8.0\n")  # without a hash
    for _ in range(2):
        status, stdout, stderr = finish(launch(checkout / "scripts" / "relay"))
        assert (status, stdout) == (1, "")
        assert "hash" in stderr
        assert "The installation failed" in stderr
    assert quick.exists()


# -- while it installs


def test_somebody_who_only_asks_gets_no_installation(first: list[tuple[int, str, str]], checkout: Path) -> None:
    """Help comes from what is there; where there is nothing, from the script itself."""
    before = (checkout / ".venv" / "requirements-dev.lock").exists()
    for word in ("--help", "-h", "--version"):
        status, stdout, stderr = finish(launch(checkout / "scripts" / "test", word))
        assert (status, stderr) == (0, "")
        assert stdout.startswith("Set up what the tests need and run all of them")
        assert f"the first start without {word} does that" in stdout
    assert (checkout / ".venv" / "requirements-dev.lock").exists() is before is False
    click = next((checkout / ".venv" / "lib").glob("python3*")) / "site-packages" / "click.py"
    click.write_text("")
    try:
        status, stdout, stderr = finish(launch(checkout / "scripts" / "test", "--help"))
        assert (status, stderr) == (0, "")
        assert stdout.startswith("ran test ['--help'] ")
        assert finish(launch(checkout / "scripts" / "env", "--", "claude", "--help"))[1].startswith("ran env")
    finally:
        click.unlink()


def test_how_far_an_installation_is() -> None:
    install = runpy.run_path(str(ROOT / "scripts" / "lib" / "install.py"))
    progress = install["progress"]
    log = "Using pip 25\nCollecting anyio==4.11.0 (from -r requirements.lock (line 7))\n"
    assert progress("", 71) == "0 of 71 packages"
    assert progress(log, 71) == "1 of 71 packages: anyio"
    log += "  Using cached anyio.whl\nRequirement already satisfied: click==8.5.1 in ./x\n"
    assert progress(log, 1) == "1 of 1 packages: click"
    log += "Installing collected packages: anyio\n"
    assert progress(log, 71) == "all 2 packages are here; putting them in place"
    assert install["complaint"](f"{log}WARNING: x\nERROR: no\nmore\n") == "ERROR: no\nmore"
    assert install["complaint"]("one\ntwo\n") == "one\ntwo"
    lock = (ROOT / "requirements.lock").read_text()
    assert install["_count"]([ROOT / "requirements.lock"]) == len(set(re.findall(r"^(\S+)==", lock, re.MULTILINE)))


# -- extras


def held(checkout: Path) -> list[str]:
    return sorted(path.name for path in (checkout / ".venv").glob("requirements-with-*.lock"))


@pytest.fixture
def none_held(first: list[tuple[int, str, str]], checkout: Path) -> Iterator[None]:
    yield
    for path in held(checkout):
        (checkout / ".venv" / path).unlink()


@pytest.mark.usefixtures("none_held")
def test_an_extra_stays_and_follows_its_lock_file(checkout: Path) -> None:
    relay = checkout / "scripts" / "relay"
    status, stdout, stderr = finish(launch(relay, "--with", "two", "--web"))
    assert (status, stdout[:21]) == (0, "ran relay ['--web'] /")
    assert "Installing what requirements.lock, requirements-with-two.lock names" in stderr
    assert held(checkout) == ["requirements-with-two.lock"]
    for words in ([], ["--with=two"]):  # all is there
        assert finish(launch(relay, *words))[2] == ""
    (checkout / "requirements-with-two.lock").write_text("# nothing, in other words\n")
    assert "requirements-with-two.lock" in finish(launch(relay))[2]
    assert finish(launch(relay))[2] == ""


@pytest.mark.usefixtures("none_held")
def test_several_extras_for_any_script_and_into_a_new_venv(checkout: Path) -> None:
    status, stdout, _ = finish(launch(checkout / "scripts" / "ledger", "--with", "one, two", "export", "--with", "x"))
    assert status == 0
    assert stdout.startswith("ran ledger ['export', '--with', 'x'] /")
    (checkout / ".venv" / "relay-unfinished").touch()
    (checkout / "requirements.lock").write_text("# nothing, once more\n")
    assert "Making" in finish(launch(checkout / "scripts" / "relay"))[2]
    assert held(checkout) == ["requirements-with-one.lock", "requirements-with-two.lock"]
    (checkout / "requirements.lock").write_text("# nothing\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--with", "one,three"], "no extra is called three"),
        (["--with", "--web"], "no extra is called --web"),
        (["--with", ","], "the names of extras are missing"),
        (["--with="], "the names of extras are missing"),
        (["--with"], "the names of extras are missing"),
    ],
)
@pytest.mark.usefixtures("first")
def test_an_extra_that_there_is_not(checkout: Path, words: list[str], why: str) -> None:
    status, stdout, stderr = finish(launch(checkout / "scripts" / "relay", *words))
    assert (status, stdout) == (2, "")
    assert stderr == f"--with: {why}. There are: one, two. All of them: --with one,two\n"
    assert held(checkout) == []


# -- finding Python


def find(tmp_path: Path, **environ: str) -> tuple[int, str, str]:
    """What find_python says where PATH holds only the stand-ins and the tools that the script itself needs."""
    tools = tmp_path / "bin"
    for tool in ("sh", "dirname", "readlink", "uname", "tail"):
        tools.mkdir(exist_ok=True)
        (tools / tool).symlink_to(str(shutil.which(tool)))
    script = f'. "{ROOT}/scripts/lib/setup.sh"; find_python'
    env = {"PATH": str(tools), "HOME": str(tmp_path), **environ}
    done = subprocess.run(
        [tools / "sh", "-c", script, str(ROOT / "scripts" / "relay")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


REAL = f'exec "{sys.executable}" "$@"'
SWITCHED_OFF = 'echo "pyenv: command not found" >&2; exit 127'
TOO_OLD = "exit 1"
WITHOUT_VENV = f'case "$2" in *ensurepip*) echo "No module named ensurepip" >&2; exit 1;; esac; {REAL}'
elsewhere = pytest.mark.skipif(
    any(Path(folder, f"python3.1{n}").exists() for folder in ("/usr/bin", "/usr/local/bin") for n in (2, 3, 4)),
    reason="this system has a new Python in a folder that is always searched",
)


@elsewhere
def test_shims_of_versions_that_are_switched_off_are_passed_over(tmp_path: Path) -> None:
    stand_in(tmp_path / "bin" / "python3.13", SWITCHED_OFF)
    stand_in(tmp_path / "bin" / "python3", TOO_OLD)
    stand_in(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python3", REAL)
    stand_in(tmp_path / "pyenv" / "versions" / "3.13.0" / "bin" / "python3", REAL)
    stand_in(tmp_path / "pyenv" / "versions" / "3.11.7" / "bin" / "python3", REAL)
    status, stdout, _ = find(tmp_path, PYENV_ROOT=str(tmp_path / "pyenv"))
    assert (status, stdout) == (0, str(tmp_path / "pyenv" / "versions" / "3.13.0" / "bin" / "python3"))


@elsewhere
@pytest.mark.parametrize(
    "place",
    [
        ".pyenv/versions/3.12.9/bin/python3",
        ".local/share/uv/python/cpython-3.14.0-linux-x86_64-gnu/bin/python3",
        ".local/share/mise/installs/python/3.13/bin/python3",
    ],
)
def test_where_version_managers_keep_theirs(tmp_path: Path, place: str) -> None:
    stand_in(tmp_path / place, REAL)
    assert find(tmp_path)[:2] == (0, str(tmp_path / place))


def test_path_comes_first_and_the_users_choice_before_it(tmp_path: Path) -> None:
    stand_in(tmp_path / "bin" / "python3", REAL)
    stand_in(tmp_path / "mine", REAL)
    assert find(tmp_path)[1] == str(tmp_path / "bin" / "python3")


def test_the_users_own_choice(tmp_path: Path) -> None:
    stand_in(tmp_path / "bin" / "python3", REAL)
    stand_in(tmp_path / "mine", REAL)
    assert find(tmp_path, RELAY_PYTHON=str(tmp_path / "mine"))[1] == str(tmp_path / "mine")


def test_a_bad_choice_is_said(tmp_path: Path) -> None:
    stand_in(tmp_path / "bin" / "python3", REAL)
    status, stdout, stderr = find(tmp_path, RELAY_PYTHON="/none")
    assert (status, stdout) == (0, str(tmp_path / "bin" / "python3"))
    assert "RELAY_PYTHON=/none is no Python 3.12" in stderr


def test_nothing_of_the_working_directory_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloned repository may hold a file with the name of a module."""
    stand_in(tmp_path / "bin" / "python3", REAL)
    (tmp_path / "ensurepip.py").write_text("open('witness', 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert find(tmp_path)[1] == str(tmp_path / "bin" / "python3")
    assert not (tmp_path / "witness").exists()


@elsewhere
def test_none_at_all_is_explained(tmp_path: Path) -> None:
    stand_in(tmp_path / "bin" / "python3", TOO_OLD)
    status, stdout, stderr = find(tmp_path)
    assert (status, stdout) == (1, "")
    assert "needs Python 3.12 or newer" in stderr
    assert "uv python install" in stderr


@elsewhere
def test_one_without_venv_is_explained(tmp_path: Path) -> None:
    stand_in(tmp_path / "bin" / "python3", WITHOUT_VENV)
    status, _, stderr = find(tmp_path)
    assert status == 1
    assert "No module named ensurepip" in stderr
    assert "apt install python3-venv" in stderr


# -- what is shipped


@pytest.mark.parametrize("name", COMMANDS)
def test_every_script_is_thin_and_may_be_run(name: str) -> None:
    script = ROOT / "scripts" / name
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert lines[0] == "#!/bin/sh"
    assert len(lines) == 4
    lock = "requirements-dev.lock" if name == "test" else "requirements.lock"
    assert lines[3] == f'start {name} {lock} "$@"'


LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_are_pinned_by_hash_and_name_no_index(name: str) -> None:
    text = re.sub(r"^\s*#.*", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    blocks = [block for block in text.split("\n") if "==" in block and not block.startswith((" ", "#"))]
    assert blocks
    assert all(block.endswith("\\") for block in blocks)
    assert text.count("--hash=sha256:") >= len(blocks)
    assert not any(word in text for word in ("index-url", "find-links", "trusted-host", "://", "@"))


def test_the_dev_lock_repeats_the_versions_of_the_others() -> None:
    def pins(name: str) -> set[str]:
        return {line for line in (ROOT / name).read_text().splitlines() if "==" in line and line[0] not in " #"}

    assert len(LOCKS) > 2
    assert set().union(*map(pins, LOCKS)) == pins("requirements-dev.lock")
