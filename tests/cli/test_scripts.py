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


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_are_pinned_by_hash_and_name_no_index(name: str) -> None:
    text = re.sub(r"^\s*#.*", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    blocks = [block for block in text.split("\n") if "==" in block and not block.startswith((" ", "#"))]
    assert blocks
    assert all(block.endswith("\\") for block in blocks)
    assert text.count("--hash=sha256:") >= len(blocks)
    assert not any(word in text for word in ("index-url", "find-links", "trusted-host", "://", "@"))


def test_the_dev_lock_repeats_the_versions_of_the_other() -> None:
    def pins(name: str) -> set[str]:
        return {line for line in (ROOT / name).read_text().splitlines() if "==" in line and line[0] not in " #"}

    assert pins("requirements.lock") <= pins("requirements-dev.lock")
