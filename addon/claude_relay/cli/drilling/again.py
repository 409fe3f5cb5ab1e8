"""`drill --capsule`: whether the same verdicts come again.

alike = play(screen, Path("report.json"), as_json=False, timeout=60.0)
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from claude_relay.cli.console.screen import Screen
from claude_relay.cli.console.terminal import Failure, echo_json
from claude_relay.cli.demonstration.relaying import Relaying
from claude_relay.cli.spending.source import reading
from claude_relay.core.capsules.capsule import Capsule, read
from claude_relay.store.ledger.lookups import Found, NotOne, find

from .replaying import NOWHERE, Script, Upstream, request, settings

HEADING: Final = f"{'':>2} {'provider':20} {'capsule':28} {'again':28}"
MOST: Final = 256 * 1024 * 1024
"""Bytes of a capsule."""


@dataclass(frozen=True, slots=True)
class Step:
    """An attempt, as it was and as it is now: status and verdict, or nothing."""

    n: int
    provider: str
    before: str
    now: str

    @property
    def alike(self) -> bool:
        """Whether it is the same one."""
        return self.before == self.now


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a replay. `ended`: how the request did, before and now."""

    steps: tuple[Step, ...]
    ended: tuple[str, str]
    notes: tuple[str, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether all verdicts are the same, and the end."""
        return all(step.alike for step in self.steps) and self.ended[0] == self.ended[1]


def play(screen: Screen, file: Path, *, as_json: bool, timeout: float) -> bool:
    """Replay a capsule and show what came of it. Raises Failure for what is none."""
    try:
        if file.stat().st_size > MOST:
            raise ValueError("it is too large to be one")
        capsule = read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Failure(f"{file}: {error}") from None
    if not capsule.attempts:
        raise Failure(f"{file}: the request in it came to no attempt, so there is nothing to replay")
    outcome = replayed(capsule, timeout=timeout)
    if as_json:
        echo_json({"capsule": capsule.request.id, "alike": outcome.alike} | asdict(outcome))
    else:
        show(screen, capsule, outcome)
    return outcome.alike


def replayed(capsule: Capsule, *, timeout: float) -> Outcome:
    """Run it once."""
    script = Script(capsule)
    with tempfile.TemporaryDirectory(prefix="claude-relay-capsule-") as place, Upstream(script) as upstream:
        with Relaying(Path(place), settings(capsule, upstream.url)) as relay:
            request_once(relay.base_port, capsule, timeout)
            relay.stop()  # its last rows are written then
        with reading(relay.database) as connection:
            try:
                found = find(connection, "last")
            except NotOne:
                raise Failure(f"the relay has not relayed it. It said:\n{relay.last_words()}") from None
    return compared(capsule, found, script)


def request_once(port: int, capsule: Capsule, timeout: float) -> None:
    """Send the request; what is answered is in the ledger."""
    head = {"x-api-key": "sk-ant-replayed", "content-type": "application/json", "anthropic-version": "2023-06-01"}
    with closing(HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
        try:
            connection.request(capsule.request.method, capsule.request.path, request(capsule), head)
            connection.getresponse().read()
        except (OSError, HTTPException):
            return  # as a client would see it: the ledger says which it was


def compared(capsule: Capsule, found: Found, script: Script) -> Outcome:
    """What is the same."""
    steps = tuple(
        Step(
            n,
            before.provider if before else now["provider"] if now else "",
            _ended(before.status, before.verdict) if before else "",
            _ended(
                now["status"], now["verdict"], "" if before and before.provider == now["provider"] else now["provider"]
            )
            if now
            else "",
        )
        for n, (before, now) in enumerate(zip_longest(capsule.attempts, found.attempts), 1)
    )
    row = found.request
    ends = (_ended(capsule.request.status, capsule.request.finished), _ended(row["status"], row["finished"]))
    if capsule.request.finished == "client_closed":
        ends = ("client_closed", "client_closed")  # this client stays
    return Outcome(steps, ends, tuple(_notes(capsule, script)))


def _notes(capsule: Capsule, script: Script) -> list[str]:
    """Why something may differ that is no fault of the relay's."""
    providers = capsule.settings.get("providers")
    foreign = [
        str(name)
        for name, provider in (providers.items() if isinstance(providers, dict) else ())
        if isinstance(provider, dict)
        and (provider.get("format", "anthropic") != "anthropic" or provider.get("preset", "anthropic") != "anthropic")
    ]
    notes = [f"asked in Claude's own form here: {', '.join(foreign)}"] if foreign else []
    if any(attempt.verdict in NOWHERE for attempt in capsule.attempts):
        notes.append("a provider could not take the request; that depends on its format, and does not come again")
    if capsule.request.finished == "client_closed":
        notes.append("the client had left; here it stays")
    if script.beyond:
        notes.append(f"{script.beyond} more attempts than the capsule has")
    return notes


def _ended(status: Any, word: Any, where: str = "") -> str:
    return " ".join(str(part) for part in (status, word, where and f"at {where}") if part not in (None, ""))


def show(screen: Screen, capsule: Capsule, outcome: Outcome) -> None:
    """For people."""
    made_by = capsule.versions.get("Claude Relay", "?")
    screen.print(Text(f"{capsule.request.id}, written down by Claude Relay {made_by}"))
    screen.print(HEADING, style="bold")
    for step in (*outcome.steps, Step(0, "the request", *outcome.ended)):
        number = str(step.n) if step.n else ""
        style = "green" if step.alike else "bold red"
        screen.print(
            Text.assemble(
                f"{number:>2} {step.provider:20.20} {step.before or '—':28.28} ", (f"{step.now or '—':.28}", style)
            )
        )
    for note in outcome.notes:
        screen.print(Text(note, style="dim"))
    screen.print(
        "The same came of it." if outcome.alike else "Something else came of it.",
        style="green" if outcome.alike else "bold red",
    )
