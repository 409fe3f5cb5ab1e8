"""`audit`: who did what to keys, clients and the database, the newest first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from claude_relay.core.installation import command
from claude_relay.core.times import iso, length, seconds_of
from claude_relay.store.audit import Entry, read
from claude_relay.store.db.database import StoreError

from .console import grid
from .console.common import CONFIG_HELP, load_database, shown_path
from .console.terminal import Failure, echo, echo_json
from .console.when import When

TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
LONGEST = 60
"""Characters of a value in the table."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kind", metavar="KIND", help="Only acts on this kind of thing: client, group, key, vault, ledger ….")
@click.option("--subject", metavar="NAME", help="Only acts on the thing of this name: alice, anthropic/v1.")
@click.option("--who", metavar="NAME", help="Only acts of this person.")
@click.option("--since", type=When(), help="Only acts since then: 24h, 7d, 2w, 2026-11-01.")
@click.option("--until", type=When(), help="Only acts before then.")
@click.option(
    "--limit", "most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="So many, the newest."
)
@click.option("--before", type=click.IntRange(1), metavar="ID", help="The next page: acts before the one with this id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--database", type=click.Path(path_type=Path), help="Default: the configuration's `database`.")
@click.option("--config", help=CONFIG_HELP)
def audit(
    kind: str | None,
    subject: str | None,
    who: str | None,
    since: datetime | None,
    until: datetime | None,
    most: int,
    before: int | None,
    as_json: bool,
    database: Path | None,
    config: str | None,
) -> None:
    """Show who did what, when and from where, with what was before and after; the newest first.

    Every change of keys, clients and groups is in it, in the same transaction as the change itself; rows are added only.

    \b
    Examples:
      scripts/audit --since 7d
      scripts/audit --kind client --subject alice
      scripts/audit --who alice --json
    """
    path = database or load_database(config)
    try:
        found = read(
            path,
            kind=kind,
            subject=subject,
            who=who,
            since=iso(since) if since else None,
            until=iso(until) if until else None,
            before=before,
            most=most + 1,
        )
    except StoreError as error:
        raise Failure(str(error)) from None
    shown, more = found[:most], len(found) > most
    if as_json:
        echo_json([asdict(entry) for entry in shown])
        return
    if not shown:
        filtered = any(value is not None for value in (kind, subject, who, since, until, before))
        echo(f"No act fits in {shown_path(path)}." if filtered else f"Nothing was done yet in {shown_path(path)}.")
        return
    _table(shown)
    if more:
        echo(f"There is more: {command('audit')} --before {shown[-1].id}", err=True)


def _table(entries: Sequence[Entry]) -> None:
    grid.show(
        {
            "when": [f"{datetime.fromtimestamp(seconds_of(one.at) or 0):%Y-%m-%d %H:%M}" for one in entries],
            "who": [f"{one.who} ({f'{one.via} {one.place}'.strip()})" for one in entries],
            "act": [one.act for one in entries],
            "what": [f"{one.kind} {one.subject}" for one in entries],
            "change": [changes(one) for one in entries],
        },
        always=("when", "who", "act", "what"),
        wraps={"when": 16, "who": 13, "what": 14, "change": 18},
    )


def changes(entry: Entry) -> str:
    """`rpm: 60 → 120`, in one line."""
    before, after = entry.before or {}, entry.after or {}
    parts = []
    for field in dict.fromkeys([*before, *after]):
        old, new = before.get(field), after.get(field)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            parts += _inner(old if isinstance(old, Mapping) else {}, new if isinstance(new, Mapping) else {})
        elif field == "expires_after":
            parts.append(f"{field}: {f'{_length(old)} → ' if field in before else ''}{_length(new)}")
        elif field in before and field in after:
            parts.append(f"{field}: {_short(old)} → {_short(new)}")
        elif field in after and new not in (None, "", []):
            parts.append(f"{field}: {_short(new)}")
        elif field in before and old not in (None, "", []):
            parts.append(f"{field} was {_short(old)}")
    return ", ".join(parts)


def _inner(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Of a policy: only what differs."""
    names = [
        name
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and (old.get(name) or new.get(name))
    ]
    return [
        f"{name}: {_short(new.get(name))}"
        if not old.get(name)
        else f"{name}: {_short(old.get(name))} → {_short(new.get(name))}"
        for name in names
    ]


def _short(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, list):
        text = ", ".join(_limit(item) if isinstance(item, dict) else str(item) for item in value)
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = _moment(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _length(seconds: Any) -> str:
    return length(seconds) if isinstance(seconds, int | float) else _short(seconds)


def _moment(text: str) -> str:
    """Points in time as this machine's clock has them."""
    at = seconds_of(text) if TIME.fullmatch(text) else None
    return text if at is None else f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"


def _limit(item: Mapping[str, Any]) -> str:
    """A limit as people write it; what else is an object: as JSON."""
    from claude_relay.core.clients.limits import Limit

    try:
        return str(Limit(**item))
    except TypeError:
        return json.dumps(item, ensure_ascii=False)
