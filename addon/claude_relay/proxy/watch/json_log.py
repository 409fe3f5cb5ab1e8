"""The log as JSON lines on stderr, for a collector: what the relay says, warnings of everybody else, and one line a settled request.

    log = JsonLog()
    log.install()
    log.settled(request, attempts)
    log.remove()

    {"time":"2026-11-22T08:00:25.123Z","level":"warning","logger":"claude_relay.proxy.flow.settle","message":"…"}
    {"time":"…","level":"info","logger":"claude_relay.requests","message":"request","request":{…},"attempts":[{…}]}

Beside mitmproxy's own lines on stdout, not in their place. A request's fields are the ledger's columns, so there is no key in them; in
messages, what looks like one is struck out. A thread writes. Must not know flows.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any

import msgspec

from claude_relay.core.errors import SECRET
from claude_relay.core.times import iso
from claude_relay.proxy.log.queued import Queued
from claude_relay.proxy.log.terminal import CONSOLE
from claude_relay.store.ledger.ledger import AttemptRow, ChargeRow, RequestRow
from claude_relay.store.ledger.rows import ATTEMPT, CHARGE, REQUEST

OURS = "claude_relay"
OF_THE_ATTEMPT = tuple(name for name in ATTEMPT if name != "request")
OF_THE_CHARGE = tuple(name for name in CHARGE if name != "request")
OWN_ID = re.compile(r"req_relay_[0-9a-f]{24}")

type Line = dict[str, Any]


class JsonLog(Queued):
    """A handler of the root logger while installed. `stream`: stderr unless told otherwise."""

    def __init__(self, stream: Callable[[], IO[str]] = lambda: sys.stderr) -> None:
        super().__init__(stream)
        self.setLevel(logging.INFO)
        self.setFormatter(_Lines())

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """All that the relay says; of others, warnings."""
        if record.name == CONSOLE:  # as columns: `settled`
            return False
        wanted = record.levelno >= logging.WARNING or record.name.split(".", 1)[0] == OURS
        return super().filter(record) if wanted else False

    def settled(self, request: RequestRow, attempts: Sequence[AttemptRow]) -> None:
        """Write a request that is over. Never raises."""
        line: Line = {"request": columns(request, REQUEST)}
        line["attempts"] = [columns(attempt, OF_THE_ATTEMPT) for attempt in attempts]
        if charges := [columns(charge, OF_THE_CHARGE) for attempt in attempts for charge in attempt.charges]:
            line["charges"] = charges
        said = {
            "name": f"{OURS}.requests",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "request",
            "columns": line,
        }
        self.handle(logging.makeLogRecord(said))


class _Lines(logging.Formatter):
    """A record as a line, without its end."""

    def format(self, record: logging.LogRecord) -> str:
        """A request's columns go with the record as `columns`."""
        line = head(record.created, record.levelname, record.name, without_secrets(record.getMessage()))
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return encode(line | getattr(record, "columns", {})).decode()


def head(at: float, level: str, logger: str, message: str) -> Line:
    """What all lines have. `at`: Unix seconds."""
    return {"time": iso(at), "level": level.lower(), "logger": logger, "message": message}


def columns(row: RequestRow | AttemptRow | ChargeRow, names: Sequence[str]) -> Line:
    """A row without what is unknown."""
    return {name: value for name in names if (value := getattr(row, name)) is not None}


def encode(line: Line) -> bytes:
    """One line. A client's header may hold bytes that are no UTF-8, as lone surrogates."""
    try:
        return msgspec.json.encode(line)
    except UnicodeEncodeError:
        return msgspec.json.encode(storable(line))


def storable(value: Any) -> Any:
    """The same with question marks for what UTF-8 cannot hold."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {name: storable(inner) for name, inner in value.items()}
        case list():
            return [storable(inner) for inner in value]
    return value


def without_secrets(text: str) -> str:
    """Whatever looks like a credential, struck out; the relay's own request ids are none."""
    return SECRET.sub(_unless_own, text)


def _unless_own(found: re.Match[str]) -> str:
    return found[0] if OWN_ID.fullmatch(found[0]) else "…"
