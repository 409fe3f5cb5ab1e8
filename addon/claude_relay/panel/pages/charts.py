"""Charts as SVG, drawn here: colours by class only, a <title> for every element, a sentence for those who do not see them.

    stacked(steps, series, words, zone, unit="money", label=…)    bars over time, stacked by series
    sparkline(values)                                              a line without axes, beside a figure
    bars(rows, words, unit="money")                                horizontal ones, with their names

Of more than SERIES series the rest is "others". Numbers at axes are round, times are those of the visitor's zone. `static/charts.js` moves
a tooltip along with the pointer and the arrow keys. It must not know what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from babel import dates
from markupsafe import Markup, escape

from claude_relay.panel.common.texts import Words

SERIES: Final = 7
HALF, WHOLE = 560, 1040
"""Widths: of a chart beside another one, and of one alone. Text has its own size where a picture is as wide as this on the page."""
HEIGHT = 200
LEFT, BOTTOM, TOP, RIGHT = 52, 24, 12, 4
LINES: Final = 4
GAP: Final = 0.22
"""Of a step's width, between two bars."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values, one a step. `name`: as people read it; `kind`: its class, where its colour means something."""

    name: str
    values: Sequence[float]
    kind: str = ""

    @property
    def sum(self) -> float:
        """Of all."""
        return math.fsum(self.values)


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart: its SVG; its legend as (class, name) pairs; its numbers as rows, the head first."""

    svg: Markup
    legend: tuple[tuple[str, str], ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def largest(series: Sequence[Series], others: str, most: int = SERIES) -> list[Series]:
    """The largest ones first; of more than `most` the rest as one, called `others`."""
    order = sorted(series, key=lambda one: (-one.sum, one.name))
    if len(order) <= most:
        return order
    rest = order[most - 1 :]
    return [
        *order[: most - 1],
        Series(others, [math.fsum(values) for values in zip(*(one.values for one in rest), strict=True)]),
    ]


def stacked(
    times: Sequence[datetime],
    step: timedelta | None,
    series: Sequence[Series],
    words: Words,
    zone: tzinfo,
    *,
    unit: str = "count",
    label: str,
    name: str,
    across: int = HALF,
) -> Picture:
    """Bars over time. `unit`: a form of Words; `label`: what is shown, for the sentence; `name`: of the table's first column.

    across  HALF or WHOLE
    """
    shown = largest(series, words.gettext("others"))
    form: Callable[[float], str] = getattr(words, unit)
    sums = [math.fsum(one.values[n] for one in shown) for n in range(len(times))]
    top, ticks = scale(max(sums, default=0.0), whole=unit == "count")
    inner, width = HEIGHT - BOTTOM - TOP, (across - LEFT - RIGHT) / max(1, len(times))

    def y(value: float) -> float:
        return TOP + inner * (1 - value / top)

    parts = [_grid(ticks, y, lambda value: axis(value, unit, words), across)]
    kinds = [one.kind or f"c{number}" for number, one in enumerate(shown, 1)]
    for n, at in enumerate(times):
        x, below = LEFT + n * width + width * GAP / 2, 0.0
        when, bars = moment(at, step, words, zone), []
        for kind, one in zip(kinds, shown, strict=True):
            value = one.values[n]
            if value > 0:
                height = max(0.5, y(below) - y(below + value))
                place = f'x="{x:.1f}" y="{y(below + value):.1f}" width="{width * (1 - GAP):.1f}" height="{height:.1f}"'
                bars.append(f'<rect class="{kind}" {place}/>')
                below += value
        lines = [f"{one.name}: {form(one.values[n])}" for one in shown if one.values[n] > 0] if len(shown) > 1 else []
        title = escape("\n".join([f"{when}: {form(sums[n])}", *lines]))
        reach = f'<rect class="reach" x="{LEFT + n * width:.1f}" y="{TOP}" width="{width:.1f}" height="{inner}"/>'
        parts.append(f'<g class="step"><title>{title}</title>{reach}{"".join(bars)}</g>')
    parts.append(_times(times, step, words, zone, width, across))
    whole = math.fsum(sums)
    text = words.gettext("%(label)s: %(sum)s in all, at most %(most)s.") % {
        "label": label,
        "sum": form(whole),
        "most": form(max(sums, default=0.0)),
    }
    rows = tuple(
        (moment(at, step, words, zone), *(form(one.values[n]) for one in shown))
        for n, at in enumerate(times)
        if sums[n]
    )
    return Picture(
        svg("chart", text, "".join(parts), width=across),
        tuple((kind, one.name) for kind, one in zip(kinds, shown, strict=True)),
        (name, *(one.name for one in shown)),
        rows,
    )


def sparkline(values: Sequence[float | None]) -> Markup:
    """Without words: it stands beside its figure. None: nothing is known."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    low, high = min(0.0, *known), max(known) or 1.0
    step = 100 / max(1, len(values) - 1)
    points = [
        f"{n * step:.1f},{22 - 20 * (value - low) / (high - low):.1f}"
        for n, value in enumerate(values)
        if value is not None
    ]
    first, last = points[0].partition(",")[0], points[-1].partition(",")[0]
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<polygon class="area" points="{first},24 {" ".join(points)} {last},24"/>'
        f'<polyline class="line" vector-effect="non-scaling-stroke" points="{" ".join(points)}"/></svg>'
    )


