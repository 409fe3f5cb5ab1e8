"""Keys as a table, as JSON, as CSV.

A table leaves out the columns in which nothing stands; JSON and CSV have all of them, times in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from claude_relay.cli.console import grid
from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.cli.console.width import columns, fitting, shares
from claude_relay.core.keys.check_results import LIMITED, CheckResult
from claude_relay.core.times import ago, seconds_of
from claude_relay.store.vault.records import NewKey, StoredKey, mask
from claude_relay.store.vault.rows import moment

WIDEST = 200
BETWEEN = 2
"""Columns of the terminal between two of the table."""
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
    shown = fitting(_needed(filled), EXPENDABLE, columns())
    _print(filled, shown)
    if left_out := [title for title in filled if title not in shown]:
        echo(f"No room for: {', '.join(left_out)}. --json has them.", err=True)


def results(found: Sequence[tuple[StoredKey, CheckResult]], now: float) -> None:
    """Print what checks found as a table."""
    cells = {
        "key": [key.name for key, _ in found],
        "label": [key.label for key, _ in found],
        "mask": [key.mask for key, _ in found],
        "state": [_until(it.status, it.until, now) for _, it in found],
        "why": [it.reason for _, it in found],
    }
    filled = {title: column for title, column in cells.items() if title in ALWAYS or any(column)}
    _print(filled, fitting(_needed(filled), ("label",), columns()))


def planned(news: Sequence[NewKey]) -> None:
    """Print which keys would be added."""
    cells = {
        "provider": [new.provider for new in news],
        "mask": [mask(new.secret) for new in news],
        "label": [new.label for new in news],
        "tier": [new.tier for new in news],
        "weight": ["" if new.weight == 1.0 else f"{new.weight:g}" for new in news],
        "state": ["" if new.enabled else "disabled" for new in news],
        "proxy": ["own" if new.proxy else "" for new in news],
    }
    grid.show(cells, always=("provider", "mask"), expendable=("proxy", "state", "weight", "tier"), wraps={"label": 20})
    echo(f"Nothing was done. {number(len(news))} would be added; those that are known would stay.")


def plain(key: StoredKey, now: float) -> dict[str, Any]:
    """A key as JSON and CSV tell it; flat, but for the cooldowns. Its names are those that `import` understands."""
    values = asdict(key)
    limits, cooldowns = values.pop("limits"), values.pop("cooldowns")
    listed = [{**cooldown, "until": moment(cooldown["until"])} for cooldown in cooldowns if cooldown["until"] > now]
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
    cooldown = len(found) - NAMED
    return ", ".join(found[:NAMED]) + (f" and {cooldown} more" if cooldown > 0 else "")


def number(count: int) -> str:
    """`1 key`, `2 keys`."""
    return f"{count} key{'' if count == 1 else 's'}"


def _cell(value: object) -> object:
    """As a spreadsheet may have it: what looks like a formula is kept from being one."""
    text = " ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@")) else text


def _needed(cells: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The width at which each column can still be read, with what is between it and the next."""
    return {title: _readable(title, column) + BETWEEN for title, column in cells.items()}


def _readable(title: str, column: Sequence[str]) -> int:
    return min(max(map(len, (title, *column))), WRAPS.get(title, WIDEST))


def _print(cells: Mapping[str, Sequence[str]], shown: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from claude_relay.cli.console.screen import Screen

    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    least = {title: _readable(title, cells[title]) for title in shown}
    wanted = {title: max(map(len, (title, *cells[title]))) for title in shown}
    for title, width in shares(least, wanted, columns() - BETWEEN * len(shown)).items():
        grid.add_column(title, overflow="fold", width=width)
    for row in zip(*(cells[title] for title in shown), strict=True):
        grid.add_row(*(Text(cell, style=_style(title, cell)) for title, cell in zip(shown, row, strict=True)))
    Screen(highlight=False, width=columns()).print(grid)


def _style(title: str, cell: str) -> str:
    return STYLES.get(cell.split(" ")[0].rstrip(","), "") if title == "state" else ""


def _state(key: StoredKey, now: float) -> str:
    """Every state but the usual one, with the end where there is one."""
    ends = [cooldown.until for cooldown in key.cooldowns if not cooldown.scope]
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
        f"{cooldown.scope}: {cooldown.reason}" if cooldown.scope else cooldown.reason
        for cooldown in key.cooldowns
        if cooldown.until > now
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
    used = seconds_of(key.last_used_at)
    return "" if used is None else ago(now - used)


ALWAYS = ("key", "mask", "state")
EXPENDABLE = ("notes", "last used", "proxy", "limits", "used", "weight", "tier", "group", "label", "why")
"""In this order, where room is short."""
WRAPS = {"key": 24, "label": 14, "group": 14, "state": 16, "why": 20, "notes": 20, "limits": 16}
"""Columns that stay readable in this width."""
CELLS: dict[str, Callable[[StoredKey, float], str]] = {
    "key": lambda key, now: key.name,
    "label": lambda key, now: key.label,
    "mask": lambda key, now: key.mask,
    "first": lambda key, now: "chosen" if key.chosen else "",
    "tier": lambda key, now: key.tier,
    "group": lambda key, now: key.group,
    "weight": lambda key, now: "" if key.weight == 1.0 else f"{key.weight:g}",
    "limits": lambda key, now: _limits(key),
    "proxy": lambda key, now: key.proxy or "",
    "state": _state,
    "why": _why,
    "used": lambda key, now: _used(key),
    "last used": _ago,
    "notes": lambda key, now: " ".join(key.notes.split()),
}
