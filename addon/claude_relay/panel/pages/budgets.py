"""/budgets: each with what is spent, and what models cost."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from claude_relay.core.config.models import PERIODS
from claude_relay.panel.api import budgets as of_budgets
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.relay_yaml import current, usable

from .shell import N_, PageReader, pages, render

router = pages()
PATIENCE = 0.03
"""Seconds for which the page waits for what is spent; it is shown as soon as it is known."""
NAMES = {"day": N_("day"), "week": N_("week"), "month": N_("month")}


@router.get("/budgets")
def budgets(request: Request, visitor: PageReader, parts: Own) -> Response:
    """All of them."""
    sums = of_budgets.spent_of(parts, PATIENCE)
    return render(
        request,
        visitor,
        "budgets.html",
        title=N_("Budgets"),
        file=current(parts),
        budgets=of_budgets.all_of(parts, sums or []),
        pending=sums is None,
        prices=of_budgets.prices(visitor, parts),
        providers=list(usable(parts).providers),
        periods=[(per, NAMES[per]) for per in PERIODS],
    )