def bars(
    rows: Sequence[tuple[str, float]], words: Words, *, unit: str = "count", label: str, across: int = HALF
) -> Picture:
    """Horizontal bars, as long as they are large. `across`: HALF or WHOLE."""
    form: Callable[[float], str] = getattr(words, unit)
    most, height = max((value for _, value in rows), default=0.0) or 1.0, 28
    names, longest = (280, 40) if across == WHOLE else (200, 28)
    room = across - names - 84
    parts = []
    for n, (name, value) in enumerate(rows):
        y, width = n * height, max(1.0, room * value / most) if value else 0.0
        shown = name if len(name) <= longest else f"{name[: longest - 1]}…"
        parts.append(
            f'<g class="step"><title>{escape(name)}: {escape(form(value))}</title>'
            f'<rect class="reach" x="0" y="{y}" width="{across}" height="{height}"/>'
            f'<text x="0" y="{y + 18}">{escape(shown)}</text>'
            f'<rect class="c1" x="{names}" y="{y + 6}" width="{width:.1f}" height="16" rx="2"/>'
            f'<text class="value" x="{names + width + 8:.1f}" y="{y + 18}">{escape(form(value))}</text></g>'
        )
    text = f"{label}: {', '.join(f'{name} {form(value)}' for name, value in rows[:3])}"
    picture = svg("chart named-bars", text, "".join(parts), width=across, height=max(1, len(rows)) * height)
    return Picture(picture, (), (), tuple((name, form(value)) for name, value in rows))


def svg(kind: str, text: str, inside: str, *, width: int = HALF, height: int = HEIGHT) -> Markup:
    """A picture that says in a sentence what it shows; by the arrow keys one goes through it."""
    kind = f"{kind} whole" if width == WHOLE else kind
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" tabindex="0" aria-label="{escape(text)}" '
        f'data-module="charts">{inside}</svg>'
    )


# --- axes


def scale(most: float, *, whole: bool = False) -> tuple[float, list[float]]:
    """The top of an axis and its round numbers. `whole`: of what is counted there are no parts.

    >>> scale(87.0), scale(0.0)
    ((100.0, [0.0, 25.0, 50.0, 75.0, 100.0]), (1.0, [0.0, 1.0]))
    """
    if most <= 0 or not math.isfinite(most):
        return 1.0, [0.0, 1.0]
    rough = max(most / LINES, 1.0) if whole else most / LINES
    size = 10.0 ** math.floor(math.log10(rough))
    steps = (size * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0))
    step = next(one for one in steps if one >= rough * (1 - 1e-9) and not (whole and one % 1))
    count = math.ceil(most / step - 1e-9)
    return step * count, [step * n for n in range(count + 1)]


