"""Claude Code through a pool of one good key and one of each bad kind, for so many turns: how many of them are answered?

    PYTHONPATH=addon:tests .venv/bin/python -m clients.turns 50 --way "base url" --mode session

A turn is a prompt and its answer. `session`: ten turns in a row in one process, then the next process; `runs`: `claude -p` anew for
each. A process is a conversation, which has to find its key anew.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from waiting import PATIENCE
from wire import steps
from wire.relay import make_confdir, rows
from wire.upstream import FakeUpstream, Step

from . import mind
from .stage import WAYS, Relay, Shell

RUN = ("-p", "--allowedTools=Bash")
GOOD = "good"
BAD: dict[str, Step] = {
    "refused": steps.status(401, "authentication_error", "invalid x-api-key"),
    "limited": steps.status(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit",
        headers=[("retry-after", "60")],
    ),
    "overloaded": steps.status(529, "overloaded_error", "Overloaded"),
    "penniless": steps.status(
        400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."
    ),
    "cut": steps.fault("cut_early"),
    "cut-late": steps.fault("cut_late"),
    "error-first": steps.fault("error_first"),
}
"""What each bad kind of key is answered, always."""


def key_of(kind: str) -> str:
    """A key as the provider's look."""
    return f"sk-ant-api03-{kind}-of-the-tests"


@dataclass
class Report:
    """What became of the turns."""

    turns: int
    seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)
    """Turn → what Claude Code said instead of the answer."""
    keys: Counter[str] = field(default_factory=Counter)
    """Requests the upstream had, by the kind of their key."""
    statuses: Counter[str] = field(default_factory=Counter)
    """What the relay answered Claude Code, by status and how it ended."""

    def text(self) -> str:
        lines = [f"{self.turns - len(self.failures)} of {self.turns} turns answered in {self.seconds:.1f} s"]
        lines += [f"  turn {turn}: {said}" for turn, said in self.failures.items()]
        lines += [f"  {name}: {dict(found)}" for name, found in (("keys", self.keys), ("relay", self.statuses))]
        return "\n".join(lines)


@contextmanager
def pool(folder: Path, confdir: Path, kinds: Sequence[str], strategy: str) -> Iterator[tuple[Relay, FakeUpstream]]:
    """A relay with its usual settings but for the strategy; the good key is the last of its pool."""
    (folder / "relay").mkdir()
    with FakeUpstream(default=mind.step()) as upstream:
        for kind in kinds:
            upstream.for_key(key_of(kind), BAD[kind])
        with Relay(folder / "relay", confdir, upstream.url, [*map(key_of, kinds), key_of(GOOD)], strategy) as relay:
            yield relay, upstream


def prompt_of(turn: int) -> tuple[str, str]:
    """What is asked and what must be answered; every third turn takes tools."""
    if turn % 3 == 1:
        return f"run `echo {turn}a`, `echo {turn}b`", f"It said: {turn}a, {turn}b"
    return f"question #{turn}", f"answer {turn}"


def session(shell: Shell, prompts: Iterable[str], each: int) -> Iterator[str]:
    """The answer to each prompt, so many of them by one process."""
    for some in itertools.batched(prompts, each):
        yield from _conversation(shell, some)


def _conversation(shell: Shell, prompts: Iterable[str]) -> Iterator[str]:
    words = [*RUN, "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
    with subprocess.Popen(
        shell.command("claude", *words),
        env=shell.environ,
        cwd=shell.work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for prompt in prompts:
            patience = threading.Timer(PATIENCE, process.kill)
            patience.start()
            try:
                answer = _turn(process, prompt)
            finally:
                patience.cancel()
            yield answer


def _turn(process: subprocess.Popen[str], prompt: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    said = {"type": "user", "message": {"role": "user", "content": prompt}}
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(said) + "\n")
        process.stdin.flush()
    results = (found for found in map(json.loads, process.stdout) if found["type"] == "result")
    return str(next(results, {}).get("result", "no answer, the process has ended"))


def runs(shell: Shell, prompts: Iterable[str], each: int) -> Iterator[str]:
    """The answer to each prompt, each by a process of its own."""
    for prompt in prompts:
        yield shell.run("claude", *RUN, prompt, fails=True).rstrip("\n")


MODES: dict[str, Callable[[Shell, Iterable[str], int], Iterator[str]]] = {"session": session, "runs": runs}


def drive(
    folder: Path,
    confdir: Path,
    turns: int,
    *,
    kinds: Sequence[str] = tuple(BAD),
    way: str = "base url",
    mode: str = "session",
    strategy: str = "headroom",
    each: int = 10,
    tell: Callable[[str], object] = lambda said: None,
) -> Report:
    """So many turns in one way and one mode.

    each   turns of one process
    tell   is told of every turn that failed as soon as it has
    """
    report = Report(turns)
    begun = time.monotonic()
    with pool(folder, confdir, kinds, strategy) as (relay, upstream):
        shell = Shell(folder, relay, way)
        prompts = [prompt_of(turn) for turn in range(turns)]
        answers = MODES[mode](shell, (asked for asked, _ in prompts), each)
        for turn, ((_, expected), answer) in enumerate(zip(prompts, answers, strict=True)):
            if answer != expected:
                report.failures[turn] = answer
                tell(f"turn {turn} of {turns} failed")
        report.keys = Counter(key.split("-", 3)[3].removesuffix("-of-the-tests") for key in upstream.used_keys())
        report.statuses = Counter(f"{row['status']} {row['finished']}" for row in rows(relay.database))
    report.seconds = time.monotonic() - begun
    return report


@click.command()
@click.argument("turns", type=int, default=50)
@click.option(
    "--bad", "kinds", multiple=True, type=click.Choice(list(BAD)), default=list(BAD), help="Kinds of bad keys."
)
@click.option("--way", type=click.Choice(list(WAYS)), default="base url", show_default=True)
@click.option("--mode", type=click.Choice(list(MODES)), default="session", show_default=True)
@click.option(
    "--strategy", default="headroom", show_default=True, help="How the relay takes keys; priority: bad ones first."
)
def main(turns: int, kinds: tuple[str, ...], way: str, mode: str, strategy: str) -> None:
    """Drive Claude Code through the pool for TURNS turns and say how many were answered."""
    with tempfile.TemporaryDirectory() as name:
        confdir = Path(name) / "mitmproxy"
        confdir.mkdir()
        ca = make_confdir(confdir)
        report = drive(Path(name), ca, turns, kinds=kinds, way=way, mode=mode, strategy=strategy, tell=click.echo)
    click.echo(report.text())
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
