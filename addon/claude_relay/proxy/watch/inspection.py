"""What mitmweb and the terminal show of a request: one line, a marker, its failed attempts, and never more flows than asked for."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

from mitmproxy import ctx, flow, http

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.exchange import Origin, Outcome
from claude_relay.proxy.messages.wire import duplicate
from claude_relay.proxy.request.records import AttemptRecord
from claude_relay.proxy.request.relayed import Relayed

MARK = 30
"""Characters of a mark, beside its emoji: what a path's cell has room for when a flow is open beside the list."""
RETRIED, FAILED, RECORDED = ":repeat:", ":x:", ":recycle:"
CACHE_MISS = "relay_cache_miss"
"""In a flow's metadata: why it missed the prompt cache. `~meta relay_cache_miss` finds those that did."""


def short_count(n: int | None) -> str:
    """12345 → 12.3k; None → ?"""
    if n is None:
        return "?"
    if n < 1000:
        return str(n)
    return f"{n / 1000:.1f}k" if n < 1_000_000 else f"{n / 1_000_000:.1f}M"


def summary(relayed: Relayed, usage: Usage | None, finished: str, seconds: float) -> str:
    """One line: `k2 · claude-sonnet-5 · 3 tries · 12.3k→481 tok · 2.1 s · req_relay_…`."""
    last = relayed.attempts[-1].attempt if relayed.attempts else None
    key = "no key" if last is None else last.key.alias if last.key is not None else "client's key"
    origin = [] if relayed.source is Origin.CLIENT else [str(relayed.source)]
    parts = [*origin, key, relayed.facts.model or relayed.facts.endpoint.value]
    if len(relayed.attempts) != 1:
        parts.append(f"{len(relayed.attempts)} tries")
    if usage is not None and usage.output_tokens is not None:
        about = "~" if any(record.estimated for record in relayed.attempts) else ""
        parts.append(f"{short_count(total_input(usage))}→{about}{short_count(usage.output_tokens)} tok")
    if relayed.missed is not None:
        parts.append(f"cache miss: {relayed.missed.cause}")
    if finished != "complete":
        parts.append(finished.replace("_", " "))
    if relayed.origin is Origin.FAULT:
        parts.append("fault")
    return " · ".join([*parts, f"{seconds:.1f} s", relayed.id])


def total_input(usage: Usage) -> int | None:
    """All input tokens, cached ones included."""
    counts = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)
    return None if usage.input_tokens is None else sum(c or 0 for c in counts)


def marker(relayed: Relayed, finished: str) -> str:
    """Failed and retried requests stand out, and recorded ones that were sent again."""
    if finished != "complete":
        return FAILED
    if relayed.source is not Origin.CLIENT:
        return RECORDED
    return RETRIED if len(relayed.attempts) > 1 else ""


def story(relayed: Relayed, usage: Usage | None, finished: str) -> str:
    """The mark of a settled flow, which mitmweb shows behind its path: `:repeat: sonnet-5 k3 ×4 8.5k→27 $0.0123`."""
    last = relayed.attempts[-1].attempt if relayed.attempts else None
    words = ["" if last is None else last.key.alias if last.key is not None else "client"]
    words.append(f"×{len(relayed.attempts)}" if len(relayed.attempts) > 1 else "")
    if usage is not None and usage.output_tokens is not None:
        words.append(f"{short_count(total_input(usage))}→{short_count(usage.output_tokens)}")
    cost = cost_of(relayed)
    words.append(f"${cost:.4f}" if cost is not None else "")
    return marked(marker(relayed, finished), (relayed.facts.model or relayed.facts.endpoint.value), *words)


def marked(emoji: str, name: str, *words: str) -> str:
    """A mark that fits; a name that is too long for it keeps its end, which tells it from others."""
    others = " ".join(word for word in words if word)
    space = max(6, MARK - len(others))
    return " ".join(word for word in (emoji, name.removeprefix("claude-")[-space:], others) if word)


def cost_of(relayed: Relayed) -> float | None:
    """USD of all tries; None when none of them has a known price."""
    costs = [record.priced.usd for record in relayed.spending if record.priced is not None]
    return sum(costs) if costs else None


def label(relayed: Relayed, shown_as: http.HTTPFlow, finished: str) -> None:
    """What `~meta` finds a settled flow by."""
    last, cost = relayed.attempts[-1] if relayed.attempts else None, cost_of(relayed)
    facts = {
        "relay_request": relayed.id,
        "relay_provider": last.attempt.provider if last else None,
        "relay_key": name_of(last) if last else None,
        "relay_verdict": (last.verdict or finished) if last else finished,
        "relay_session": relayed.facts.session,
        "relay_client": relayed.client.name if relayed.client is not None else None,
        "relay_client_program": relayed.facts.program,
        "relay_cost_usd": f"{cost:.6f}" if cost is not None else None,
        "relay_attempts": " ".join(relayed.shown_attempts),
        CACHE_MISS: relayed.missed.cause if relayed.missed is not None else None,
        "relay_origin": None if relayed.origin is Origin.CLIENT else relayed.origin.value,
    }
    clean = relayed.redaction.text
    shown_as.metadata |= {name: clean(value) for name, value in facts.items() if value}


