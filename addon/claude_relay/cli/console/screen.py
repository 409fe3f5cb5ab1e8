"""rich's console, on which the names in tables do nothing to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from claude_relay.core.printable import harmless


class Screen(Console):
    """Where commands print tables."""

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: the command's own end says so (`output`)."""
        raise  # rich calls it while it handles the error

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All texts come along here, those in the cells of tables, too."""
        if isinstance(renderable, Text) and (shown := harmless(renderable.plain)) is not renderable.plain:
            renderable = renderable.copy()
            renderable.plain = shown
        return super().render(renderable, options)

    def render_str(self, text: str, **how: Any) -> Text:
        """Before anything in it is taken for style."""
        return super().render_str(harmless(text), **how)
