"""The limits of a client under one request: it is let through, waits for its turn, or is refused; and what it used is counted once.

    await admit(relayed, limiting)          when it is known what the request is about; raises ClientLimitError
    counted(relayed, row)                   its cost is known, before its row is written
    settle(relayed, usage, now)             it is over; a second time does nothing

It must not know where the request goes, nor where limits are kept.
"""

from __future__ import annotations

import logging
import time

from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.bodies.facts import AGENT, SUBAGENT_HEADERS
from claude_relay.core.clients.admission import TOO_LONG, Admission, Waiting
from claude_relay.core.clients.demand import Weight
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.known import Plan
from claude_relay.core.clients.money import Spending
from claude_relay.core.exchange import Endpoint, Facts, Origin, Refused
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.log.terminal import CONSOLE
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.limiting import Limiting
from claude_relay.store.ledger.ledger import RequestRow

from .reserving import PAID, makes_batch

logger = logging.getLogger(CONSOLE)
LEASING = 1.0
"""Seconds for which a request waits at least where it is a lease that is missing, whatever `retry.max_wait` says."""
UNSAID = 0.1
"""Seconds that a request may wait without a line in the log: the first ones of a client wait for its lease."""


async def admit(relayed: Relayed, limiting: Limiting | None) -> None:
    """Take what the request needs of the limits of its client and its group. Raises ClientLimitError, having taken nothing."""
    client = relayed.client
    if client is None or limiting is None:
        return
    limiter, facts = limiting.limiter, relayed.facts
    if agent := facts.headers.get(AGENT):
        relayed.agent_tree = tree_of(facts, agent, client, limiting)
    alike = client, facts.model, facts.session, relayed.agent_tree
    plan = limiter.plan_of(*alike) or await limiting.plan(*alike)
    if not plan.bounds:
        return
    limiter.contact = relayed.runtime.config.clients.contact
    # What asks no model is a request, and nothing else.
    weight = Weight(facts.input_estimate) if facts.endpoint in PAID else Weight(runs=makes_batch(relayed))
    admission = None
    if not (limiter.queues and weight.runs and plan.places and limiter.waits_for(client)):
        admission = limiter.enter(plan, weight, NOW(), time.monotonic())
    if admission is None:
        limiter.look(plan, weight, NOW())  # nobody waits for a place that would be of no use
        admission = await _wait(relayed, plan, weight, limiting)
    if admission is not None:
        relayed.admission = admission


def tree_of(facts: Facts, agent: str, client: Client, limiting: Limiting) -> str:
    """The root of the agents that the one which sent a request came from."""
    return limiting.trees.root(client.name, facts.session or "", agent, facts.headers.get(SUBAGENT_HEADERS[1]))


async def _wait(relayed: Relayed, plan: Plan, weight: Weight, limiting: Limiting) -> Admission | None:
    """Wait for places, as long as a request may wait. None: the client left, or the relay ends. Raises ClientLimitError."""
    limiter, most = limiting.limiter, relayed.runtime.config.retry.max_wait
    began = time.monotonic()
    if limiter.slots.unleased(plan.places, began):
        most = max(most, LEASING)
    waiting = limiter.queue(plan, NOW(), began, relayed.wake)
    entered = False
    try:
        limiter.serve(began)
        if not waiting.waiter.served:
            await _served(relayed, waiting, min(UNSAID, most), limiting)
        if not waiting.waiter.served and most > UNSAID:
            _say(relayed, plan.client, waiting, limiting)
            await _served(relayed, waiting, most - UNSAID, limiting)
        relayed.waited += time.monotonic() - began
        if relayed.gone:
            return None
        if relayed.ended is not None:
            raise relayed.ended
        if not waiting.waiter.served:
            raise limiter.gave_up(plan.places, NOW(), time.monotonic(), TOO_LONG.format(most))
        entered = True
        return limiter.enter(plan, weight, NOW(), time.monotonic(), served=True)
    finally:
        if not entered:
            limiter.left(waiting, time.monotonic())


async def _served(relayed: Relayed, waiting: Waiting, most: float, limiting: Limiting) -> None:
    """Until it has its places, its time is over, its client left or the relay ends."""
    until = time.monotonic() + most
    while not (waiting.waiter.served or relayed.gone or relayed.ended) and (left := until - time.monotonic()) > 0:
        if limiting.limiter.slots.lacking(waiting.waiter.bounds, time.monotonic()):
            limiting.urge()
        await relayed.wait(left)


def _say(relayed: Relayed, client: Client, waiting: Waiting, limiting: Limiting) -> None:
    """Its position, for the log."""
    limiter = limiting.limiter
    full = limiter.slots.full(waiting.waiter.bounds, time.monotonic())
    if full is None or relayed.gone or relayed.ended is not None:
        return
    position, count = limiter.position(waiting)
    of = f"'{full.limit}' of the {full.kind} '{full.owner}'"
    logger.info("%s of '%s' waits: position %d of %d, under %s", relayed.id, client.name, position, count, of)


# -- what it used


def counted(relayed: Relayed, row: RequestRow) -> list[Spending]:
    """What the request cost is about to be written down. Returns the limits that have just become near their end."""
    if relayed.admission is None or row.origin == Origin.FAULT:
        return []
    usd, spendings = row.cost_usd, relayed.admission.plan.spendings
    near = [spending for spending in spendings if spending.spend(row.started_at, usd)] if usd else []
    if relayed.reserve is not None and (relayed.facts.endpoint in PAID or not makes_batch(relayed)):
        relayed.reserve.counted()
    return near


def settle(relayed: Relayed, usage: Usage, now: float) -> None:
    """The request is over: its places are free, its tokens are those that it used. One that was refused for a limit has used nothing."""
    admission = relayed.admission
    if admission is None or admission.over:
        return
    if isinstance(relayed.step, Refused) and isinstance(relayed.step.error, ClientLimitError):
        admission.cancel(now, time.monotonic())
    else:
        admission.settle(_tokens(relayed, usage), now, time.monotonic())


def _tokens(relayed: Relayed, usage: Usage) -> int | None:
    """All that were used, cached ones too; None: nobody knows."""
    if relayed.facts.endpoint not in (Endpoint.MESSAGES, Endpoint.COMPLETE):
        return None
    fresh, read, output = usage.input_tokens, usage.cache_read_tokens, usage.output_tokens
    short, long = usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    if fresh is None and read is None and short is None and long is None and output is None:
        return None if any(record.dispatched for record in relayed.attempts) else 0
    return (fresh or 0) + (read or 0) + (short or 0) + (long or 0) + (output or 0)
