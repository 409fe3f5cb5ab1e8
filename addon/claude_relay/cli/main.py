"""`claude-relay COMMAND`, and the same commands for scripts/COMMAND.

Only the command that runs is imported, so each starts fast and one that misses a part does not stop the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from .checkout import of_checkout

COMMANDS = {
    "relay": "Run the relay.",
    "keys": "Keep keys in the vault: add, list, check, disable, remove.",
    "env": "Print the export lines for this shell, or run one command with them.",
    "doctor": "Say what is wrong with this set-up and how to mend it.",
    "usage": "Show what was used.",
    "ledger": "Back up, export, shrink and look into the database.",
    "demo": "Show the relay at work on this machine, without any account.",
    "bench": "Measure the relay beside bare mitmdump (in a checkout).",
    "fuzz": "Attack the relay with made-up and mutated input (in a checkout).",
    "test": "Run all tests (in a checkout).",
}
"""Name → one line. The module and the command in it have the same name."""


class Commands(click.Group):
    """A group whose commands lie in modules that are imported on demand."""

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
    _reword(command)
    return command


def _reword(command: click.Command) -> None:
    """Its examples, with the command that there is where the package is installed."""
    from claude_relay.core.config.locate import command as called

    command.help = (command.help or "").replace("scripts/", called(""))
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _reword(inner)


def _missing(command: str, module: str, name: str) -> str:
    if name == module:
        return f"'{command}' is not part of this version."
    return f"The Python package '{name}' is missing. In a checkout, scripts/relay installs it; else: pip install mitmproxy-claude-relay"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mitmproxy-claude-relay")
def main() -> None:
    """Claude Relay gives every Claude request a key from a pool, tries again until it succeeds, and writes down what it used.

    \b
    Example:
      claude-relay relay
      claude-relay env -- claude
    """


def script(name: str, arguments: Sequence[str]) -> None:
    """Run one command as scripts/NAME; ends the process."""
    try:
        command = load(name)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    command.main(args=list(arguments), prog_name=f"scripts/{name}")


if __name__ == "__main__":
    main()
