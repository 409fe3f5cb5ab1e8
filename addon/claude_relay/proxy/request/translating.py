"""Prepares a request for a provider that is not asked as the client asked: reads it, recalls what belongs to it, translates it.

    adaptation = await translator.adapt(relayed, attempt)       None: as the client sent it; raises Unsuited
    await translator.remember(memories)                       for the turns to come

Long bodies are read and written in a thread. What providers want back in a conversation's next turn lies in memory for this relay,
in the database for others and for later. It must not know how a request is sent, nor what becomes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from claude_relay.core.accounting.batches import lists_batches
from claude_relay.core.config import Provider
from claude_relay.core.exchange import Attempt, Endpoint
from claude_relay.core.formats import counting, recalling
from claude_relay.core.formats.base import Asked, Format, Sent, Unsuited
from claude_relay.core.formats.claude import reader as reading
from claude_relay.core.formats.conversation import Conversation
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.provider.adapting import Adaptation, Readdressed, Renamed, Translated
from claude_relay.proxy.provider.memories import Memories
from claude_relay.proxy.running.stored import Stored

if TYPE_CHECKING:
    from .relayed import Relayed

LONG = 16 * 1024
"""Bytes of a body above which work on it leaves the event loop: there it would hold up everybody's streams."""
LONGEST_MEMORY = 256 * 1024
"""Characters."""
WITH_MODEL = frozenset({Endpoint.MESSAGES, Endpoint.COMPLETE})


class Translator:
    """The translations of one relay."""

    def __init__(self) -> None:
        self.stored: Stored | None = None
        self.memories = Memories()
        """At hand; the database has the others, too."""

    async def adapt(self, relayed: Relayed, attempt: Attempt) -> Adaptation | None:
        """How this attempt differs from the client's request. Raises RelayError when the provider cannot be asked that."""
        runtime, facts = relayed.runtime, relayed.facts
        format = runtime.formats.get(attempt.provider)
        if format is None:
            if relayed.base is not None and facts.endpoint is Endpoint.RESOURCE and lists_batches(relayed.path):
                return Readdressed(relayed.base)
            renamed = attempt.model != facts.model and facts.endpoint in WITH_MODEL
            return Renamed(facts.model, facts.stream) if renamed else None
        conversation = await self.conversation(relayed)
        counts = facts.endpoint is Endpoint.COUNT_TOKENS
        provider = runtime.config.providers[attempt.provider]
        recall = await self.recall(conversation)
        query = Asked(conversation, attempt.model, provider.options, recall)
        request = await self.work(relayed, lambda: written(format, query, provider, counts=counts))
        relayed.notes = tuple(dict.fromkeys((*conversation.notes, *request.notes)))
        seed = relayed.id.removeprefix("req_relay_")
        return Translated(
            format,
            request,
            facts.model,
            attempt.model,
            seed,
            facts.stream,
            facts.input_estimate,
            counts,
            recalling.anchor(conversation.turns),
        )

    async def conversation(self, relayed: Relayed) -> Conversation:
        """The client's request, read once for all attempts."""
        if relayed.conversation is None:
            body = relayed.body
            if body is None:
                raise Unsuited("body", "its content-encoding cannot be undone")
            counts = relayed.facts.endpoint is Endpoint.COUNT_TOKENS
            relayed.conversation = await self.work(relayed, lambda: reading.read(body, count_only=counts))
        return relayed.conversation

    async def estimate(self, relayed: Relayed) -> int:
        """How many tokens the request has, by the relay's own count."""
        conversation = await self.conversation(relayed)
        return await in_thread(counting.estimate, conversation)

    async def work[T](self, relayed: Relayed, what: Callable[[], T]) -> T:
        """Short work at once, long work in a thread."""
        return what() if len(relayed.body or b"") < LONG else await asyncio.to_thread(what)

    async def recall(self, conversation: Conversation) -> Mapping[str, str]:
        """What providers wanted back with the answers in this conversation."""
        keys = list(recalling.keys(conversation))
        found = self.memories.find(keys)
        missing = [key for key in keys if key not in found]
        if missing and self.stored is not None:
            stored = await self.stored.recall(missing)
            self.memories.keep(stored)
            found |= stored
        return found

    async def remember(self, memories: Mapping[str, str]) -> None:
        """Keep what an answer brought for its conversation's next turns."""
        kept = {call: what for call, what in memories.items() if len(what) <= LONGEST_MEMORY}
        self.memories.keep(kept)
        if kept and self.stored is not None:
            await self.stored.remember_calls(kept)


def written(format: Format, query: Asked, provider: Provider, *, counts: bool) -> Sent:
    """The provider's request, with what relay.yaml adds to its body."""
    if counts:
        assert format.count is not None  # who cannot count is not asked
        return format.count(query)
    request = format.request(query)
    if not provider.body:
        return request
    body = msgspec.json.encode(msgspec.json.decode(request.body) | dict(provider.body))
    return Sent(request.path, body, request.notes, request.names)
