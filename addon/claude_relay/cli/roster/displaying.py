"""Clients and groups as tables, JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from claude_relay.cli.console import grid
from claude_relay.cli.console.terminal import echo_json, write_csv
from claude_relay.cli.spending.cells import count, dollars
from claude_relay.core.clients.limits import Limit
from claude_relay.core.times import DAY, HOUR, MINUTE, ago, length, seconds_of
from claude_relay.store.clients import consumption
from claude_relay.store.clients.descriptions import DISABLED, ENABLED, EXPIRED, GROUP_OFF, REMOVED, group_state, state
from claude_relay.store.clients.rows import StoredClient, StoredGroup
from claude_relay.store.ledger.lines import Line

from . import policies

STYLES = {DISABLED: "dim", REMOVED: "dim", EXPIRED: "red", GROUP_OFF: "yellow"}
SOON = 7 * DAY
"""From here on a table says when a client expires."""
NAMED = 5

type Uses = Mapping[str, Line]
"""Name of a client → what it used."""


def table(clients: Sequence[StoredClient], groups: Mapping[str, StoredGroup], today: Uses, now: float) -> None:
    """Print clients."""
    used = [today.get(client.name) for client in clients]
    cells = {
        "client": [client.name for client in clients],
        "group": [client.group or "" for client in clients],
        "state": [_state(client, groups, now) for client in clients],
        "key": [client.keys[-1].mask if client.keys else "" for client in clients],
        "limits": [_limits(len(client.policy.limits)) for client in clients],
        "last used": [_ago(client.last_used_at, now) or "never" for client in clients],
        "today": [count(line.requests) if line else "" for line in used],
        "cost": [dollars(line.cost_usd) if line and line.cost_usd is not None else "" for line in used],
        "tags": [", ".join(client.tags) for client in clients],
        "owner": [client.owner for client in clients],
        "note": [client.note for client in clients],
    }
    grid.show(
        cells,
        always=("client", "state", "last used"),
        expendable=("owner", "tags", "note", "limits", "key", "cost", "group"),
        wraps={"client": 20, "group": 12, "state": 16, "note": 16, "tags": 12, "owner": 12},
        right=("today", "cost"),
        style=_style,
    )


def group_table(groups: Sequence[StoredGroup], clients: Sequence[StoredClient], today: Uses) -> None:
    """Print groups, with the use of their clients of today."""
    members = {
        group.name: [one for one in clients if one.group == group.name and not one.removed_at] for group in groups
    }
    used = {name: [today[one.name] for one in found if one.name in today] for name, found in members.items()}
    cells = {
        "group": [group.name for group in groups],
        "state": [group_state(group) for group in groups],
        "clients": [str(len(members[group.name])) for group in groups],
        "today": [_requests(used[group.name]) for group in groups],
        "cost": [_cost(used[group.name]) for group in groups],
        "limits": ["; ".join(map(str, group.policy.limits)) for group in groups],
        "settings": [group.settings or "" for group in groups],
        "note": [group.note for group in groups],
    }
    grid.show(
        cells,
        always=("group", "state", "clients"),
        expendable=("settings", "note", "limits", "cost", "today"),
        wraps={"group": 20, "limits": 24, "note": 16, "settings": 16},
        right=("clients", "today", "cost"),
        style=_style,
    )


def stats(clients: Sequence[StoredClient], uses: Uses, now: float) -> None:
    """Print what clients used, with a total."""
    lines = [(client, uses[client.name]) for client in clients if client.name in uses]
    sums = consumption.total([line for _, line in lines])
    rows = [(client.name, client.group or "", line, _ago(client.last_used_at, now)) for client, line in lines]
    rows.append(("total", "", sums, ""))
    cells = {
        "client": [name for name, *_ in rows],
        "group": [group for _, group, *_ in rows],
        "requests": [count(line.requests) for _, _, line, _ in rows],
        "errors": [count(line.errors) if line.errors else "" for _, _, line, _ in rows],
        "input": [count(line.input_tokens) for _, _, line, _ in rows],
        "output": [count(line.output_tokens) for _, _, line, _ in rows],
        "cached": [count(line.cache_read_tokens) for _, _, line, _ in rows],
        "cost": [dollars(line.cost_usd) for _, _, line, _ in rows],
        "last used": [used for *_, used in rows],
    }
    grid.show(
        cells,
        always=("client", "requests", "cost"),
        expendable=("cached", "last used", "group", "output", "input"),
        wraps={"client": 20, "group": 12},
        right=("requests", "errors", "input", "output", "cached", "cost"),
        style=lambda title, cell: "bold" if title == "client" and cell == "total" else "",
    )


def details(
    client: StoredClient,
    groups: Mapping[str, StoredGroup],
    uses: Mapping[str, Line | None],
    of_limits: tuple[Mapping[Limit, float], Mapping[Limit, float]],
    now: float,
) -> None:
    """Print all that is known of a client. `uses`: of today, of this month; `of_limits`: USD of its own, and of those of its group."""
    lines = [("client", client.name), ("state", _state(client, groups, now))]
    lines += _given(
        ("group", client.group), ("note", client.note), ("tags", ", ".join(client.tags)), ("owner", client.owner)
    )
    lines += [("priority", str(client.priority))] if client.priority != 1 else []
    lines += [("expires", expiry)] if (expiry := _expiry(client, now)) else []
    lines += [("keys" if n == 0 else "", _key(key, now)) for n, key in enumerate(client.keys)]
    lines += policies.lines(client.policy, of_limits[0])
    group = groups.get(client.group or "")
    inherited = policies.grouped(group.policy, of_limits[1]) if group else []
    lines += [("of group" if n == 0 else "", f"{name}: {value}") for n, (name, value) in enumerate(inherited)]
    lines += [("made", when(client.created_at))]
    used = f"{when(client.last_used_at)} ({_ago(client.last_used_at, now)})" if client.last_used_at else "never"
    lines += [("last used", used)]
    lines += [(name, _use(line)) for name, line in uses.items() if line is not None]
    grid.details(lines)


def group_details(group: StoredGroup, members: Sequence[StoredClient], of_limits: Mapping[Limit, float]) -> None:
    """Print all that is known of a group. `of_limits`: what is used of its limits, in USD."""
    names = [client.name for client in members if client.removed_at is None]
    lines = [("group", group.name), ("state", group_state(group))]
    lines += _given(("note", group.note), ("settings", group.settings))
    lines += policies.lines(group.policy, of_limits)
    lines += [("clients", ", ".join(names) or "none"), ("made", when(group.created_at))]
    grid.details(lines)


def as_json(document: object) -> None:
    """Print JSON."""
    echo_json(document)


def as_csv(rows: Sequence[Mapping[str, Any]], *, for_import: bool = False) -> None:
    """Print CSV with a header; lists with semicolons between."""
    if rows:
        write_csv([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)], for_import=for_import)


def named(names: Sequence[str]) -> str:
    """`alice, bob and 198 more`."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def when(text: str | None) -> str:
    """A point in time of this machine's time zone, to the minute."""
    at = seconds_of(text)
    return "" if at is None else f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"


