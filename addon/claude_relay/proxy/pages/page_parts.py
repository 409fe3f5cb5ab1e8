"""What a page gets, and the forms of its answer.

    answer = json_answer({"ok": True}, relayed)
    form = form_of(relayed)                          {"grant_type": "…"}; raises BadForm
    await parts.pages.in_thread(work, argument)      what needs the disk

It must not know single pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import msgspec
from mitmproxy import http

from claude_relay.core.clients.admission import Standing
from claude_relay.core.clients.directory import Client, Directory, Grant
from claude_relay.core.clients.guesses import Attempts
from claude_relay.core.errors import RelayError
from claude_relay.proxy.messages.replies import JSON
from claude_relay.proxy.request.relayed import Relayed

from .forwarding import Forwarder
from .settings_files import SettingsFiles

FORM: Final = "application/x-www-form-urlencoded"
FIELDS: Final = 20
"""Of a form, at most."""
WAITING: Final = 64
"""What may wait for the disk for pages; more is refused."""
BUSY: Final = RelayError(
    503, "The relay has too many requests for its own pages. Send it again in a moment.", retry_after=1.0
)


class BadForm(Exception):
    """What was sent is no form; the text says what to do."""


class Clients(Protocol):
    """The clients in force."""

    directory: Directory

    async def look(self) -> None:
        """Take over what changed in the database, now."""

    async def find(self, secret: str) -> Grant | None:
        """Whose secret it is, served or not."""


class PageState:
    """What pages keep between requests. Nothing is opened or started before it is needed.

    guesses   wrong codes and keys at the page of a sign-in
    begun     sign-ins that were begun
    """

    def __init__(self) -> None:
        self.guesses = Attempts(each=10, all=200, within=600.0)
        self.begun = Attempts(each=20, all=300, within=60.0)
        self.settings = SettingsFiles()
        self.telemetry = Forwarder()
        self._threads = ThreadPoolExecutor(2, "relay-pages")
        self._waiting = 0

    async def in_thread[*A, R](self, work: Callable[[*A], R], *arguments: *A) -> R:
        """Wait for the disk, off the event loop. Raises RelayError 503 when too many do."""
        if self._waiting >= WAITING:
            raise BUSY
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """The relay ends."""
        self.telemetry.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


class PageParts(Protocol):
    """What pages need of a relay."""

    @property
    def pages(self) -> PageState:
        """What pages keep."""

    @property
    def clients(self) -> Clients | None:
        """Who has a key of the relay's own; None before it runs."""

    async def standings_of(
        self, client: Client, session: str | None = None, agent: str | None = None, parent: str | None = None
    ) -> Sequence[Standing]:
        """How far the limits of a client are used, and those of a session and an agent where they are named."""


def json_answer(
    document: Mapping[str, Any] | None, relayed: Relayed, status: int = 200, headers: Mapping[str, str] | None = None
) -> http.Response:
    """A document; None: an answer without one. Nobody keeps it."""
    own = {"content-type": JSON, "cache-control": "no-store", "request-id": relayed.id}
    body = b"" if document is None else msgspec.json.encode(document)
    return http.Response.make(status, body, own | dict(headers or {}))


def form_of(relayed: Relayed) -> dict[str, str]:
    """The fields of a form that was sent. Raises BadForm."""
    headers, body = relayed.facts.headers, relayed.side_body or b""
    kind = headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if kind != FORM or headers.get("content-encoding", "identity") != "identity":
        raise BadForm(f"send a form: content-type {FORM}, not compressed")
    try:
        pairs = (
            parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=FIELDS,
            )
            if body
            else []
        )
    except ValueError:
        raise BadForm("this is no form that could be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadForm("each field may be sent once")
    return fields
