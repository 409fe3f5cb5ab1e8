"""Whether an answer read from the prompt cache what the turn before had left there; else why not, and what that cost.

    await find_miss(conversations, relayed)         -> relayed.missed, relayed.missed_usd

Of a request that was answered, and whose client or conversation can be told from others. It must not know what comes of it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from claude_relay.core.accounting.cache_misses import Conversations, Turn, as_if_read, tokens_cached
from claude_relay.core.accounting.pricing import DIGITS
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.bodies.facts import AGENT
from claude_relay.core.bodies.prompts import Prompt, continued, read_prompt
from claude_relay.core.exchange import Accepted, Attempt, Endpoint, Origin

from .bodies import at_leisure
from .costs import price
from .records import AttemptRecord
from .relayed import Relayed

logger = logging.getLogger(__name__)
PAUSE = 1.0
"""Seconds after a turn for which others of its conversation are not looked at: no model answers that fast, and whoever asks hundreds of
times a second shall not pay for it."""
MARK: Final = b'"cache_control"'
LONG: Final = 128 * 1024
"""Bytes of a body above which it is read whole in a thread: as many take a fifth of a millisecond."""
LONG_TO_CONTINUE: Final = 512 * 1024
"""The same where only what is new in it is read."""


async def find_miss(conversations: Conversations, relayed: Relayed) -> None:
    """Compare the turn with the one that it goes on from, and remember it for the next. Never raises: the request's row matters more."""
    try:
        if relayed.origin is Origin.CLIENT:  # replays, duels and faults are nobody's conversation
            await _find_miss(conversations, relayed)
    except Exception:
        logger.exception("what %s missed of the prompt cache could not be found out", relayed.id)


async def _find_miss(conversations: Conversations, relayed: Relayed) -> None:
    facts = relayed.facts
    session = facts.session or facts.prefix
    if facts.endpoint is not Endpoint.MESSAGES or session is None or not isinstance(relayed.step, Accepted):
        return
    record, place = relayed.attempts[-1], (session, facts.headers.get(AGENT, ""), facts.subagent)
    usage = record.usage
    if usage is None or usage.cache_read_tokens is None or not (tokens_cached(usage) or place in conversations):
        return
    attempt = record.attempt
    if place not in conversations and attempt.provider not in relayed.runtime.formats and MARK not in facts.body:
        return  # Claude caches what is marked, and nothing else
    if 0 <= record.started_at - conversations.latest(place) < PAUSE:
        return
    before = conversations.confirmed(place, attempt.provider, key_of(attempt), attempt.model, usage)
    if before is not None:
        later = await at_leisure(facts.body, partial(continued, before, messages=facts.messages), LONG_TO_CONTINUE)
        if later is not None:
            conversations.remember(place, _turn(relayed, record, later), usage)
            return
    prompt = await at_leisure(facts.body, read_prompt, LONG)
    if prompt is None or (facts.session is None and len(prompt.starts) == 1):  # asked once, perhaps by many
        return
    relayed.missed = conversations.follow(place, _turn(relayed, record, prompt), usage)
    if relayed.missed is not None:
        relayed.missed_usd = _extra_cost(relayed, record, usage, relayed.missed.tokens)


def key_of(attempt: Attempt) -> str:
    """What its key is known by; empty: it is the client's own."""
    return attempt.key.id if attempt.key is not None else ""


def _turn(relayed: Relayed, record: AttemptRecord, prompt: Prompt) -> Turn:
    attempt, betas = record.attempt, relayed.facts.headers.get("anthropic-beta", "").split(",")
    return Turn(
        prompt=prompt.without_marks() if attempt.provider in relayed.runtime.formats else prompt,
        provider=attempt.provider,
        key=key_of(attempt),
        model=attempt.model,
        betas=frozenset(name for beta in betas if (name := beta.strip())),
        at=record.started_at,
    )


def _extra_cost(relayed: Relayed, record: AttemptRecord, usage: Usage, missed: int) -> float | None:
    """USD; None where there is no price."""
    had, better = price(relayed, record, usage), price(relayed, record, as_if_read(usage, missed))
    return None if had is None or better is None else max(round(had.usd - better.usd, DIGITS), 0.0)
