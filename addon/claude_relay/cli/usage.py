"""`usage`: what was used, as a table, JSON or CSV, while the relay runs or not.

Also `usage show`, `capsule`, `list`, `sessions`, `cache`, `capacity`, `reconcile`, `reprice`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from claude_relay.store.db.replacing import replacing
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.lookups import NotOne, find, newest
from claude_relay.store.ledger.lookups import sessions as sessions_of
from claude_relay.store.ledger.missed import cache_misses
from claude_relay.store.ledger.reports import GROUPS, Report, summarise

from .console.common import CONFIG_HELP, find_config, load_database, shown_path
from .console.naming import reworded
from .console.terminal import Failure, echo
from .console.when import When
from .spending.forms import FORMS, console
from .spending.misses import FORMS as CACHE_FORMS
from .spending.newest import FORMS as NEWEST_FORMS
from .spending.newest import table as newest_table
from .spending.packing import packed
from .spending.sessions import FORMS as SESSION_FORMS
from .spending.single import none_or_several, print_json, print_request
from .spending.source import reading
from .spending.watching import keep_showing
from .spending.watching import watch as watched

HELP = {"help_option_names": ["-h", "--help"]}
SINCE_HELP = "Only requests since then: 24h, 7d, 2w, 2026-11-01, 2026-11-01T08:00."

type Function = Callable[..., Any]


def source_options(command: Function) -> Function:
    """Which ledger; the command gets `database` and `config`."""
    command = click.option("--config", help=CONFIG_HELP)(command)
    help_text = "The ledger. Default: the configuration's `database`."
    return click.option("--database", type=click.Path(path_type=Path), help=help_text)(command)


def form_options(command: Function) -> Function:
    """How it is shown; the command gets `form`."""
    command = click.option("--csv", "form", flag_value="csv", help="Print CSV, without the total.")(command)
    return click.option("--json", "form", flag_value="json", help="Print JSON.")(command)


def filter_options(command: Function) -> Function:
    """Which requests; the command gets the fields of Only."""
    texts = {
        "proxy": ("NAME", "Only what went through this outbound proxy: its name or address, or direct."),
        "project": ("NAME", "Only this project."),
        "session": ("ID", "Only this session; the beginning of its id will do."),
        "client-group": ("NAME", "Only requests whose client was in this group then."),
        "client": ("NAME", "Only this client."),
        "key": ("ALIAS", "Only this key: ALIAS or PROVIDER/ALIAS."),
        "provider": ("NAME", "Only this provider."),
        "model": ("GLOB", "Only models like this, asked for or served: 'claude-opus-*'."),
    }
    for name, (metavar, text) in texts.items():
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    return command


ON_DEMAND = ("capacity", "reconcile", "reprice")


class Commands(click.Group):
    """A group of which some commands are modules of their own, imported on demand: `reprice` loads a price list."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The sub-commands."""
        return [*super().list_commands(ctx), *ON_DEMAND]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        if cmd_name not in ON_DEMAND:
            return super().get_command(ctx, cmd_name)
        return reworded(getattr(importlib.import_module(f"claude_relay.cli.{cmd_name}"), cmd_name))


@click.group(cls=Commands, invoke_without_command=True, context_settings=HELP)
@click.option(
    "--by",
    type=click.Choice(list(GROUPS)),
    metavar="WHAT",
    default="model",
    show_default=True,
    help=f"One line for each {', '.join(GROUPS)}.",
)
@click.option("--since", type=When(), help=SINCE_HELP)
@click.option("--until", type=When(), help="Only requests before then.")
@filter_options
@form_options
@click.option("--watch", is_flag=True, help="Keep showing the table, read anew every 2 s, until Ctrl-C.")
@source_options
@click.pass_context
def usage(
    context: click.Context,
    /,
    by: str,
    since: datetime | None,
    until: datetime | None,
    form: str | None,
    watch: bool,
    database: Path | None,
    config: str | None,
    **only: str | None,
) -> None:
    """Show what was used: requests, errors, tokens, cache hits, cost, time to the first token and tokens a second.

    Days begin at midnight of this machine's time zone. Tables shorten big numbers, JSON and CSV do not.

    \b
    Examples:
      scripts/usage --since 7d
      scripts/usage --by day --model 'claude-opus-*' --since 2026-11-01
      scripts/usage --by error --watch
      scripts/usage --by hour --csv > usage.csv
      scripts/usage sessions --since 7d
      scripts/usage cache --since 7d
      scripts/usage capacity
      scripts/usage reconcile
      scripts/usage show req_relay_01
    """
    if context.invoked_subcommand is not None:
        context.obj = (database, config)
        return
    if watch and form:
        raise click.UsageError("--watch shows a table; leave out --json and --csv.")
    path = database or load_database(config)

    def read() -> Report:
        with reading(path) as connection:
            return summarise(connection, by=by, since=since, until=until, only=Only(**only))

    if watch:
        watched(read, path)
    else:
        FORMS[form](read(), path)


def _path(context: click.Context, database: Path | None, config: str | None) -> Path:
    """The ledger that a sub-command names, or the one that was named before it."""
    outer_database, outer_config = context.obj or (None, None)
    chosen: Path = database or outer_database or load_database(config or outer_config)
    return chosen


@usage.command(context_settings=HELP, short_help="Show one request: its attempts, and what it cost.")
@click.argument("request_id", metavar="REQUEST")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@source_options
@click.pass_context
def show(context: click.Context, request_id: str, as_json: bool, database: Path | None, config: str | None) -> None:
    """Show one request: which way it took and why, each attempt on a time line, and what tokens and cost are the sum of.

    REQUEST is its id or how that begins (`req_relay_` may be left out), as the answer's header `x-relay-request` has it; the `request-id`
    by which an upstream knows it; or `last`.

    \b
    Examples:
      scripts/usage show last
      scripts/usage show req_relay_01
    """
    with reading(_path(context, database, config)) as connection:
        try:
            found = find(connection, request_id)
        except NotOne as error:
            raise none_or_several(error) from None
    (print_json if as_json else print_request)(found)


