"""What several commands need: the configuration, mitmproxy's folder, and starting another program.

>>> mitm_option(["--set", "confdir=/tmp/x", "-q"], "confdir")
'/tmp/x'
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import click

from claude_relay.core.config import Config, ConfigError, lacks_variables
from claude_relay.core.config.locate import locate, usual_file
from claude_relay.core.installation import ADDON, command, installing, is_checkout
from claude_relay.store import config_file
from claude_relay.store.authority import usual_folder
from claude_relay.store.config_file import Source as Source

from .terminal import Failure, echo

CONFIG_HELP = f"The configuration. Default: RELAY_CONFIG, else {'the one beside addon/' if is_checkout() else usual_file(os.environ)}."


def find_config(path: str | None) -> Path | None:
    """The file that counts, or None for the defaults."""
    return locate(path, os.environ, Path.cwd())


def shown_path(path: Path) -> str:
    """A path as a person here would write it."""
    return config_file.shown_path(path, Path.cwd())


def read_config(path: str | None) -> Source:
    """Find, read and check the configuration. Raises ConfigError."""
    return config_file.read_config(path, os.environ, Path.cwd())


def read_for_clients(path: str | None) -> Source:
    """As `config_file.read_for_clients`, from here."""
    return config_file.read_for_clients(path, os.environ, Path.cwd())


def load_source(path: str | None, read: Callable[[str | None], Source] = read_config) -> Source:
    """For commands that cannot go on without: prints every problem and ends with status 2."""
    try:
        return read(path)
    except ConfigError as error:
        give_up(error)


def give_up(error: ConfigError) -> NoReturn:
    """Print every problem and end with status 2."""
    echo("The configuration cannot be used:", err=True, bold=True)
    for problem in error.problems:
        echo(f"  {problem}", err=True)
    if lacks_variables(error):
        echo("Set these variables here as in the terminal where the relay runs.", err=True)
    raise SystemExit(2)


def load_database(path: str | None) -> Path:
    """The configuration's database, for commands that need nothing else of it."""
    return load_source(path, read_for_clients).config.database


def load_config(path: str | None) -> Config:
    """The configuration at `path`, else where DESIGN says; prints every problem and ends with status 2."""
    return load_source(path).config


def mitm_option(arguments: Sequence[str], name: str) -> str | None:
    """The value that mitmproxy's `--set NAME=VALUE` gives in a command line; the last one counts."""
    settings = [after for before, after in pairwise(arguments) if before == "--set"]
    settings += [argument.removeprefix("--set=") for argument in arguments if argument.startswith("--set=")]
    values = [setting.partition("=")[2] for setting in settings if setting.partition("=")[0] == name]
    return values[-1] if values else None


def confdir(settings: Sequence[str]) -> Path:
    """The folder of mitmproxy's that holds the CA; `settings` are the arguments of `--set`."""
    arguments = [word for setting in settings for word in ("--set", setting)]
    named = mitm_option(arguments, "confdir")
    return (Path(named).expanduser() if named else usual_folder(os.environ)).absolute()


def addon_script() -> Path:
    """What mitmdump loads: addon/relay.py in a checkout, else the copy inside the package."""
    checkout = ADDON / "relay.py"
    return (
        checkout if ADDON.name == "addon" and checkout.is_file() else Path(__file__).parents[1] / "script" / "relay.py"
    )


def become_mitmproxy(program: str, arguments: Sequence[str]) -> NoReturn:
    """Turn this process into mitmdump or mitmweb: the same entry point their own commands have, without a second interpreter."""
    try:
        entries = distribution("mitmproxy").entry_points
    except PackageNotFoundError:
        raise Failure(f"mitmproxy is not installed; this installs it: {installing()}") from None
    entry = next(entry for entry in entries if entry.group == "console_scripts" and entry.name == program)
    sys.argv = [program, *arguments]
    run = entry.load()
    argparse.ArgumentParser.error = _refuse  # type: ignore[method-assign,assignment]  # its answer is the usage of another command
    sys.exit(run())


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """mitmproxy's parser does not know an option, or its value is wrong."""
    raise click.UsageError(
        f"{message[:1].upper()}{message[1:]}. What {command('relay')} --help does not list goes to {sys.argv[0]}; "
        f"its options: {command('relay')} --options, by --set NAME=VALUE."
    )


def become(program: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Turn this process into another program, its exit status included; 127 when there is none, 126 when it may not run."""
    try:
        if os.name == "nt":  # there, exec would return to the shell at once
            sys.exit(subprocess.run(program, env=environ, check=False).returncode)
        os.execvpe(program[0], list(program), environ)
    except FileNotFoundError:
        echo(f"{program[0]}: no such program", err=True)
        sys.exit(127)
    except OSError as error:
        echo(f"{program[0]}: {error.strerror}", err=True)
        sys.exit(126)
