"""What is written down of a request: the ledger's rows, the answer's `x-relay-*` headers, what the pool learns, the line people see."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import time
from collections.abc import Sequence

from mitmproxy import http

from claude_relay.core.accounting.batches import BatchMeter
from claude_relay.core.accounting.meter import Usage
from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.resources import Owner, made, named
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Accepted, Endpoint, Outcome, Verdict
from claude_relay.core.formats.translation import Translation
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.request.bodies import at_leisure
from claude_relay.proxy.request.costs import NO_USAGE, batch_price, billed, counts, estimate, estimate_now, price_all
from claude_relay.proxy.request.relayed import RELAYED, Charged, Relayed, Try
from claude_relay.proxy.request.rows import attempt_rows, close_tries, how_it_finished, request_row
from claude_relay.proxy.request.translating import Translator
from claude_relay.proxy.running.stored import Stored
from claude_relay.proxy.stream.layer import ENDING
from claude_relay.proxy.watch.inspection import View, marker, name_of, summary, total_input
from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.ledger.ledger import AttemptRow, Finished, Ledger, RequestRow

from . import reserving

logger = logging.getLogger(__name__)
FOR_THE_OPERATOR = frozenset({"unauthorized", "key_disabled", "no_credit"})
"""Verdicts after which a person has something to do."""
PLAIN = re.compile(r"[!-~]{1,128}")
"""Model names that may stand in a header; a client can send any text as one."""


class Bookkeeper:
    """Settles requests."""

    def __init__(self, ledger: Ledger | None, view: View) -> None:
        self.ledger = ledger
        self.view = view
        self.closed = False
        self.translator = Translator()
        self.reporting: Reporting | None = None
        self._stored: Stored | None = None
        self.unfetched = reserving.Unfetched()
        self._estimating: set[Relayed] = set()

    @property
    def stored(self) -> Stored | None:
        """What is shared with other relays; None before the relay runs."""
        return self._stored

    @stored.setter
    def stored(self, stored: Stored | None) -> None:
        self._stored = self.translator.stored = stored

    async def owner_of(self, relayed: Relayed) -> Owner | None:
        """The key that made what the request is about: a file, a batch, a container."""
        if self.stored is None or not self.stored.has_resources or relayed.pristine is None:
            return None
        path = relayed.pristine.path.decode("utf-8", "replace")
        names = await at_leisure(relayed.body or b"", lambda body: named(path, body, relayed.facts.container))
        return await self.stored.owner(names) if names else None

    async def remember_made(self, relayed: Relayed) -> None:
        """What the answer says was made, and the container that it ran in, belong to the key that it came with."""
        key = relayed.tries[-1].attempt.key if relayed.tries else None
        if self.stored is None or key is None or not isinstance(relayed.conclusion, Accepted):
            return
        names = relayed.meter.containers if relayed.meter is not None else ()
        if body := b"".join(relayed.brought or ()):
            encoding = relayed.response_headers.get("content-encoding", "")
            names = made(Decoder(encoding).feed(body) if encoding else body)
        if names := tuple(name for name in names if relayed.redaction.text(name) is name):
            await self.stored.remember(names, key.provider, key.id)

    @property
    def keeps_bodies(self) -> bool:
        """Whether streamed answers are kept for somebody to look at."""
        return self.view.view is not None or (self.reporting is not None and self.reporting.bodies is not None)

    def say_by_whom(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """Tell the client who answered, after how many attempts."""
        assert flow.response is not None
        says = [(b"x-relay-attempts", str(len(relayed.tries)))]
        if relayed.tries and relayed.refusal is None:
            attempt = relayed.tries[-1].attempt
            says.append((b"x-relay-provider", attempt.provider))
            says.append((b"x-relay-key", attempt.key.alias if attempt.key is not None else "client"))
            if PLAIN.fullmatch(attempt.model):
                says.append((b"x-relay-model", attempt.model))
        if relayed.notes:
            says.append((b"x-relay-notes", relayed.redaction.text(in_a_header(relayed.notes))))
        headers = flow.response.data.headers
        upstreams = tuple(f for f in headers.fields if not f[0].lower().startswith(b"x-relay-"))
        headers.fields = upstreams + tuple((name, value.encode()) for name, value in says)

    def attempt_failed(
        self,
        flow: http.HTTPFlow,
        relayed: Relayed,
        tried: Try,
        outcome: Outcome,
        verdict: Verdict | None,
        answer: http.Response | None,
    ) -> None:
        """Make a failed attempt readable. `answer`: what the upstream sent, if it sent anything."""
        level = logging.WARNING if tried.verdict in FOR_THE_OPERATOR else logging.INFO
        what = (tried.attempt.n, relayed.id, name_of(tried), tried.verdict, outcome.message or outcome.status)
        logger.log(level, "attempt %d of %s at %s: %s (%s)", *what)
        if self.reporting is not None:
            self.reporting.failed(verdict, tried.attempt)
            self.reporting.body(relayed.id, tried.attempt.n, "answer", outcome.body)
        if relayed.again or relayed.refusal is not None:
            self.view.add_failed(relayed, tried, flow, outcome, answer)

    async def settle(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """The request is over, or all but its last bytes: line and ledger, then the pool and those who want to know."""
        ended = time.monotonic()
        finished = how_it_finished(flow, relayed)
        if relayed.policy is not None:
            relayed.policy.close()
        if relayed.facts.endpoint is Endpoint.SIDE:
            return
        close_tries(relayed, finished, ended)
        if relayed.meter is not None and counts(relayed):
            relayed.count(relayed.meter)
        rows, written = None, False
        try:
            usage = await self.usage_of(relayed)
            await self.remember_made(relayed)
            if isinstance(relayed.translation, Translation):
                await self.after_translation(relayed, relayed.translation)
            flow.comment = relayed.redaction.text(summary(relayed, usage, finished, ended - relayed.began_at))
            flow.marked = marker(relayed, finished)
            if self.closed:
                # The relay is ending and cannot write any more: an answer without a row must not look complete.
                await asyncio.get_running_loop().create_future()
            if self.ledger is not None and relayed.counts:
                rows = self.rows(flow, relayed, usage, finished, ended)
                self.keep_bodies(flow, relayed)
                written = await self.ledger.write(*rows)
        finally:  # the client need not wait for the rest: it comes when the answer has left
            if not self.closed:
                asyncio.get_running_loop().call_soon(self.tell_others, relayed, rows, written)

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
        if self.ledger is None or not relayed.counts:
            return
        if not relayed.gone and not over:
            relayed.broken = relayed.broken or ENDING
            relayed.ended = relayed.ended or RelayError(503, ENDING)
        finished = how_it_finished(flow, relayed)
        close_tries(relayed, finished, ended)
        if relayed.meter is not None and counts(relayed):
            relayed.count(relayed.meter)
        estimate_now(relayed)
        price_all(relayed)
        self.ledger.put(*self.rows(flow, relayed, billed(relayed), finished, ended))
        self.tell_pool(relayed)

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
        meter, batch = relayed.meter, relayed.batch
        if not isinstance(meter, BatchMeter) or not meter.complete or not meter.parts or batch is None:
            return
        if self.stored is not None and not await self.stored.first_results(batch):
            return
        fetched = relayed.tries[-1]
        answers = [(part, used) for part, used in meter.parts.items() if part.beside is None]
        others = [dataclasses.replace(fetched.attempt, n=fetched.attempt.n + more) for more in range(1, len(answers))]
        relayed.shares = [dataclasses.replace(fetched, attempt=other, charges=[]) for other in others]
        for tried, (part, used) in zip((fetched, *relayed.shares), answers, strict=True):
            tried.usage, tried.served_model, tried.terms = Usage.total(used), part.model or None, part.terms
            tried.charges = [
                Charged(beside.kind, beside.model, beside.terms, portions)
                for beside, portions in meter.parts.items()
                if beside.beside == part
            ]
            tried.priced = await in_thread(batch_price, relayed, tried, used)

    def tell_others(
        self, relayed: Relayed, rows: tuple[RequestRow, Sequence[AttemptRow]] | None, written: bool
    ) -> None:
        """The pool, and those who want to know what was written down; what the request has reserved is free when its cost is counted."""
        try:
            self.tell_pool(relayed)
            if self.reporting is not None and rows is not None:
                self.tell_onlookers(self.reporting, relayed, rows, written)
                self.unfetched.made(relayed)
                self.unfetched.fetched(relayed)
        finally:
            reserving.over(relayed)

    @staticmethod
    def tell_onlookers(
        reporting: Reporting, relayed: Relayed, rows: tuple[RequestRow, Sequence[AttemptRow]], written: bool
    ) -> None:
        """Budgets, notices, metrics and the like."""
        meter, conclusion = relayed.meter, relayed.conclusion
        stopped = relayed.redaction.text(meter.stop_reason) if meter is not None and meter.stop_reason else None
        reporting.settled(*rows, stopped, written=written)
        if isinstance(conclusion, Accepted) and meter is not None and meter.complete and meter.usage.output_tokens:
            attempt = relayed.tries[-1].attempt
            reporting.outputs.learn(attempt.provider, attempt.model, meter.usage.output_tokens)
        if relayed.refusal is not None and relayed.policy is not None:
            reporting.refused(relayed.refusal, [tried.attempt.provider for tried in relayed.tries])

    @staticmethod
    def rows(
        flow: http.HTTPFlow, relayed: Relayed, usage: Usage, finished: Finished, ended: float
    ) -> tuple[RequestRow, list[AttemptRow]]:
        """What the ledger gets."""
        return relayed.redaction.rows(request_row(flow, relayed, usage, finished, ended), attempt_rows(relayed))

    def keep_bodies(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """Store what was asked and answered, as long as its secrets are known."""
        reporting = self.reporting
        if reporting is None or reporting.bodies is None or relayed.pristine is None:
            return
        reporting.body(relayed.id, 0, "request", relayed.redaction.known.clean(relayed.body or b""))
        answer = b"".join(relayed.kept or ()) or (flow.response.data.content if flow.response is not None else b"")
        encoding = flow.response.headers.get("content-encoding", "") if flow.response is not None else ""
        reporting.body(relayed.id, 0, "answer", relayed.redaction.shown_body(answer or b"", encoding)[0])

    async def after_translation(self, relayed: Relayed, translation: Translation) -> None:
        """Keep what the provider wants back; say what in its answer nobody was ready for."""
        if translation.fault is not None:
            logger.error("the answer to %s could not be translated to its end", relayed.id, exc_info=translation.fault)
        if translation.memories:
            await self.translator.remember(translation.memories)

    @staticmethod
    def tell_pool(relayed: Relayed) -> None:
        """The key of an accepted answer is free again."""
        if not isinstance(relayed.conclusion, Accepted):
            return
        attempt, now = relayed.tries[-1].attempt, NOW()
        pools = relayed.runtime.pools
        pools.finished(attempt)
        if attempt.key is None or attempt.provider not in pools:
            return
        usage = relayed.meter.usage if relayed.meter is not None else NO_USAGE
        if tokens := (total_input(usage) or 0) + (usage.output_tokens or 0):
            pools[attempt.provider].spent(attempt.key, tokens, now)
        facts, sessions = relayed.facts, relayed.runtime.sessions
        session = facts.session or facts.prefix
        if sessions is not None and session is not None:
            sessions.settled(session, attempt.provider, attempt.key.id, usage, now)


def in_a_header(notes: Sequence[str]) -> str:
    """Notes on one line of printable ASCII, at most 1,000 characters: they may name what a client called its tools."""
    line = "; ".join(notes).encode("ascii", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in line)[:1000]
