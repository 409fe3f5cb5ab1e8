"""What is written down of a request: the ledger's rows, the answer's `x-relay-*` headers, what the pool learns, the line people see."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import time
from collections.abc import Sequence

from mitmproxy import ctx, http

from claude_relay.core.accounting.batches import BatchMeter
from claude_relay.core.accounting.meter import Usage
from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.resources import made
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Accepted, Attempt, Endpoint, Origin, Outcome, Refused, Verdict
from claude_relay.core.formats.translation import Translation
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.request.caching import find_miss
from claude_relay.proxy.request.costs import NO_USAGE, batch_price, billed, counts, estimate, estimate_now, price_all
from claude_relay.proxy.request.records import AttemptRecord, Charged
from claude_relay.proxy.request.relayed import RELAY_ENDS, RELAYED, Relayed
from claude_relay.proxy.request.rows import attempt_rows, close_attempts, how_it_finished, request_row
from claude_relay.proxy.watch.inspection import label, name_of, story, summary, total_input
from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.ledger.ledger import AttemptRow, Finished, RequestRow

from . import admitting, reserving
from .own_limits import UPSTREAMS, own_limits
from .parts import Parts

logger = logging.getLogger(__name__)
FOR_THE_OPERATOR = frozenset({"unauthorized", "key_disabled", "no_credit"})
"""Verdicts after which a person has something to do."""
OWN = b"x-relay-"
"""What the header fields begin with in which only the relay speaks."""
PLAIN = re.compile(r"[!-~]{1,128}")
"""Model names that may stand in a header; a client can send any text as one."""


class Bookkeeper:
    """Settles requests."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.closed = False
        self.unfetched = reserving.Unfetched()
        self._estimating: set[Relayed] = set()

    async def remember_made(self, relayed: Relayed) -> None:
        """What the answer says was made, and the container that it ran in, belong to the key that it came with."""
        key = relayed.attempts[-1].attempt.key if relayed.attempts else None
        if self.parts.stored is None or key is None or not isinstance(relayed.step, Accepted):
            return
        names = relayed.outgoing.meter.containers if relayed.outgoing.meter is not None else ()
        if body := b"".join(relayed.outgoing.brought or ()):
            encoding = relayed.incoming.encoding
            names = made(Decoder(encoding).feed(body) if encoding else body)
        if names := tuple(name for name in names if relayed.redaction.text(name) is name):
            await self.parts.stored.remember(names, key.provider, key.id)

    def say_by_whom(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """Tell the client who answered, after how many attempts."""
        assert flow.response is not None
        says = [(b"x-relay-request", relayed.id), (b"x-relay-attempts", str(len(relayed.attempts)))]
        if relayed.attempts and not isinstance(relayed.step, Refused):
            attempt = relayed.attempts[-1].attempt
            says.append((b"x-relay-provider", attempt.provider))
            says.append((b"x-relay-key", attempt.key.alias if attempt.key is not None else "client"))
            if PLAIN.fullmatch(attempt.model):
                says.append((b"x-relay-model", attempt.model))
        if remarks := relayed.remarks:
            says.append((b"x-relay-notes", relayed.redaction.text(in_a_header(remarks))))
        headers = flow.response.data.headers
        left_out = OWN if relayed.client is None else (OWN, UPSTREAMS)
        upstreams = [field for field in headers.fields if not field[0].lower().startswith(left_out)]
        limits = own_limits(relayed, flow.response.data.status_code) if relayed.client is not None else ()
        headers.fields = (*upstreams, *limits, *[(name, value.encode()) for name, value in says])

    def attempt_failed(
        self,
        flow: http.HTTPFlow,
        relayed: Relayed,
        record: AttemptRecord,
        outcome: Outcome,
        verdict: Verdict | None,
        answer: http.Response | None,
    ) -> None:
        """Make a failed attempt readable. `answer`: what the upstream sent, if it sent anything."""
        fault = record.attempt.fault
        level = logging.WARNING if record.verdict in FOR_THE_OPERATOR and fault is None else logging.INFO
        said = record.with_fault(outcome.message or outcome.status)
        what = (record.attempt.n, relayed.id, name_of(record), record.verdict, said)
        logger.log(level, "attempt %d of %s at %s: %s (%s)", *what)
        if self.parts.reporting is not None:
            if fault is None:
                self.parts.reporting.failed(verdict, record.attempt)
            self.parts.reporting.body(relayed.id, record.attempt.n, "answer", outcome.body)
        if isinstance(relayed.step, Attempt | Refused) or relayed.rewrites(flow.request):
            self.parts.view.add_failed(relayed, record, flow, outcome, answer)

    async def settle(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """The request is over, or all but its last bytes: line and ledger, then the pool and those who want to know."""
        ended = time.monotonic()
        finished = how_it_finished(flow, relayed)
        if relayed.policy is not None:
            relayed.policy.close()
        if relayed.facts.endpoint is Endpoint.SIDE:
            return
        if relayed.dispatched is not None:
            self.parts.view.add_accepted(relayed, relayed.dispatched, flow)
        close_attempts(relayed, finished, ended)
        if relayed.outgoing.meter is not None and counts(relayed):
            relayed.count(relayed.outgoing.meter)
        rows, written = None, False
        try:
            usage = await self.usage_of(relayed)
            await self.remember_made(relayed)
            await find_miss(self.parts.conversations, relayed)
            if isinstance(relayed.incoming.translation, Translation):
                await self.after_translation(relayed, relayed.incoming.translation)
            flow.comment = relayed.redaction.text(summary(relayed, usage, finished, ended - relayed.began_at))
            if relayed.is_shown or getattr(ctx.options, "save_stream_file", None):
                flow.marked = relayed.redaction.text(story(relayed, usage, finished))
                label(relayed, flow, finished)
            if self.closed:
                # The relay is ending and cannot write any more: an answer without a row must not look complete.
                await asyncio.get_running_loop().create_future()
            if self.parts.ledger is not None and relayed.counts:
                rows = self.rows(flow, relayed, usage, finished, ended)
                if flow.is_replay is not None:
                    self.parts.replayed[flow] = rows[0]
                self.keep_bodies(flow, relayed)
                self.count_spending(relayed, rows[0])
                written = await self.parts.ledger.write(*rows)
        finally:  # the client need not wait for the rest: it comes when the answer has left
            if not self.closed:
                asyncio.get_running_loop().call_soon(self.notify_others, relayed, rows, written)

    def close(self) -> None:
        """The relay ends: nothing is settled any more but what runs, at once."""
        self.closed = True
        for flow, relayed in list(RELAYED.items()):
            if not relayed.settled or relayed in self._estimating:
                try:
                    self.write_off(flow, relayed)
                except Exception:
                    logger.exception("the row of %s could not be written", relayed.id)

    def write_off(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """The relay ends at once, and this request in the middle: its row, without waiting for anything."""
        ended, over, relayed.settled = time.monotonic(), relayed.settled, True
        if relayed.policy is not None:
            relayed.policy.close()
        if self.parts.ledger is None or not relayed.counts:
            return
        if not relayed.gone and not over:
            relayed.broken = relayed.broken or RELAY_ENDS.why
            relayed.ended = relayed.ended or RelayError(503, RELAY_ENDS.why)
        finished = how_it_finished(flow, relayed)
        close_attempts(relayed, finished, ended)
        if relayed.outgoing.meter is not None and counts(relayed):
            relayed.count(relayed.outgoing.meter)
        estimate_now(relayed)
        price_all(relayed)
        self.parts.ledger.put(*self.rows(flow, relayed, billed(relayed), finished, ended))
        now = NOW()
        admitting.settle(relayed, billed(relayed), now)
        self.notify_pool(relayed, now)

    async def usage_of(self, relayed: Relayed) -> Usage:
        """What all attempts have used, each of them priced; what an answer did not come to tell is estimated."""
        self._estimating.add(relayed)
        try:
            await estimate(relayed)
        finally:
            self._estimating.discard(relayed)
        price_all(relayed)
        await self.count_batch(relayed)
        return billed(relayed)

    async def count_batch(self, relayed: Relayed) -> None:
        """What a batch has used, when its results are fetched for the first time: a line of `attempts` for each of its models."""
        meter, batch = relayed.outgoing.meter, relayed.batch
        if not isinstance(meter, BatchMeter) or not meter.complete or not meter.parts or batch is None:
            return
        if self.parts.stored is not None and not await self.parts.stored.first_results(batch):
            return
        fetched = relayed.attempts[-1]
        answers = [(part, used) for part, used in meter.parts.items() if part.beside is None]
        others = [dataclasses.replace(fetched.attempt, n=fetched.attempt.n + more) for more in range(1, len(answers))]
        relayed.shares = [dataclasses.replace(fetched, attempt=other, charges=[]) for other in others]
        for record, (part, used) in zip((fetched, *relayed.shares), answers, strict=True):
            record.usage, record.served_model, record.terms = Usage.total(used), part.model or None, part.terms
            record.charges = [
                Charged(beside.kind, beside.model, beside.terms, portions)
                for beside, portions in meter.parts.items()
                if beside.beside == part
            ]
            record.priced = await in_thread(batch_price, relayed, record, used)

    def notify_others(
        self, relayed: Relayed, rows: tuple[RequestRow, Sequence[AttemptRow]] | None, written: bool
    ) -> None:
        """The pool, and those who want to know what was written down; what the request has reserved is free when its cost is counted."""
        now = NOW()
        try:
            self.notify_pool(relayed, now)
            if self.parts.reporting is not None and rows is not None:
                self.notify_observers(self.parts.reporting, relayed, rows, written)
                self.unfetched.settled(relayed)
        finally:
            relayed.release_reserve()
            admitting.settle(relayed, billed(relayed), now)

    def count_spending(self, relayed: Relayed, row: RequestRow) -> None:
        """Under the limits of its client; before the row is written, so that what the ledger says is never more than is counted here."""
        near = admitting.counted(relayed, row)
        if near and self.parts.reporting is not None:
            now = time.time()
            self.parts.reporting.notify(spending.notice(now) for spending in near)

    @staticmethod
    def notify_observers(
        reporting: Reporting, relayed: Relayed, rows: tuple[RequestRow, Sequence[AttemptRow]], written: bool
    ) -> None:
        """Budgets, notices, metrics and the like."""
        meter, step = relayed.outgoing.meter, relayed.step
        stopped = relayed.redaction.text(meter.stop_reason) if meter is not None and meter.stop_reason else None
        reason = step.error.message if isinstance(step, Refused) else ""
        reporting.settled(*rows, stopped, written=written, reason=relayed.redaction.text(reason) if reason else "")
        if isinstance(step, Refused) and isinstance(step.error, ClientLimitError) and step.error.limit is not None:
            reporting.metrics.limited(step.error.subject, step.error.limit.measure)
        if isinstance(step, Accepted) and relayed.attempts:
            reporting.accepted(relayed.attempts[-1].attempt)
        if isinstance(step, Accepted) and meter is not None and meter.complete and meter.usage.output_tokens:
            attempt = relayed.attempts[-1].attempt
            reporting.outputs.learn(attempt.provider, attempt.model, meter.usage.output_tokens)
        if (
            isinstance(step, Refused)
            and relayed.policy is not None
            and relayed.origin is not Origin.FAULT
            and not isinstance(step.error, ClientLimitError)  # which says nothing of providers
        ):
            reporting.refused(step.error, [record.attempt.provider for record in relayed.attempts])

    @staticmethod
    def rows(
        flow: http.HTTPFlow, relayed: Relayed, usage: Usage, finished: Finished, ended: float
    ) -> tuple[RequestRow, list[AttemptRow]]:
        """What the ledger gets."""
        return relayed.redaction.rows(request_row(flow, relayed, usage, finished, ended), attempt_rows(relayed))

    def keep_bodies(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """Store what was asked and answered, as long as its secrets are known."""
        reporting = self.parts.reporting
        if reporting is None or reporting.bodies is None or relayed.pristine is None:
            return
        reporting.body(relayed.id, 0, "request", relayed.redaction.known.clean(relayed.body or b""))
        answer = b"".join(relayed.outgoing.kept or ()) or (
            flow.response.data.content if flow.response is not None else b""
        )
        encoding = flow.response.headers.get("content-encoding", "") if flow.response is not None else ""
        reporting.body(relayed.id, 0, "answer", relayed.redaction.shown_body(answer or b"", encoding)[0])

    async def after_translation(self, relayed: Relayed, translation: Translation) -> None:
        """Keep what the provider wants back; say what in its answer nobody was ready for."""
        if translation.fault is not None:
            logger.error("the answer to %s could not be translated to its end", relayed.id, exc_info=translation.fault)
        if translation.memories:
            await self.parts.translator.remember(translation.memories)

    @staticmethod
    def notify_pool(relayed: Relayed, now: float) -> None:
        """The key of an accepted answer is free again."""
        if not isinstance(relayed.step, Accepted):
            return
        attempt = relayed.attempts[-1].attempt
        pools = relayed.runtime.pools
        pools.finished(attempt)
        if attempt.key is None or attempt.provider not in pools:
            return
        usage = relayed.outgoing.meter.usage if relayed.outgoing.meter is not None else NO_USAGE
        if tokens := (total_input(usage) or 0) + (usage.output_tokens or 0):
            pools[attempt.provider].spent(attempt.key, tokens, now)
        facts, sessions = relayed.facts, relayed.runtime.sessions
        session = facts.session or facts.prefix
        if sessions is not None and session is not None and relayed.origin is Origin.CLIENT:
            sessions.settled(session, attempt.provider, attempt.key.id, usage, now)


def in_a_header(notes: Sequence[str]) -> str:
    """Notes on one line of printable ASCII, at most 1,000 characters: they may name what a client called its tools."""
    line = "; ".join(notes).encode("ascii", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in line)[:1000]
