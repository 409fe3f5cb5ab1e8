"""How the relay is at this moment, for `core/accounting/metrics`: read on the event loop whenever somebody asks for the metrics."""

from __future__ import annotations

from claude_relay.core.accounting.metrics import Gauges
from claude_relay.proxy.common.rejections import counted
from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.store.ledger.ledger import Ledger


def gauges(runtime: Runtime, ledger: Ledger | None, now: float) -> Gauges:
    """The state of keys, sessions and ledger. `now`: Unix seconds."""
    keys: dict[tuple[str, str], int] = {}
    for provider, pool in runtime.pools.items():
        state = pool.state(now)
        counts = {"ready": state.ready, "cooldown": state.in_cooldown, "out": state.out, "full": state.full}
        keys |= {(provider, name): count for name, count in counts.items()}
    return Gauges(
        keys=keys,
        in_flight=len(RELAYED),
        sessions=0 if runtime.sessions is None else len(runtime.sessions),
        ledger_queue=0 if ledger is None else ledger.pending,
        ledger_failing=ledger is not None and ledger.failing,
        rejected=counted(),
    )
