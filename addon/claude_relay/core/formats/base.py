"""What a format is: how one kind of provider is asked, and how its answers are read.

    Conversation ──► format.request ──► Sent          path and JSON for the provider
    JSON answer  ──► format.answer(body, writer)  ─┐
    SSE events   ──► format.stream(writer).event() ┴─► Writer ──► Claude's JSON or SSE
    error answer ──► format.error ──► Problem         status, type and message in Claude's words

A format is a module with these functions (`Format.of`), and adding one is adding a module: see `formats/__init__.py`. It must not
know keys, routes, sockets or the clock. Nothing in it is kept between two requests; what must be (a provider's signatures) goes out as
`Writer.remember` and comes back as `Asked.recall`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import msgspec

from claude_relay.core.bodies.lenient import BOM, value
from claude_relay.core.errors import RelayError, error_type
from claude_relay.core.exchange import Outcome

from .conversation import Conversation, Json

if TYPE_CHECKING:
    from .writer import Writer


class Unsuited(RelayError):
    """This provider cannot be asked this. `field` is the path in Claude's request, e.g. `messages.2.content.0.source`."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(400, f"{field}: {why}", final=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for one provider.

    conversation  what the client asked; `model` in it is the client's name
    model         the model's name at the provider
    options       peculiarities of the provider, by the names that the format's module documents; unknown ones are ignored
    recall        what `Writer.memories` held for this conversation's answers, by the ids of tool calls and other keys of `recalling`
    """

    conversation: Conversation
    model: str
    options: Json = field(default_factory=dict)
    recall: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider's request.

    path   after the provider's base URL, with a query if it needs one
    body   JSON
    notes  what was left out or changed for this provider, each a short line that names the field
    names  the client's names of tools, by the names they have in this request (only those that differ)
    """

    path: str
    body: bytes
    notes: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer in Claude's words.

    status       as Claude's API would answer: https://docs.claude.com/en/api/errors
    type         Claude's error type
    message      the provider's own words; for a prompt that is too long they begin with `prompt is too long`, on which clients compact
    code         the provider's own code (`insufficient_quota`, `RESOURCE_EXHAUSTED`), for the verdict table; empty when it has none
    retry_after  seconds, where the body tells them
    """

    status: int
    type: str
    message: str
    code: str = ""
    retry_after: float | None = None


class EventReader(Protocol):
    """Reads one stream of a provider."""

    def event(self, name: str, data: Json) -> None:
        """The next event: its `event:` name (often empty) and its JSON object. `[DONE]` does not come here. Must not raise on odd data."""

    def end(self, *, done: bool) -> None:
        """The stream is over. `done`: `[DONE]` was seen. A reader that knows the answer to be whole calls `writer.finish()`."""


@dataclass(frozen=True, slots=True)
class Format:
    """The functions of one format; `count` and `counted` where the provider can count tokens by itself."""

    request: Callable[[Asked], Sent]
    answer: Callable[[Json, Writer], None]
    stream: Callable[[Writer], EventReader]
    error: Callable[[int, Mapping[str, str], bytes], Problem]
    count: Callable[[Asked], Sent] | None = None
    counted: Callable[[Json], int] | None = None

    def as_claude(self, outcome: Outcome, request_id: str) -> Outcome:
        """An error answer in Claude's form, for the client and for the verdict; anything else stays as it is.

        Status, type and words are as Claude would say it; the provider's own code goes along as `error.details.error_code`.
        """
        if outcome.status is None or outcome.status < 400 or outcome.failure is not None:
            return outcome
        problem = self._problem(outcome.status, outcome)
        details = {"details": {"error_code": problem.code}} if problem.code else {}
        error = {"type": problem.type, "message": problem.message} | details
        headers = {name: value for name, value in outcome.headers.items() if not name.startswith("content-")}
        headers["request-id"] = headers.get("x-request-id") or headers.get("request-id") or request_id
        if problem.retry_after is not None and "retry-after" not in headers:
            headers["retry-after"] = str(math.ceil(problem.retry_after))
        return replace(
            outcome,
            status=problem.status,
            headers=headers,
            body=msgspec.json.encode({"type": "error", "error": error, "request_id": request_id}),
            message=f"{outcome.status} {problem.code or problem.type}",
            foreign=bool(outcome.body.strip()) and not isinstance(value(outcome.body.removeprefix(BOM)), dict | list),
        )

    def _problem(self, status: int, outcome: Outcome) -> Problem:
        """As the format reads it. One that fails over an error, or takes it for none, must not hide it."""
        try:
            problem = self.error(status, outcome.headers, outcome.body)
        except Exception as fault:
            words = f"the provider answered {status}, and its format cannot read why ({type(fault).__name__})"
            return Problem(status, error_type(status), words)
        if 400 <= problem.status < 600:
            return problem
        return replace(problem, status=status, type=error_type(status))

    @classmethod
    def of(cls, module: object) -> Format:
        """The format that a module is. Raises AttributeError naming a function that it lacks."""
        required = {name: getattr(module, name) for name in ("request", "answer", "stream", "error")}
        return cls(**required, count=getattr(module, "count", None), counted=getattr(module, "counted", None))
