"""`panel`: the panel by itself, and one-time links for it. A relay starts its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import click

from claude_relay.core.config.listening import panel_url
from claude_relay.core.installation import finding_package, installing_panel, missing_for_panel, panel_program
from claude_relay.store.panel.admins import FIRST, Admin, Admins, new_link
from claude_relay.store.panel.second_factors import SecondFactors

from .console.acting import acting
from .console.common import CONFIG_HELP, become, find_config, load_source, read_for_clients
from .console.terminal import Failure, echo


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.pass_context
def panel(ctx: click.Context, config: str | None) -> None:
    """Run the panel alone, without a relay; it listens where listen.panel in relay.yaml says.

    A relay that is started by scripts/relay starts its panel by itself. The password of the admin `admin` is that of
    RELAY_ADMIN_PASSWORD, or is chosen by a one-time link, which is printed until somebody has one.

    \b
    Examples:
      scripts/panel
      scripts/panel reset-password
      scripts/panel reset-password ann --without-second-factor
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = config
        return
    if name := missing_for_panel():
        raise Failure(f"The package {name} is missing; this installs it: {installing_panel()}")
    found = find_config(config)
    become(panel_program(sys.executable, found.absolute() if found else None), finding_package(os.environ))


@panel.command("reset-password")
@click.argument("name", default=FIRST)
@click.option("--without-second-factor", is_flag=True, help="Take the second factor away, too: app and codes are lost.")
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.pass_obj
def reset_password(group: str | None, name: str, without_second_factor: bool, config: str | None) -> None:
    """Print a one-time link by which the admin NAME chooses a new password; until then the old one is good.

    \b
    Examples:
      scripts/panel reset-password
      scripts/panel reset-password ann
    """
    source = load_source(config or group, read_for_clients)
    address, database = source.config.listen.panel, source.config.database
    if address is None:
        raise Failure("listen.panel is null in relay.yaml, so there is no panel; set it to 127.0.0.1:8083")
    admins = Admins(database)
    admin = known(admins.all(), name)
    if without_second_factor and admin is not None and admin.totp is not None:
        SecondFactors(database, os.environ).disable(acting(), admin.name)
    called = admin.name if admin is not None else name
    echo(new_link(admins, panel_url(source.config.listen, address), called, time.time(), acting()))
    echo("\n".join(hints(admin, called)), err=True)


def known(admins: tuple[Admin, ...], name: str) -> Admin | None:
    """The one of that name; None: nobody is there yet, and this is who comes first."""
    found = next((admin for admin in admins if admin.name.lower() == name.lower()), None)
    if found is None and (admins or name != FIRST):
        names = ", ".join(admin.name for admin in admins) or f"only {FIRST}, who comes first"
        raise Failure(f"There is no admin '{name}'; there is: {names}.")
    return found


def hints(admin: Admin | None, name: str) -> Iterator[str]:
    """What else to know."""
    yield f"For {name}, once, within a day. The panel must run; a relay starts it."
    if admin is not None and admin.totp is not None:
        yield "It asks for the code of the second factor, too, unless that was taken away."
    if name == FIRST and os.environ.get("RELAY_ADMIN_PASSWORD"):
        yield "RELAY_ADMIN_PASSWORD is set: at its next start the panel takes the password from there again."
