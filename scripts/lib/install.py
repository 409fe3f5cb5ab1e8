"""Make .venv and put what a lock file names into it, and the extras that are asked for: `python install.py ROOT LOCK [EXTRA,…]`.

Each extra has a lock file of its own. Once installed it stays, and follows its lock file as the rest does. Whatever happens on the way,
the next start repairs it: the copies of the lock files that say "installed" are written last, and a marker left behind by a killed run
makes the next one begin afresh. Two starts at once take turns. Needs only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNFINISHED = "relay-unfinished"
LOG = "relay-installation.log"
LAST_LINES = 40
"""So much of it is shown when something went wrong."""
EXTRA = "requirements-with-"
"""How the name of an extra's lock file begins."""
_PIN = re.compile(r"[A-Za-z0-9][\w.-]*==")
NOT_OURS = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PYTHONHOME", "PYTHONPATH")
"""Settings of the user's that would send the packages somewhere else than into .venv."""


def main(root: Path, lock: str, extras: str | None = None) -> int:
    """Exit status: 0 when everything is installed, 2 for an extra that there is not."""
    wanted = [] if extras is None else [name.strip() for name in extras.split(",") if name.strip()]
    known = {file.name[len(EXTRA) : -len(".lock")]: file.name for file in sorted(root.glob(f"{EXTRA}*.lock"))}
    unknown = [name for name in wanted if name not in known]
    if unknown or (extras is not None and not wanted):
        what = f"no extra is called {', '.join(unknown)}" if unknown else "the names of extras are missing"
        return _say(f"--with: {what}. There are: {', '.join(known)}. All of them: --with {','.join(known)}", 2)
    try:
        with _alone(root):
            locks = [
                lock,
                *(file for name, file in known.items() if name in wanted or (root / ".venv" / file).exists()),
            ]
            return 0 if _installed(root, locks) else _install(root, locks)
    except OSError as error:
        return _say(
            f"Cannot set up {root / '.venv'}: {error.strerror or error}. Is the folder writable, the disk full?", 1
        )


def _install(root: Path, locks: list[str]) -> int:
    folder = root / ".venv"
    if (folder / UNFINISHED).exists() or not _usable(folder):
        _say(f"Making {folder} with Python {sys.version.split()[0]} ...")
        venv.create(folder, clear=True, symlinks=os.name != "nt")
        (folder / UNFINISHED).touch()
        _run([_python(folder), "-I", "-m", "ensurepip", "--upgrade"])
    (folder / UNFINISHED).touch()
    _say(f"Installing what {', '.join(locks)} names; this takes a minute, once ...")
    pip = [
        _python(folder),
        "-I",
        "-m",
        "pip",
        "install",
        "--progress-bar=off",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command = [*pip, "--require-hashes", *(word for lock in locks for word in ("-r", str(root / lock)))]
    status = _shown(command, folder / LOG, _count([root / lock for lock in locks]))
    (folder / UNFINISHED).unlink()  # pip ended by itself, and undoes what it could not finish
    if status:
        return _say("The installation failed; the lines above say why. Run this again when that is mended.", status)
    for lock in locks:
        shutil.copyfile(root / lock, folder / f"{lock}.new")
        os.replace(folder / f"{lock}.new", folder / lock)
    return 0


def _installed(root: Path, locks: list[str]) -> bool:
    stamps = [root / ".venv" / lock for lock in locks]
    same = all(stamp.is_file() and stamp.read_bytes() == (root / stamp.name).read_bytes() for stamp in stamps)
    return same and _usable(root / ".venv")


def _usable(folder: Path) -> bool:
    python = Path(_python(folder))
    check = "import sys, pip; sys.exit(sys.version_info < (3, 12))"
    return python.exists() and _run([str(python), "-I", "-c", check]) == 0


def _python(folder: Path) -> str:
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _count(locks: list[Path]) -> int:
    """How many packages the lock files name; some of them are for other systems."""
    return len(
        {line.partition("==")[0] for lock in locks for line in lock.read_text("utf-8").splitlines() if _PIN.match(line)}
    )


def _shown(command: list[str], log: Path, total: int) -> int:
    """Run pip, which writes into a log, and show how far it is: on a terminal in a line that changes, else in one now and then."""
    over = threading.Event()
    ticking = threading.Thread(target=_tick, args=(log, total, over))
    with log.open("wb") as stream:
        ticking.start()
        try:
            status = _run(command, stream=stream)
        finally:
            over.set()
            ticking.join()
    if status:
        _say(complaint(log.read_text("utf-8", "replace")))
    log.unlink()
    return status


def complaint(log: str) -> str:
    """The end of pip's log, from its first error on."""
    lines = log.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("ERROR")), len(lines) - LAST_LINES)
    return "\n".join(lines[max(first, 0) :][:LAST_LINES])


def _tick(log: Path, total: int, over: threading.Event) -> None:
    started, on_terminal = time.monotonic(), sys.stderr.isatty()
    while not over.wait(1.0 if on_terminal else 10.0):
        with contextlib.suppress(OSError):
            text = progress(log.read_text("utf-8", "replace"), total)
            line = f"  {text} ({time.monotonic() - started:.0f} s)"
            if on_terminal:
                print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
            else:
                _say(line)
    if on_terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def progress(log: str, total: int) -> str:
    """What pip's log says of how far it is."""
    found = re.findall(r"^(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9][\w.-]*)", log, re.MULTILINE)
    if re.search(r"^Installing collected packages", log, re.MULTILINE):
        return f"all {len(found)} packages are here; putting them in place"
    return f"{min(len(found), total)} of {total} packages" + (f": {found[-1]}" if found else "")


def _run(command: list[str], *, stream: BinaryIO | int = subprocess.DEVNULL) -> int:
    return subprocess.run(
        command, env=_environ(), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
    ).returncode


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in NOT_OURS}


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
            _say("Another start is setting things up; waiting for it ...")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _say(text: str, status: int = 0) -> int:
    print(text, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