def axis(value: float, unit: str, words: Words) -> str:
    """A round number, short."""
    if unit == "money":
        text = (
            f"{value:,.4f}".rstrip("0").rstrip(".")
            if value < 1
            else words.tokens(value)
            if value >= 1000
            else f"{value:g}"
        )
        return f"${text}"
    if unit == "percent":
        return f"{100 * value:g} %"
    if unit == "span":
        return words.span(value) if value else "0"
    return words.tokens(value) if value >= 1000 else f"{value:g}"


def _grid(ticks: Sequence[float], y: Callable[[float], float], form: Callable[[float], str], across: int) -> str:
    found = []
    for n, value in enumerate(ticks):
        kind = "axis" if n == 0 else "grid"
        at = y(value)
        found.append(f'<line class="{kind}" x1="{LEFT}" x2="{across - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        found.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{escape(form(value))}</text>')
    return f'<g aria-hidden="true">{"".join(found)}</g>'


def _times(
    times: Sequence[datetime], step: timedelta | None, words: Words, zone: tzinfo, width: float, across: int
) -> str:
    """Few labels, at round times, never over the edge."""
    found = []
    for n in labelled(times, step, zone, across // 72):
        x = LEFT + (n + 0.5) * width
        place, x = ("end", min(x + 20, across)) if x > across - 28 else ("middle", x)
        text = escape(short(times[n], step, words, zone))
        found.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{place}">{text}</text>')
    return f'<g aria-hidden="true">{"".join(found)}</g>'


def labelled(times: Sequence[datetime], step: timedelta | None, zone: tzinfo, most: int) -> list[int]:
    """Which steps have a label: at most so many, at equal distances; of parts of a day those that begin at a round time."""
    if step is not None and step < timedelta(days=1):
        minutes = [local.hour * 60 + local.minute for local in (at.astimezone(zone) for at in times)]
        for unit in ROUND:
            found = [n for n, minute in enumerate(minutes) if minute % unit == 0]
            if len(found) <= most:
                return found
        days = [n for n, minute in enumerate(minutes) if minute == 0]
        return days[:: math.ceil(len(days) / most)]
    return list(range(0, len(times), max(1, math.ceil(len(times) / most))))


ROUND: Final = (5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440)
"""Minutes from one label to the next."""


def short(at: datetime, step: timedelta | None, words: Words, zone: tzinfo) -> str:
    """For an axis: a time of the day, where a step is a part of one and this is not midnight; else a date."""
    local = at.astimezone(zone)
    if step is None:
        return dates.format_skeleton("MMMy" if local.month == 1 else "MMM", local, locale=words.locale)
    if step < timedelta(days=1) and (local.hour or local.minute):
        return dates.format_time(local, "HH:mm", tzinfo=zone, locale=words.locale)
    return dates.format_skeleton("MMMd", local, locale=words.locale)


def moment(at: datetime, step: timedelta | None, words: Words, zone: tzinfo) -> str:
    """In full."""
    local = at.astimezone(zone)
    if step is None:
        return dates.format_skeleton("yMMMM", local, locale=words.locale)
    day = dates.format_skeleton("yMMMd", local, locale=words.locale)
    if step >= timedelta(days=1):
        return day
    return f"{day}, {dates.format_time(local, 'HH:mm', tzinfo=zone, locale=words.locale)}"


def share(values: Mapping[str, float], label: str) -> Markup:
    """One bar out of several parts: class → how large."""
    whole, x, parts = math.fsum(values.values()) or 1.0, 0.0, []
    for kind, value in values.items():
        width = 100 * value / whole
        if value > 0:
            parts.append(f'<rect class="{kind}" x="{x:.2f}" width="{width:.2f}" height="6"/>')
        x += width
    return Markup(
        f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
