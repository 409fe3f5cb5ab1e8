"""How a drill is shown: two lines for each run while it goes, or one document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from claude_relay.cli.console.screen import Screen
from claude_relay.cli.spending.cells import about, dollars

from .seeing import Figures, Seen
from .sets import FaultSet

HEADING = f"{'fault':24} {'exit':>4} {'requests':>9} {'attempts':>9} {'faults':>7} {'time':>8} {'cost':>9}"
LATE = "late"


@dataclass(frozen=True, slots=True)
class Run:
    """One run, and what came of it."""

    faults: FaultSet
    seen: Seen
    figures: Figures

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        return {"faults": self.faults.name, "means": self.faults.means, **asdict(self.seen), **asdict(self.figures)}


def lines(run: Run, *, alike: bool, width: int) -> Text:
    """Two lines. `alike`: it ended as without faults; `width`: columns that there are."""
    seen, figures = run.seen, run.figures
    ended = LATE if seen.exit is None else str(seen.exit)
    cost = about(int(figures.estimated)) + dollars(figures.cost_usd)
    last = seen.last_line or "(it printed nothing)"
    if len(last) > width - 2:
        last = last[: width - 3] + "…"
    counts = f" {figures.requests:>9} {figures.attempts:>9} {figures.faulted:>7} {seen.seconds:>6.1f} s {cost:>9}"
    return Text.assemble(
        f"{run.faults.name:24} ", (f"{ended:>4}", "green" if alike else "bold red"), counts, (f"\n  {last}", "dim")
    )


def show_sets(screen: Screen, sets: Sequence[FaultSet]) -> None:
    """The sets there are."""
    for found in sets:
        screen.print(Text.assemble(f"{found.name:24} ", (found.means, "dim")), soft_wrap=True)
