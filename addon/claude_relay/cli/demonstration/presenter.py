"""What the demo shows: who plays, then each request with its tries, read from the answer's headers and from the ledger.

    presenter = Presenter(Screen(), database)
    presenter.introduce(claude.url, doors)
    with presenter.waiting(1, request) as hear:
        answer = send(request, doors, agent, hear)
    presenter.show(1, request, answer, agent)

What this module must not know: how requests are sent, how the relay is started.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from claude_relay.cli.console.screen import Screen
from claude_relay.store.db.database import read_only

from .cast import PROVIDER, ROLES, DemoRequest
from .client import Answer, Doors

LEDGER_SECONDS = 3.0
POLL_SECONDS = 0.02
WIDTH = 80
"""Columns of a line."""
QUERY = """
    SELECT n, attempts.provider, attempts.key, attempts.status, verdict, attempts.error
    FROM attempts JOIN requests ON request = id WHERE user_agent = ? ORDER BY n"""


@dataclass(frozen=True, slots=True)
class Tried:
    """A row of `attempts`."""

    n: int
    provider: str
    key: str | None
    status: int | None
    verdict: str | None
    error: str | None


class Presenter:
    """Shows things on a console; reads the relay's database."""

    def __init__(self, console: Screen, database: Path) -> None:
        self.console = console
        self.database = database

    def introduce(self, upstream: str, doors: Doors) -> None:
        """The keys and what happens to them; where everything is."""
        keys = Table(box=None, padding=(0, 1), show_header=False)
        for number, role in enumerate(ROLES, 1):
            keys.add_row("", f"{PROVIDER}/k{number}", role.key, str(role.treatment))
        self.console.print(f"A made-up Claude at {upstream} answers five keys like this:")
        self.console.print(keys)
        self.console.print(f"The relay in front of it: base URL http://127.0.0.1:{doors.base_port}")
        self.console.print(f"                          proxy    http://127.0.0.1:{doors.proxy_port}\n")

    @contextlib.contextmanager
    def waiting(self, number: int, request: DemoRequest) -> Iterator[Callable[[str], object]]:
        """While an answer is on its way: what there is of it. Only a terminal shows it."""
        title = f"{number:2}  {request.title} …"
        with self.console.status(title) as status:
            yield lambda text: status.update(Text(f"{title} {text[-40:]}"))

    def show(self, number: int, request: DemoRequest, answer: Answer, agent: str) -> None:
        """One request: how it ended, and its tries when there were several."""
        tries = self.tries(agent)
        self.console.print(headline(number, request, answer, len(tries)), soft_wrap=True)
        if answer.problem:
            self.console.print(Text(f"      {answer.problem}", "red"), soft_wrap=True)
        for tried in tries if len(tries) > 1 or not answer.good else ():
            self.console.print(line(tried), soft_wrap=True)

    def tries(self, agent: str) -> list[Tried]:
        """The tries of a request, from the ledger. Its row is there before the answer ends, unless the disk is very slow."""
        until = time.monotonic() + LEDGER_SECONDS
        with contextlib.closing(read_only(self.database)) as connection:
            while not (found := rows(connection, agent)) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
        return found


def rows(connection: sqlite3.Connection, agent: str) -> list[Tried]:
    """The tries of the request that came from this user agent."""
    return [Tried(*row) for row in connection.execute(QUERY, [agent])]


def headline(number: int, request: DemoRequest, answer: Answer, tries: int) -> Text:
    """Status, way and subject of a request, the key that the answer's headers name, and how long it took."""
    key = f"{answer.headers.get('x-relay-provider', '?')}/{answer.headers.get('x-relay-key', '?')}"
    counted = int(answer.headers.get("x-relay-attempts", 0))
    said = "1 try" if counted == 1 else f"{counted} tries"
    if counted != tries:
        said += f" ({tries} in the ledger)"
    return Text.assemble(
        f"{number:2}  ",
        (str(answer.status or "---"), "bold green" if answer.good else "bold red"),
        f"  {request.way:8}  {request.title:26}  {key:12} ",
        (f"{said:7}", "yellow" if counted > 1 else ""),
        (f"  {answer.seconds:.1f} s", "dim"),
    )


def line(tried: Tried) -> Text:
    """One try: key, status, verdict, and as much of the reason as fits."""
    style = "green" if tried.verdict == "ok" else "yellow"
    text = Text.assemble(
        (f"      {tried.n}  {tried.provider}/{tried.key or 'client'}  {tried.status or '---'}  ", "dim"),
        (f"{tried.verdict or '?':15}", style),
        (f"  {tried.error}" if tried.error else "", "dim"),
    )
    text.truncate(WIDTH, overflow="ellipsis")
    return text
