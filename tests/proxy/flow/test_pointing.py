"""A key of the pool goes to those who are served only, whatever was decided before."""

from __future__ import annotations

import pytest
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Endpoint, Facts
from claude_relay.proxy.flow.pointing import point
from claude_relay.proxy.messages.wire import Signature
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime

KEY = "sk-ant-api03-pool-secret"


@pytest.mark.parametrize("served", [True, False])
def test_an_attempt_with_a_key(served: bool) -> None:
    """A key may have come into the pool after the request was let in."""
    runtime = Runtime.of(parse(f"providers: {{anthropic: {{preset: anthropic, keys: [{KEY}]}}}}", environ={}))
    facts = Facts(Endpoint.MESSAGES, model="claude-opus-5")
    relayed = Relayed("req_relay_1", facts, runtime, runtime.limits, started_at=0.0, served=served)
    relayed.client_signature = Signature(())
    flow = tflow.tflow()
    attempt = Attempt(1, "anthropic", runtime.pools["anthropic"].keys[0], "claude-opus-5")
    if served:
        point(flow, relayed, attempt)
        assert relayed.signature is not None
        assert KEY in str(relayed.signature.fields)
    else:
        with pytest.raises(RelayError, match="who asks") as caught:
            point(flow, relayed, attempt)
        assert (caught.value.status, relayed.signature) == (403, None)
