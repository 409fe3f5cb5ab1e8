"""What somebody should look at: `/api/notices`. Relays write notices down; here people put them off, or say that they are done."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from claude_relay.core.clients.spelling import moment
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.paging import Page, Paging, Wanted
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.security.visitors import Operator, Reader
from claude_relay.store.notices import StoredNotice, Which

from .areas import area

router = area("notices")


class Notice(BaseModel):
    """Something that somebody should look at. Times are UTC ISO 8601.

    kind      `key_out`, `budget_warn`, `budget_end`, `all_in_cooldown`, `provider_down`, `login`, `cache_miss`,
              `report`
    key       what it is about
    times     how often it was found
    ends_at   it is over by itself then; null: somebody has to say so
    """

    id: str
    state: Which
    kind: str
    key: str
    text: str
    first_at: str
    last_at: str
    times: int
    ends_at: str | None
    snoozed_until: str | None
    done_at: str | None
    done_by: str | None


class Change(Strict):
    """What is left out stays as it is."""

    snoozed_until: Annotated[str, Field(max_length=100)] | None = Field(
        None,
        description="A point in time that is to come, or a length of time from now: `1d`. null: not put off any more.",
    )
    done: bool | None = None


@router.get("/notices", responses=documented())
def notices(
    visitor: Reader,
    parts: Own,
    paging: Paging,
    state: Which = Which.OPEN,
    kind: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[Notice]:
    """The newest first."""
    return listed(parts, paging, state, kind)


@router.patch("/notices/{id}", responses=documented(404))
def change(id: Annotated[str, Path(max_length=64)], said: Change, visitor: Operator, parts: Own) -> Notice:
    """Put it off, or say that it is done."""
    now, changes = parts.clock(), said.model_dump(exclude_unset=True)
    if changes.get("done", False) is None:
        del changes["done"]
    if (until := said.snoozed_until) is not None:
        try:
            changes["snoozed_until"] = moment(until, now)
        except ValueError as error:
            text = f"{error}."
            raise Problem(422, "invalid", text, errors=[FieldError(field="snoozed_until", detail=text)]) from None
    try:
        return shown(parts.notices.change(visitor.actor, id, now, changes), now)
    except LookupError:
        raise Problem(404, "not_found", "There is no such notice, or not any more.") from None


# -- what pages show, too


def listed(parts: Parts, paging: Wanted, which: Which, kind: str | None = None) -> Page[Notice]:
    """A part of them."""
    now, after = parts.clock(), paging.after
    place = (str(after[0]), str(after[1])) if isinstance(after, list) and len(after) == 2 else None
    rows = parts.notices.read(which, now, kind=kind, after=place, limit=paging.limit + 1)
    found: Page[Notice] = paging.page(rows, lambda row: [row.last_at, row.id], lambda row: shown(row, now))
    return found


def shown(row: StoredNotice, now: float) -> Notice:
    """As the API has it."""
    known = {name: getattr(row, name) for name in Notice.model_fields if name != "state"}
    return Notice(state=row.state(now), **known)
