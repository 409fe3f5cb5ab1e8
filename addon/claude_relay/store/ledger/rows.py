"""Requests, attempts and charges as rows: what their columns mean, and how long a text in one may be.

    RequestRow(id="…", started_at=…, method="POST", path="/v1/messages", finished="complete", attempts=1)

It must not know how rows get into the database (`tables`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal

LONGEST_TEXT = 255
"""Characters of a text in a row: clients and upstreams choose many of them."""
LONGEST_ERROR = 2000
"""Characters of an error message in a row, and of notes."""
LONG = frozenset({"error", "notes", "route"})

type Finished = Literal["complete", "client_closed", "upstream_closed", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """A row of `requests`: one field a column. Times: Unix seconds; `_ms`: milliseconds; None: unknown.

    `key` is the alias, never the key. `attempts` counts every try. Token counts follow Anthropic's meaning: `input_tokens` excludes
    what was read from or written to the cache. `cost_usd` and `priced_by` are for whoever knows the prices. `route`: which rule of
    `routes` took it, and which of its providers were passed over, and why. `agent`: which of a program's agents sent it;
    `agent_tree`: the one from which that came in the end. `client`, `client_group`: names.
    `upstream_request_id`: the id by which the upstream that answered knows it. `notes`: what was left out or changed for a provider
    of another format, and faults that were made on purpose. `origin`: `client`, `replay` or `duel`; `fault` for whichever met one of
    those. `cache_miss`: why the answer read less from the prompt cache than the turn before had left there, by how many tokens, and what
    these cost more than they would have (core/accounting/cache_misses). `proxy`: the outbound proxy of the
    last attempt, `direct` for none. `estimated`: some of the tokens were not told by the provider, since the answer broke off or was left
    before it did.
    """

    id: str
    started_at: float
    method: str
    path: str
    finished: Finished
    attempts: int
    stream: bool = False
    client: str | None = None
    session: str | None = None
    user_agent: str | None = None
    requested_model: str | None = None
    served_model: str | None = None
    provider: str | None = None
    key: str | None = None
    status: int | None = None
    error_type: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    server_tool_requests: int | None = None
    cost_usd: float | None = None
    priced_by: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    notes: str | None = None
    project: str | None = None
    estimated: bool = False
    upstream_request_id: str | None = None
    client_program: str | None = None
    agent: str | None = None
    route: str | None = None
    error: str | None = None
    origin: str = "client"
    cache_miss: str | None = None
    cache_miss_tokens: int | None = None
    cache_miss_usd: float | None = None
    client_group: str | None = None
    agent_tree: str | None = None
    proxy: str | None = None

    def __post_init__(self) -> None:
        """No text is longer than a row may hold."""
        REQUEST_TEXTS.bound(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRow:
    """A row of `charges`: the `n`th (from 1) of what was billed beside the own model of an attempt, at a price of its own.

    kind   `advisor`, `compaction`, `declined` (a model that had begun to answer when another took over), or what the provider calls it
    terms  at which it was served; see core/accounting/terms
    """

    request: str
    attempt: int
    n: int
    kind: str
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    server_tool_requests: int | None = None
    terms: str | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        """No text is longer than a row may hold."""
        CHARGE_TEXTS.bound(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """A row of `attempts`: the `n`th try (from 1) of the request with that id. `error`: one line, no secrets.

    Tokens and cost are what the upstream billed for this try's own model; those of a request are the sum of its attempts and of their
    `charges`, which have a table of their own. `waited_ms`: for how long the request was held back before it. `terms`: at which it
    was served, where these were not the usual ones.
    """

    request: str
    n: int
    provider: str
    started_at: float
    key: str | None = None
    status: int | None = None
    verdict: str | None = None
    error: str | None = None
    first_byte_ms: float | None = None
    duration_ms: float | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    server_tool_requests: int | None = None
    cost_usd: float | None = None
    terms: str | None = None
    upstream_request_id: str | None = None
    waited_ms: float | None = None
    proxy: str | None = None
    charges: tuple[ChargeRow, ...] = ()

    @property
    def costs(self) -> Iterator[tuple[str | None, float | None]]:
        """What the try cost, by model: itself, and what was billed beside it."""
        yield self.model, self.cost_usd
        for charge in self.charges:
            yield charge.model, charge.cost_usd

    def __post_init__(self) -> None:
        """No text is longer than a row may hold."""
        ATTEMPT_TEXTS.bound(self)


class Texts:
    """The texts of a kind of row."""

    def __init__(self, row: type) -> None:
        self._names = [field.name for field in fields(row) if str(field.type).startswith(("str", "Finished"))]
        self._values = attrgetter(*self._names)

    def bound(self, row: Any) -> None:
        """Cut those that are longer than a row may hold."""
        try:
            if max(map(len, filter(None, self._values(row))), default=0) <= LONGEST_TEXT:  # as nearly always
                return
        except TypeError:  # what is no text is refused when the row is written
            pass
        for name in self._names:
            longest = LONGEST_ERROR if name in LONG else LONGEST_TEXT
            if isinstance(value := getattr(row, name), str):
                object.__setattr__(row, name, value[:longest])


REQUEST_TEXTS, ATTEMPT_TEXTS, CHARGE_TEXTS = Texts(RequestRow), Texts(AttemptRow), Texts(ChargeRow)

type Record = tuple[RequestRow, tuple[AttemptRow, ...]]

REQUEST = tuple(field.name for field in fields(RequestRow))
"""The columns of the table, in the order in which people are shown them."""
ATTEMPT = tuple(field.name for field in fields(AttemptRow) if field.name != "charges")
CHARGE = tuple(field.name for field in fields(ChargeRow))
