"""What a request reserves under the budgets, step by step.

    targets = await admitted(relayed, reporting, targets)   those that may be paid, or BudgetError
    follow(relayed, attempt)                          an attempt begins: reserved where it goes, or BudgetError
    unfetched = Unfetched()                           batches that were made, and whose cost is not known yet

While its answer runs, `Relayed.meter_chunk` has the reservation topped up; `Relayed.release_reserve` ends it when its cost is counted.
It must not know what budgets there are.
"""

from __future__ import annotations

import time

from claude_relay.core.accounting.batches import BatchMeter
from claude_relay.core.accounting.needs import Need, need_of, need_of_batch
from claude_relay.core.accounting.reserve import Reserve
from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.resources import made
from claude_relay.core.clients.permitting import permits_provider
from claude_relay.core.exchange import Accepted, Attempt, Endpoint, Target
from claude_relay.core.routing.routes import model_at
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.request.costs import by_now, price
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.watch.reporting import Reporting

PAID = frozenset({Endpoint.MESSAGES, Endpoint.COMPLETE})
"""Endpoints that cost something by themselves."""
BATCHES = "/v1/messages/batches"
AT_ONCE = 256 * 1024
"""Bytes of a batch that are read on the event loop; a larger one is read in a thread."""
UNFOLDED = 64 * 1024 * 1024
"""Bytes that a compressed batch may unfold to and still be read."""


def is_paid(relayed: Relayed) -> bool:
    """Whether budgets have a say in the request: it asks a model, or makes a batch."""
    return relayed.facts.endpoint in PAID or makes_batch(relayed)


def makes_batch(relayed: Relayed) -> bool:
    """Whether the request makes a batch of messages."""
    if relayed.method != "POST" or relayed.facts.endpoint is not Endpoint.RESOURCE:
        return False
    return relayed.path.partition("?")[0].endswith(BATCHES)


async def admitted(relayed: Relayed, reporting: Reporting | None, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Those of the providers that the budgets let pay. Raises BudgetError when none is left."""
    admission = relayed.admission
    spendings = admission.plan.spendings if admission is not None else ()
    if reporting is None or not (reporting.budgets.reserves or spendings):
        return targets
    need = need_of(relayed.facts) if relayed.facts.endpoint in PAID else await need_of_new_batch(relayed)
    relayed.reserve = reserve = reporting.reserve(relayed.runtime, need, relayed.started_at, spendings)
    if not reporting.budgets.reserves:
        return targets
    runtime, facts = relayed.runtime, relayed.facts
    providers, formats = runtime.config.providers, runtime.formats
    return reporting.budgets.admitted(
        targets,
        time.time(),
        lambda name: model_at(providers[name], facts.model),
        reserve.costs,
        lambda name: (
            name in providers
            and permits_provider(relayed.client, name)
            and (facts.endpoint is Endpoint.MESSAGES or name not in formats)
        ),
    )


async def need_of_new_batch(relayed: Relayed) -> Need:
    """What a batch that the request makes may use."""
    if (body := relayed.body) is None:
        packed = (relayed.pristine.content if relayed.pristine is not None else None) or b""
        return await in_thread(_read_batch, packed, relayed.facts.headers.get("content-encoding", ""))
    return need_of_batch(body) if len(body) <= AT_ONCE else await in_thread(need_of_batch, body)


def _read_batch(packed: bytes, encoding: str) -> Need:
    """Of one that is too large for other readers; what cannot be unfolded at all is as large as it came."""
    return need_of_batch(Decoder(encoding, limit=UNFOLDED).feed(packed) or packed)


def follow(relayed: Relayed, attempt: Attempt) -> None:
    """An attempt is about to begin. Raises BudgetError, or ClientLimitError, when it may not be paid for.

    What the attempt before has used stays reserved until the request is over and it is counted.
    """
    if relayed.reserve is None:
        return
    before = relayed.attempts[-1] if relayed.attempts else None
    priced = price(relayed, before, by_now(relayed, before)) if before is not None else None
    relayed.reserve.move(attempt.provider, attempt.model, priced.usd if priced is not None else 0.0)


class Unfetched:
    """What batches may cost that were accepted and whose results nobody has fetched: reserved until then."""

    def __init__(self, most: int = 10_000) -> None:
        """`most`: of more the oldest are forgotten."""
        self._most = most
        self._reserves: dict[str, Reserve] = {}

    def settled(self, relayed: Relayed) -> None:
        """A request is over: of a batch that it has made, or whose results it has fetched, something stays reserved or is not any more."""
        self._made(relayed)
        self._fetched(relayed)

    def _made(self, relayed: Relayed) -> None:
        """If it has made a batch, what that may cost stays reserved."""
        if (
            relayed.reserve is None
            or relayed.facts.endpoint in PAID
            or not makes_batch(relayed)
            or not isinstance(relayed.step, Accepted)
        ):
            return
        encoding = relayed.incoming.encoding
        for name in made(Decoder(encoding).feed(b"".join(relayed.outgoing.brought or ()))):
            relayed.reserve.keep()
            self._reserves[name] = relayed.reserve
        while len(self._reserves) > self._most:
            self._reserves.pop(next(iter(self._reserves))).settle()

    def _fetched(self, relayed: Relayed) -> None:
        """If it has fetched the results of a batch to their end, what these cost is counted."""
        batch = relayed.batch
        if (
            batch in self._reserves
            and isinstance(relayed.outgoing.meter, BatchMeter)
            and relayed.outgoing.meter.complete
        ):
            self._reserves.pop(batch).settle()
