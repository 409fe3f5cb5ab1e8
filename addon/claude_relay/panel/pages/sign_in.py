"""/login, /welcome (the one-time link), /preferences: what works without a sign-in, and without scripts."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from claude_relay.core.installation import command
from claude_relay.panel.api.sign_in import Welcome, welcome
from claude_relay.panel.common import said, texts
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem
from claude_relay.panel.security.entering import entered, signed_in
from claude_relay.panel.security.visitors import is_secure, visitor_of

from .shell import N_, THEME, THEMES, pages, render, words_of

router = pages()
RESET = command("panel") + " reset-password"
YEAR = 365 * 24 * 3600
LARGEST = 8192


async def fields(request: Request) -> dict[str, str]:
    """Of a form."""
    body = await request.body()
    if len(body) > LARGEST:
        raise Problem(413, "too_large", "This form is too large.")
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Problem(400, "form", "This is no form that could be read.") from None
    return {name: values[-1] for name, values in found.items()}


Form = Annotated[dict[str, str], Depends(fields)]


@router.get("/login")
def login_page(request: Request, parts: Own, next: str = "/") -> Response:
    """The form; who is signed in already goes on."""
    if visitor_of(request, parts) is not None:
        return RedirectResponse(_own(next), 303)
    return _login(request, next=_own(next))


@router.post("/login")
def login(request: Request, parts: Own, form: Form) -> Response:
    """Sign in, by a form without scripts."""
    next, code = _own(form.get("next", "/")), form.get("code")
    name, password = form.get("username", "").strip()[:64], form.get("password", "")[:2000]
    try:
        admin = signed_in(name or "-", password, code, request, parts)
    except Problem as problem:
        wants = problem.code == "code" or code is not None
        return _login(request, problem, next, form.get("username", ""), wants_code=wants)
    answer = RedirectResponse(next, 303)
    entered(admin, request, answer, parts)
    return answer


def _login(
    request: Request, problem: Problem | None = None, next: str = "/", username: str = "", *, wants_code: bool = False
) -> Response:
    status, text = problem.status if problem else 200, shown(request, problem)
    context = {"problem": text, "next": next, "username": username, "wants_code": wants_code, "reset": RESET}
    return render(request, None, "login.html", title=N_("Sign in"), status=status, **context)


SAID = (
    N_("Name or password is wrong."),
    N_("Give the code of your app, too, or a recovery code."),
    N_("This recovery code is wrong, or was used already."),
    N_("This code is wrong, or was used already; wait for the next one."),
    N_("Too many sign in at this moment. Try again."),
    N_("This link was used already, or is over. A new one: panel reset-password."),
    N_("This one is among the first that somebody would try; choose another one."),
)
"""What `security.entering` and `security.passwords` say, for the catalogues."""


def shown(request: Request, problem: Problem | None) -> str:
    """What is wrong, in the visitor's language."""
    words = words_of(request)
    if problem is None:
        return ""
    if problem.code == "slow_down":
        text = words.gettext(N_("Too many tries that were wrong. Try again in %(span)s."))
        return text % {"span": words.span(float(problem.headers["Retry-After"]))}
    return said.shown(problem.detail, words)


@router.get("/welcome")
def welcome_page(request: Request, parts: Own, link: str = "") -> Response:
    """Choose a password; the link is used up only when one was chosen."""
    return _welcome(request, parts, link)


@router.post("/welcome")
def chosen(request: Request, parts: Own, form: Form) -> Response:
    """A password was chosen."""
    link = form.get("link", "")[:200]
    answer = RedirectResponse("/", 303)
    try:
        said = Welcome(link=link, password=form.get("password", "")[:2000], code=form.get("code", "")[:64] or None)
        welcome(said, request, answer, parts)
    except Problem as problem:
        return _welcome(request, parts, link, problem)
    return answer


def _welcome(request: Request, parts: Parts, link: str, problem: Problem | None = None) -> Response:
    name = parts.admins.linked(link[:200], parts.clock())
    known = parts.admins.find(name) if name is not None else None
    wants_code = known is not None and known.totp is not None
    text = shown(request, problem)
    context = {"name": name, "link": link, "problem": text, "reset": RESET, "wants_code": wants_code}
    status = problem.status if problem else 200
    return render(request, None, "welcome.html", title=N_("Choose a password"), status=status, **context)


@router.get("/preferences")
def preferences(request: Request, next: str = "/", theme: str = "", language: str = "") -> Response:
    """Theme and language of this browser."""
    answer = RedirectResponse(_own(next), 303)
    for name, value, known in ((THEME, theme, THEMES), (texts.CHOSEN, language, texts.LANGUAGES)):
        if value in known:
            answer.set_cookie(name, value, max_age=YEAR, path="/", secure=is_secure(request), samesite="lax")
    return answer


def _own(target: str) -> str:
    """A path of the panel's own, else the first page: nobody is led elsewhere."""
    parts = urlsplit(target)
    own = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if own and target.isprintable() and "\\" not in target else "/"
