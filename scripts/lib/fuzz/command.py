"""`fuzz`: attack a relay on this machine with made-up and mutated input, and see whether it keeps its promises."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from . import campaign, cases, report
from .campaign import Result
from .cases import PARTS
from .plan import Plan
from .running import Broken

CORPUS = Path(__file__).parents[3] / "tests" / "fuzz" / "corpus"
TERMINATED = 128 + signal.SIGTERM
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds", type=click.FloatRange(0), default=60.0, show_default=True, help="How long; 0: the corpus alone."
)
@click.option("--seed", type=int, help="Makes the same input again. Default: another one each time.")
@click.option(
    "--only",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    metavar="PART",
    help="Attack only this; may be repeated.",
)
@click.option(
    "--corpus",
    type=FOLDER,
    default=CORPUS,
    help="Stored inputs to begin with, and to spoil. Default: tests/fuzz/corpus.",
)
@click.option(
    "--keep", type=FOLDER, help="Where findings are written. Default: a folder in the system's for temporary files."
)
@click.option(
    "--replay", "file", type=FILE, help="Instead: run just the input of this file, a finding or one of the corpus."
)
def fuzz(
    seconds: float, seed: int | None, parts: tuple[str, ...], corpus: Path, keep: Path | None, file: Path | None
) -> None:
    """Attack a relay with made-up and mutated input on every listener and as every upstream's answer. Nothing leaves this machine.

    Meanwhile it must stay alive, serve others, write one row for each request, show no key anywhere, log no traceback, and keep its
    memory and its open files. Status 1 when it did not.

    \b
    Parts: base-h1 base-h2 proxy-plain proxy-h1 proxy-h2 status, and as answers
    anthropic-h1 anthropic-h2, the same for openai-chat, openai-responses, gemini

    \b
    Examples:
      scripts/fuzz
      scripts/fuzz --seconds 3600 --only proxy-h2 --keep findings
      scripts/fuzz --replay findings/log-7-0.json
    """
    seed = secrets.randbelow(10**6) if seed is None else seed
    place = keep or Path(tempfile.gettempdir()) / "relay-fuzz-findings"
    try:
        stored = cases.load(file) if file is not None else cases.corpus(corpus)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if file is None:
        say(f"seed {seed}")
    try:
        plan = Plan(seconds, seed, place, parts or PARTS)
        result = finished(campaign.replay(stored, say) if file is not None else campaign.run(plan, stored, say))
    except Broken as error:
        raise click.ClickException(str(error)) from None
    report.show(result, seed, report.console())
    sys.exit(bool(result.findings))


def finished(work: Coroutine[Any, Any, Result]) -> Result:
    """Carry it out; whoever ends this process ends the relay with it."""

    async def main() -> Result:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        sys.exit(TERMINATED)


def say(what: str) -> None:
    """Progress, for whoever waits."""
    click.echo(f"… {what}", err=True)
