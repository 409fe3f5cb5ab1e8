"""Marks of flows that hold more than an emoji: mitmweb shows them as they are, in the path column, which has room.

    marks.install()
    flow.marked = ":repeat: sonnet-5 k3 ×4 8.5k→27"     -> "🔁 sonnet-5 k3 ×4 8.5k→27"

Its comment column is 150 pixels wide, whatever is in it. By itself it would show any other mark as a red dot; mitmproxy's console, which
has one cell for it, shows a dot still. Filters (`~marker repeat`) see the mark itself. It must not know what the mark says.
"""

from __future__ import annotations

import sys
from typing import Any

from mitmproxy.utils.emoji import emoji

PAGE = "mitmproxy.tools.web.app"
"""What makes flows into JSON; loaded in mitmweb only."""


APART = "\u00a0\u00a0"
"""Between a mark and the next column, which begins where it ends."""


class Marks(dict[str, str]):
    """mitmproxy's emojis, and beside them texts, which may begin with one."""

    def get(self, mark: str, default: Any = None) -> Any:
        """How a mark is shown."""
        first, space, text = mark.partition(" ")
        if not space:
            return super().get(mark, default)
        return f"{super().get(first, first)} {text}{APART}"


def install() -> None:
    """Begin, where mitmweb is; twice does no harm."""
    if (page := sys.modules.get(PAGE)) is not None:
        page.emoji = Marks(emoji)  # type: ignore[attr-defined]


def remove() -> None:
    """All is as it was."""
    if (page := sys.modules.get(PAGE)) is not None:
        page.emoji = emoji  # type: ignore[attr-defined]
