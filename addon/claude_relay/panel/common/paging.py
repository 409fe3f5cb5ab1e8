"""Lists come in pages: `?limit=50&after=CURSOR` -> `{"data": […], "next": CURSOR or null}`.

    @router.get("/things")
    def things(paging: Paging) -> Page[Thing]: return paging.page(rows, lambda row: row.id)

A cursor is opaque to who asks: it says what the last one of a page was, not how many came before, so that nothing is left out or comes
twice when rows are added meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BaseModel

from .problems import Problem

MOST = 500


class Page[T](BaseModel):
    """A part of a list. `next`: what to give as `after` for the next one; null: this was the last."""

    data: list[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part. `after`: what the cursor holds; None: the beginning."""

    limit: int
    after: Any = None

    def page[R, T](self, rows: Sequence[R], place: Callable[[R], Any], shown: Callable[[R], T]) -> Page[T]:
        """Of rows, of which one more than `limit` was asked for. `place`: of a row, as JSON holds it."""
        part = rows[: self.limit]
        more = len(rows) > self.limit
        return Page[Any](data=[shown(row) for row in part], next=cursor(place(part[-1])) if more else None)


def cursor(place: Any) -> str:
    """As a text."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def wanted(
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many at most.")] = 50,
    after: Annotated[str | None, Query(max_length=2000, description="`next` of the page before.")] = None,
) -> Wanted:
    """From the query."""
    if not after:
        return Wanted(limit)
    try:
        return Wanted(limit, json.loads(base64.b64decode(after + "=" * (-len(after) % 4), b"-_", validate=True)))
    except (ValueError, binascii.Error):
        raise Problem(400, "cursor", "`after` is none that a page has given as `next`.") from None


Paging = Annotated[Wanted, Depends(wanted)]
"""A parameter of a handler."""
