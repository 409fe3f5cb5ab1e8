"""What a client requests: who it is, what it sent, whether it still waits for an answer.

`Requested` is the part of what is known of a request that is the same whatever becomes of it; `relayed.Relayed` adds its attempts and its
answer. It must not know providers, keys or outcomes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from mitmproxy import http

from claude_relay.core.accounting.batches import batch_of
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.offers import Offer
from claude_relay.core.endpoints import Page, normalise_path
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Origin
from claude_relay.core.formats.conversation import Conversation
from claude_relay.proxy.messages.wire import Pristine, Signature, mask_trailers
from claude_relay.proxy.provider.redaction import Redaction
from claude_relay.proxy.running.runtime import ANY_SIZE, Limits, Runtime, Sizes


@dataclass(slots=True, eq=False)
class Requested:
    """The state of one request, as far as its client makes it."""

    id: str
    facts: Facts
    runtime: Runtime
    limits: Limits
    started_at: float
    """Unix seconds."""
    began_at: float = field(default_factory=time.monotonic)
    """The same moment by the monotonic clock, by which everything is measured."""
    method: str = "POST"
    base: str | None = None
    """The relay's own address, for a client that uses it as its base URL."""
    page: Page | None = None
    """The page of the relay's own that it asks for."""
    local: bool = False
    """Whether the client is a program on this machine."""
    offers: tuple[Offer, ...] = field(default=(), repr=False)
    """The keys of the relay's own that it came with."""
    served: bool = False
    """Whether the pool's keys may be issued to its client."""
    unserved: RelayError | None = None
    """Why they may not."""
    client: Client | None = None
    """Whose key of the relay's own it came with."""
    agent_tree: str | None = None
    """The agent from which the one that sent it came in the end."""
    source: Origin = Origin.CLIENT
    """Where it comes from; what it is in the ledger is its `origin`."""
    keep_body: bool = False
    is_shown: bool = False
    """Whether the flow is kept for somebody to look at, who lets go of its bodies in time."""
    turned_away: RelayError | None = None
    """Why it gets nothing at all, and its body is not read."""
    sizes: Sizes = ANY_SIZE
    goes_through: bool = False
    """Its body is not kept, but goes on as it comes: there is one attempt."""

    # the request
    pristine: Pristine | None = None
    client_signature: Signature | None = None
    redaction: Redaction = field(default_factory=Redaction, repr=False)
    placeholder_only: bool = False
    request_bytes: int = 0
    body: bytes | None = b""
    """The request's body uncompressed, as all who read it have it; None: it cannot be uncompressed."""
    conversation: Conversation | None = None
    """What the client asked, once a provider of another format is to be asked."""
    side_body: bytes | None = None
    """The body of a side call, which no flow shows."""

    # the client
    gone: bool = False
    waker: asyncio.Event | None = None

    # -- the request

    def keep_request(self, request: http.Request, body: bytes) -> None:
        """The request is whole: remember it as the client sent it."""
        request.timestamp_end = time.time()
        request.data.content = b"" if self.facts.endpoint is Endpoint.SIDE else body
        self.side_body = body if self.facts.endpoint is Endpoint.SIDE else None
        mask_trailers(request)
        self.request_bytes = len(body)
        self.body = body
        self.pristine = Pristine.of(request)

    def restore_request(self, flow: http.HTTPFlow) -> None:
        """Undo what an attempt changed in the flow's request."""
        assert self.pristine is not None
        self.pristine.restore(flow.request)

    def rewrites(self, request: http.Request) -> bool:
        """Whether the flow's request has another body than the client's: another format, or another name of the model."""
        return self.pristine is not None and request.data.content is not self.pristine.content

    @property
    def batch(self) -> str | None:
        """The batch whose results the request asks for."""
        return batch_of(self.path) if self.facts.endpoint is Endpoint.RESOURCE else None

    @property
    def path(self) -> str:
        """What the client asked for, normalised; with its query."""
        return normalise_path(self.pristine.path.decode("utf-8", "replace")) if self.pristine is not None else ""

    # -- the client

    def client_left(self) -> None:
        """The client closed its connection or reset its stream: end every wait."""
        self.gone = True
        if self.waker is not None:
            self.waker.set()

    def wake(self) -> None:
        """What it waits for has come."""
        if self.waker is not None:
            self.waker.set()

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until the client leaves, or somebody wakes it."""
        self.waker = asyncio.Event()
        if self.gone:
            return
        try:
            async with asyncio.timeout(seconds):
                await self.waker.wait()
        except TimeoutError:
            pass
        finally:
            self.waker = None
