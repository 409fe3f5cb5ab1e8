"""The tries of one request on a time line, as SVG: one below the other, as they were.

    time_line([Stretch(0.0, 300.0, None, "bad", "anthropic/k1  429", …), …], whole=2100.0, words, "2 attempts: …")

It must not know what a try is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from claude_relay.panel.common.texts import Words

from .charts import WHOLE, scale, svg


@dataclass(frozen=True, slots=True)
class Stretch:
    """A try on the time line, in milliseconds. `first`: until its first byte; `kind`: good, wait, bad; `text`: beside it."""

    after: float
    length: float
    first: float | None
    kind: str
    text: str
    title: str


def time_line(stretches: Sequence[Stretch], whole: float, words: Words, label: str) -> Markup:
    """Tries one below the other, as they were: light until the first byte, full from it on."""
    row, top = 32, 8
    end = max(whole, *(one.after + one.length for one in stretches), 1.0)
    room, height = WHOLE - 8, top + row * len(stretches) + 28
    parts = []
    for n, one in enumerate(stretches):
        x, width = 4 + room * one.after / end, max(3.0, room * one.length / end)
        first = min(width, room * one.first / end) if one.first is not None else width
        y = top + n * row
        beside = (
            f'<text x="{x + width + 8:.1f}" y="{y + 17}">{escape(one.text)}</text>'
            if x + width < WHOLE * 0.62
            else f'<text x="{x - 8:.1f}" y="{y + 17}" text-anchor="end">{escape(one.text)}</text>'
            if x > WHOLE * 0.38
            else f'<text class="inside" x="{x + 8:.1f}" y="{y + 17}">{escape(one.text)}</text>'
        )
        parts.append(
            f'<g class="step {one.kind}"><title>{escape(one.title)}</title>'
            f'<rect class="waited" x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="20" rx="3"/>'
            + (
                f'<rect class="came" x="{x + first:.1f}" y="{y + 3}" width="{width - first:.1f}" height="20" rx="3"/>'
                if width - first > 0.5
                else ""
            )
            + f"{beside}</g>"
        )
    _, ticks = scale(end)
    base = height - 22
    parts.append(f'<g aria-hidden="true"><line class="axis" x1="4" x2="{WHOLE - 4}" y1="{base}" y2="{base}"/>')
    for value in ticks:
        if value <= end * 1.001:
            x = 4 + room * value / end
            place = "start" if value == 0 else "end" if x > WHOLE - 40 else "middle"
            text = words.span(value / 1000) if value else "0"
            parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="{place}">{escape(text)}</text>')
    parts.append("</g>")
    return svg("chart", label, "".join(parts), width=WHOLE, height=height)
