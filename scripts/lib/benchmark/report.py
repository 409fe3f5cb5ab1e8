"""What was measured, for people: the ratios first, then the figures behind them. And as JSON, with every round."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from importlib.metadata import version

from rich.console import Console
from rich.table import Table

from .bars import Bar, bars, between, p50, p99
from .figures import (
    Choosing,
    Comparison,
    Kills,
    Memory,
    PanelFigures,
    Reporting,
    Requests,
    Results,
    Soak,
    Streams,
    Team,
    Translating,
    Web,
    noise,
)
from .scenarios import BARE, DIRECT, WITH, WITHOUT

MEGABYTE = 1024 * 1024


def print_report(results: Results, console: Console) -> None:
    """Everything, as tables."""
    console.print(bar_table(bars(results)))
    if results.requests:
        console.print(request_table(results.requests))
    if results.streams is not None:
        console.print(stream_table(results.streams))
    if results.memory:
        console.print(memory_table(results.memory))
    if results.web is not None:
        console.print(web_table(results.web))
    if results.team is not None:
        console.print(team_table(results.team))
    if results.panel is not None:
        console.print(panel_table(results.panel))
        console.print(dashboard_table(results.panel))
    if results.choosing:
        console.print(choosing_table(results.choosing))
    if results.translating:
        console.print(translating_table(results.translating))
    if results.reports:
        console.print(reporting_table(results.reports))
    if results.soak is not None:
        console.print(soak_table(results.soak))
    if results.kills is not None:
        console.print(kill_table(results.kills))
    console.print(f"[dim]{machine_line()}[/dim]")
    if (share := noise(results, BARE)) is not None:
        console.print(f"[dim]Noise: {BARE} itself varied by {share:.0%} (middle half of its rounds).[/dim]")


def bar_table(found: list[Bar]) -> Table:
    """The ratios, and whether they are good enough."""
    table = Table(
        "The relay, everything on", "wanted", "found", "middle half", "", title="Ratios", title_justify="left"
    )
    for bar in found:
        table.add_row(bar.what, bar.wanted, bar.found, bar.spread, "[green]pass[/]" if bar.holds else "[red]FAIL[/]")
    return table


def request_table(measured: list[Requests]) -> Table:
    """A row for each target at each load."""
    table = Table("load", "target", title="Keep-alive requests", title_justify="left")
    for column in ("× bare", "× direct", "requests/s", "p50 ms", "p99 ms", "cpu ms each"):
        table.add_column(column, justify="right")
    for requests in measured:
        compared = requests.compared
        for n, name in enumerate(compared.rounds):
            load = f"{requests.connections} × {requests.size // 1024} KB" if n == 0 else ""
            table.add_row(
                load,
                name,
                *ratios(compared, name),
                f"{compared.figure(name, lambda s: s.rate).median:,.0f}",
                *times(compared, name),
                cpu(compared, name),
            )
        table.add_section()
    return table


def ratios(compared: Comparison, name: str) -> tuple[str, str]:
    """Over bare mitmdump and over the upstream."""
    return f"{compared.ratio(name, BARE).median:.2f}", f"{compared.ratio(name, DIRECT).median:.2f}"


def times(compared: Comparison, name: str) -> tuple[str, str]:
    """p50 and p99."""
    return f"{compared.figure(name, p50).median:.2f}", f"{compared.figure(name, p99).median:.2f}"


def no_cpu(_: Comparison, __: str) -> str:
    """Where it would say nothing."""
    return ""


def cpu(compared: Comparison, name: str) -> str:
    """Processor time of the target for each request or event."""
    return f"{compared.figure(name, lambda one: one.cpu).median:.2f}"


def stream_table(streams: Streams) -> Table:
    """Delays and first events, with what is added."""
    table = Table("streams", "target", title="Streams (added: to the direct upstream)", title_justify="left")
    for column in ("p50 ms", "p99 ms", "cpu ms each", "p50 added", "p99 added", "middle half", "p99 over bare"):
        table.add_column(column, justify="right")
    for compared in (streams.delays, streams.firsts):
        each = cpu if compared is streams.delays else no_cpu
        for n, name in enumerate(compared.rounds):
            added = ("",) * 4 if name == DIRECT else additions(compared, name)
            table.add_row(compared.name if n == 0 else "", name, *times(compared, name), each(compared, name), *added)
        table.add_section()
    return table


def additions(compared: Comparison, name: str) -> tuple[str, ...]:
    """Milliseconds over the upstream, and over bare mitmdump."""
    middle, end = compared.added(name, DIRECT, p50), compared.added(name, DIRECT, p99)
    over_bare = "" if name == BARE else f"{compared.added(name, BARE, p99).median:+.2f}"
    return f"{middle.median:+.2f}", f"{end.median:+.2f}", between(end, ""), over_bare


def memory_table(measured: list[Memory]) -> Table:
    """Megabytes after so many requests."""
    marks = list(measured[0].after)
    table = Table("relay in", *(f"after {mark:,}" for mark in marks), title="Resident memory", title_justify="left")
    for memory in measured:
        table.add_row(memory.program, *(f"{value / MEGABYTE:.1f} MB" for value in memory.after.values()))
    return table


def web_table(web: Web) -> Table:
    """Memory over the streams, and what the extras cost."""
    compared, memory = web.compared, web.memory.after
    first = next(iter(memory.values()))
    table = Table(show_header=False, title="mitmweb with a browser", title_justify="left")
    for mark, value in memory.items():
        table.add_row(f"memory after {mark:,} streams", f"{value / MEGABYTE:.1f} MB ({value / first:.3f}×)")
    table.add_row("the browser got", f"{web.updates:,} updates, {web.pages:,} pages of bodies")
    for what, of in (("processor time", compared.cpu), ("streams/s", compared.ratio)):
        spread = of(WITH, WITHOUT)
        table.add_row(f"{what} with pages and cache misses", f"{spread.median:.3f}× ({between(spread, '×')})")
    return table


def team_table(team: Team) -> Table:
    """A row for each target."""
    table = Table("load", "target", title="A team", title_justify="left")
    for column in ("requests/s", "p50 ms", "p99 ms", "cpu ms each"):
        table.add_column(column, justify="right")
    for compared in (team.crowd, team.limited):
        for n, name in enumerate(compared.rounds):
            rate = f"{compared.figure(name, lambda one: one.rate).median:,.0f}"
            table.add_row(compared.name if n == 0 else "", name, rate, *times(compared, name), cpu(compared, name))
        table.add_section()
    return table


def panel_table(panel: PanelFigures) -> Table:
    """A row for each page, and for figures over the whole ledger."""
    table = Table("page", title=f"The panel over {panel.requests:,} requests", title_justify="left")
    for column in ("p50 ms", "p95 ms", "KB"):
        table.add_column(column, justify="right")
    for one in (*panel.pages, *panel.whole):
        middle = one.seconds[len(one.seconds) // 2]
        table.add_row(one.path, f"{1000 * middle:.0f}", f"{1000 * one.p95:.0f}", f"{one.size / 1024:.1f}")
    return table


def dashboard_table(panel: PanelFigures) -> Table:
    """With dashboards and without."""
    title = f"{panel.dashboards} open dashboards, loaded {panel.loaded:,} times"
    table = Table("relay beside", title=title, title_justify="left")
    for column in ("requests/s", "p50 ms", "p99 ms", "cpu ms each"):
        table.add_column(column, justify="right")
    for name in panel.compared.rounds:
        rate = f"{panel.compared.figure(name, lambda one: one.rate).median:,.0f}"
        table.add_row(name, rate, *times(panel.compared, name), cpu(panel.compared, name))
    return table


def choosing_table(measured: list[Choosing]) -> Table:
    """Microseconds: a row for each strategy, a column for each state of the keys."""
    title = "Choosing among 1,000 keys, µs each"
    table = Table("strategy", title=title, title_justify="left")
    for state in dict.fromkeys(one.state for one in measured):
        table.add_column(state, justify="right")
    for strategy in dict.fromkeys(one.strategy for one in measured):
        times = (one.microseconds.median for one in measured if one.strategy == strategy)
        table.add_row(strategy, *(f"{each:.1f}" for each in times))
    return table


def translating_table(measured: list[Translating]) -> Table:
    """A row for each format."""
    table = Table("format", title="Translating a request of 400 KB, and a chunk of a stream", title_justify="left")
    for column in ("request ms", "chunk µs"):
        table.add_column(column, justify="right")
    for one in measured:
        table.add_row(one.format, f"{one.request.median:.1f}", f"{one.chunk.median:.1f}")
    return table


def reporting_table(measured: list[Reporting]) -> Table:
    """Seconds: a row for each report."""
    table = Table("report", title=f"Reports over {measured[0].rows:,} requests", title_justify="left")
    table.add_column("s", justify="right")
    for one in measured:
        table.add_row(one.name, f"{one.seconds.median:.2f}")
    return table


def soak_table(soak: Soak) -> Table:
    """What became of the requests."""
    table = Table(show_header=False, title=f"Soak, {soak.seconds:.0f} s", title_justify="left")
    statuses = ", ".join(f"{count:,} × {status}" for status, count in sorted(soak.statuses.items()))
    table.add_row("requests sent", f"{soak.sent:,} ({soak.sent / soak.seconds:,.0f} a second)")
    table.add_row("answered whole", f"{soak.answered:,} ({statuses})")
    table.add_row("streams ended by an error event", f"{soak.errored:,}")
    table.add_row("given up by the client", f"{soak.left:,}")
    table.add_row("broken off, hung", f"{soak.broken:,}, {soak.hung:,}")
    table.add_row("slowest", f"{soak.slowest:.1f} s")
    table.add_row("rows in requests, attempts", f"{soak.rows:,}, {soak.attempt_rows:,}")
    table.add_row("tries that reached the upstream", f"{soak.tries:,}")
    table.add_row("memory before, after", " MB, ".join(f"{value / MEGABYTE:.1f}" for value in soak.memory) + " MB")
    return table


def kill_table(kills: Kills) -> Table:
    """What the clients had, and what the ledger."""
    table = Table(show_header=False, title=f"{kills.kills:,} × kill -9 in {kills.seconds:.0f} s", title_justify="left")
    table.add_row("requests sent", f"{kills.sent:,}")
    table.add_row("answered whole", f"{kills.answered:,}")
    table.add_row("rows in the ledger", f"{kills.rows:,}")
    table.add_row("missing, twice, torn", f"{kills.missing:,}, {kills.doubled:,}, {kills.torn:,}")
    return table


def machine_line() -> str:
    """Where this was measured."""
    python, machine = platform.python_version(), f"{platform.system()} {platform.machine()}"
    return f"Python {python}, mitmproxy {version('mitmproxy')}, {machine}, {os.cpu_count()} cores"


def as_json(results: Results) -> str:
    """All figures of all rounds, and the bars."""
    found = [dataclasses.asdict(bar) for bar in bars(results)]
    return json.dumps(
        {"bars": found, "machine": machine_line(), "noise": noise(results, BARE)} | dataclasses.asdict(results),
        indent=2,
    )
