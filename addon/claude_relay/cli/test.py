"""`test`: linters, types and tests of a checkout, in this order so that the tests' own last line stays last.

Before them the npm packages of the real clients that tests/clients drives, as the Python packages before the start: what the lock file
names, and only after that changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from claude_relay.core.installation import ADDON

from .checkout import no_checkout

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
)

# Most tests wait for sockets and processes more than they compute.
SIDE_BY_SIDE = ("-n", str(min(2 * (os.cpu_count() or 1), 12)), "--dist", "worksteal")


ON_MITMPROXY = ("tests/proxy", "tests/wire")
CLIENTS = Path("tests", "clients")
NPM_CI = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.option(
    "--newest", is_flag=True, help="In a fresh environment, with the newest of everything: the tests on mitmproxy."
)
@click.argument("pytest", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGUMENTS]…")
def test(pytest: tuple[str, ...], newest: bool) -> None:
    """Run ruff, mypy and all tests. With arguments, which go to pytest, only the tests they name.

    \b
    Examples:
      scripts/test
      scripts/test tests/core -k cooldowns
      scripts/test --newest       do new releases of others break something?
    """
    root = ADDON.parent
    if not (root / "tests").is_dir():
        raise no_checkout()
    if newest:
        sys.exit(_with_the_newest(root, pytest or (*ON_MITMPROXY, *SIDE_BY_SIDE)))
    failed: list[tuple[str, ...]] = (
        [NPM_CI] if concerns_clients(root, pytest) and not install_clients(root / CLIENTS) else []
    )
    failed += [check for check in CHECKS if not pytest and _run(root, *check)]
    status = _run(root, "pytest", *(pytest or SIDE_BY_SIDE))
    for check in failed:
        click.secho(f"failed: {' '.join(check)}", err=True, fg="red")
    sys.exit(status or bool(failed))


def concerns_clients(root: Path, arguments: Sequence[str]) -> bool:
    """Whether pytest, given these arguments, comes to the tests with real clients. Nothing is fetched for the others."""
    named = [Path(argument.partition("::")[0]) for argument in arguments if not argument.startswith("-")]
    paths = [(root / path).resolve() for path in named if (root / path).exists()]
    mine = (root / CLIENTS).resolve()
    return not paths or any(path.is_relative_to(mine) or mine.is_relative_to(path) for path in paths)


def install_clients(folder: Path) -> bool:
    """False: npm failed. The copy of the lock file that says "installed" is written last; two of these at once take turns.

    Without Node nothing is installed, and the tests with real clients say themselves what that means.
    """
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / "installed-lock.json"
    if not (shutil.which("npm") and shutil.which("node")):
        return True
    with alone(folder):
        if stamp.is_file() and stamp.read_bytes() == lock.read_bytes():
            return True
        click.secho(f"» {' '.join(NPM_CI)}    (in {folder})", err=True, bold=True)
        if subprocess.run(NPM_CI, cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode:
            return False
        shutil.copyfile(lock, stamp)
        return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder; the system lets go of it when this process ends, however it ends. Windows has no locks on folders."""
    if os.name == "nt":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _with_the_newest(root: Path, arguments: Sequence[str]) -> int:
    """Exit status. Installs the package without its lock into an environment that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="claude-relay-newest-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))
        for wanted in (("pip>=25.1",), ("--group", "dev", ".[telemetry,parquet]")):
            if status := _run(root, "pip", "install", "--quiet", "--upgrade", *wanted, python=python):
                return status
        _run(root, "pip", "list", python=python)
        return _run(root, "pytest", *arguments, python=python)


def _run(root: Path, module: str, *arguments: str, python: str = sys.executable) -> int:
    """Exit status. What the person's shell says about relays and keys is kept from the tests, but for what it says to tests."""
    click.secho(f"» {' '.join((module, *arguments))}", err=True, bold=True)
    own = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("RELAY_TEST_") or not name.startswith(("RELAY_", "ANTHROPIC_"))
    }
    return subprocess.run([python, "-m", module, *arguments], cwd=root, env=own, check=False).returncode
