"""The options that several sub-commands of `keys` share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console.common import CONFIG_HELP
from claude_relay.core.config.proxies import OutboundProxy
from claude_relay.store.shared.all_proxies import AllProxies
from claude_relay.store.vault.records import FIELDS, STATES

from .keyring import Keyring

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}", re.ASCII)


def _together(*decorators: Decorator) -> Decorator:
    return lambda function: reduce(lambda done, decorator: decorator(done), reversed(decorators), function)


class Field(click.ParamType[Any]):
    """A value of one of FIELDS; its check says what is wrong without repeating it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._check = FIELDS[name]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the vault takes it."""
        try:
            return self._check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Proxy(click.ParamType[str]):
    """The URL of an outbound proxy, or `${VARIABLE}`; a password on the command line would be seen by others."""

    name = "URL"

    def __init__(self, parse: Callable[[object], OutboundProxy] = OutboundProxy.parse) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL itself."""
        variable = _VARIABLE.fullmatch(str(value))
        text = os.environ.get(variable[1], "") if variable else str(value)
        try:
            proxy = self._parse(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if proxy.authorization and not variable:
            option = param.opts[0] if param else "--proxy"
            self.fail(
                f"a password here is seen by others; put the URL into a variable: {option} '${{TEAM_PROXY}}'",
                param,
                ctx,
            )
        return text


def led(keyring: Keyring, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as they are, if the proxy in them is no name that nobody knows. Raises UsageError."""
    try:
        AllProxies(keyring.config, keyring.vault).check(fields)
    except ValueError as error:
        raise click.UsageError(f"--proxy: {error}") from None
    return fields


place = _together(
    click.option("--config", metavar="FILE", help=CONFIG_HELP),
    click.option(
        "--database",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Where the keys are. Default: the configuration's `database`.",
    ),
)
"""Which vault."""


def _filters(group: str) -> tuple[Decorator, ...]:
    """`group`: what the option is called that chooses by group."""
    return (
        click.option("--provider", metavar="NAME", help="Only keys of this provider."),
        click.option(group, "of_group", metavar="NAME", help="Only keys of this group; '' is those of none."),
        click.option(
            "--status", type=click.Choice(STATES), metavar="WORD", help=f"Only keys that are {', '.join(STATES)}."
        ),
    )


filters = _together(*_filters("--group"))
"""Which of the keys."""

words = click.argument("words", nargs=-1, metavar="[KEY]…")
everything = click.option("--all", "everything", is_flag=True, help="All keys, or those that the filters select.")
selection = _together(words, everything, filters, place)
"""Whose keys a call is about."""
selection_to_edit = _together(words, everything, *_filters("--in-group"), place)
"""The same for `edit`, whose --group is the group that they get."""

provider_of = click.option(
    "--provider", metavar="NAME", help="Whose keys they are. Default: the only provider there is."
)

_OPTIONS: dict[str, tuple[click.ParamType[Any], str]] = {
    "label": (Field("label"), "A name of your own; several keys may share one."),
    "tier": (Field("tier"), "admin is used before all others, public after them; '' is the usual one."),
    "group": (Field("group"), "Kept for the clients that may use this group; '' is for all."),
    "weight": (Field("weight"), "Its share under the strategy weighted; the usual one is 1."),
    "requests-per-minute": (Field("requests_per_minute"), "Use it no more often."),
    "tokens-per-minute": (Field("tokens_per_minute"), "Use no more tokens."),
    "concurrent": (Field("concurrent"), "Use it for no more requests at once."),
    "proxy": (
        Proxy(),
        "Its own outbound proxy: a URL, '${VARIABLE}' for one with a password, the name of one, or direct.",
    ),
    "notes": (Field("notes"), "Whatever you want to remember; everybody may read it."),
}
METAVARS = dict.fromkeys(("requests-per-minute", "tokens-per-minute", "concurrent"), "NUMBER")
fields = _together(
    *(
        click.option(f"--{name}", type=kind, metavar=METAVARS.get(name, name.upper()), help=text)
        for name, (kind, text) in _OPTIONS.items()
    )
)
"""What is said about a key."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
checking = _together(
    click.option("--parallel", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at once."),
    click.option(
        "--timeout", type=click.FloatRange(0.1, 300), default=15.0, show_default=True, help="Seconds for one request."
    ),
)
"""How keys are asked."""


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that were said."""
    return {name: value for name, value in fields.items() if value is not None}
