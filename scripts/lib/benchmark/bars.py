"""What has to hold, and whether it does.

A bar compares with `mitmdump -q`: mitmdump that prints nothing, which is the faster of the two. What is printed is what is
judged: figures are rounded first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .figures import (
    Choosing,
    Kills,
    Memory,
    PanelFigures,
    Reporting,
    Requests,
    Results,
    Slice,
    Soak,
    Spread,
    Streams,
    Team,
    Translating,
    Web,
)
from .panel import CLOSED, OPEN
from .scenarios import BARE, DIRECT, RELAY, WITH, WITHOUT
from .team import ALONE, CROWDED, WITH_CLIENTS, WITHOUT_CLIENTS

RATE, AIM = 1.0, 1.3
"""Times the requests a second of bare mitmdump, at several connections."""
P50_ADDED = 0.3
"""Milliseconds over bare mitmdump, at one connection."""
EVENT_ADDED = 5.0
"""Milliseconds over the upstream itself, for 99 of 100 events."""
CHOICE = 50.0
"""Microseconds for one of a thousand keys, by any strategy."""
TRANSLATED, CHUNK = 15.0, 100.0
"""Milliseconds for a request of 400 KB in any other format; microseconds for a chunk of a stream."""
BESIDE = 2.0
"""Times the p99 without a crowd."""
CLIENTS = 50.0
"""Microseconds of processor time."""
REPORT = 1.0
"""Seconds for any report over a million requests."""
PAGE, PAGE_SIZE, FIGURES = 0.1, 100, 1.0
"""Seconds for 95 of 100 visits of any page; KB of any page, compressed; seconds for figures over the whole ledger."""
DASHBOARDS = 0.98
"""Times the requests a second without open dashboards."""
EXTRAS = 1.02
"""Times the processor time of a stream without them."""
GROWTH = 0.02
"""Share by which memory may grow from the last mark but one to the last. Before that, caches of a fixed size fill up; a leak goes on."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing that has to hold. `spread`: the rounds, where there were several."""

    what: str
    wanted: str
    found: str
    holds: bool
    spread: str = ""


def bars(results: Results) -> list[Bar]:
    """All that the results allow to say."""
    found: list[Bar] = []
    for requests in results.requests:
        found += request_bars(requests)
    if results.streams is not None:
        found += stream_bars(results.streams)
    found += [memory_bar(memory) for memory in results.memory]
    if results.web is not None:
        found += web_bars(results.web)
    if results.team is not None:
        found += team_bars(results.team)
    if results.panel is not None:
        found += panel_bars(results.panel)
    found += choosing_bars(results.choosing)
    found += translating_bars(results.translating)
    found += report_bars(results.reports)
    if results.soak is not None:
        found += soak_bars(results.soak)
    if results.kills is not None:
        found += kill_bars(results.kills)
    return found


def request_bars(requests: Requests) -> Iterator[Bar]:
    """Throughput at several connections, time added at one."""
    load = f"{requests.size // 1024} KB requests"
    if requests.connections > 1:
        ratio = requests.compared.ratio(RELAY, BARE)
        what = f"requests/s of bare mitmdump, {requests.connections} connections, {load}"
        yield Bar(
            what,
            f"≥ {RATE:.1f}× (aim {AIM:.1f}×)",
            f"{ratio.median:.2f}×",
            round(ratio.median, 2) >= RATE,
            between(ratio, "×"),
        )
    else:
        added = requests.compared.added(RELAY, BARE, p50)
        what = f"p50 added over bare mitmdump, 1 connection, {load}"
        yield Bar(
            what,
            f"≤ {P50_ADDED} ms",
            f"{added.median:+.2f} ms",
            round(added.median, 2) <= P50_ADDED,
            between(added, " ms"),
        )


def stream_bars(streams: Streams) -> Iterator[Bar]:
    """Delay added to an event."""
    added = streams.delays.added(RELAY, DIRECT, p99)
    what = "p99 added to an event of a stream"
    yield Bar(
        what,
        f"≤ {EVENT_ADDED:.0f} ms",
        f"{added.median:+.2f} ms",
        round(added.median, 2) <= EVENT_ADDED,
        between(added, " ms"),
    )


def memory_bar(memory: Memory) -> Bar:
    """Flat means that in the end it does not grow with the number of requests."""
    *_, before, last = memory.after
    what = f"memory in {memory.program} from {before:,} to {last:,} requests"
    return Bar(what, f"≤ {GROWTH:+.0%}", f"{memory.growth:+.1%}", memory.growth <= GROWTH)


def web_bars(web: Web) -> Iterator[Bar]:
    """What mitmweb's pages and the look at the prompt cache cost, by processor time, which a busy machine distorts least; and memory."""
    cost = web.compared.cpu(WITH, WITHOUT)
    what = "processor time of a stream in mitmweb, with pages and cache misses"
    yield Bar(what, f"≤ {EXTRAS:.2f}×", f"{cost.median:.2f}×", round(cost.median, 2) <= EXTRAS, between(cost, "×"))
    yield memory_bar(web.memory)


