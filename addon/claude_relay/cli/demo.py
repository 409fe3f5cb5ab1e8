"""`demo`: a made-up Claude, the real relay in front of it, a dozen requests, and what was written down of them.

    signals ─► temporary folder ─► FakeClaude ─► Relaying ─► send … send ─► usage table ─► everything is taken down again

No account, no network, nothing of the user's settings, and nothing stays behind, also when it is interrupted. `demo keys`: `simulation`.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from claude_relay.core.installation import command

from .checkout import of_checkout
from .console.screen import Screen
from .demonstration.cast import REQUESTS, DemoRequest
from .demonstration.claude import FakeClaude
from .demonstration.client import Doors, send
from .demonstration.presenter import Presenter
from .demonstration.relaying import Relaying, configuration
from .usage import usage

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
NEXT = f"""\
Every request got its answer; no program has seen a failed try.
The same with keys of yours:

  export ANTHROPIC_API_KEYS=sk-ant-…,sk-ant-…
  {command("relay")}

and in another terminal (any other program can stand in the place of claude):

  {command("env")} -- claude
  {command("usage")}
"""


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def demo(context: click.Context) -> None:
    """Show the relay at work on this machine, without any account: five keys, of which three fail, and a dozen requests.

    Ends by itself after a few seconds and leaves nothing behind; the exit status is 0 when every request was answered with 200.

    \b
    Examples:
      scripts/demo
      scripts/demo keys
    """
    if context.invoked_subcommand is None:
        sys.exit(0 if play(Screen(highlight=False)) else 1)


demo.add_command(of_checkout("simulation.command", "keys"))


def play(console: Screen, requests: Sequence[DemoRequest] = REQUESTS, *, pace: float = 1.0) -> bool:
    """The whole demo. True when every request was answered with 200. `pace`: 0.0 leaves out what is for the eye only."""
    with (
        tidy_endings() as ending,
        tempfile.TemporaryDirectory(prefix="claude-relay-demo-") as folder,
        FakeClaude(pace) as claude,
        Relaying(Path(folder), configuration(claude.url)) as relay,
    ):
        doors = Doors(relay.base_port, relay.proxy_port, relay.ca)
        presenter = Presenter(console, relay.database)
        presenter.introduce(claude.url, doors)
        good = send_all(requests, presenter, doors, ending)
        show_usage(console, relay.database)
    if good:
        console.print(NEXT, soft_wrap=True, end="")
    else:
        console.print("Not every request was answered: see the lines above.", style="bold red")
    return good


def send_all(requests: Sequence[DemoRequest], presenter: Presenter, doors: Doors, ending: Ending) -> bool:
    """All requests, one after the other. True when all were answered well."""
    good = True
    for number, request in enumerate(requests, 1):
        ending.check()
        agent = f"claude-relay-demo/{number}"
        with presenter.waiting(number, request) as hear:
            answer = send(request, doors, agent, hear)
        presenter.show(number, request, answer, agent)
        good = good and answer.good
    return good


def show_usage(console: Screen, database: Path) -> None:
    """What the ledger says in sum, as `scripts/usage` shows it."""
    console.print(f"\nWhat the ledger says ({command('usage')} --by key):")
    usage.main(["--by", "key", "--database", str(database)], standalone_mode=False)


class Ending:
    """Whether a signal to end has come. Python drops what a handler raises inside a destructor, so it is asked for as well."""

    status: int | None = None

    def check(self) -> None:
        """Raises SystemExit once a signal has come."""
        if self.status is not None:
            raise SystemExit(self.status)

    def come(self, number: int, _frame: FrameType | None) -> None:
        """The handler."""
        for other in ENDINGS:
            signal.signal(other, signal.SIG_IGN)
        self.status = 128 + number
        self.check()


@contextlib.contextmanager
def tidy_endings() -> Iterator[Ending]:
    """The first signal to end unwinds everything, the next ones cannot disturb that. Ignored ones (nohup) stay ignored."""
    ending = Ending()
    old = {number: signal.getsignal(number) for number in ENDINGS}
    try:
        for number, handler in old.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, ending.come)
        yield ending
    finally:
        for number, handler in old.items():
            signal.signal(number, handler or signal.SIG_DFL)
    ending.check()
