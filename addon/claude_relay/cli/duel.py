"""`duel`: recorded requests at several targets, and how the answers differ.

files, ids ─► Recorded ─► the relay, with `x-relay-target` ─► answers and rows ─► differences ─► table or JSON, exit status
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

import click

from claude_relay.core.duels.comparing import ASPECTS, USUAL, alike, differences
from claude_relay.core.duels.documents import document
from claude_relay.core.duels.fighting import fight
from claude_relay.core.duels.outcomes import Duel, Outcome, Round
from claude_relay.core.installation import command as called
from claude_relay.core.recordings.recorded import Recorded

from .console.common import CONFIG_HELP, load_source, read_for_clients
from .console.screen import Screen
from .console.terminal import echo_json
from .demo import Ending, tidy_endings
from .dueling import comparison
from .dueling.inputs import recorded_at
from .dueling.sending import Sender
from .dueling.serving import Serving, relay_for
from .ledger import Period

type Say = Callable[[str], object]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, metavar="FILE…")
@click.option(
    "--to", "targets", multiple=True, metavar="TARGET", help="PROVIDER, PROVIDER/MODEL or PROVIDER/KEY; twice or more."
)
@click.option("--times", type=click.IntRange(1, 100), default=1, show_default=True, help="Send each request so often.")
@click.option("--limit", type=click.IntRange(1), help="Only so many requests.")
@click.option(
    "--fail-on",
    "decides",
    multiple=True,
    type=click.Choice(tuple(ASPECTS)),
    help=f"What must be alike; several times. Default: {', '.join(USUAL)}.",
)
@click.option("--no-texts", is_flag=True, help="Do not show how texts differ.")
@click.option("--timeout", type=Period(), default="10m", show_default=True, help="How long to wait for a byte.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
def duel(
    files: tuple[str, ...],
    targets: tuple[str, ...],
    times: int,
    limit: int | None,
    decides: tuple[str, ...],
    no_texts: bool,
    timeout: float,
    as_json: bool,
    config: str | None,
) -> None:
    """Send recorded requests to several targets and compare the answers with those of the first.

    FILE is a file of flows (scripts/relay -w, mitmweb's Save), a HAR file, or a request's id when the ledger keeps bodies. Every
    request is paid for at every target. Status 0 when all targets did as the first did, 1 when one did not.

    \b
    Examples:
      scripts/duel agent.flow --to anthropic --to glm/glm-4.6
      scripts/duel req_relay_01a2 --to anthropic --to glm/glm-4.6 --times 3
      scripts/duel agent.har --to anthropic --to openai --fail-on status
    """
    named = tuple(dict.fromkeys(targets))
    if not files:
        raise click.UsageError(f"which requests? For example: {called('duel')} agent.flow --to anthropic --to openai")
    if len(named) < 2:
        raise click.UsageError("a duel takes two targets: --to anthropic --to openai/gpt-5.1")
    source = load_source(config, read_for_clients)
    found = [recorded for name in files for recorded in recorded_at(name, source.config.database)][:limit]
    decides = decides or USUAL
    with tidy_endings() as ending, relay_for(source) as relay:
        check(named, relay)
        sender = Sender(relay.base_url, relay.database, timeout)
        screen = Screen(highlight=False)
        played = Duel(named, tuple(fought(found, named, times, sender, ending)))
    if as_json:
        echo_json(document(played, decides))
    else:
        show(screen, played, decides, texts=not no_texts)
    sys.exit(0 if alike(played, decides) else 1)


def check(targets: Sequence[str], relay: Serving) -> None:
    """Before anything is paid for. Raises UsageError."""
    for target in targets:
        if target.partition("/")[0] not in relay.providers:
            known = ", ".join(relay.providers)
            raise click.UsageError(f"--to {target}: no provider of relay.yaml has that name; there are: {known}")


def fought(
    found: Sequence[Recorded], targets: Sequence[str], times: int, sender: Sender, ending: Ending
) -> list[Round]:
    """Each request to each target, with something that moves."""

    def send(recorded: Recorded, target: str) -> Outcome:
        ending.check()
        return sender.send(recorded, target)

    with progress() as say:
        return list(fight(found, targets, times, send, say))


@contextlib.contextmanager
def progress() -> Iterator[Say]:
    """Something that moves, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    with Screen(stderr=True, highlight=False).status("") as status:
        yield status.update


def show(screen: Screen, played: Duel, decides: Sequence[str], *, texts: bool) -> None:
    """For people."""
    for number, one in enumerate(played.rounds, 1):
        screen.print(comparison.heading(one, number), style="bold", markup=False, no_wrap=True, overflow="ellipsis")
        screen.print(comparison.table(one.outcomes, unlike=differences(one), decides=decides))
        for line in comparison.unlike_lines(one, screen.width, texts):
            screen.print(line, markup=False, soft_wrap=True)
        screen.print()
    if len(played.rounds) > 1:
        screen.print("In sum", style="bold")
        screen.print(comparison.in_sum(played))
        screen.print()
    good = alike(played, decides)
    screen.print(
        comparison.verdict(played, decides, alike=good), style="" if good else "red", markup=False, soft_wrap=True
    )
