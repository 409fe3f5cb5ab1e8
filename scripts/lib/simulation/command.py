"""`demo keys`: a simulated day under each strategy, with and without sticky sessions, as one table."""

from __future__ import annotations

from collections.abc import Sequence

import click

from claude_relay.cli.console.screen import Screen
from claude_relay.cli.console.width import columns
from claude_relay.core.keys.selection import STRATEGIES

from .day import Plan, play
from .report import as_json, print_report
from .tally import Day

WIDEST = 100
"""Columns of the report at most: its sentences want no more."""
ORDER = ("headroom", *(name for name in STRATEGIES if name != "headroom"))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another number is another day.")
@click.option(
    "--strategy",
    "strategies",
    type=click.Choice(ORDER),
    metavar="NAME",
    multiple=True,
    help=f"Only this one; may be repeated: {', '.join(ORDER)}.",
)
@click.option("--json", "wants_json", is_flag=True, help="Print JSON.")
def keys(seed: int, strategies: tuple[str, ...], wants_json: bool) -> None:
    """Show what the strategies make of fifty keys on a busy day, with and without sticky sessions.

    The day is simulated in some ten seconds: thousands of requests to a made-up Claude with real token buckets. No network,
    no files; the same seed gives the same figures.

    \b
    Examples:
      scripts/demo keys
      scripts/demo keys --seed 2 --strategy headroom --strategy round-robin
      scripts/demo keys --json
    """
    plan = Plan(seed)
    days = simulate(plan, strategies or ORDER, Screen(stderr=True))
    if wants_json:
        click.echo(as_json(days, plan))
    else:
        print_report(days, plan, Screen(highlight=False, width=min(columns(), WIDEST)))


def simulate(plan: Plan, strategies: Sequence[str], progress: Screen) -> list[Day]:
    """A day under each strategy, first with any key for any turn, then with sticky sessions."""
    cases = [(strategy, sticky) for sticky in (False, True) for strategy in dict.fromkeys(strategies)]
    days = []
    with progress.status("") as status:
        for number, (strategy, sticky) in enumerate(cases, 1):
            status.update(f"day {number} of {len(cases)}: {strategy}{', sticky sessions' if sticky else ''}")
            days.append(play(plan, strategy, sticky=sticky))
    return days