class View:
    """mitmweb's list of flows, where there is one. It keeps every flow for ever; this prunes it."""

    def __init__(self, keep_flows: int, keep_bodies: int) -> None:
        self.keep_flows = keep_flows
        self.keep_bodies = keep_bodies
        self.with_bodies: deque[http.HTTPFlow] = deque()

    @property
    def view(self) -> Any | None:
        """mitmproxy's view addon; mitmdump has none."""
        return ctx.master.addons.get("view")

    def add_failed(
        self,
        relayed: Relayed,
        record: AttemptRecord,
        live: http.HTTPFlow,
        outcome: Outcome,
        answer: http.Response | None,
    ) -> None:
        """Show a failed attempt as a flow of its own, so that its request and answer can be read."""
        if (view := self.view) is None:
            return
        copy = http.HTTPFlow(live.client_conn, live.server_conn, live=False)
        copy.request = duplicate(live.request)
        copy.comment = relayed.redaction.text(
            f"attempt {record.attempt.n} · {name_of(record)} · {record.verdict} · "
            f"{record.with_fault(outcome.message or outcome.status)} · {relayed.id}"
        )
        mark = marked(FAILED, f"{record.attempt.n}. {name_of(record)}", record.verdict)
        link(relayed, record, copy, relayed.redaction.text(mark))
        if answer is not None:
            copy.response = http.Response(**answer.data.__dict__ | {"headers": answer.headers.copy()})
            copy.response.headers.pop("content-encoding", None)
            copy.response.data.content = relayed.redaction.known.clean_end(outcome.body)
        else:
            copy.error = flow.Error(outcome.message)
        view.add([copy])
        self.finished(copy)

    def add_accepted(self, relayed: Relayed, request: http.Request, live: http.HTTPFlow) -> None:
        """Show what was sent for the answer, and what came back, where the client's request and its answer have other bodies."""
        if (view := self.view) is None or live.response is None:
            return
        record = relayed.attempts[-1]
        copy = http.HTTPFlow(live.client_conn, live.server_conn, live=False)
        copy.request = request
        copy.comment = relayed.redaction.text(
            f"attempt {record.attempt.n} · {name_of(record)} · {record.attempt.model} · {relayed.id}"
        )
        mark = marked("", f"{record.attempt.n}. {name_of(record)}", record.attempt.model)
        link(relayed, record, copy, relayed.redaction.text(mark))
        copy.response = http.Response(**live.response.data.__dict__ | {"headers": http.Headers()})
        for name, value in relayed.incoming.upstream_headers.items():
            copy.response.headers[name] = relayed.redaction.text(value)
        body = b"".join(relayed.incoming.original or ())
        copy.response.data.content = relayed.redaction.for_show(copy.response, body)
        view.add([copy])
        self.finished(copy)

    def finished(self, done: http.HTTPFlow) -> None:
        """A flow has ended: let go of the oldest ones, one at a time and never a live one."""
        if (view := self.view) is None:
            return
        if done.is_replay is not None and done in self.with_bodies:
            self.with_bodies.remove(done)
        self.with_bodies.append(done)
        if len(self.with_bodies) > self.keep_bodies:
            old = self.with_bodies.popleft()
            old.request.data.content = None
            if old.response is not None:
                old.response.data.content = None
        excess = len(view._store) - self.keep_flows
        if excess > 0:
            oldest = list(itertools.islice((f for f in view._store.values() if not f.live), excess))
            for one in oldest:  # `remove` announces the number when given several
                view.remove([one])


def link(relayed: Relayed, record: AttemptRecord, copy: http.HTTPFlow, mark: str) -> None:
    """An attempt's flow leads to its request, and that to it."""
    copy.marked = mark
    copy.metadata |= {
        "relay_request": relayed.id,
        "relay_attempt": str(record.attempt.n),
        "relay_provider": record.attempt.provider,
        "relay_key": name_of(record),
        "relay_verdict": record.verdict,
    }
    relayed.shown_attempts.append(copy.id)


def name_of(record: AttemptRecord) -> str:
    """Provider and key of an attempt as people write them."""
    key = record.attempt.key
    return f"{record.attempt.provider}/{key.alias}" if key is not None else f"{record.attempt.provider} (client's key)"
