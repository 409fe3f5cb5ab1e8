"""`doctor`: every check in one table, each with what to do about it.

The checks themselves are in `checks` (this machine), `encryption`, `entrance` (the panel) and `reach` (the network).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict

import click

from claude_relay.core.config import ConfigError

from . import checks, reach, ways_out
from .checks import FAIL, OK, WARN, Check
from .console import running
from .console.common import CONFIG_HELP, confdir, read_config, read_for_clients
from .console.terminal import echo_json
from .console.width import columns
from .encryption import encryption
from .entrance import panel
from .env import of_relay
from .login_checks import logins

MARKS = {OK: "[green]✔[/]", WARN: "[yellow]![/]", FAIL: "[red]✘[/]"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.option(
    "--proxies", is_flag=True, help="Try every outbound proxy instead: is it there, how fast, what went through it."
)
@click.option("--echo", metavar="URL", help="With --proxies: a page that answers with the address it sees.")
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As for mitmdump, e.g. confdir=DIR.")
def doctor(as_json: bool, proxies: bool, echo: str | None, config: str | None, settings: tuple[str, ...]) -> None:
    """Check Python, packages, configuration, ports, CA, database and providers. Status 1 when something fails.

    \b
    Examples:
      scripts/doctor
      scripts/env -- scripts/doctor   what a client's environment lacks
      scripts/doctor --json
      scripts/doctor --proxies
    """
    if echo is not None and not proxies:
        raise click.UsageError("--echo goes with --proxies.")
    found = list(_proxies(config, echo) if proxies else examine(config, settings))
    if as_json:
        healthy = all(check.status != FAIL for check in found)
        echo_json({"healthy": healthy, "checks": [asdict(check) for check in found]})
    else:
        show(found)
    raise SystemExit(any(check.status == FAIL for check in found))


def examine(config: str | None, settings: Sequence[str]) -> Iterator[Check]:
    """All checks in order; without a usable configuration those that need none."""
    yield checks.python()
    yield from checks.packages()
    try:
        source = read_config(config)
    except ConfigError as error:
        yield from checks.broken(error)
        yield from _running_anyway(config)
        return
    relay = running.find(source, source.config.database)
    yield from checks.configuration(source, relay)
    yield from checks.relay(relay)
    yield from checks.health(relay, source)
    yield from checks.listening(source)
    yield from panel(source.config, relay)
    yield from encryption(source.config)
    folder = confdir([*of_relay(relay, settings), *settings])
    yield checks.authority(folder, source.config.intercept.hosts)
    yield checks.shell(source.config, folder, os.environ)
    yield checks.database(source.config.database)
    yield checks.vault(source.config.database, os.environ)
    yield from logins(source.config)
    yield from reach.providers(source.config)


def _proxies(config: str | None, echo: str | None) -> Iterator[Check]:
    try:
        source = read_config(config)
    except ConfigError as error:
        yield from checks.broken(error)
        return
    yield from ways_out.proxies(source.config, echo)


def _running_anyway(config: str | None) -> Iterator[Check]:
    """A relay may run although this shell lacks variables that its configuration needs."""
    with suppress(ConfigError):
        source = read_for_clients(config)
        yield from checks.relay(running.find(source, source.config.database))


def show(found: Iterable[Check]) -> None:
    """The table."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from .console.screen import Screen

    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        remedy = Table.grid(padding=(0, 1))
        remedy.add_column(style="dim", no_wrap=True)
        remedy.add_column(overflow="fold")
        for number, line in enumerate(check.remedy.splitlines()):
            remedy.add_row("" if number else "→", escape(line))
        said = Text(check.found, overflow="fold")
        table.add_row(MARKS[check.status], escape(check.name), Group(said, remedy) if check.remedy else said)
    Screen(highlight=False, width=columns()).print(table)
