"""Who did what: `/api/audit`, the audit log, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel

from claude_relay.core.times import iso
from claude_relay.panel.common.paging import Page, Paging, Wanted
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.security.visitors import Reader
from claude_relay.store import audit

from .areas import area

router = area("audit")

type Word = Annotated[str | None, Query(max_length=500)]


class Entry(BaseModel):
    """One act. `via`: `cli`, `panel`, `api`, `sign-in` or `relay`; `before`, `after`: the values that it changed."""

    id: int
    at: str
    who: str
    via: str
    place: str
    act: str
    kind: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@router.get("/audit", responses=documented())
def entries(
    visitor: Reader,
    parts: Own,
    paging: Paging,
    kind: Word = None,
    subject: Word = None,
    who: Word = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[Entry]:
    """Acts, the newest first."""
    return listed(parts, paging, kind=kind, subject=subject, who=who, since=since, until=until)


# -- what pages show, too


def listed(
    parts: Parts,
    paging: Wanted,
    *,
    kind: str | None = None,
    subject: str | None = None,
    who: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[Entry]:
    """A part of them."""
    rows = audit.read(
        parts.database,
        kind=kind or None,
        subject=subject or None,
        who=who or None,
        since=_moment(since),
        until=_moment(until),
        before=paging.after if isinstance(paging.after, int) else None,
        most=paging.limit + 1,
    )
    found: Page[Entry] = paging.page(
        rows, lambda row: row.id, lambda row: Entry(**{name: getattr(row, name) for name in Entry.model_fields})
    )
    return found


def _moment(at: datetime | None) -> str | None:
    try:
        return None if at is None else iso(at.astimezone())
    except (ValueError, OverflowError):
        raise Problem(422, "invalid", "This time is outside of the calendar.") from None
