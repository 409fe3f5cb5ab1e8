"""The options that several sub-commands of `clients` share."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console.common import CONFIG_HELP
from claude_relay.core.clients import spelling
from claude_relay.core.clients.limits import Limit, parse
from claude_relay.core.clients.permissions import ENDPOINTS
from claude_relay.core.clients.spelling import USUAL
from claude_relay.core.keys.selection import TIERS
from claude_relay.core.times import duration

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

HELP = {"help_option_names": ["-h", "--help"]}
NO = "none"
"""Takes a limit away that a shorthand names."""


def together(*decorators: Decorator) -> Decorator:
    """Several as one, in their order."""
    return lambda function: reduce(lambda done, decorator: decorator(done), reversed(decorators), function)


class LimitText(click.ParamType[Limit]):
    """A limit as people write it."""

    name = "LIMIT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Limit:
        """The limit; says which forms there are when it is none."""
        try:
            return value if isinstance(value, Limit) else parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Shorthand(click.ParamType[Any]):
    """A number that stands for a limit: `form` has a place for it. `none` takes that limit away."""

    name = "NUMBER"

    def __init__(self, form: str) -> None:
        self.form = form

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[bool, Limit]:
        """Whether there is to be one, and which."""
        if isinstance(value, tuple):
            return value
        if str(value) == NO:
            return False, parse(self.form.format(1))
        try:
            return True, parse(self.form.format(str(value).removeprefix("$")))
        except ValueError:
            self.fail(f"{value!r} is no number above 0 (such as 60 or 100k), nor {NO}", param, ctx)


class Spelled(click.ParamType[str]):
    """What `core.clients.spelling` reads."""

    def __init__(self, name: str, read: Callable[[str], str]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is kept."""
        try:
            return self._read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Length(click.ParamType[float]):
    """A length of time in seconds, above 0 unless `zero`."""

    name = "TIME"

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        try:
            found = duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if found <= 0 and not self.zero:
            self.fail("must be above 0", param, ctx)
        return found


LINE = Spelled("TEXT", spelling.line)
"""One line of text that everybody may read."""
WORD = Spelled("TEXT", spelling.word)
"""The same, not empty."""
NETWORK = Spelled("CIDR", spelling.network)
TIER = Spelled("TIER", lambda text: spelling.tier(text, TIERS))
MOMENT = Spelled("DATE", lambda text: spelling.moment(text, time.time()))

place = together(
    click.option("--config", metavar="FILE", help=CONFIG_HELP),
    click.option(
        "--database",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Where the clients are. Default: the configuration's `database`.",
    ),
)
"""Which clients."""

SHORTHANDS = {
    "rpm": ("{} requests/minute", "Requests a minute."),
    "tpm": ("{} tokens/minute", "Tokens a minute, of input and output."),
    "concurrent": ("{} concurrent", "Requests at the same time."),
    "usd_per_5h": ("${}/5h", "Dollars in any 5 hours."),
    "usd_per_day": ("${}/day", "Dollars a day."),
    "usd_per_week": ("${}/week", "Dollars a week, from Monday."),
    "usd_per_month": ("${}/month", "Dollars a month."),
    "usd_total": ("${}/total", "Dollars in all."),
}
LISTS = {
    "providers": ("provider", "NAME", WORD, "Requests go to this provider only."),
    "models": ("model", "GLOB", WORD, "Models it may ask for: 'claude-haiku-*'."),
    "key_tiers": ("key-tier", "TIER", TIER, f"Keys of this tier only: {', '.join(TIERS)}, {USUAL}."),
    "key_groups": ("key-group", "NAME", WORD, "Keys of this group only (keys --group)."),
    "endpoints": ("endpoint", "NAME", click.Choice(ENDPOINTS), f"One of {', '.join(ENDPOINTS)}."),
    "addresses": ("address", "CIDR", NETWORK, "Where it may come from: 10.0.0.0/24."),
    "programs": ("program", "GLOB", WORD, "Client programs, by user agent; an aid against mistakes, no security."),
}
"""Field of a policy → its option; each may be given several times."""

policy = together(
    *(
        click.option(f"--{name}", field, type=kind, metavar=metavar, multiple=True, help=text)
        for field, (name, metavar, kind, text) in LISTS.items()
    ),
    click.option("--tunnel/--no-tunnel", default=None, help="Whether other hosts are tunnelled for it on other machines."),
    click.option(
        "--limit", "limits", type=LimitText(), multiple=True,
        help="'60 requests/minute', '$20/day per session', '4 concurrent model claude-opus-*'.",
    ),
    *(
        click.option(f"--{name.replace('_', '-')}", name, type=Shorthand(form), metavar="NUMBER", help=text)
        for name, (form, text) in SHORTHANDS.items()
    ),
)  # fmt: skip
"""What a client or group may do; lists may be given several times."""

client_fields = together(
    click.option("--group", metavar="NAME", help="The group whose permissions and limits hold, too."),
    click.option("--note", type=LINE, metavar="TEXT", help="Whatever you want to remember; everybody may read it."),
    click.option("--tag", "tags", type=WORD, metavar="WORD", multiple=True, help="A word to find it by."),
    click.option("--owner", type=LINE, metavar="ID", help="The id that another system has for it."),
    click.option("--priority", type=click.IntRange(1, 100), help="Its weight where requests wait; usually 1."),
    click.option("--expires", "expires_at", type=MOMENT, help="2026-12-31, 2026-12-31T18:00, or from now: 30d."),
    click.option("--expires-after", type=Length(), metavar="TIME", help="So long after its first use: 8h, 3d."),
)
"""What is said about a client."""

names = click.argument("names", nargs=-1, required=True, metavar="NAME…")
some_names = click.argument("names", nargs=-1, metavar="[NAME]…")
one_name = click.argument("name", metavar="NAME")
as_json = click.option("--json", "form", flag_value="json", help="Print JSON.")
as_csv = click.option("--csv", "form", flag_value="csv", help="Print CSV.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")

removing = together(
    click.option("--no-limit", "lifted", type=LimitText(), multiple=True, help="Take this one limit away."),
)


def clearing(*fields: str) -> Decorator:
    """The option that empties fields; they are called as the options that fill them."""
    words = {field.removesuffix("_at").replace("_", "-"): field for field in fields}
    return click.option(
        "--clear", type=click.Choice([*words]), metavar="FIELD", multiple=True,
        callback=lambda ctx, option, value: tuple(words[word] for word in value),
        help=f"Empty a field: {', '.join(words)}.",
    )  # fmt: skip
