"""`usage show`: one request, each attempt on a time line, and what the sums are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from claude_relay.cli.console.terminal import Failure, echo_json
from claude_relay.core.accounting.cache_misses import explained
from claude_relay.core.times import utc
from claude_relay.store.ledger.lookups import Found, NotOne

from .cells import about, count, dollars, duration, estimates
from .forms import console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

LINE: Final = 20
"""Columns of the time line."""

BESIDE: Final = "+"
"""Before what was billed beside an attempt's own model."""

TOKENS: Final[Mapping[str, tuple[str, ...]]] = {
    "tok.\nin": ("input_tokens",),
    "tok.\nout": ("output_tokens",),
    "cache\nread": ("cache_read_tokens",),
    "cache\nwrite": ("cache_write_5m_tokens", "cache_write_1h_tokens"),
}

FACTS: Final[Mapping[str, str]] = {
    "error": "error",
    "route": "route",
    "client": "client",
    "client_program": "program",
    "project": "project",
    "session": "session",
    "agent": "agent",
    "notes": "notes",
    "upstream_request_id": "upstream",
}
"""Columns of a request that are shown where they say something, and what they are called."""

type Row = Mapping[str, Any]


def none_or_several(error: NotOne) -> click.ClickException:
    """What to say when a name does not fit one request."""
    if not error.candidates:
        return Failure(f"No request of the ledger is called {error.name!r}, or begins so.")
    return Failure(f"Several requests begin so: {', '.join(error.candidates)} … – give more of the id.")


def print_json(found: Found) -> None:
    """The columns of all tables, as they are."""
    rows = dict(found.request) | {"attempts": found.attempts, "charges": found.charges}
    echo_json(rows)


def print_request(found: Found) -> None:
    """For people."""
    screen = console()
    for part in _facts(found.request):
        screen.print(part, soft_wrap=False)
    if found.attempts:
        screen.print()
        screen.print(_attempts(found))
    for attempt in found.attempts:
        for line in _story(attempt):
            screen.print(_text(line))


def _story(attempt: Row) -> Iterator[str]:
    """What an attempt waited for, met, and is called at the upstream."""
    if attempt["waited_ms"]:
        yield f"attempt {attempt['n']}: began after a wait of {duration(attempt['waited_ms'])}"
    if attempt["proxy"]:
        yield f"attempt {attempt['n']}: through {attempt['proxy']}"
    if attempt["error"]:
        theirs = f" ({attempt['upstream_request_id']})" if attempt["upstream_request_id"] else ""
        yield f"attempt {attempt['n']}: {attempt['error']}{theirs}"


def _text(text: str) -> Text:
    from rich.text import Text

    return Text(text, overflow="fold")


def _facts(row: Row) -> Iterator[RenderableType]:
    at = utc(row["started_at"]).astimezone()
    yield _text(f"{row['id']}  {at:%Y-%m-%d %H:%M:%S}  {row['method']} {row['path']}")
    served = row["served_model"]
    model = f"{row['requested_model'] or '(no model)'}{f' → {served}' if served else ''}"
    ended = " ".join(str(part) for part in (row["finished"], row["status"], row["error_type"]) if part is not None)
    yield _text(f"model    {model}")
    yield _text(f"ended    {ended} after {duration(row['duration_ms'])}, first token after {duration(row['ttft_ms'])}")
    for name, title in FACTS.items():
        if row[name]:
            yield _text(f"{title:8} {row[name]}")
    if row["origin"] != "client":
        yield _text(f"origin   {row['origin']}")
    if row["cache_miss"]:
        yield _text(f"cache    {missed(row)}")
    price = f" by {row['priced_by']}" if row["priced_by"] else ""
    yield _text(f"cost     {about(row['estimated'])}{dollars(row['cost_usd'])}{price}")
    if row["estimated"]:
        yield _text(estimates(1))


def missed(row: Row) -> str:
    """What a request missed of the prompt cache, and why."""
    cost = f" for {dollars(row['cache_miss_usd'])} more" if row["cache_miss_usd"] is not None else ""
    return f"missed {count(row['cache_miss_tokens'])} tokens{cost}: {explained(row['cache_miss'], fully=True)}"


def _attempts(found: Found) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_footer=True, show_edge=False, padding=0)
    table.add_column("attempt", footer="request", overflow="fold")
    table.add_column("")
    table.add_column("", no_wrap=True)
    for title, names in TOKENS.items():
        table.add_column(title, footer=count(_sum(found.request, names)), justify="right", no_wrap=True)
    table.add_column("cost", footer=dollars(found.request["cost_usd"]), justify="right", no_wrap=True)
    span = _span(found)
    for attempt in found.attempts:
        where = f"{attempt['n']} {attempt['provider']}/{attempt['key'] or '—'}"
        what = " ".join(str(part) for part in (attempt["status"], attempt["verdict"]) if part is not None)
        drawn = _line(found.request, attempt, span)
        table.add_row(Text(where), Text(what), drawn, *_tokens(attempt), dollars(attempt["cost_usd"]))
        for charge in (one for one in found.charges if one["attempt"] == attempt["n"]):
            beside = Text(f"{BESIDE} {charge['kind']} {charge['model'] or ''}".rstrip())
            table.add_row(beside, Text(), "", *_tokens(charge), dollars(charge["cost_usd"]))
    return table


def _tokens(row: Row) -> list[str]:
    return [count(_sum(row, names)) for names in TOKENS.values()]


def _sum(row: Row, names: tuple[str, ...]) -> int | None:
    known = [row[name] for name in names if row[name] is not None]
    return sum(known) if known else None


def _span(found: Found) -> float:
    """Milliseconds that the time line shows."""
    ends = [_since(found.request, attempt) + (attempt["duration_ms"] or 0.0) for attempt in found.attempts]
    return max(found.request["duration_ms"] or 0.0, *ends, 1.0)


def _since(request: Row, attempt: Row) -> float:
    """Milliseconds from the request's begin to the attempt's; a clock that was set back makes none negative."""
    gap = utc(attempt["started_at"]) - utc(request["started_at"])
    return max(gap.total_seconds() * 1000, 0.0)


def _line(request: Row, attempt: Row, span: float) -> str:
    """Light until the first byte, full from it on."""
    start = _since(request, attempt)
    spent, waited = attempt["duration_ms"] or 0.0, attempt["first_byte_ms"]
    begin, end = int((LINE - 1) * start / span), round(LINE * (start + spent) / span)
    first = end if waited is None else min(round(LINE * (start + waited) / span), end)
    drawn = " " * begin + "░" * max(first - begin, 0) + "█" * (end - max(first, begin))
    return (drawn if drawn.strip() else drawn + "▏").ljust(LINE)
