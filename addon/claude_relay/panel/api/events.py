"""`/api/events`: what happens, as it happens (Server-Sent Events), for pages and programs.

    event: requests    data: {"requests": [{"id": …}, …]}       id: to go on from, by Last-Event-ID
    event: keys        data: {}                                  also relays, clients, notices: something changed, read it anew

One watcher looks at the database for all listeners, twice a second, in a thread, as long as there is one. A listener who reads too slowly
misses some, and reads the pages anew by the next event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Header, Query, Request
from starlette.responses import StreamingResponse

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.security.visitors import Reader, visitor_of
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.news import TOPICS, Change, Changes

router = area("overview")
logger = logging.getLogger(__name__)
INTERVAL: Final = 0.5
QUIET: Final = 15.0
"""Seconds after which a comment says that all is well, and the session is looked at."""
LISTENERS: Final = 100
QUEUE: Final = 50
MEDIA: Final = "text/event-stream"


class Event(NamedTuple):
    """A change, written once for all who listen."""

    topic: str
    whole: str
    short: str

    def said(self, *, brief: bool) -> str:
        """`brief`: without the rows."""
        return self.short if brief else self.whole


class Watcher:
    """Looks for all who listen."""

    def __init__(self, parts: Parts) -> None:
        """Nothing is looked at before somebody listens."""
        self.changes = Changes(parts.database)
        self.listeners: set[asyncio.Queue[Event]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether nobody more may join."""
        return len(self.listeners) >= LISTENERS

    async def begin(self) -> None:
        """Know how things are now: what changes from here on is told."""
        if not self.listeners:
            with suppress(StoreError):
                await asyncio.to_thread(self.changes.look)

    def join(self) -> asyncio.Queue[Event]:
        """A queue of what happens from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        self.listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="events")
        return queue

    def leave(self, queue: asyncio.Queue[Event]) -> None:
        """Nobody reads it any more."""
        self.listeners.discard(queue)

    async def _look(self) -> None:
        complaint = ""
        try:
            while self.listeners:
                try:
                    changes = await asyncio.to_thread(self.changes.look)
                    complaint = ""
                except StoreError as error:
                    if str(error) != complaint:
                        logger.warning("pages are not told what changes: %s", error)
                    changes, complaint = [], str(error)
                for found in map(event, changes):
                    for queue in tuple(self.listeners):
                        with suppress(asyncio.QueueFull):
                            queue.put_nowait(found)
                await asyncio.sleep(INTERVAL)
        finally:
            self.changes.close()


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses=documented() | {200: {"description": "Events, without end", "content": {MEDIA: {}}}},
)
async def events(
    request: Request,
    visitor: Reader,
    parts: Own,
    topics: Annotated[
        str | None, Query(max_length=200, description=f"Some of {', '.join(TOPICS)}, with commas.")
    ] = None,
    brief: Annotated[bool, Query(description="Without the rows of requests: that there are some.")] = False,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """What happens, as it happens: requests as they settle, and which of keys, relays, clients and notices changed."""
    chosen = frozenset(topics.split(",")) if topics else frozenset(TOPICS)
    if not chosen <= frozenset(TOPICS):
        text = f"topics are {', '.join(TOPICS)}."
        raise Problem(422, "invalid", text, errors=[FieldError(field="topics", detail=text)])
    watcher = watcher_of(request, parts)
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() else None
    if watcher.is_full:
        raise Problem(503, "listeners", f"{LISTENERS} pages listen already; close some, and try again.")
    await watcher.begin()
    return StreamingResponse(
        stream(request, parts, watcher, chosen, after, brief=brief), media_type=MEDIA, headers=HEADERS
    )


HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


def watcher_of(request: Request, parts: Parts) -> Watcher:
    """The one of this process."""
    state: Any = request.app.state
    found: Watcher | None = getattr(state, "watcher", None)
    if found is None:
        found = state.watcher = Watcher(parts)
    return found


async def stream(
    request: Request, parts: Parts, watcher: Watcher, topics: frozenset[str], after: int | None, *, brief: bool
) -> AsyncIterator[str]:
    """Until the session ends; when the listener leaves, this is cancelled."""
    queue, now = watcher.join(), asyncio.get_running_loop().time
    try:
        yield "retry: 3000\n\n"
        if after is not None and "requests" in topics:
            yield event(await asyncio.to_thread(watcher.changes.since, after)).said(brief=brief)
        look = now() + QUIET
        while True:
            with suppress(TimeoutError):
                found = await asyncio.wait_for(queue.get(), max(0.0, look - now()))
                if found.topic in topics:
                    yield found.said(brief=brief)
            if now() >= look:
                if await asyncio.to_thread(visitor_of, request, parts) is None:
                    return
                yield ": all is well\n\n"
                look = now() + QUIET
    finally:
        watcher.leave(queue)


def event(change: Change) -> Event:
    """As it goes over the wire."""
    begin = f"id: {change.at}\nevent: {change.topic}\ndata: "
    data = {"requests": change.rows} if change.topic == "requests" else {}
    return Event(change.topic, f"{begin}{json.dumps(data, ensure_ascii=False)}\n\n", f"{begin}{{}}\n\n")