def _state(client: StoredClient, groups: Mapping[str, StoredGroup], now: float) -> str:
    word, ends = state(client, groups, now), client.ends_at
    if word == ENABLED and ends is not None and ends < now + SOON:
        left = ends - now
        unit = DAY if left >= DAY else HOUR if left >= HOUR else MINUTE
        return f"expires in {length(max(round(left / unit), 1) * unit)}"
    return word


def _style(title: str, cell: str) -> str:
    return (STYLES.get(cell) or ("yellow" if cell.startswith("expires") else "")) if title == "state" else ""


def _expiry(client: StoredClient, now: float) -> str:
    parts = []
    if client.expires_at is not None:
        parts.append(when(client.expires_at))
    if client.expires_after is not None:
        after = f"{length(client.expires_after)} after the first use"
        ends = client.ends_at if client.first_used_at else None
        parts.append(after if ends is None else f"{after}: {datetime.fromtimestamp(ends):%Y-%m-%d %H:%M}")
    return ", ".join(parts)


def _key(key: Any, now: float) -> str:
    until = seconds_of(key.valid_until)
    if until is None:
        return f"{key.mask} of {when(key.created_at)}"
    return f"{key.mask} {'was valid until' if until <= now else 'is replaced, and valid until'} {when(key.valid_until)}"


def _given(*lines: tuple[str, str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in lines if value]


def _use(line: Line) -> str:
    requests = f"{line.requests:,} request{'' if line.requests == 1 else 's'}"
    return f"{requests}, {count(line.input_tokens)} in, {count(line.output_tokens)} out, {dollars(line.cost_usd)}"


def _requests(lines: Sequence[Line]) -> str:
    return count(sum(line.requests for line in lines)) if lines else ""


def _cost(lines: Sequence[Line]) -> str:
    found = consumption.total(lines).cost_usd
    return dollars(found) if found is not None else ""


def _limits(number: int) -> str:
    return str(number) if number else ""


def _ago(text: str | None, now: float) -> str:
    at = seconds_of(text)
    return "" if at is None else ago(now - at)


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(str(item["mask"]) if isinstance(item, dict) else str(item) for item in value)
    return value
