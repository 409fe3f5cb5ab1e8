"""The checks of what money, notices and stored bodies are set with: prices, shares, days, sizes, where notices go.

>>> size("256KiB")
262144

Every check raises ValueError with a sentence that ends in the remedy and never repeats what it was given, for the address
of a webhook may be a credential. It must not know the sections that use it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from .problems import Place, suggest
from .values import base_url, provider_name

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
STOP, WARN = "stop", "warn"
THEN = (STOP, WARN)
UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2, "gb": 1000**3, "gib": 1024**3}
_SIZE = re.compile(r"(\d{1,12})\s*([kmgib]*)", re.ASCII)
_DECIMAL = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def amount(what: str, *, least: float = 0.0, most: float = math.inf, above: bool = False) -> Callable[[object], float]:
    """A check for a number from `least` (or above it) to `most`, also as digits in a text; `what` describes it."""

    def check(value: object) -> float:
        number = _decimal(value)
        if number is None or not (least < number if above else least <= number) or number > most:
            raise ValueError(f"must be {what}")
        return number

    return check


def _decimal(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _DECIMAL.fullmatch(value.strip()):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def day(value: object) -> date:
    """A day as `2026-11-01`."""
    try:
        if isinstance(value, str) and _DAY.fullmatch(value.strip()):
            return date.fromisoformat(value.strip())
    except ValueError:
        pass
    if type(value) is date:
        return value
    raise ValueError("must be a day such as 2026-11-01")


def size(most: int) -> Callable[[object], int]:
    """Bytes, from `256KiB`, `1MB` or a plain number; `most`: in MiB."""

    def check(value: object) -> int:
        found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip().lower())
        number = int(found[1]) * UNITS.get(found[2], 0) if found else 0
        if not 0 < number <= most * UNITS["mib"]:
            raise ValueError(f"must be a size such as 64KiB or 1MiB, at most {most}MiB")
        return number

    return check


def afterwards(value: object) -> str:
    """What follows a budget's end: `stop`, `warn`, or the name of a provider."""
    return value if value in THEN and isinstance(value, str) else provider_name(value)


def webhook(value: SecretStr) -> SecretStr:
    """Where notices are posted: https, or http on this machine."""
    text = value.get_secret_value().strip()
    example = "https://example.com/hook"
    try:
        base_url(text.partition("?")[0])
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"must be a URL such as {example}, without user name or password") from None
    if "#" in text or not _VISIBLE.fullmatch(text):
        raise ValueError(f"must be a URL such as {example}, in plain ASCII and without '#'")
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ValueError("must begin with https://; plain http goes to this machine only")
    return SecretStr(text)


def secret(value: SecretStr) -> SecretStr:
    """What notices are signed with."""
    if not value.get_secret_value().strip():
        raise ValueError("must not be empty; give it as a variable, such as ${RELAY_WEBHOOK_SECRET}")
    return value


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments, as it is started without a shell."""
    if not isinstance(value, list | tuple) or not value or not all(map(_is_word, value)) or not value[0]:
        raise ValueError("must be a list of words, the program first, such as [notify-send, Claude Relay]")
    return tuple(value)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def named(budget: object) -> object:
    """A budget as it was written, with a name: its own, or what it is for, as in `anthropic claude-opus-* per day`."""
    if not isinstance(budget, dict) or budget.get("name") is not None:
        return budget
    scope = " ".join(str(budget[part]) for part in ("provider", "model") if isinstance(budget.get(part), str))
    return {**budget, "name": f"{scope or 'total'} per {budget.get('per')}"}


def strangers(data: dict[str, Any], providers: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Prices and budgets that name providers which do not exist, budgets that lead to themselves or share a name."""
    for section in ("prices", "budgets"):
        for at, entry in _entries(data, section):
            name = entry.get("provider")
            if isinstance(name, str) and name not in providers:
                yield (section, at, "provider"), f"no provider has this name; {suggest(name, providers)}"
    taken: set[object] = set()
    for at, entry in _entries(data, "budgets"):
        then, name = entry.get("then"), named(entry)["name"]  # type: ignore[index]
        if isinstance(then, str) and then not in (*THEN, *providers):
            yield ("budgets", at, "then"), f"neither stop nor warn nor a provider; {suggest(then, (*THEN, *providers))}"
        elif then is not None and then == entry.get("provider"):
            yield ("budgets", at, "then"), "leads back to the provider whose budget has ended; name another, or stop"
        if isinstance(name, str) and name in taken:
            yield ("budgets", at), "is there twice; give each a 'name' of its own"
        taken.add(name if isinstance(name, str) else at)


def _entries(data: dict[str, Any], section: str) -> Iterator[tuple[int, dict[str, Any]]]:
    entries = data.get(section)
    return (
        (at, entry) for at, entry in enumerate(entries if isinstance(entries, list) else ()) if isinstance(entry, dict)
    )
