"""A request's body: uncompressed to be read, written anew where it must change, and none of it on the event loop for long.

    relayed.body = await uncompressed(request, endpoint)      None: it cannot be; raises RelayError 413
    relayed.facts = await facts_of(relayed)
    body = await reworded(relayed, attempt)                   None: the client's own bytes go
    write_body(request, body)

What is sent stays as it came, byte for byte and compressed as it was, unless something in it has to be another one. It must not know
where a request goes, nor why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mitmproxy import http

from claude_relay.core.bodies.facts import read_facts, rename_model
from claude_relay.core.bodies.unpack import is_packed, unpack
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Endpoint, Facts
from claude_relay.core.formats.claude.bodies import (
    has_foreign_thinking,
    without_foreign_thinking,
    without_tags,
    without_thinking,
)
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.provider.adapting import Translated

if TYPE_CHECKING:
    from .relayed import Relayed

LONG = 1024 * 1024
"""Bytes of a body above which it is read in a thread: what is shorter takes less than that costs the other requests."""
LONG_TO_CHANGE = 128 * 1024
"""The same for what takes several times as long: mending a body, cutting something out of it."""


async def at_leisure[T](body: bytes, work: Callable[[bytes], T], bound: int = LONG) -> T:
    """Work on a short body at once, on a long one in a thread."""
    return work(body) if len(body) <= bound else await in_thread(work, body)


async def uncompressed(request: http.Request, endpoint: Endpoint) -> bytes | None:
    """The body as it can be read; None when its coding is unknown or it is broken.

    Raises RelayError 413 when it is too large to be read; a file that is uploaded is none of the relay's business.
    """
    body, coding = request.data.content or b"", request.headers.get("content-encoding", "")
    if not body or not is_packed(coding):
        return body
    try:
        return await in_thread(unpack, body, coding)
    except RelayError:
        if endpoint is Endpoint.RESOURCE:
            return None
        raise


async def facts_of(relayed: Relayed) -> Facts:
    """What the request is about."""
    endpoint, headers, body = relayed.facts.endpoint, relayed.facts.headers, relayed.body
    client = relayed.client.name if relayed.client is not None else ""
    if body is None:
        return read_facts(endpoint, headers, b"", client=client)
    if len(body) > LONG:
        return await in_thread(_measured, endpoint, headers, body, client)
    facts = read_facts(endpoint, headers, body, leniently=len(body) <= LONG_TO_CHANGE, client=client)
    if facts.unread and len(body) > LONG_TO_CHANGE:
        return await in_thread(partial(read_facts, client=client), endpoint, headers, body)
    return facts


def _measured(endpoint: Endpoint, headers: Mapping[str, str], body: bytes, client: str) -> Facts:
    facts = read_facts(endpoint, headers, body, client=client)
    return replace(facts, tokens=facts.input_estimate)


async def reworded(relayed: Relayed, attempt: Attempt) -> bytes | None:
    """The body without what this attempt must not say: another provider's thoughts, labels for this gateway, and a
    model's name that is another one there.

    None: nothing of that is in it, or it is not sent at all.
    """
    facts, body = relayed.facts, relayed.body
    if body is None or facts.endpoint is Endpoint.SIDE or isinstance(relayed.adaptation, Translated):
        return None
    changes: list[Callable[[bytes], bytes]] = []
    if facts.endpoint is Endpoint.MESSAGES:
        if attempt.repaired:
            changes.append(without_thinking)
        elif relayed.runtime.formats:  # else no other model has answered, or not lately
            foreign = await at_leisure(body, has_foreign_thinking)
            changes += [without_foreign_thinking] * foreign
    if relayed.client is not None and facts.tagged:
        changes.append(without_tags)
    if attempt.model != facts.model:
        changes.append(lambda text: rename_model(text, attempt.model))
    if not changes:
        return None

    def changed(text: bytes) -> bytes | None:
        for change in changes:
            text = change(text)
        return None if text is body or text == body else text

    return await at_leisure(body, changed, LONG_TO_CHANGE)


def write_body(request: http.Request, body: bytes) -> None:
    """Another body in the place of the client's: it goes uncompressed."""
    request.data.content = body
    request.headers.pop("content-encoding", None)
    if "content-length" in request.headers:
        request.headers["content-length"] = str(len(body))
