"""`bench`: measure the relay beside bare mitmdump and the upstream itself, in one run on this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from .bars import bars
from .figures import Results
from .kills import run_kills
from .measuring import measure
from .plan import ALL, FULL, QUICK, Plan, replace
from .report import as_json, print_report
from .soak import run_soak
from .targets import Bench

TERMINATED = 128 + signal.SIGTERM
UNFOLDED = 1_000
"""Columns, more than any table needs."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="A short run: a minute and a half instead of eight.")
@click.option(
    "--only",
    "parts",
    type=click.Choice(ALL),
    metavar="PART",
    multiple=True,
    help=f"Measure only this; may be repeated: {', '.join(ALL)}.",
)
@click.option("--rounds", type=click.IntRange(1, 100), help="How often the targets take turns at each load.")
@click.option("--seconds", type=click.FloatRange(0.05, 60), help="Length of each turn.")
@click.option("--web", is_flag=True, help="Measure the memory in mitmweb too.")
@click.option(
    "--soak",
    type=click.FloatRange(1, 3600),
    metavar="SECONDS",
    help="Instead: mixed traffic with failing keys for so long.",
)
@click.option(
    "--kills",
    type=click.IntRange(1, 10_000),
    metavar="COUNT",
    help="Instead: kill -9 under load so often, then look for answered requests in the ledger.",
)
@click.option("--json", "wants_json", is_flag=True, help="Print JSON with every round.")
@click.option("--strict", is_flag=True, help="End with status 1 when something does not hold.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the ledger of the measured relay lies meanwhile. Default: the system's folder for temporary files.",
)
def bench(
    quick: bool,
    parts: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    web: bool,
    soak: float | None,
    kills: int | None,
    wants_json: bool,
    strict: bool,
    folder: Path | None,
) -> None:
    """Measure the relay with everything on beside bare mitmdump and a fake upstream, which all take turns. Nothing leaves this machine.

    \b
    Examples:
      scripts/bench
      scripts/bench --quick --only requests
      scripts/bench --only mitmweb
      scripts/bench --soak 60
      scripts/bench --kills 100
    """
    plan = QUICK if quick else FULL
    plan = replace(
        plan,
        parts=parts or plan.parts,
        rounds=rounds or plan.rounds,
        web_rounds=rounds or plan.web_rounds,
        seconds=seconds or plan.seconds,
        web=web,
    )
    try:
        results = asyncio.run(run(plan, soak, kills, folder))
    except asyncio.CancelledError:
        sys.exit(TERMINATED)
    if wants_json:
        click.echo(as_json(results))
    else:
        print_report(results, wide_console())
    if strict and not all(bar.holds for bar in bars(results)):
        sys.exit(1)


def wide_console() -> Console:
    """The terminal's width. Where there is none nothing is folded, so that a line can be looked for, however large its figures are."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else UNFOLDED)


async def run(plan: Plan, soak: float | None, kills: int | None, folder: Path | None) -> Results:
    """Measure in a folder that is gone afterwards, as are all processes, also when this one is told to end."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=folder) as place:
        async with Bench(Path(place)).open() as started:
            if kills is not None:
                return await run_kills(started, kills, say)
            return await (measure(started, plan, say) if soak is None else run_soak(started, soak, say))


def say(what: str) -> None:
    """Progress, for whoever waits."""
    click.echo(f"… {what}", err=True)
