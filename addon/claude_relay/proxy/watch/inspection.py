"""What mitmweb and the terminal show of a request: one line, a marker, its failed attempts, and never more flows than asked for."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

from mitmproxy import ctx, flow, http

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.exchange import Outcome
from claude_relay.proxy.request.relayed import Relayed, Try

RETRIED, FAILED = ":repeat:", ":x:"


def short_count(n: int | None) -> str:
    """12345 → 12.3k; None → ?"""
    if n is None:
        return "?"
    if n < 1000:
        return str(n)
    return f"{n / 1000:.1f}k" if n < 1_000_000 else f"{n / 1_000_000:.1f}M"


def summary(relayed: Relayed, usage: Usage | None, finished: str, seconds: float) -> str:
    """One line: `k2 · claude-sonnet-5 · 3 tries · 12.3k→481 tok · 2.1 s`."""
    last = relayed.tries[-1].attempt if relayed.tries else None
    key = "no key" if last is None else last.key.alias if last.key is not None else "client's key"
    parts = [key, relayed.facts.model or relayed.facts.endpoint.value]
    if len(relayed.tries) != 1:
        parts.append(f"{len(relayed.tries)} tries")
    if usage is not None and usage.output_tokens is not None:
        about = "~" if any(tried.estimated for tried in relayed.tries) else ""
        parts.append(f"{short_count(total_input(usage))}→{about}{short_count(usage.output_tokens)} tok")
    if finished != "complete":
        parts.append(finished.replace("_", " "))
    return " · ".join([*parts, f"{seconds:.1f} s"])


def total_input(usage: Usage) -> int | None:
    """All input tokens, cached ones included."""
    counts = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)
    return None if usage.input_tokens is None else sum(c or 0 for c in counts)


def marker(relayed: Relayed, finished: str) -> str:
    """Failed and retried requests stand out."""
    if finished != "complete":
        return FAILED
    return RETRIED if len(relayed.tries) > 1 else ""


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
        self, relayed: Relayed, tried: Try, live: http.HTTPFlow, outcome: Outcome, answer: http.Response | None
    ) -> None:
        """Show a failed attempt as a flow of its own, so that its request and answer can be read."""
        if (view := self.view) is None:
            return
        shown = http.HTTPFlow(live.client_conn, live.server_conn, live=False)
        shown.request = http.Request(**live.request.data.__dict__ | {"headers": live.request.headers.copy()})
        shown.comment = relayed.redaction.text(
            f"attempt {tried.attempt.n} · {name_of(tried)} · {tried.verdict} · {outcome.message or outcome.status}"
        )
        shown.marked = FAILED
        if answer is not None:
            shown.response = http.Response(**answer.data.__dict__ | {"headers": answer.headers.copy()})
            shown.response.headers.pop("content-encoding", None)
            shown.response.data.content = relayed.redaction.known.clean_end(outcome.body)
        else:
            shown.error = flow.Error(outcome.message)
        view.add([shown])
        self.finished(shown)

    def finished(self, done: http.HTTPFlow) -> None:
        """A flow has ended: let go of the oldest ones, one at a time and never a live one."""
        if (view := self.view) is None:
            return
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


def name_of(tried: Try) -> str:
    """Provider and key of an attempt as people write them."""
    key = tried.attempt.key
    return f"{tried.attempt.provider}/{key.alias}" if key is not None else f"{tried.attempt.provider} (client's key)"
