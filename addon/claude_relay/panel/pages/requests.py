"""/requests: what was requested, with filters and as it comes; /requests/{id}: one, with its tries on a time line."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response

from claude_relay.panel.api import requests as api
from claude_relay.panel.api.requests import Filters, OneRequest
from claude_relay.panel.common.paging import Page, Paging
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.store.db.database import MissingDatabase

from . import charts
from .addresses import address
from .shell import N_, PageReader, pages, render, words_of
from .time_lines import Stretch, time_line

router = pages()
FILTERS: Final = {
    "model": N_("Model"),
    "provider": N_("Provider"),
    "key": N_("Key"),
    "client": N_("Client"),
    "client_group": N_("Group"),
    "project": N_("Project"),
    "session": N_("Session"),
    "proxy": N_("Way out"),
}
"""Fields of the form. The others are choices."""
GOOD: Final = ("ok", "counted")
WEB: Final = "mitmweb"


@router.get("/requests")
def requests(request: Request, visitor: PageReader, parts: Own, paging: Paging, filters: Filters) -> Response:
    """The list."""
    try:
        found = api.page(parts, paging, filters)
    except MissingDatabase:
        found = Page(data=[])
    given = {name: value for name, value in request.query_params.items() if value}
    context: dict[str, Any] = {
        "page": found,
        "filters": FILTERS,
        "given": given,
        "filtered": any(name not in ("after", "limit") for name in given),
        "newest": paging.after is None,
        "first_page": address(request, after=None),
    }
    return render(request, visitor, "requests.html", title=N_("Requests"), **context)


@router.get("/requests/{id}")
def request_page(id: str, request: Request, visitor: PageReader, parts: Own, duel: str = "") -> Response:
    """One. `duel`: the job of a duel of it, whose outcome is shown."""
    found = api.one(parts, id)
    context: dict[str, Any] = {
        "found": found,
        "one": found.request,
        "line": story(request, found),
        "cache": cache(request, found),
        "web": web(parts, found.request.id),
        "duels": parts.jobs.find(visitor, duel).results if duel else [],
        "totals": [n for n in found.attempts if n.cost_usd is not None],
    }
    return render(request, visitor, "request.html", title=found.request.id, **context)


def story(request: Request, found: OneRequest) -> Markup:
    """The tries, on a time line."""
    words, stretches = words_of(request), []
    for attempt in found.attempts:
        good = attempt.verdict in GOOD or (attempt.status is not None and attempt.status < 400 and not attempt.error)
        kind = "good" if good else "off" if attempt.verdict == "client_closed" else "bad"
        who = f"{attempt.provider}/{attempt.key}" if attempt.key else attempt.provider
        what = " ".join(str(part) for part in (attempt.status, None if good else attempt.verdict) if part is not None)
        length = attempt.duration_ms or 0.0
        title = [f"{attempt.n}. {who}: {what}"]
        title.append(
            words.gettext("after %(after)s, for %(length)s")
            % {"after": words.span(attempt.after_ms / 1000), "length": words.span(length / 1000)}
        )
        if attempt.waited_ms:
            title.append(words.gettext("waited %(span)s before it") % {"span": words.span(attempt.waited_ms / 1000)})
        if attempt.first_byte_ms is not None:
            title.append(
                words.gettext("first byte after %(span)s") % {"span": words.span(attempt.first_byte_ms / 1000)}
            )
        if attempt.proxy:
            title.append(words.gettext("through %(proxy)s") % {"proxy": attempt.proxy})
        if attempt.error:
            title.append(attempt.error)
        text = f"{who}  {what}"
        stretches.append(Stretch(attempt.after_ms, length, attempt.first_byte_ms, kind, text, "\n".join(title)))
    count = len(stretches)
    label = words.ngettext("%(num)s attempt: ", "%(num)s attempts: ", count) % {"num": count}
    label += ", ".join(one.text for one in stretches)
    return time_line(stretches, found.request.duration_ms or 0.0, words, label) if stretches else Markup("")


def cache(request: Request, found: OneRequest) -> dict[str, Any] | None:
    """How the prompt came together."""
    ray, words = found.cache, words_of(request)
    if ray is None:
        return None
    label = words.gettext("%(read)s read from the cache, %(written)s written to it, %(fresh)s new") % {
        "read": words.tokens(ray.read),
        "written": words.tokens(ray.written),
        "fresh": words.tokens(ray.fresh),
    }
    return {
        "ray": ray,
        "bar": charts.share({"c5": ray.read, "c3": ray.written, "c7": ray.fresh}, label),
        "label": label,
    }


def web(parts: Parts, id: str) -> str | None:
    """The request in mitmweb, where a relay is one."""
    for relay in parts.relays():
        if found := json.loads(relay.listeners).get(WEB):
            return f"http://{found}/#/flows?s={quote(f'~comment {id}')}"
    return None
