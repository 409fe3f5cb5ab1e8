"""/notices, what somebody should look at; /audit, who did what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from claude_relay.panel.api import audit as api_of_audit
from claude_relay.panel.api import notices as api
from claude_relay.panel.common import texts
from claude_relay.panel.common.paging import Paging
from claude_relay.panel.common.parts import Own
from claude_relay.store.notices import Which

from .shell import N_, PageReader, pages, render

router = pages()

KINDS = {
    "key_out": ("bad", N_("Key out")),
    "login": ("bad", N_("Login ended")),
    "budget_end": ("bad", N_("Limit reached")),
    "provider_down": ("bad", N_("Provider down")),
    "budget_warn": ("wait", N_("Near a limit")),
    "all_in_cooldown": ("wait", N_("All in cooldown")),
    "cache_miss": ("info", N_("Cache missed")),
    "report": ("wait", N_("Provider's report")),
}
"""Kind of notice → how it looks, and its name."""
TABS = (
    (Which.OPEN, N_("Needs you")),
    (Which.SNOOZED, N_("Snoozed")),
    (Which.ENDED, N_("Over by itself")),
    (Which.DONE, N_("Done")),
    (Which.ALL, N_("All")),
)
SNOOZES = (("1h", N_("1 hour")), ("1d", N_("1 day")), ("1w", N_("1 week")))
PLACES = {"client": "/clients/", "group": "/clients/groups/"}
"""Kind of thing in the audit log → where it has a page."""
SHOWN = 300
"""Characters of a value."""

type Word = Annotated[str, Query(max_length=200)]


@router.get("/notices")
def notices(request: Request, visitor: PageReader, parts: Own, paging: Paging, state: Which = Which.OPEN) -> Response:
    """Those in one state."""
    found = api.listed(parts, paging, state)
    values: dict[str, Any] = {
        "rows": found.data,
        "next": found.next,
        "state": state,
        "open": parts.notices.count_open(parts.clock()),
        "kinds": KINDS,
        "tabs": TABS,
        "snoozes": SNOOZES,
    }
    return render(request, visitor, "notices.html", title=N_("Notices"), **values)


@router.get("/audit")
def audit(
    request: Request,
    visitor: PageReader,
    parts: Own,
    paging: Paging,
    kind: Word = "",
    subject: Word = "",
    who: Word = "",
    since: Word = "",
    until: Word = "",
) -> Response:
    """Acts, the newest first; what each changed as a table."""
    zone = texts.zone(request)
    found = api_of_audit.listed(
        parts,
        paging,
        kind=kind.strip(),
        subject=subject.strip(),
        who=who.strip(),
        since=_day(since, zone),
        until=_day(until, zone, whole=True),
    )
    rows = [(one, [*changes(one.before, one.after)]) for one in found.data]
    wanted = {"kind": kind, "subject": subject, "who": who, "since": since, "until": until}
    values: dict[str, Any] = {"rows": rows, "next": found.next, "wanted": wanted, "places": PLACES}
    return render(request, visitor, "audit.html", title=N_("Audit log"), **values)


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    """Field, what it was, what it is; only those that are not alike. Fields of fields by their path."""
    was, now = dict(_flat(before or {})), dict(_flat(after or {}))
    for name in dict.fromkeys([*was, *now]):
        if was.get(name) != now.get(name):
            yield name, was.get(name, ""), now.get(name, "")


def _flat(values: dict[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        path = f"{place}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, list):
            yield from [(path, _text(", ".join(_item(one) for one in value)))] if value else []
        elif value is not None and value != "":
            yield path, _text("yes" if value is True else "no" if value is False else str(value))


def _item(value: Any) -> str:
    if isinstance(value, dict) and "measure" in value:  # a limit
        per = f"/{value['per']}" if value.get("per") else ""
        amount = f"{value.get('amount', 0):g}"
        said = f"${amount}{per}" if value["measure"] == "usd" else f"{amount} {value['measure']}{per}"
        return " ".join(
            [said, *(f"{key} {value[key]}" for key in ("scope", "model") if value.get(key) not in (None, "all"))]
        )
    return str(value)


def _text(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}…"


def _day(text: str, zone: Any, *, whole: bool = False) -> datetime | None:
    """A day of a form: its beginning, or with `whole` its end. None for what is none."""
    try:
        found = datetime.combine(datetime.fromisoformat(text).date(), time(), zone) if text else None
        return found + timedelta(days=1) if found is not None and whole else found
    except (ValueError, OverflowError):
        return None
