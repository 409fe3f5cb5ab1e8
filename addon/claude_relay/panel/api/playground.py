"""A conversation through the pool: `POST /api/playground` streams what a relay answers.

The request goes through the base URL of a relay that runs here, as the client `panel`, to one target or where routes lead; so it is
counted, priced and written down as any other. The answer's head says which request it became (`x-relay-request`), by whom it was answered
and after how many attempts; what it cost is in /api/requests/{id} afterwards.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from claude_relay.core.bodies.lenient import parse_object
from claude_relay.core.recordings.recorded import TARGET
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.through_relay import MOST, Answer, ThroughRelay, begin
from claude_relay.panel.security.visitors import Administrator
from claude_relay.upstream.base_url import REFUSED

from .areas import area

router = area("playground")
logger = logging.getLogger(__name__)

PATH: Final = "/v1/messages"
FIELDS: Final = {
    "content-type": "application/json",
    "anthropic-version": "2023-06-01",
    "user-agent": "claude-relay-panel",
}
PASSED: Final = (400, 403, 404, 413, 429)
"""Statuses of the relay's that mean the same here; the others are a fault of what stands behind the panel."""
LOOK: Final = 0.5
"""Seconds between two looks whether somebody still waits for the answer."""
SSE: Final = "text/event-stream"
BROKEN: Final = {"type": "error", "error": {"type": "api_error", "message": "The answer broke off on its way here."}}


class Prompt(Strict):
    """`target`: PROVIDER, PROVIDER/MODEL or PROVIDER/KEY; null: where routes lead. `request`: a body of Claude's Messages API."""

    target: Annotated[str, Field(max_length=300, pattern=r"^[\x21-\x7e]+$")] | None = None
    request: dict[str, Any] = Field(
        examples=[
            {
                "model": "claude-haiku-4-5",
                "max_tokens": 100,
                "stream": True,
                "messages": [{"role": "user", "content": "Hi"}],
            }
        ]
    )


@router.post(
    "/playground",
    response_class=Response,
    responses=documented(404, 409, 429, 502)
    | {200: {"description": "The answer as the relay gives it.", "content": {SSE: {}, "application/json": {}}}},
)
async def playground(said: Prompt, visitor: Administrator, request: Request, parts: Own) -> Response:
    """Send a request to a model, and stream its answer: server-sent events where `stream` is true, else JSON."""
    through = parts.through
    if said.target is not None:
        await run_in_threadpool(check_targets, parts, [said.target], "target")
    if through.streams >= MOST:
        raise Problem(503, "busy", f"{MOST} answers are under way already; wait for one to end.")
    through.streams += 1
    try:
        answer = await answered(parts, said, request)
        if answer.status != 200:
            raise refused(answer, await answer.whole())
    except REFUSED as error:
        through.streams -= 1
        logger.warning("the playground cannot reach the relay: %s", error)
        raise Problem(502, "relay", f"The relay did not answer ({type(error).__name__}). Try again.") from None
    except BaseException:
        through.streams -= 1
        raise
    fields = {name: value for name, value in answer.fields.items() if name.startswith("x-relay-")}
    kind = answer.fields.get("content-type", "application/json")
    return Streaming(answer, through, {**fields, "content-type": kind})


class Streaming(StreamingResponse):
    """The answer, piece by piece. However it ends, also before its first piece, the connection to the relay is let go of."""

    def __init__(self, answer: Answer, through: ThroughRelay, headers: Mapping[str, str]) -> None:
        super().__init__(passed_on(answer, headers["content-type"]), 200, headers)
        self.answer, self.through = answer, through

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.through.streams -= 1
            self.answer.close()


async def answered(parts: Parts, said: Prompt, request: Request) -> Answer:
    """The head of the answer."""
    fields = FIELDS | ({TARGET: said.target} if said.target is not None else {})
    return await unless_left(request, posted(parts, PATH, fields, json.dumps(said.request).encode()))


async def posted(parts: Parts, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
    """The head of an answer. With another key where the panel's own was refused: somebody may have emptied the database."""
    door = await run_in_threadpool(parts.through.door)
    answer = await begin(door, path, {**fields, "x-api-key": await run_in_threadpool(parts.through.key)}, body)
    if answer.status != 401:
        return answer
    answer.close()
    key = await run_in_threadpool(parts.through.key, anew=True)
    return await begin(door, path, {**fields, "x-api-key": key}, body)


async def unless_left[T](request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of it, unless nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LOOK)
            if not task.done() and await request.is_disconnected():
                raise Problem(503, "left", "Nobody waits for the answer.")
        return task.result()
    finally:
        if not task.done():
            task.cancel()


async def passed_on(answer: Answer, kind: str) -> AsyncIterator[bytes]:
    """Piece by piece; a stream that breaks off ends with an error event, as relays end theirs."""
    try:
        async for piece in answer:
            yield piece
    except REFUSED:
        if kind.startswith(SSE):
            yield f"event: error\ndata: {json.dumps(BROKEN)}\n\n".encode()


def refused(answer: Answer, body: bytes) -> Problem:
    """An error of the relay's, or of who stands behind it, in this API's shape."""
    error = parse_object(body).get("error")
    said = error if isinstance(error, dict) else {}
    message = str(said.get("message") or f"The relay answered {answer.status}.")
    status = answer.status if answer.status in PASSED else 502
    detail = message if status == answer.status else f"{answer.status} {said.get('type', '')}: {message}"
    fields = {
        name: value for name, value in answer.fields.items() if name.startswith("x-relay-") or name == "retry-after"
    }
    return Problem(status, "relay", detail, headers=fields)


def check_targets(parts: Parts, targets: list[str], field: str) -> None:
    """That the relay which runs has these providers. Raises Problem."""
    known = parts.through.providers()
    for n, target in enumerate(targets):
        if target.partition("/")[0] not in known:
            text = f"There is no provider '{target.partition('/')[0]}'; there are {', '.join(known) or 'none'}."
            place = field if len(targets) == 1 and field == "target" else f"{field}.{n}"
            raise Problem(422, "invalid", text, errors=[FieldError(field=place, detail=text)])
