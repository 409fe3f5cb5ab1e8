"""A moment in an option: a length of time before now, or a date or time of this machine's time zone.

@click.option("--since", type=When())
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from claude_relay.core.times import duration


class When(click.ParamType[datetime]):
    """24h, 7d, 2w, 2026-11-01, 2026-11-01T08:00."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Turn the text into an aware datetime; says which forms there are when it cannot."""
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            pass
        try:
            return datetime.now().astimezone() - timedelta(seconds=duration(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a length of time (24h, 7d, 2w) nor a date (2026-11-01)", param, ctx)
