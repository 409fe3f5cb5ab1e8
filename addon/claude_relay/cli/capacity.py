"""`usage capacity`: how much of each window is left, when it ends, and how many more agents fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from claude_relay.core.accounting.capacity import Forecast, Row
from claude_relay.core.times import iso
from claude_relay.store.shared.capacities import capacity as known
from claude_relay.store.shared.capacities import plain

from .console import grid
from .console.common import CONFIG_HELP, load_database
from .console.terminal import echo, echo_json
from .logins.figures import length, percent
from .spending.source import reading

NONE = (
    "No requests of OAuth accounts have said yet how far their windows are used: providers say it with their answers, and the relay "
    "writes it down."
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, short_help="Show how long windows last.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--config", help=CONFIG_HELP)
@click.option(
    "--database", type=click.Path(path_type=Path), help="The ledger. Default: the configuration's `database`."
)
@click.pass_context
def capacity(context: click.Context, as_json: bool, config: str | None, database: Path | None) -> None:
    """Show how much of each window (5 h, 7 d, one of a family of models) of accounts is left, when it ends at the pace of the last hour,
    and how many more agents of the same pace fit.

    \b
    Examples:
      scripts/usage capacity
      scripts/usage capacity --json
    """
    outer_database, outer_config = context.obj or (None, None)
    path = database or outer_database or load_database(config or outer_config)
    now = time.time()
    with reading(path) as connection:
        rows, found = known(connection, now)
    if as_json:
        echo_json({"at": iso(now), "forecasts": [plain(one) for one in found], "windows": [plain(one) for one in rows]})
    elif not rows:
        echo(NONE)
    else:
        _show(rows, found, now)


def _show(rows: Sequence[Row], found: Sequence[Forecast], now: float) -> None:
    grid.show(
        {
            "provider": [one.provider for one in found],
            "window": [one.window for one in found],
            "accounts": [str(one.accounts) for one in found],
            "left": [percent(one.left / one.accounts) for one in found],
            "an hour": [percent(None if one.pace is None else one.pace / one.accounts) for one in found],
            "lasts": [_lasts(one, now) for one in found],
            "agents": [str(one.agents) for one in found],
            "more fit": ["?" if one.more_agents is None else str(one.more_agents) for one in found],
        },
        always=("provider", "window", "left", "lasts", "more fit"),
        expendable=("accounts", "an hour"),
        right=("accounts", "left", "an hour", "agents", "more fit"),
    )
    echo()
    grid.show(
        {
            "key": [f"{one.provider}/{one.key}" for one in rows],
            "window": [one.window for one in rows],
            "left": [percent(one.left) for one in rows],
            "an hour": [percent(one.pace) for one in rows],
            "lasts": [_lasts(one, now) for one in rows],
            "new": [f"in {length(one.resets_at - now)}" if one.resets_at else "" for one in rows],
        },
        always=("key", "window", "left"),
        expendable=("an hour",),
        right=("left", "an hour"),
    )


def _lasts(one: Forecast | Row, now: float) -> str:
    if one.left <= 0.0:
        return "used up"
    if one.pace is None:
        return "?"
    return "to its reset" if one.ends_at is None else f"for {length(one.ends_at - now)}"
