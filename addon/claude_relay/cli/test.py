"""`test`: linters, types and tests of a checkout, in this order so that the tests' own last line stays last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from claude_relay.core.config.locate import ADDON

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
)

# Most tests wait for sockets and processes more than they compute.
SIDE_BY_SIDE = ("-n", str(min(2 * (os.cpu_count() or 1), 8)), "--dist", "worksteal")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("pytest", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGUMENTS]…")
def test(pytest: tuple[str, ...]) -> None:
    """Run ruff, mypy and all tests. With arguments, which go to pytest, only the tests they name.

    \b
    Examples:
      scripts/test
      scripts/test tests/core -k rests
    """
    root = ADDON.parent
    if not (root / "tests").is_dir():
        raise click.ClickException("the tests are not part of the installed package; run scripts/test in a checkout")
    failed = [check for check in CHECKS if not pytest and _run(root, *check)]
    status = _run(root, "pytest", *(pytest or SIDE_BY_SIDE))
    for check in failed:
        click.secho(f"failed: {' '.join(check)}", err=True, fg="red")
    sys.exit(status or bool(failed))


def _run(root: Path, module: str, *arguments: str) -> int:
    """Exit status. What the person's shell says about relays and keys is kept from the tests."""
    click.secho(f"» {' '.join((module, *arguments))}", err=True, bold=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "ANTHROPIC_"))}
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, env=own, check=False).returncode
