"""What all requests of a relay share, before it runs and after."""

from __future__ import annotations

import asyncio

from mitmproxy.addons.view import View as MitmView

from claude_relay.core.config import parse
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.proxy.flow.parts import Parts
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.inspection import View
from proxy.stage import mitmproxy_with


class Shared:
    """Of another relay's, too."""

    has_resources = True
    keys_unread = "the secret is another one"

    async def owner(self, names: object) -> object:
        return names


def test_before_the_relay_runs_nobody_owns_anything() -> None:
    parts = Parts(View(1, 1))
    runtime = Runtime.of(parse("{}", environ={}), environ={})
    relayed = Relayed("req_relay_1", Facts(Endpoint.RESOURCE), runtime, runtime.limits, started_at=0.0)
    assert (parts.stored, parts.keys_unread) == (None, None)
    assert asyncio.run(parts.owner_of(relayed)) is None


def test_what_translates_knows_what_is_stored() -> None:
    parts, stored = Parts(View(1, 1)), Shared()
    parts.stored = stored  # type: ignore[assignment]
    assert parts.translator.stored is parts.stored is stored  # type: ignore[comparison-overlap]
    assert parts.keys_unread == "the secret is another one"


def test_bodies_are_kept_where_somebody_looks() -> None:
    parts = Parts(View(1, 1))
    with mitmproxy_with():
        assert not parts.keeps_bodies
    with mitmproxy_with(MitmView()):
        assert parts.keeps_bodies
