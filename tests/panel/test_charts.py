"""Charts: what is drawn, for eyes and for others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest

from claude_relay.panel.common import spans, texts
from claude_relay.panel.common.problems import Problem
from claude_relay.panel.common.recent import Recent
from claude_relay.panel.pages import charts
from waiting import PATIENCE

WORDS = texts.of("en")
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 27, 20, 17, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def picture(series: list[charts.Series], hours: int = 24) -> charts.Picture:
    times = [NOW.replace(minute=0) + timedelta(hours=n) for n in range(hours)]
    hour = timedelta(hours=1)
    return charts.stacked(times, hour, series, WORDS, BERLIN, unit="money", label="Cost", name="Time")


@pytest.mark.parametrize(
    ("most", "top", "count"), [(87.0, 100.0, 5), (0.0, 1.0, 2), (1.0, 1.0, 5), (0.031, 0.04, 5), (12_481, 15_000, 4)]
)
def test_axes_have_round_numbers(most: float, top: float, count: int) -> None:
    found, ticks = charts.scale(most)
    assert (found, len(ticks)) == (pytest.approx(top), count)


@pytest.mark.parametrize(
    ("most", "ticks"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (10, [0, 5, 10]), (90, [0, 25, 50, 75, 100])]
)
def test_what_is_counted_has_no_parts(most: float, ticks: list[float]) -> None:
    assert charts.scale(most, whole=True)[1] == ticks


def test_bars_are_as_high_as_their_values() -> None:
    found = picture([charts.Series("a", [1.0, 2.0] + [0.0] * 22), charts.Series("b", [0.0, 2.0] + [0.0] * 22)])
    root = ElementTree.fromstring(str(found.svg))
    steps = [group for group in root if group.get("class") == "step"]
    heights = [
        [float(bar.get("height", "0")) for bar in step if (bar.get("class") or "").startswith("c")] for step in steps
    ]
    assert heights[0][0] * 2 == pytest.approx(heights[1][0], abs=0.2)
    assert heights[1][0] == pytest.approx(heights[1][1], abs=0.2)
    assert steps[1][0].text == "Nov 27, 2026, 22:00: $4.00\na: $2.00\nb: $2.00"
    assert root.get("aria-label") == "Cost: $5.00 in all, at most $4.00."


def test_beyond_seven_series_the_rest_is_others() -> None:
    found = picture([charts.Series(f"s{n}", [float(n)] * 24) for n in range(1, 13)])
    assert [name for _, name in found.legend] == ["s12", "s11", "s10", "s9", "s8", "s7", "others"]
    assert found.rows[0][-1] == "$21.00"


def test_names_are_text_not_markup() -> None:
    found = picture([charts.Series("<b>", [1.0] * 24), charts.Series('"&', [1.0] * 24)])
    assert "<b>" not in found.svg
    ElementTree.fromstring(str(found.svg))
    ElementTree.fromstring(str(charts.bars([("<b>", 1.0)], WORDS, label='"x"').svg))


def test_labels_stand_at_round_times_of_the_zone() -> None:
    six = timedelta(hours=6)
    span = spans.of("7d", None, None, NOW.timestamp(), BERLIN)
    chosen = charts.labelled(span.times, span.step, BERLIN, 8)
    assert {span.times[n].astimezone(BERLIN).hour for n in chosen} == {0}
    assert (span.step, len(chosen)) == (six, 7)


@pytest.mark.parametrize("name", list(spans.NAMED))
def test_steps_cover_a_span(name: str) -> None:
    span = spans.of(name, None, None, NOW.timestamp(), BERLIN)
    times = span.times
    assert times[0] <= span.since < times[1]
    assert times[-1] < span.until
    assert 12 <= len(times) <= 60


def test_days_are_those_of_the_calendar() -> None:
    span = spans.of(None, "2026-10-20", "2026-10-30", NOW.timestamp(), BERLIN)
    assert {at.astimezone(BERLIN).hour for at in span.times} == {0}
    assert len(span.times) == 10
    assert span.before.until == span.since


@pytest.mark.parametrize("bad", [("2026-10-30", "2026-10-20"), ("soon", None), ("0001-01-01", None), ("99999d", None)])
def test_what_is_no_span_is_said(bad: tuple[str, str | None]) -> None:
    with pytest.raises(Problem):
        spans.of(None, *bad, NOW.timestamp(), BERLIN)


def test_what_many_look_at_is_worked_out_once() -> None:
    now, calls = [0.0], list[int]()
    recent = Recent(lambda: now[0])
    assert [recent.get("a", lambda: calls.append(1) or len(calls)) for _ in range(5)] == [1] * 5
    now[0] = 3.0
    assert recent.get("a", lambda: calls.append(1) or len(calls)) == 2


def test_who_does_not_wait_gets_what_was_known_before() -> None:
    from threading import Event

    now, go = [0.0], Event()
    recent = Recent(lambda: now[0])

    def slow() -> str:
        go.wait(2 * PATIENCE)
        return "new"

    assert recent.get("a", slow, 0.01) is None
    assert recent.pending("a")
    go.set()
    assert recent.get("a", slow) == "new"
    go.clear()
    now[0] = 5.0
    assert recent.get("a", slow, 0.01) == "new"
    assert recent.pending("a")
    go.set()


def test_what_failed_is_tried_again() -> None:
    recent = Recent()
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 // 0)
    assert recent.get("a", lambda: 1) == 1


def test_every_dimension_has_a_name() -> None:
    from claude_relay.panel.pages.usage import NAMES
    from claude_relay.store.ledger.reports import GROUPS

    assert set(NAMES) == set(GROUPS)
