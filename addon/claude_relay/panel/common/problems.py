"""Errors, in one shape: RFC 9457 problem details, for pages a page. `type` is `urn:claude-relay:problem:CODE`.

raise Problem(404, "not_found", "There is no client 'bob'.")
raise Problem(422, "invalid", "Two fields are wrong.", errors=[FieldError(field="limits.0", detail="…")])
APIRouter(responses=documented(404, 409))
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from claude_relay.core.config import ConfigError
from claude_relay.core.errors import SECRET
from claude_relay.store.clients.book import ClientError
from claude_relay.store.db.database import ChangedMeanwhile, MissingDatabase, StoreError
from claude_relay.store.panel.admins import AdminError
from claude_relay.store.vault.lock import VaultError

from . import texts
from .said import shown
from .texts import N_, Words

logger = logging.getLogger(__name__)
LONGEST_PART = 60
"""Characters of a field's name: whoever sends one that nobody knows may have sent anything, a key even."""
MEDIA = "application/problem+json"
URN = "urn:claude-relay:problem:"
TITLES = {
    400: N_("The request cannot be understood"),
    401: N_("Sign in first"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    405: N_("This cannot be done here"),
    409: N_("It cannot be done as things are"),
    412: N_("Somebody else has changed it meanwhile"),
    413: N_("Too large"),
    422: N_("Something that was sent is wrong"),
    428: N_("Say which version you have seen"),
    429: N_("Too many tries"),
    500: N_("The panel has a fault"),
    502: N_("The other side did not answer"),
    503: N_("Not possible now"),
}


class FieldError(BaseModel):
    """What is wrong with one field. `field`: its path, dotted; empty: of the whole."""

    field: str
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = Field(examples=[f"{URN}not_found"])
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


class Problem(Exception):
    """What a handler raises. `detail`: one or two sentences, with what to do. `headers`: of the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = list(errors), headers or {}

    def answer(self, words: Words | None = None) -> Response:
        """As JSON, in a language."""
        words = words or texts.of("en")
        title = words.gettext(TITLES.get(self.status) or HTTPStatus(self.status).phrase)
        content = {"type": URN + self.code, "title": title, "status": self.status, "detail": shown(self.detail, words)}
        if self.errors:
            content["errors"] = [{"field": one.field, "detail": shown(one.detail, words)} for one in self.errors]
        return JSONResponse(content, self.status, self.headers, MEDIA)


def changed() -> Problem:
    """What somebody changes is not what they have seen."""
    text = "Somebody has changed it since you looked. Load it again, then make your change."
    return Problem(412, "changed", text)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of errors: these, and those that every route may answer."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    every = sorted({400, 401, 403, 413, 422, 503, *statuses})
    return {status: {"description": TITLES[status], "content": {MEDIA: {"schema": schema}}} for status in every}


def problem_of(error: Exception) -> Problem:
    """What any error means for who asked."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            found = [FieldError(field=_place(one["loc"]), detail=sentence(str(one["msg"]))) for one in error.errors()]
            where = ", ".join(one.field for one in found if one.field)
            return Problem(
                422, "invalid", f"What was sent cannot be used{f': {where}' if where else ''}.", errors=found
            )
        case HTTPException():
            detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
            missing = error.status_code == 404
            text = detail or ("There is nothing at this address." if missing else HTTPStatus(error.status_code).phrase)
            code = {404: "not_found", 405: "method", 413: "too_large"}.get(error.status_code, "http")
            return Problem(error.status_code, code, text, headers=dict(error.headers or {}))
        case ConfigError():
            found = [FieldError(field=one.path, detail=f"{one}") for one in error.problems]
            return Problem(422, "configuration", "relay.yaml cannot be used as it is.", errors=found)
        case ChangedMeanwhile():
            return changed()
        case ClientError() | AdminError():
            missing = str(error).startswith("there is no ")
            return Problem(404 if missing else 409, "not_found" if missing else "conflict", sentence(str(error)))
        case MissingDatabase():
            return Problem(503, "no_database", "There is no database yet: no relay has run here.")
        case VaultError():
            return Problem(503, "vault", sentence(str(error)))
        case StoreError():  # which names the file, and who asks may be anybody
            logger.error("%s", error)
            return Problem(503, "database", "The database cannot be used; the log of the panel says why.")
    logger.error("the panel failed", exc_info=error)
    return Problem(500, "fault", "The panel has a fault; its log says more.")


def install(app: FastAPI) -> None:
    """Let every error of the API have this shape. (`pages.errors` has that of pages.) What is none of these, `doors` answers."""
    for kind in (Problem, RequestValidationError, HTTPException, ConfigError, StoreError, VaultError):
        app.add_exception_handler(kind, answer_to)


async def answer_to(request: Request, error: Exception) -> Response:
    """A page for people, else JSON."""
    problem = problem_of(error)
    answer: Response | None = None
    page = getattr(request.app.state, "error_page", None)
    if page is not None and not request.url.path.startswith("/api"):
        answer = await page(request, problem)
    return answer if answer is not None else problem.answer(texts.of(texts.language(request)))


def _place(loc: Sequence[object]) -> str:
    """`("body", "policy", 0)` -> `policy.0`."""
    return ".".join(SECRET.sub("…", str(part))[:LONGEST_PART] for part in loc[1:])


def sentence(text: str) -> str:
    """With a full stop, and a capital but where it begins with a name such as `listen.hosts`."""
    if not set("._/") & set(text.partition(" ")[0].rstrip(".:,")):
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
