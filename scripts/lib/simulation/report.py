"""What the days were like, for people and as JSON.

print_report(days, plan, Console())
as_json(days, plan)              -> {"seed": 1, "days": [{"strategy": "headroom", "sticky": true, …}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .day import Plan
from .fleet import ORGANISATIONS
from .tally import Day

CELLS: dict[str, Callable[[Day], str]] = {
    "served": lambda day: f"{day.served:,}",
    "refused": lambda day: f"{day.refused:,}",
    "429s\nmet": lambda day: f"{day.limited:,}",
    "replays": lambda day: f"{day.replays:,}",
    "cache\nhits": lambda day: f"{day.cache_hits:.0%}",
    "p50\nwait": lambda day: f"{day.wait_p50:.2f} s",
    "p99\nwait": lambda day: f"{day.wait_p99:.2f} s",
}
STICKY = {False: "Any key for any turn", True: "Sticky sessions"}
NOTES = """\
refused      no answer within the tries and the waiting that a request may have
429s met     by the relay; a client sees none that was followed by an answer
cache hits   share of the sessions' input tokens that came from a prompt cache
p50, p99     seconds from a request's arrival to the attempt that was answered
"""


def print_report(days: Sequence[Day], plan: Plan, console: Console) -> None:
    """One table, and the lines that matter."""
    console.print(setting(plan))
    console.print(table(days))
    console.print(f"[dim]{NOTES}[/dim]")
    for line in findings(days):
        console.print(line)


def setting(plan: Plan) -> str:
    """What the day was like for all of them."""
    accounts, sessions = plan.fleet.accounts, sum(session.name is not None for session in plan.traffic)
    revoked = sum(account.revoked.happens for account in accounts)
    penniless = sum(account.penniless.happens for account in accounts)
    return (
        f"A simulated day (seed {plan.seed}): {len(accounts)} keys of {len(ORGANISATIONS)} organisations; {sessions} sessions and "
        f"{len(plan.traffic) - sessions:,} single requests, {plan.requests:,} requests in all. {revoked} keys are revoked, "
        f"{penniless} run out of credit for hours, Claude is overloaded {len(plan.fleet.overloads)} times. "
        "The policy, the pool, its verdicts and cooldowns, and the sessions are the relay's own.\n"
    )


def table(days: Sequence[Day]) -> Table:
    """A row for each day."""
    found = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    found.add_column("strategy")
    for title in CELLS:
        found.add_column(title, justify="right", no_wrap=True)
    for sticky, title in STICKY.items():
        rows = [day for day in days if day.sticky is sticky]
        if rows:
            found.add_row(f"[bold]{title}[/bold]")
        for day in rows:
            found.add_row(f"  {day.strategy}", *(cell(day) for cell in CELLS.values()))
        found.add_section()
    return found


def findings(days: Sequence[Day]) -> list[str]:
    """Headroom beside round-robin, and what sticky sessions do to the cache."""
    by = {(day.strategy, day.sticky): day for day in days}
    lines = []
    for sticky, title in STICKY.items():
        ours, usual = by.get(("headroom", sticky)), by.get(("round-robin", sticky))
        if ours and usual:
            lines.append(
                f"{title}: headroom met {ours.limited:,} 429s, round-robin {usual.limited:,}{_fewer(ours, usual)}."
            )
    free, stuck = by.get(("headroom", False)), by.get(("headroom", True))
    if free and stuck:
        lines.append(
            f"Headroom read {stuck.cache_hits:.0%} of the sessions' input from caches when they were sticky, else {free.cache_hits:.0%}."
        )
    return lines


def _fewer(ours: Day, usual: Day) -> str:
    """How two numbers of 429s compare, where that makes sense."""
    if not usual.limited:
        return ""
    change = 1 - ours.limited / usual.limited
    return f" ({abs(change):.0%} {'fewer' if change >= 0 else 'more'})"


def as_json(days: Sequence[Day], plan: Plan) -> str:
    """Every figure."""
    return json.dumps({"seed": plan.seed, "days": [asdict(day) for day in days]}, indent=2)
