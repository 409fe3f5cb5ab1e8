"""`claude-relay COMMAND`, and the same commands for scripts/COMMAND.

Only the command that runs is imported, so each starts fast and one that misses a part does not stop the others.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from claude_relay.core.installation import installing, is_checkout, own_version

from .checkout import of_checkout
from .console.naming import reworded
from .console.output import prepare, well_ended
from .console.terminal import echo

COMMANDS = {
    "relay": "Run the relay.",
    "keys": "Keep keys in the vault: add, list, check, disable, remove.",
    "accounts": "OAuth accounts of your own: log in, look at, renew, disable, remove.",
    "clients": "Clients: people and programs with a key of the relay's own, and their limits.",
    "audit": "Show who did what to keys, clients and the database.",
    "panel": "Run the panel alone; print a link to choose a password.",
    "env": "Print the export lines for this shell, or run one command with them.",
    "doctor": "Say what is wrong with this set-up and how to mend it.",
    "usage": "Show what was used.",
    "ledger": "Back up, export, shrink and look into the database.",
    "drill": "Run a client through faults, and say what a person would have seen.",
    "duel": "Send recorded requests to several targets and compare the answers.",
    "demo": "Show the relay at work on this machine, without any account.",
    "bench": "Measure the relay beside bare mitmdump (in a checkout).",
    "fuzz": "Attack the relay with made-up and mutated input (in a checkout).",
    "test": "Run all tests (in a checkout).",
}
"""Name → one line. The module and the command in it have the same name."""


class Commands(click.Group):
    """A group whose commands lie in modules that are imported on demand."""

    def main(self, *arguments: Any, **more: Any) -> Any:
        """Run one of them; ends the process, unless told otherwise."""
        if not more.get("standalone_mode", True):
            return super().main(*arguments, **more)
        prepare()
        with well_ended():
            super().main(*arguments, **more)
        return None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


IN_CHECKOUT = {"bench": "benchmark.command", "fuzz": "fuzz.command"}
"""Name → its module in scripts/lib."""


def load(name: str) -> click.Command:
    """Import one command. Raises ClickException with a remedy when a module is missing."""
    module = f"claude_relay.cli.{name}"
    try:
        place = IN_CHECKOUT.get(name)
        command = getattr(importlib.import_module(module), name) if place is None else of_checkout(place, name)
    except ModuleNotFoundError as error:
        raise click.ClickException(_missing(name, module, error.name or "")) from error
    if not any(parameter.name == "extras" for parameter in command.params):
        command.params.append(_with(name))
        VERSION(command)
    return reworded(command)


def _with(name: str) -> click.Option:
    """For --help only: setup.sh takes it out of the arguments, where it comes first and there is a checkout."""

    def explain(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            how = installing(value, name=name)
            first = "comes first" if is_checkout() else "is for a checkout; here"
            raise click.UsageError(f"--with {first}: {how}", ctx)

    return click.Option(
        ["--with", "extras"],
        metavar="EXTRA,…",
        expose_value=False,
        callback=explain,
        hidden=not is_checkout(),
        help="First install these extras, which then stay; comes before all else.",
    )


def versions() -> str:
    """What a report of a defect must name: the relay's version, mitmproxy's, Python's, and the system."""
    try:
        mitmproxy = version("mitmproxy")
    except PackageNotFoundError:
        mitmproxy = f"is not installed; this installs it: {installing()}"
    python = f"{platform.python_version()} at {sys.executable}"
    named = {"Claude Relay": own_version(), "mitmproxy": mitmproxy, "Python": python, "system": platform.platform()}
    return "\n".join(f"{name:12} {value}" for name, value in named.items())


def _show_versions(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        echo(versions())
        ctx.exit()


VERSION = click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_versions,
    help="Print the versions of Claude Relay, mitmproxy and Python.",
)


def _missing(command: str, module: str, name: str) -> str:
    if name == module:
        return f"'{command}' is not part of this version."
    return f"The Python package '{name}' is missing; this installs it: {installing()}"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@VERSION
def main() -> None:
    """Claude Relay gives every Claude request a key from a pool, tries again until it succeeds, and writes down what it used.

    \b
    Example:
      claude-relay relay
      claude-relay env -- claude
    """


def script(name: str, arguments: Sequence[str]) -> None:
    """Run one command as scripts/NAME; ends the process."""
    prepare()
    try:
        command = load(name)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    with well_ended():
        command.main(args=list(arguments), prog_name=f"scripts/{name}")


if __name__ == "__main__":
    main()
