"""`drill`: a client, run once without faults and once with each set of them; what a person would have seen, and what it cost.

    for each set: temporary folder ─► the vault's keys ─► Relaying with faults ─► the client ─► the ledger's figures

Nothing of it stays: neither the relay nor its ledger.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from claude_relay.core.config import Retry
from claude_relay.core.installation import command as called
from claude_relay.store.db.database import StoreError
from claude_relay.store.vault.copying import copy_vault
from claude_relay.store.vault.vault import VaultError

from . import pools
from .console.common import CONFIG_HELP, load_source
from .console.screen import Screen
from .console.terminal import Failure, echo_json
from .demo import tidy_endings
from .demonstration.claude import FakeClaude
from .demonstration.relaying import Relaying
from .drilling import again, report
from .drilling.report import Run
from .drilling.seeing import Figures, run
from .drilling.sets import BUILT_IN, WITHOUT, FaultSet
from .drilling.staging import demo_settings, environment, settings_of, with_faults
from .ledger import Period

HELLO = "Hello from a made-up Claude."


class Sets(click.ParamType[FaultSet]):
    """A set of faults."""

    name = "faults"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> FaultSet:
        """One of the built-in ones, or another."""
        if isinstance(value, FaultSet):
            return value
        try:
            found = FaultSet.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return next((known for known in BUILT_IN if known.name == found.name), found)


@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]})
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=Sets(),
    metavar="'FAULT NAME=VALUE…'",
    help="Only these, as `faults` in relay.yaml has them; several at once with a semicolon in between.",
)
@click.option("--demo", is_flag=True, help="A made-up Claude answers: costs nothing, and needs no key.")
@click.option("--timeout", type=Period(), default="2m", show_default=True, help="After that the client is ended.")
@click.option(
    "--patience",
    type=Period(),
    default=None,
    help="How long the relay waits for a byte. Default: 20s; 2s with --demo.",
)
@click.option("--list", "listing", is_flag=True, help="Print the faults that are tried without --fault.")
@click.option("--json", "as_json", is_flag=True, help="Print all runs as JSON.")
@click.option(
    "--capsule",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Replay what `usage capsule` has written, and say whether the same comes of it.",
)
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND…")
def drill(
    faults: tuple[FaultSet, ...],
    demo: bool,
    timeout: float,
    patience: float | None,
    listing: bool,
    as_json: bool,
    capsule: Path | None,
    config: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a client through faults and say what a person would have seen. Status 1 when it ended otherwise than without faults.

    \b
    Examples:
      scripts/drill -- claude -p 'Say hello'
      scripts/drill --demo -- claude -p 'Say hello'
      scripts/drill --fault '529 attempt=1' --fault cut -- python my_agent.py
      scripts/drill --capsule report.json
    """
    screen = Screen(highlight=False)
    if listing:
        report.show_sets(screen, BUILT_IN)
        return
    if capsule is not None:
        if command or faults or demo:
            raise click.UsageError(
                "--capsule says itself what is sent and what is answered; leave out the client, --fault and --demo"
            )
        with tidy_endings():
            alike = again.play(screen, capsule, as_json=as_json, timeout=timeout)
        sys.exit(0 if alike else 1)
    if not command:
        raise click.UsageError(f"which client? For example: {called('drill')} -- claude -p 'Say hello'")
    if shutil.which(command[0]) is None:
        raise Failure(f"{command[0]}: no such program")
    waits = patience or (2.0 if demo else 20.0)
    with tidy_endings() as ending:
        runs: list[Run] = []
        if not as_json:
            screen.print(report.HEADING, style="bold")
        for faulty in (WITHOUT, *(faults or BUILT_IN)):
            ending.check()
            with contextlib.nullcontext() if as_json else screen.status(f"{faulty.name} …"):
                runs.append(one_run(command, faulty, demo=demo, config=config, timeout=timeout, patience=waits))
            if not as_json:
                alike = ended_alike(runs[:1] + runs[-1:])
                screen.print(report.lines(runs[-1], alike=alike, width=screen.width), soft_wrap=True)
    if as_json:
        echo_json({"command": command, "alike": ended_alike(runs), "runs": [found.as_json() for found in runs]})
    sys.exit(0 if ended_alike(runs) else 1)


def ended_alike(runs: Sequence[Run]) -> bool:
    """Whether the client ended each time as it did without faults, and did end."""
    return {found.seen.exit for found in runs} == {runs[0].seen.exit} != {None}


def one_run(
    command: Sequence[str], faults: FaultSet, *, demo: bool, config: str | None, timeout: float, patience: float
) -> Run:
    """A relay, the client, and what came of it."""
    with (
        tempfile.TemporaryDirectory(prefix="claude-relay-drill-") as place,
        stage(Path(place), faults, demo=demo, config=config, patience=patience) as (relay, needs_key),
    ):
        seen = run(command, environment(f"http://127.0.0.1:{relay.base_port}", needs_key=needs_key), timeout=timeout)
        relay.stop()  # its last rows are written then
        return Run(faults, seen, Figures.of(relay.database))


@contextlib.contextmanager
def stage(
    folder: Path, faults: FaultSet, *, demo: bool, config: str | None, patience: float
) -> Iterator[tuple[Relaying, bool]]:
    """The relay of one run, and whether a client's own credential is to pass through it."""
    if demo:
        with (
            FakeClaude(0.1, [HELLO]) as claude,
            Relaying(folder, with_faults(demo_settings(claude.url), faults, Retry(), patience)) as relay,
        ):
            yield relay, False
        return
    source = load_source(config)
    try:
        copy_vault(source.config.database, folder / "relay.db")
    except (VaultError, StoreError) as error:
        raise Failure(str(error)) from None
    with Relaying(folder, with_faults(settings_of(source), faults, source.config.retry, patience)) as relay:
        yield relay, not pools.needs_none(source.config, None)
