"""`usage --watch`, `usage list --watch`: the table, read anew every two seconds, until Ctrl-C or a signal to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from claude_relay.store.ledger.reports import Report

from .forms import console, parts

if TYPE_CHECKING:
    from rich.console import RenderableType

PERIOD: Final = 2.0
"""Seconds."""


def watch(read: Callable[[], Report], path: Path, *, period: float = PERIOD) -> None:
    """Show a report, over and over."""
    from rich.console import Group

    keep_showing(lambda: Group(*parts(read(), path, console().width, pictures=True)), period=period)


def keep_showing(view: Callable[[], RenderableType], *, period: float = PERIOD) -> None:
    """Show what there is, over and over. Ends quietly with SIGINT or SIGTERM."""
    from rich.live import Live

    over = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: over.set()) for number in signals}
    try:
        with Live(view(), console=console(), auto_refresh=False, vertical_overflow="crop") as live:
            while not over.wait(period):
                live.update(view(), refresh=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