@usage.command(context_settings=HELP, short_help="Write one request down for a bug report, without secrets.")
@click.argument("request_id", metavar="REQUEST")
@click.option("--texts", is_flag=True, help="With prompts, answers and messages of errors, as far as they were kept.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, and not to the terminal."
)
@source_options
@click.pass_context
def capsule(
    context: click.Context, request_id: str, texts: bool, output: Path | None, database: Path | None, config: str | None
) -> None:
    """Write one request down for a bug report.

    Its shape, attempts, verdicts, waits and route, cooldowns, versions, and relay.yaml without secrets.

    REQUEST is as for `usage show`. Keys, cookies, ids of accounts, addresses and names of projects are not in it, and no texts: of
    bodies that the ledger has kept (`ledger: {bodies: …}`) the shape. `scripts/drill --capsule FILE` replays it.

    \b
    Examples:
      scripts/usage capsule last
      scripts/usage capsule req_relay_01 -o report.json
    """
    if output is not None and output.exists():
        raise Failure(f"{shown_path(output)} is there already: name another file, or remove it first.")
    chosen = config or (context.obj or (None, None))[1]
    with reading(_path(context, database, config)) as connection:
        try:
            found = find(connection, request_id)
        except NotOne as error:
            raise none_or_several(error) from None
        path = find_config(chosen)
        try:
            text = b"" if path is None else path.read_bytes()
        except OSError as error:
            raise Failure(f"{shown_path(path) if path else chosen}: {error.strerror}") from None
        data = packed(connection, found, text, texts=texts)
    if output is None:
        echo(data.decode(), nl=False)
        return
    try:
        with replacing(output) as unfinished:
            unfinished.write_bytes(data)
    except OSError as error:
        raise Failure(f"{shown_path(output)}: {error.strerror}") from None
    held = "Prompts and answers are in it, as far as they were kept." if texts else "No texts are in it."
    echo(f"{found.request['id']} is in {shown_path(output)} ({len(data):,} bytes). {held}")


@usage.command("list", context_settings=HELP, short_help="Show the newest requests.")
@click.option("--failed", is_flag=True, help="Only requests that failed.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="So many.")
@click.option("--since", type=When(), help=SINCE_HELP)
@click.option("--until", type=When(), help="Only requests before then.")
@filter_options
@form_options
@click.option("--watch", is_flag=True, help="Keep showing them, read anew every 2 s, until Ctrl-C.")
@source_options
@click.pass_context
def list_(
    context: click.Context,
    /,
    failed: bool,
    limit: int,
    since: datetime | None,
    until: datetime | None,
    form: str | None,
    watch: bool,
    database: Path | None,
    config: str | None,
    **only: str | None,
) -> None:
    """Show the newest requests, the latest first: what `usage show` then tells the whole story of.

    \b
    Examples:
      scripts/usage list --failed --since 1h
      scripts/usage list --session 0b1f --watch
      scripts/usage show last
    """
    if watch and form:
        raise click.UsageError("--watch shows a table; leave out --json and --csv.")
    path = _path(context, database, config)

    def read() -> list[dict[str, Any]]:
        with reading(path) as connection:
            return newest(connection, Only(**only), since=since, until=until, failed=failed, limit=limit)

    if watch:
        keep_showing(lambda: newest_table(read(), console().width))
    else:
        NEWEST_FORMS[form](read(), path)


@usage.command(context_settings=HELP, short_help="Show what missed the prompt cache, and why.")
@click.option("--since", type=When(), help=SINCE_HELP)
@click.option("--until", type=When(), help="Only requests before then.")
@filter_options
@form_options
@source_options
@click.pass_context
def cache(
    context: click.Context,
    /,
    since: datetime | None,
    until: datetime | None,
    form: str | None,
    database: Path | None,
    config: str | None,
    **only: str | None,
) -> None:
    """Show what turns of conversations missed of the prompt cache that the turn before had left there: by cause, with what it cost.

    \b
    Examples:
      scripts/usage cache --since 7d
      scripts/usage cache --session 0b1f --json
      scripts/usage show last
    """
    path = _path(context, database, config)
    with reading(path) as connection:
        found = cache_misses(connection, Only(**only), since=since, until=until)
    CACHE_FORMS[form](found, path)


@usage.command(context_settings=HELP, short_help="Show what each session of Claude Code cost.")
@click.option("--since", type=When(), help="Only sessions with a request since then: 24h, 7d, 2w, 2026-11-01.")
@click.option("--project", metavar="NAME", help="Only sessions of this project.")
@form_options
@source_options
@click.pass_context
def sessions(
    context: click.Context,
    since: datetime | None,
    project: str | None,
    form: str | None,
    database: Path | None,
    config: str | None,
) -> None:
    """Show what each session of Claude Code cost, from its first request to its last.

    \b
    Example:
      scripts/usage sessions --since 7d
    """
    path = _path(context, database, config)
    with reading(path) as connection:
        found = sessions_of(connection, since=since, project=project)
        others = 0 if found else len(sessions_of(connection))
    if others and form is None:
        filters = [str(Only(project=project)), f"--since {since:%Y-%m-%dT%H:%M}" if since else ""]
        what = "The only session" if others == 1 else f"None of the {others:,} sessions"
        ending = "does not fit" if others == 1 else "fits"
        echo(f"{what} in {shown_path(path)} {ending} {' '.join(filter(None, filters))}.")
    else:
        SESSION_FORMS[form](found, path)