def team_bars(team: Team) -> Iterator[Bar]:
    """p99 beside a crowd, and the processor time that clients cost."""
    slower = Spread.of(with_it.p99 / without.p99 for with_it, without in team.crowd.pairs(CROWDED, ALONE))
    what = f"p99 beside {team.idle:,} idle connections and {team.slow:,} slow readers"
    yield Bar(
        what, f"≤ {BESIDE:.1f}×", f"{slower.median:.2f}×", round(slower.median, 2) <= BESIDE, between(slower, "×")
    )
    added = Spread.of(
        1000 * (with_them.cpu - without.cpu) for with_them, without in team.limited.pairs(WITH_CLIENTS, WITHOUT_CLIENTS)
    )
    what = f"processor time that {team.clients:,} clients with limits add to a request"
    share = team.limited.cpu(WITH_CLIENTS, WITHOUT_CLIENTS).median - 1  # which depends less on the machine
    found = f"{added.median:.0f} µs, {share:+.1%}"
    yield Bar(what, f"≤ {CLIENTS:.0f} µs", found, round(added.median) <= CLIENTS, between(added, " µs"))


def panel_bars(panel: PanelFigures) -> Iterator[Bar]:
    """The slowest page, the largest, the slowest figures, and what dashboards cost."""
    slowest, largest = max(panel.pages, key=lambda one: one.p95), max(panel.pages, key=lambda one: one.size)
    figures = max(panel.whole, key=lambda one: one.p95)
    over = f"over {panel.requests:,} requests"
    found, size, whole = round(1000 * slowest.p95), round(largest.size / 1024, 1), round(figures.p95, 2)
    yield Bar(
        f"p95 of pages {over}; slowest: {slowest.path}", f"≤ {1000 * PAGE:.0f} ms", f"{found} ms", found <= 1000 * PAGE
    )
    yield Bar(f"size of pages; largest: {largest.path}", f"≤ {PAGE_SIZE} KB", f"{size} KB", size <= PAGE_SIZE)
    yield Bar(f"figures {over}; slowest: {figures.path}", f"≤ {FIGURES:.0f} s", f"{whole} s", whole <= FIGURES)
    ratio = panel.compared.ratio(OPEN, CLOSED)
    what = f"requests/s beside {panel.dashboards} open dashboards"
    yield Bar(
        what, f"≥ {DASHBOARDS}×", f"{ratio.median:.3f}×", round(ratio.median, 3) >= DASHBOARDS, between(ratio, "×")
    )


def choosing_bars(choosing: list[Choosing]) -> Iterator[Bar]:
    """The slowest strategy in each state of the keys."""
    slowest: dict[str, Choosing] = {}
    for one in choosing:
        slowest[one.state] = max(one, slowest.get(one.state, one), key=lambda each: each.microseconds.median)
    for state, one in slowest.items():
        time = one.microseconds
        what = f"choosing among 1,000 keys, {state}; slowest: {one.strategy}"
        found = round(time.median, 1)
        yield Bar(what, f"≤ {CHOICE:.0f} µs", f"{found:.1f} µs", found <= CHOICE, between(time, " µs"))


def translating_bars(translating: list[Translating]) -> Iterator[Bar]:
    """The slowest format."""
    if not translating:
        return
    slow, slow_chunk = (
        max(translating, key=lambda one: one.request.median),
        max(translating, key=lambda one: one.chunk.median),
    )
    request, chunk = round(slow.request.median, 1), round(slow_chunk.chunk.median, 1)
    what = f"translating a request of 400 KB; slowest: {slow.format}"
    yield Bar(what, f"< {TRANSLATED:.0f} ms", f"{request:.1f} ms", request < TRANSLATED, between(slow.request, " ms"))
    what = f"translating a chunk of a stream; slowest: {slow_chunk.format}"
    yield Bar(what, f"< {CHUNK:.0f} µs", f"{chunk:.1f} µs", chunk < CHUNK, between(slow_chunk.chunk, " µs"))


def report_bars(reports: list[Reporting]) -> Iterator[Bar]:
    """The slowest report."""
    if reports:
        slowest = max(reports, key=lambda one: one.seconds.median)
        found = round(slowest.seconds.median, 2)
        what = f"reports over {slowest.rows:,} requests; slowest: {slowest.name}"
        yield Bar(what, f"< {REPORT:.0f} s", f"{found:.2f} s", found < REPORT, between(slowest.seconds, " s"))


def soak_bars(soak: Soak) -> Iterator[Bar]:
    """Nothing is lost."""
    lost = soak.sent - soak.answered - soak.left
    yield Bar("requests of the soak without an answer", "0", f"{lost} of {soak.sent:,}", lost == 0)
    yield Bar("rows in the ledger for them", f"{soak.sent:,}", f"{soak.rows:,}", soak.rows == soak.sent)


def kill_bars(kills: Kills) -> Iterator[Bar]:
    """What a client has, the ledger has."""
    what = f"of {kills.answered:,} requests answered whole, under {kills.kills:,} kills:"
    for name, count in (("missing", kills.missing), ("twice", kills.doubled), ("torn", kills.torn)):
        yield Bar(f"{what} {name} in the ledger", "0", f"{count:,}", count == 0)


def between(spread: Spread, unit: str) -> str:
    """The middle half of the rounds."""
    return f"{spread.low:.2f} … {spread.high:.2f}{unit}" if spread.low != spread.high else ""


def p50(one: Slice) -> float:
    """The middle."""
    return one.p50


def p99(one: Slice) -> float:
    """The slow end."""
    return one.p99
