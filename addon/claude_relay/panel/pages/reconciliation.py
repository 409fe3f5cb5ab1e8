"""/usage/reconcile: the ledger beside providers' own reports, by day and model, with likely causes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query, Request
from starlette.responses import Response

from claude_relay.panel.api import reconciliation as api
from claude_relay.panel.common.parts import Own
from claude_relay.store.shared.daily_reports import DAYS, MOST_DAYS

from .addresses import address
from .shell import N_, PageReader, pages, render

router = pages()
SPANS: Final = ((7, N_("7 days")), (30, N_("30 days")), (90, N_("90 days")))
ROWS: Final = 150
"""Rows of a provider; the API has all."""


@router.get("/usage/reconcile")
def reconcile(
    request: Request,
    visitor: PageReader,
    parts: Own,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = DAYS,
    differing: bool = False,
) -> Response:
    """The page. `differing`: without the rows that agree."""
    first, last = api.span(parts, days, None)
    found = api.every(parts, first, last, differing=differing, most=ROWS)
    context: dict[str, Any] = {
        "found": found,
        "left_out": {one.provider: one.differ + (0 if differing else one.agree) - len(one.rows) for one in found},
        "days": days,
        "first": first,
        "last": last,
        "differing": differing,
        "command": parts.command("usage"),
        "spans": [(n, text, address(request, days=str(n))) for n, text in SPANS],
        "other": address(request, differing=None if differing else "true"),
    }
    return render(request, visitor, "reconcile.html", title=N_("Reconciliation"), **context)
