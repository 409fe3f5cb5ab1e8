"""The options that several sub-commands of `accounts` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console.common import CONFIG_HELP

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

HELP = {"help_option_names": ["-h", "--help"]}


def together(*decorators: Decorator) -> Decorator:
    """Several as one, in their order."""
    return lambda function: reduce(lambda done, decorator: decorator(done), reversed(decorators), function)


place = together(
    click.option("--config", metavar="FILE", help=CONFIG_HELP),
    click.option(
        "--database",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Where the accounts are. Default: the configuration's `database`.",
    ),
)
"""Which vault."""
provider_of = click.option(
    "--provider", metavar="NAME", help="At which provider. Default: the only one with `oauth` in relay.yaml."
)
words = click.argument("words", nargs=-1, metavar="[ACCOUNT]…")
everything = click.option("--all", "everything", is_flag=True, help="All accounts, or those of --provider.")
selection = together(
    words, everything, click.option("--provider", metavar="NAME", help="Only accounts of this provider."), place
)
"""Which accounts a call is about."""
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
timeout = click.option(
    "--timeout", type=click.FloatRange(0.1, 25), default=15.0, show_default=True, help="Seconds for one request."
)
