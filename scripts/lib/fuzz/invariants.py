"""What must hold, whatever anybody sends.

    alive      the relay's process runs
    served     well-behaved clients get their answers, whole and in time
    answered   a well-formed request is answered or its connection closed, whatever the upstream does
    rows       one row in `requests` for each request that is answered by a provider, none twice
    keys       no key in any output: what clients get (pool keys), log, database, dump of flows, metrics (pool and client keys)
    log        no traceback
    memory     flat: after a warm-up it grows no more than a bound
    files      open files go down to what they were

Each check gives findings; none of them ends the run.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .cases import ANSWER_PARTS, FRAMED, Case
from .reading import Received, texts
from .running import TRACEBACKS, Relay

GROWTH: Final = 64_000_000
"""Bytes that a relay may grow after the warm-up: caches that fill, and what the allocator keeps back."""
MORE_FILES: Final = 24
"""Open files beyond those before the run: connections to upstreams that are kept for later."""
SLICE: Final = 1 << 22
NAME: Final = re.compile(r"fz\d{10}")
AROUND: Final = 1500
"""Bytes on each side of a key that say where it was."""
OVERLAP: Final = AROUND + 200
NOT_THE_RELAYS: Final = b"Exception ignored in: <function _SelectorTransport.__del__"
"""Python 3.13.0 may say so of a connection that is left when its server is closed, at the very end of a process."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`cases`: what may have made it; one where that is known. `detail`: what the relay said."""

    invariant: str
    what: str
    cases: tuple[Case, ...] = ()
    detail: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """Findings of the same kind are told once."""
        return self.invariant, "".join(c for c in self.what if not c.isdigit())[:120]


def leaks(case: Case, found: Received, keys: Iterable[bytes]) -> Iterator[Finding]:
    """Keys of the pools in what a client got."""
    framed = case.part in FRAMED
    data = bytes(found.data)
    if not data:
        return
    seen = list(texts(data, framed=framed))
    for key in keys:
        if any(key in text for text in seen):
            yield Finding("keys", f"a pool's key in what the client got, in {case.part}", (case,))
            return


class Log:
    """The relay's log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.at, self.rest = path, 0, b""

    def findings(self, cases: Sequence[Case]) -> Iterator[Finding]:
        """Tracebacks since the last look, each with its last line."""
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(self.at)
            new = file.read()
            self.at += len(new)
            text = self.rest + new
            for mark in TRACEBACKS:
                start = 0
                while (place := text.find(mark, start)) >= 0:
                    start = place + len(mark)
                    if NOT_THE_RELAYS in text[max(0, place - 200) : place]:
                        continue
                    if place >= len(self.rest) - len(mark) + 1 or not self.rest:
                        said = text[max(0, place - 300) : place + 8000]
                        yield Finding("log", summary(text[place:]), tuple(cases), said.decode("utf-8", "replace"))
            self.rest = text[-max(map(len, TRACEBACKS)) + 1 :]


def summary(text: bytes) -> str:
    """The exception and the place of a traceback."""
    lines = text[:6000].decode("utf-8", "replace").splitlines()
    places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
    error = next(
        (line for line in lines[1:] if line and not line.startswith((" ", "[", "Traceback", "During", "The above"))),
        lines[0],
    )
    return f"{error.strip()[:160]} ({' < '.join(map(short, places[:-3:-1])) or 'no place'})"


def short(place: str) -> str:
    """File, line and function of a line of a traceback."""
    found = re.fullmatch(r'File "(?:.*/)?(.+?)", line (\d+), in (.+)', place)
    return f"{found[1]}:{found[2]} {found[3]}" if found else place


def in_files(paths: Iterable[Path], keys: Collection[bytes]) -> Iterator[Finding]:
    """Keys in what the relay has written."""
    for path in paths:
        with suppress(OSError):
            if found := found_in(path, keys):
                key, around = found
                what = f"a {'pool' if b'-pool-' in key else 'client'} key in {path.name}"
                yield Finding("keys", what, detail=around.decode("utf-8", "backslashreplace"))


def found_in(path: Path, keys: Collection[bytes]) -> tuple[bytes, bytes] | None:
    """The first key in a file, read in slices, and what is around it."""
    rest = b""
    with path.open("rb") as file:
        while data := file.read(SLICE):
            text = rest + data
            for key in keys:
                if (at := text.find(key)) >= 0:
                    return key, text[max(0, at - AROUND) : at + AROUND]
            rest = text[-OVERLAP:]
    return None


@dataclass(slots=True)
class Books:
    """What the ledger must hold. `sent`: name → how many requests with that User-Agent were sent at most; `answered`: names of which an
    answer by a provider came, of those that are well-formed; `asked`: names for which an upstream was asked with a pool's key."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)

    def note(self, case: Case, found: Received) -> None:
        """After a case was sent."""
        self.sent[case.name] += mentions(case.send)
        if case.part in ANSWER_PARTS and b"x-relay-provider" in found.data.lower():
            self.answered.add(case.name)

    def findings(self, database: Path, asked: Iterable[str], cases: Mapping[str, Case]) -> Iterator[Finding]:
        """Against the rows that there are."""
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            rows = Counter(name for (name,) in connection.execute("SELECT user_agent FROM requests"))
            models = [str(model) for (model,) in connection.execute("SELECT DISTINCT requested_model FROM requests")]
        known = set(NAME.findall("\n".join((*map(str, rows), *models))))
        for name, count in rows.items():
            if name in self.sent and count > self.sent[name]:
                yield Finding("rows", f"{count} rows for {self.sent[name]} request(s)", of(name, cases))
        for name in sorted((self.answered | set(asked)) - rows.keys() - known):
            if self.sent.get(name):
                yield Finding("rows", "no row for a request that a provider was asked for", of(name, cases))


def of(name: str, cases: Mapping[str, Case]) -> tuple[Case, ...]:
    """The case of that name, if it is one."""
    return (cases[name],) if name in cases else ()


def mentions(pieces: Iterable[Any]) -> int:
    """How often a User-Agent is sent."""
    total = 0
    for piece in pieces:
        if isinstance(piece, str):
            total += piece.count("@UA@")
        elif isinstance(piece, list):
            total += int(piece[0]) * str(piece[1]).count("@UA@")
        elif "repeat" in piece:
            total += int(piece["repeat"]) * mentions(piece["of"])
        elif "frame" in piece:
            text = str(piece.get("payload", "")) + "".join(
                str(value) for pair in piece.get("fields", ()) for value in pair
            )
            total += text.count("@UA@") * int(piece.get("times", 1))
    return total


def of_resources(before: tuple[int, int], warm: int, relay: Relay, end: tuple[int, int]) -> Iterator[Finding]:
    """`before`, `end`: memory and files; `warm`: memory after the warm-up, 0 where the run was too short for one."""
    if warm and end[0] - warm > GROWTH:
        yield Finding(
            "memory", f"{relay.folder.name}: grew from {warm / 1e6:.0f} MB after the warm-up to {end[0] / 1e6:.0f} MB"
        )
    if before[1] and end[1] - before[1] > MORE_FILES:
        yield Finding("files", f"{end[1]} open files with nobody connected, {before[1]} before")
