"""How the routes of an area begin: its tag, that a POST with an Idempotency-Key is done once, and that a parameter which nobody knows is a
mistake: a filter that is spelt wrongly would let everything through.

    router = area("keys")
    @router.post("/providers/{name}/keys", responses=documented(404, 409))

It must not know single areas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from claude_relay.core.errors import clean
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.problems import FieldError, Problem
from claude_relay.panel.common.versions import Kept
from claude_relay.panel.security.visitors import visitor_of

CREATING = "idempotency-key"


class Creating(APIRoute):
    """A route whose POST is done once for one Idempotency-Key, and that takes the parameters it has."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual one, or the answer that was given before."""
        usual = super().get_route_handler()
        known = _parameters(self.dependant)

        async def handled(request: Request) -> Response:
            key = request.headers.get(CREATING) if request.method == "POST" else None
            unknown = sorted({*request.query_params} - known) if self.path_format.startswith("/api/") else []
            if key is None and not unknown:
                return await usual(request)
            parts: Parts = request.app.state.parts
            visitor = await run_in_threadpool(visitor_of, request, parts)
            if visitor is None:  # who is told to sign in, and no more
                return await usual(request)
            if unknown or key is None:
                raise _no_such(unknown, known)
            requested = hashlib.sha256(
                f"{request.url.path}?{request.url.query}\n".encode() + await request.body()
            ).digest()
            once, who = request.app.state.once, visitor.identity
            given = once.begin(who, key, requested, parts.clock())
            if given is not None:
                return Response(
                    given.body, given.status, dict(given.headers) | {"Idempotent-Replayed": "true"}, given.media
                )
            kept = None
            try:
                answer = await usual(request)
                if answer.status_code < 300 and hasattr(answer, "body"):
                    headers = tuple((n, v) for n, v in answer.headers.items() if n in ("etag", "location"))
                    media = answer.headers.get("content-type", "application/json")
                    kept = Kept(parts.clock(), requested, answer.status_code, bytes(answer.body), media, headers)
                return answer
            finally:
                once.end(who, key, kept)

        return handled


def _parameters(dependant: Any) -> frozenset[str]:
    """Names in the query that a route and what it depends on take."""
    own = {field.alias for field in dependant.query_params}
    return frozenset(own.union(*(_parameters(one) for one in dependant.dependencies)))


def _no_such(unknown: list[str], known: frozenset[str]) -> Problem:
    there = f"there are {', '.join(sorted(known))}" if known else "there are none here"
    errors = [FieldError(field=clean(name)[:60], detail=f"There is no such parameter; {there}.") for name in unknown]
    return Problem(422, "invalid", f"A parameter of the address is unknown; {there}.", errors=errors)


def area(tag: str, prefix: str = "/api") -> APIRouter:
    """A router for one area of the API."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Creating)
