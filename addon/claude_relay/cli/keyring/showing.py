"""Keys as a table, as JSON, as CSV.

A table leaves out the columns in which nothing stands; JSON and CSV have all of them, times in UTC.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.core.times import seconds_of
from claude_relay.store.vault.records import LIMITED, CheckResult, StoredKey
from claude_relay.store.vault.rows import moment

PIPE = 200
NAMED = 10
"""As many keys are named in a line; of more the number is said."""
STYLES = {
    "valid": "green",
    "limited": "yellow",
    "cooldown": "yellow",
    "no-credit": "red",
    "revoked": "red",
    "out": "red",
    "unreachable": "yellow",
    "removed": "dim",
    "disabled": "dim",
}


def table(keys: Sequence[StoredKey], now: float) -> None:
    """Print keys as a table: the columns in which something stands, as far as there is room."""
    cells = {title: [cell(key, now) for key in keys] for title, cell in CELLS.items()}
    filled = {title: column for title, column in cells.items() if title in ALWAYS or any(column)}
    shown = _fitting(filled, _width())
    _print(list(shown), list(zip(*shown.values(), strict=True)))
    if left_out := [title for title in filled if title not in shown]:
        echo(f"No room for: {', '.join(left_out)}. --json has them.", err=True)


def results(found: Sequence[tuple[StoredKey, CheckResult]], now: float) -> None:
    """Print what checks found as a table."""
    rows = [(key.name, key.label, key.mask, _until(it.status, it.until, now), it.reason) for key, it in found]
    titles = ["key", "label", "mask", "state", "why"]
    shown = [
        place for place, title in enumerate(titles) if title not in ("label", "why") or any(row[place] for row in rows)
    ]
    _print([titles[place] for place in shown], [tuple(row[place] for place in shown) for row in rows])


def plain(key: StoredKey, now: float) -> dict[str, Any]:
    """A key as JSON and CSV tell it; flat, but for the cooldowns. Its names are those that `import` understands."""
    values = asdict(key)
    limits, cooldowns = values.pop("limits"), values.pop("cooldowns")
    listed = [{**rest, "until": moment(rest["until"])} for rest in cooldowns if rest["until"] > now]
    return {"name": key.name, "states": list(key.states(now)), **values, **limits, "cooldowns": listed}


def as_json(document: object) -> None:
    """Print JSON."""
    echo_json(document)


def as_csv(keys: Sequence[StoredKey], now: float) -> None:
    """Print CSV with a header."""
    rows = [plain(key, now) for key in keys]
    for row in rows:
        row.pop("cooldowns")
    names = [name for name in plain(StoredKey("", "", "", ""), now) if name != "cooldowns"]
    write_csv([names, *([_cell(value) for value in row.values()] for row in rows)], for_import=True)


def names(keys: Iterable[StoredKey]) -> str:
    """`anthropic/v1, anthropic/v2 and 198 more`."""
    found = [key.name for key in keys]
    rest = len(found) - NAMED
    return ", ".join(found[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def number(count: int) -> str:
    """`1 key`, `2 keys`."""
    return f"{count} key{'' if count == 1 else 's'}"


def _cell(value: object) -> object:
    """As a spreadsheet may have it: what looks like a formula is kept from being one."""
    text = " ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@")) else text


def _fitting(columns: Mapping[str, Sequence[str]], room: int) -> dict[str, Sequence[str]]:
    """Without the columns for which there is no room, those that one can do without first."""
    needed = {
        title: min(max(map(len, (title, *column))), WRAPS.get(title, room)) + 3 for title, column in columns.items()
    }
    left_out: set[str] = set()
    for title in EXPENDABLE:
        if sum(width for each, width in needed.items() if each not in left_out) <= room:
            break
        left_out.add(title)
    return {title: column for title, column in columns.items() if title not in left_out}


def _width() -> int:
    """Columns of the terminal; a pipe has no edge."""
    edge = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if edge else PIPE


def _print(titles: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from claude_relay.cli.console.screen import Screen

    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for title in titles:
        grid.add_column(title, overflow="fold", no_wrap=title in ("key", "mask"))
    for row in rows:
        grid.add_row(*(Text(cell, style=_style(title, cell)) for title, cell in zip(titles, row, strict=True)))
    Screen(highlight=False, width=_width()).print(grid)


def _style(title: str, cell: str) -> str:
    return STYLES.get(cell.split(" ")[0].rstrip(","), "") if title == "state" else ""


def _state(key: StoredKey, now: float) -> str:
    """Every state but the usual one, with the end where there is one."""
    ends = [rest.until for rest in key.cooldowns if not rest.scope]
    until = {LIMITED: seconds_of(key.check_until), "cooldown": max(ends, default=None)}
    words = [word for word in key.states(now) if word != "enabled" and (word != "unchecked" or key.source == "vault")]
    return ", ".join(_until(word, until.get(word), now) for word in words) or "enabled"


def _until(word: str, end: float | None, now: float) -> str:
    if end is None or end == math.inf or end <= now:
        return word
    here, today = datetime.fromtimestamp(end).astimezone(), datetime.fromtimestamp(now).astimezone()
    return f"{word} until {here:%H:%M:%S}" if here.date() == today.date() else f"{word} until {here:%Y-%m-%d %H:%M}"


def _why(key: StoredKey, now: float) -> str:
    """Why it has a cooldown, and with which model, and what its last check said."""
    cooldowns = [
        f"{rest.scope}: {rest.reason}" if rest.scope else rest.reason for rest in key.cooldowns if rest.until > now
    ]
    return "; ".join(dict.fromkeys(reason for reason in (*cooldowns, key.check_reason) if reason))


def _limits(key: StoredKey) -> str:
    units = {"requests_per_minute": "requests/min", "tokens_per_minute": "tokens/min", "concurrent": "at once"}
    return ", ".join(f"{value} {units[name]}" for name, value in asdict(key.limits).items() if value is not None)


def _used(key: StoredKey) -> str:
    if not key.attempts:
        return ""
    return f"{key.attempts} ({key.failures} failed)" if key.failures else str(key.attempts)


def _ago(key: StoredKey, now: float) -> str:
    seconds = seconds_of(key.last_used_at)
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if now - seconds >= size:
            return f"{(now - seconds) // size:.0f}{unit} ago"
    return "just now"


ALWAYS = ("key", "mask", "state")
EXPENDABLE = ("notes", "last used", "proxy", "limits", "used", "weight", "tier", "label", "why")
"""In this order, where room is short."""
WRAPS = {"label": 14, "state": 16, "why": 20, "notes": 20, "limits": 16}
"""Columns that stay readable in this width."""
CELLS: dict[str, Callable[[StoredKey, float], str]] = {
    "key": lambda key, now: key.name,
    "label": lambda key, now: key.label,
    "mask": lambda key, now: key.mask,
    "tier": lambda key, now: key.tier,
    "weight": lambda key, now: "" if key.weight == 1.0 else f"{key.weight:g}",
    "limits": lambda key, now: _limits(key),
    "proxy": lambda key, now: key.proxy or "",
    "state": _state,
    "why": _why,
    "used": lambda key, now: _used(key),
    "last used": _ago,
    "notes": lambda key, now: " ".join(key.notes.split()),
}
