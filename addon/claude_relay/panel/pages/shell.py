"""What all pages share: the rail, the bar at the top, language, theme, the files they load; and what a page of an error looks like.

    router = pages()
    @router.get("/keys")
    def keys(request: Request, visitor: PageReader, parts: Own) -> HTMLResponse:
        return render(request, visitor, "keys.html", title=_("Keys"), rows=rows)

Templates have `_`, `ngettext`, the forms of `texts.Words` as filters (`count`, `tokens`, `money`, `percent`, `span`), `moment(at)` and
`ago(at)` which draw a <time>, `icon(name)`, `visitor`, `static(path)`. Everything is escaped.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from claude_relay.panel.common import texts
from claude_relay.panel.common.parts import parts_of
from claude_relay.panel.common.problems import TITLES, Problem
from claude_relay.panel.common.said import shown
from claude_relay.panel.security.visitors import Level, Visitor, needs, visitor_of

from .icons import ICONS

THEME: Final = "relay-theme"
THEMES: Final = ("system", "light", "dark")
STATIC: Final = Path(str(files("claude_relay.panel").joinpath("static")))


class Place(NamedTuple):
    """An entry of the rail. `text`: English, translated where it is drawn."""

    path: str
    text: str
    icon: str


N_: Final = texts.N_


RAIL: Final = (
    (
        Place("/", N_("Overview"), "overview"),
        Place("/requests", N_("Requests"), "requests"),
        Place("/sessions", N_("Sessions"), "sessions"),
        Place("/usage", N_("Usage"), "usage"),
    ),
    (
        Place("/keys", N_("Keys"), "keys"),
        Place("/providers", N_("Providers & routes"), "providers"),
        Place("/clients", N_("Clients"), "clients"),
        Place("/accounts", N_("Accounts"), "accounts"),
        Place("/proxies", N_("Ways out"), "proxies"),
        Place("/budgets", N_("Budgets"), "budgets"),
    ),
    (Place("/playground", N_("Playground"), "playground"),),
    (
        Place("/notices", N_("Notices"), "notices"),
        Place("/audit", N_("Audit"), "audit"),
        Place("/settings", N_("Settings"), "settings"),
    ),
)
"""What the rail shows."""

PageReader = Annotated[Visitor, Depends(needs(Level.READ))]
PageOperator = Annotated[Visitor, Depends(needs(Level.OPERATE))]
PageAdministrator = Annotated[Visitor, Depends(needs(Level.ADMIN))]
"""As `security.visitors` has them: who is not signed in is led to the sign-in page (`error_page`)."""


def pages() -> APIRouter:
    """A router for pages."""
    return APIRouter(default_response_class=HTMLResponse)


def words_of(request: Request) -> texts.Words:
    """The visitor's language."""
    return texts.of(texts.language(request))


def render(
    request: Request, visitor: Visitor | None, template: str, *, title: str, status: int = 200, **values: Any
) -> HTMLResponse:
    """A page. `title`: in the visitor's language, or English to be translated here."""
    words, zone, parts = words_of(request), texts.zone(request), parts_of(request)
    now = parts.clock()
    theme = request.cookies.get(THEME, "system")

    def moment(at: float | str | None, *, relative: bool = True) -> Markup:
        """A <time>: how long ago, with the exact one on hover; the browser keeps it up."""
        found = texts.when(at)
        if found is None:
            return Markup('<span class="muted">–</span>')
        exact, shown = words.moment(at, zone), words.ago(at, now) if relative else words.moment(at, zone)
        live = Markup(" data-relative") if relative else ""
        text = '<time datetime="{}" title="{}"{}>{}</time>'
        return Markup(text).format(found.isoformat(), exact, live, shown)

    context: dict[str, Any] = {
        "request": request,
        "visitor": visitor,
        "title": words.gettext(title),
        "words": words,
        "rail": RAIL,
        "here": request.url.path,
        "moment": moment,
        "now": now,
        "zone": zone,
        "theme": theme if theme in THEMES else "system",
        "languages": texts.LANGUAGES,
        "static": static,
        "icon": icon,
        "secure": bool(request.scope.get("relay.secure")),
    }
    text = environment(words.language).get_template(template).render(context | values)
    return HTMLResponse(text, status, {"vary": "cookie, accept-language"})


@cache
def environment(language: str) -> Environment:
    """Templates in one language."""
    words = texts.of(language)
    found = Environment(
        loader=PackageLoader("claude_relay.panel", "templates"),
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.install_gettext_callables(  # type: ignore[attr-defined]
        words.gettext, words.ngettext, newstyle=True, pgettext=words.pgettext, npgettext=words.npgettext
    )
    for name in ("count", "tokens", "money", "percent", "span"):
        found.filters[name] = getattr(words, name)
    found.filters["said"] = partial(shown, words=words)
    found.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    found.filters["part"] = partial(quote, safe="")  # of a path
    return found


def icon(name: str) -> Markup:
    """A picture of 16 by 16 in the colour of the text; says nothing by itself."""
    text = '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">{}</svg>'
    return Markup(text).format(Markup(ICONS[name]))


# --- files ---


@cache
def version() -> str:
    """Of all files that pages load: another one when any has changed, so that browsers may keep them for ever."""
    found = hashlib.sha256()
    for file in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        found.update(file.relative_to(STATIC).as_posix().encode() + file.read_bytes())
    return found.hexdigest()[:12]


def static(path: str) -> str:
    """The address of one of our own files."""
    return f"/static/{version()}/{path}"


class Files(StaticFiles):
    """Those of one version."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """Kept by browsers; a new version has a new address."""
        answer = super().file_response(*arguments, **options)
        answer.headers["cache-control"] = "public, max-age=31536000, immutable"
        return answer


# --- errors ---


async def error_page(request: Request, problem: Problem) -> Response | None:
    """What a person sees; None: who asked is a program. Somebody who has to sign in is led there and back."""
    if "text/html" not in request.headers.get("accept", ""):
        return None
    if problem.status == 401:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(target)}" if target != "/" else "/login", 303)
    try:
        visitor = await run_in_threadpool(visitor_of, request, parts_of(request))
    except Exception:  # what is wrong is shown already
        visitor = None
    title = TITLES.get(problem.status, N_("Not possible"))
    page = partial(render, request, visitor, "problem.html", title=title, status=problem.status, problem=problem)
    return await run_in_threadpool(page)


def install(app: FastAPI) -> None:
    """Files and errors."""
    app.mount(f"/static/{version()}", Files(directory=STATIC), name="static")
    app.state.error_page = error_page
