"""Make .venv and put what a lock file names into it: `python install.py ROOT LOCK`. Needs only the standard library.

Whatever happens on the way, the next start repairs it: the copy of the lock file that says "installed" is written last, and a marker
left behind by a killed run makes the next one begin afresh. Two starts at once take turns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = "relay-unfinished"
NOT_OURS = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PYTHONHOME", "PYTHONPATH")
"""Settings of the user's that would send the packages somewhere else than into .venv."""


def main(root: Path, lock: str) -> int:
    """Exit status: 0 when everything is installed."""
    try:
        with _alone(root):
            return 0 if _installed(root, lock) else _install(root, lock)
    except OSError as error:
        return _say(
            f"Cannot set up {root / '.venv'}: {error.strerror or error}. Is the folder writable, the disk full?", 1
        )


def _install(root: Path, lock: str) -> int:
    folder = root / ".venv"
    if (folder / UNFINISHED).exists() or not _usable(folder):
        _say(f"Making {folder} with Python {sys.version.split()[0]} …")
        venv.create(folder, clear=True, symlinks=os.name != "nt")
        (folder / UNFINISHED).touch()
        _run([_python(folder), "-I", "-m", "ensurepip", "--upgrade"], quiet=True)
    (folder / UNFINISHED).touch()
    _say(f"Installing what {lock} names; this takes a minute, once …")
    pip = [_python(folder), "-I", "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
    status = _run([*pip, "--require-hashes", "-r", str(root / lock)])
    (folder / UNFINISHED).unlink()  # pip ended by itself, and undoes what it could not finish
    if status:
        return _say("The installation failed; the lines above say why. Run this again when that is mended.", status)
    shutil.copyfile(root / lock, folder / f"{lock}.new")
    os.replace(folder / f"{lock}.new", folder / lock)
    return 0


def _installed(root: Path, lock: str) -> bool:
    stamp = root / ".venv" / lock
    return _usable(root / ".venv") and stamp.is_file() and stamp.read_bytes() == (root / lock).read_bytes()


def _usable(folder: Path) -> bool:
    python = Path(_python(folder))
    check = "import sys, pip; sys.exit(sys.version_info < (3, 12))"
    return python.exists() and _run([str(python), "-I", "-c", check], quiet=True) == 0


def _python(folder: Path) -> str:
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _run(command: list[str], *, quiet: bool = False) -> int:
    environ = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    stream = subprocess.DEVNULL if quiet else sys.stderr
    return subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
    ).returncode


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the repository's folder; the system lets go of it when this process ends, however it ends."""
    if os.name == "nt":
        yield  # no lock on folders there
        return
    import fcntl

    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another start is setting things up; waiting for it …")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _say(text: str, status: int = 0) -> int:
    print(text, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
