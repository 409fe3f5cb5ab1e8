"""A capsule: what can be told to others of one request, as one JSON document.

    document(request, attempts, charges, bodies, cooldowns, settings, versions, redactor)
    read(data)           -> Capsule, what of it can be replayed; raises ValueError for what is none

Of texts there is nothing in it unless the redactor keeps them: what a provider said of an error is there as far as the verdict table knows
the wording. `capsule` is the version of the form: readers take their own and older ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.redacting.members import Members
from claude_relay.core.redacting.redactor import Redactor
from claude_relay.core.retry.table import TABLE
from claude_relay.core.times import utc

FORMAT: Final = 1
KEPT: Final = [
    "id",
    "started_at",
    "method",
    "path",
    "finished",
    "attempts",
    "stream",
    "requested_model",
    "served_model",
    "provider",
    "key",
    "status",
    "error_type",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_requests",
    "cost_usd",
    "priced_by",
    "ttft_ms",
    "duration_ms",
    "request_bytes",
    "response_bytes",
    "notes",
    "estimated",
    "upstream_request_id",
    "client_program",
    "user_agent",
    "route",
    "origin",
    "cache_miss",
    "cache_miss_tokens",
]
"""Columns of a request that say nothing of who it was."""
PRIVATE: Final = ("client", "session", "project", "agent")
"""Of these only whether there was one."""
OF_ATTEMPTS: Final = [
    "n",
    "provider",
    "key",
    "status",
    "verdict",
    "model",
    "first_byte_ms",
    "duration_ms",
    "waited_ms",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cost_usd",
    "terms",
    "upstream_request_id",
]
WORDINGS: Final = tuple(
    dict.fromkeys(
        word for rule in TABLE.rules for word in (*rule.says, *(code for code in rule.code if not code.isdigit()))
    )
)
"""What providers say, as far as a verdict hangs on it."""
FAULT: Final = "fault: "

type Row = Mapping[str, Any]


class Body(msgspec.Struct, frozen=True):
    """A body that was kept. `n` 0: the client's; `size`: bytes of the whole."""

    n: int
    kind: str
    size: int
    data: bytes


# -- written


def document(
    request: Row,
    attempts: Sequence[Row],
    bodies: Iterable[Body],
    cooldowns: Iterable[Row],
    settings: Any,
    versions: Mapping[str, str],
    redactor: Redactor,
) -> dict[str, Any]:
    """The whole capsule. Rows are those of the ledger, `cooldowns` those that were in force then; `settings` are shown already."""
    texts = redactor.blanks is None
    return {
        "capsule": FORMAT,
        "versions": dict(versions),
        "texts": texts,
        "request": _cleaned(request, KEPT, redactor)
        | {name: bool(request.get(name)) for name in PRIVATE}
        | _words(request.get("error"), redactor),
        "attempts": [_attempt(request, attempt, redactor) for attempt in attempts],
        "cooldowns": [
            {
                name: redactor.text(value) if isinstance(value, str) else value
                for name, value in row.items()
                if name != "reason"
            }
            | {"reason": wordings(str(row.get("reason") or ""))}
            for row in cooldowns
        ],
        "bodies": [_body(body, redactor) for body in bodies],
        "settings": settings,
    }


def _attempt(request: Row, attempt: Row, redactor: Redactor) -> dict[str, Any]:
    gap = utc(attempt["started_at"]) - utc(request["started_at"])
    began = {"began_ms": round(max(0.0, gap.total_seconds() * 1000), 1)}
    return _cleaned(attempt, OF_ATTEMPTS, redactor) | began | _words(attempt.get("error"), redactor)


def _cleaned(row: Row, names: Iterable[str], redactor: Redactor) -> dict[str, Any]:
    return {name: redactor.text(value) if isinstance(value := row.get(name), str) else value for name in names}


def _words(error: str | None, redactor: Redactor) -> dict[str, Any]:
    """What went wrong: the fault that was made on purpose, what of the words is known, and all of them if texts are kept."""
    if not error:
        return {}
    fault, _, said = error.removeprefix(FAULT).partition("; ") if error.startswith(FAULT) else ("", "", error)
    known: dict[str, Any] = {"said": wordings(error)}
    if fault:
        known["fault"] = redactor.text(fault[:60])
    if redactor.blanks is None:
        known["error"] = redactor.text(said)
    return known


def wordings(text: str) -> list[str]:
    """What of a text the verdict table knows."""
    words = " ".join(text.lower().split())
    return [wording for wording in WORDINGS if wording.lower() in words]


def _body(body: Body, redactor: Redactor) -> dict[str, Any]:
    """Its shape; a part of one is only a size."""
    found: dict[str, Any] = {"attempt": body.n, "kind": body.kind, "bytes": body.size, "kept": len(body.data)}
    shown = redactor.body(body.data, ((b"content-type", b""),)) or b""
    if body.size > len(body.data) and redactor.blanks is not None:
        return found
    try:
        found["json"] = msgspec.json.decode(shown)
    except BAD_JSON:
        found["text"] = shown.decode("utf-8", "replace")
    return found


def checked(found: Any, redactor: Redactor) -> Any:
    """The whole document once more, value by value: nothing gets out that somebody forgot."""
    return Members(redactor.finder).clean(found)


# -- read


class Attempt(msgspec.Struct, frozen=True):
    """What came of one attempt."""

    n: int
    provider: str
    verdict: str | None = None
    key: str | None = None
    status: int | None = None
    model: str | None = None
    said: list[str] = []
    error: str = ""
    fault: str = ""
    first_byte_ms: float | None = None


class Request(msgspec.Struct, frozen=True):
    """What was asked, and how it ended."""

    id: str
    method: str
    path: str
    finished: str
    stream: bool | int = False
    requested_model: str | None = None
    status: int | None = None
    route: str | None = None


class KeptBody(msgspec.Struct, frozen=True):
    """The shape of a body."""

    attempt: int
    kind: str
    json: Any = None


class Capsule(msgspec.Struct, frozen=True):
    """What of a capsule can be replayed."""

    capsule: int
    request: Request
    attempts: list[Attempt]
    settings: dict[str, Any] = {}
    bodies: list[KeptBody] = []
    versions: dict[str, str] = {}


def read(data: bytes) -> Capsule:
    """Raises ValueError, saying what is wrong with it."""
    try:
        found = msgspec.json.decode(data, type=Capsule)
    except BAD_JSON as error:
        raise ValueError(f"it is no capsule, or a damaged one ({error})") from None
    if found.capsule > FORMAT:
        made_by = found.versions.get("Claude Relay", "a newer one")
        raise ValueError(
            f"it is of form {found.capsule}, written by Claude Relay {made_by}; this version reads {FORMAT}: update"
        )
    return found
