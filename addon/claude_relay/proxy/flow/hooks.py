"""The hooks of one request.

    requestheaders   claim the flow, mask the client's credentials
    relay_join       a long request is whole: its pieces become one body, off the event loop
    request          facts ► route ► attempt (or an answer of the relay's own); runs once for each attempt
    relay_attempt    the attempt failed: verdict ► wait | another key | another provider | give up
    responseheaders  an answer was accepted: say by whom, begin to count
    relay_settle     a stream's final event waits for this: ledger, pool, comment
    response, error  settle what is not settled yet; exactly one of the three does it

Every hook of the request path is wrapped: an exception in it becomes an error in Claude's form, never an unmodified request.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable

from mitmproxy import ctx, http
from mitmproxy.proxy import layer
from mitmproxy.tls import TlsData

from claude_relay.core.config import OutboundProxy
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Cause, Endpoint, Outcome, PassedOn, Verdict, is_own
from claude_relay.proxy.access import trail
from claude_relay.proxy.access.door_hooks import DoorHooks
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.lifecycle.ending import Ending, ending_error
from claude_relay.proxy.lifecycle.opening import Opening
from claude_relay.proxy.messages.hop_by_hop import led_on, onward
from claude_relay.proxy.messages.replies import cors_headers, error_answer, new_request_id
from claude_relay.proxy.mitm import backpressure, far_tls, first_bytes, outbound
from claude_relay.proxy.mitm.own_tls import OwnTls
from claude_relay.proxy.mitm.tunnels import Way
from claude_relay.proxy.provider.redaction import hide_refused
from claude_relay.proxy.request.bodies import reworded
from claude_relay.proxy.request.intake import consider
from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.proxy.running.clients import KnownClients
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.stream.layer import RelayLayer
from claude_relay.proxy.stream.receiving import Pieces

from .claiming import admit, claim, lead_on
from .deciding import Decider, turn_away
from .parts import Parts
from .pointing import point
from .settle import Bookkeeper

logger = logging.getLogger(__name__)

BROKEN = RelayError(
    503, "relay.yaml cannot be used; the relay's log names the lines. Mend it and start the relay again.", final=True
)
CRASHED = RelayError(502, "The relay failed at this request; its log says where. Please report it.")
NO_MEMORY = RelayError(503, "The relay has no memory for this request. Send it again in a moment.", retry_after=5.0)
AS_IT_IS = PassedOn(Verdict("", Cause.NOBODY))
"""Of a call that is none of the API's: what its host says is the client's."""

type Hook[S] = Callable[[S, http.HTTPFlow], Awaitable[None]]


def guarded[S](hook: Hook[S]) -> Hook[S]:
    """Fail closed: whatever goes wrong in a hook, the client gets an error and nothing leaves."""

    claims = hook.__name__ == "requestheaders"

    @functools.wraps(hook)
    async def safe(self: S, flow: http.HTTPFlow) -> None:
        try:
            await hook(self, flow)
        except Exception as fault:
            if isinstance(fault, MemoryError):
                error = NO_MEMORY
                rejected(Reason.RESOURCES, "the relay has no memory for what %s would do", hook.__name__)
            else:
                error = CRASHED
                logger.exception("%s failed for %s %s", hook.__name__, flow.request.method, flow.request.path)
            relayed = RELAYED.get(flow)
            if relayed is not None:
                flow.response = relayed.refuse(error)
            else:
                flow.response = error_answer(error, new_request_id())
        if claims and flow.response is not None and flow not in RELAYED:
            hide_refused(flow)

    return safe


class RelayHooks(DoorHooks):
    """The hooks that mitmproxy calls for flows."""

    def __init__(self, parts: Parts) -> None:
        self.runtime: Runtime | None = None
        self.parts = parts
        self.decider = Decider(parts)
        self.books = Bookkeeper(parts)
        self.opening = Opening()
        self.ending: Ending | None = None
        self.own_tls = OwnTls()

    def running_runtime(self) -> Runtime:
        """The relay as it is now."""
        assert self.runtime is not None
        return self.runtime

    # -- claiming

    @property
    def clients(self) -> KnownClients | None:
        """Who has a key of the relay's own; None before it runs."""
        return self.parts.clients

    def next_layer(self, next_layer: layer.NextLayer) -> None:
        """Let mitmproxy decide first, then make its HTTP layers able to replay."""
        if next_layer.layer is None and not self.own_tls.refuse_plain(next_layer):
            ctx.master.addons.get("nextlayer").next_layer(next_layer)
            first_bytes.settle(next_layer)
        if next_layer.layer is not None and self.runtime is not None:
            next_layer.layer = outbound.through(next_layer.layer, self.runtime.way)
        first_bytes.bound(next_layer.layer)
        RelayLayer.adopt(next_layer.layer)
        backpressure.identified(next_layer.layer, next_layer.context.client)

    @guarded
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Claim a request to an intercepted host. One that comes early waits until the relay can decide it."""
        runtime, request = self.runtime, flow.request
        if not flow.live:  # read from a file: it was relayed, and counted, long ago
            return
        if flow.error is not None:  # its head was refused as invalid
            hide_refused(flow)
        elif runtime is None:
            flow.response = error_answer(BROKEN, new_request_id())
        elif request.method == "CONNECT":
            return
        elif not runtime.claims(request.host, request.port):
            await lead_on(flow, runtime, self.clients)
        else:
            relayed = claim(flow, runtime, self.parts)
            if not self.opening.over:
                await self.opening.wait(relayed)
                relayed.runtime = self.runtime or runtime
            if relayed.ended is None and self.ending is not None and self.ending.begun:
                relayed.ended = ending_error(flow)
            if relayed.turned_away is None:
                await admit(flow, relayed, self.clients)
            turn_away(flow, relayed)
            consider(flow, relayed)

    # -- attempts

    async def relay_join(self, pieces: Pieces) -> None:
        """A long request's body is to become one."""
        await in_thread(pieces.join)

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        """Choose where this attempt goes, or answer at once."""
        relayed = RELAYED.get(flow)
        if relayed is None:
            return
        try:
            if relayed.step is None:
                await self.decider.begin(flow, relayed)
            if isinstance(attempt := relayed.step, Attempt):
                point(flow, relayed, attempt, await reworded(relayed, attempt))
        except RelayError as error:
            flow.response = relayed.refuse(self.decider.unless_unread(error))

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """A connection through an outbound proxy: give the proxy its credential, and tell it the way if it is near."""
        outbound.authorize(flow, self.proxies)
        fields = flow.request.data.headers
        fields.fields = trail.marked(fields.fields, flow.server_conn.peername, trail.heard(flow.client_conn, None))

    def relay_way(self, way: Way) -> None:
        """A tunnel through a SOCKS proxy begins: its credential is asked for."""
        outbound.introduce(way, self.proxies)

    def tls_start_server(self, data: TlsData) -> None:
        """A handshake with an upstream or a proxy begins."""
        if self.runtime is not None:
            far_tls.start(data, self.runtime.contexts)

    @property
    def proxies(self) -> tuple[OutboundProxy | None, ...]:
        """All through which something may be under way."""
        under_way = [relayed.proxy for relayed in list(RELAYED.values())]
        return (*under_way, *(() if self.runtime is None else self.runtime.way.proxies))

    @guarded
    async def relay_attempt(self, flow: http.HTTPFlow) -> None:
        """An attempt failed and nothing has reached the client."""
        relayed = RELAYED[flow]
        record, answer = relayed.attempts[-1], flow.response
        record.ended_at = time.monotonic()  # what follows may be a wait, which belongs to no attempt
        outcome = relayed.redaction.outcome(outbound.with_proxy(relayed.outcome or Outcome(), relayed.proxy))
        if relayed.facts.endpoint is not Endpoint.SIDE and relayed.ended is None and relayed.turned_away is None:
            self.heard(record.attempt, outcome)
            verdict = await self.decider.follow(flow, relayed, outcome)
            self.books.attempt_failed(flow, relayed, record, outcome, verdict, answer)
            return
        record.end(outcome, None)
        if relayed.ended is not None:
            record.verdict = relayed.end.name
            flow.response = relayed.refuse(relayed.ended)
        elif relayed.turned_away is not None:  # while its body went on as it came
            flow.response = relayed.refuse(relayed.turned_away)
        elif outcome.failure is not None or outcome.status is None:
            why = f"The host of this call did not answer ({outcome.message})."
            flow.response = relayed.refuse(RelayError(404, why))
        else:
            relayed.step = AS_IT_IS

    def heard(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """What an answer says of its key's windows."""
        if self.parts.windows is not None and outcome is not None and attempt.fault is None:
            self.parts.windows.saw(attempt.key, outcome.headers)

    # -- the answer

    @guarded
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """An answer is on its way to the client: the upstream's, or one of the relay's own."""
        relayed = RELAYED.get(flow)
        if flow.response is None:
            return
        if relayed is None:
            if flow.request.stream:
                flow.response.stream = True
            fields, switched = flow.response.data.headers.fields, flow.response.status_code == 101
            flow.response.data.headers.fields = led_on(fields) if switched else onward(fields)
            return
        if relayed.facts.endpoint is not Endpoint.SIDE:
            if relayed.policy is not None and isinstance(relayed.step, Attempt):
                self.heard(relayed.step, relayed.outcome)
                await self.decider.follow(flow, relayed, relayed.outcome)
            self.books.say_by_whom(flow, relayed)
        relayed.show_as_it_came(flow)
        origin = relayed.facts.headers.get("origin")
        if origin is not None:
            flow.response.headers.update(cors_headers(origin, relayed.runtime.config.listen.cors))
        if is_own(relayed.step) and relayed.method == "HEAD":
            flow.response.content = b""
        relayed.open_meter(flow.response)

    async def relay_settle(self, flow: http.HTTPFlow) -> None:
        """All but the final event of a stream has left."""
        await self.settle(flow)

    async def response(self, flow: http.HTTPFlow) -> None:
        """The answer is whole."""
        relayed = RELAYED.get(flow)
        if relayed is None:
            return
        if not relayed.settled and flow.response is not None:
            relayed.outgoing.pass_whole(flow.response.raw_content or b"")
        await self.settle(flow)
        self.let_go(flow)

    async def error(self, flow: http.HTTPFlow) -> None:
        """The client left, or the connection to it broke."""
        relayed = RELAYED.get(flow)
        await self.settle(flow)
        self.let_go(flow)
        if relayed is not None:
            asyncio.get_running_loop().call_soon(relayed.release, flow)  # nothing of it leaves any more

    async def settle(self, flow: http.HTTPFlow) -> None:
        """Write the request down, exactly once."""
        relayed = RELAYED.get(flow)
        if relayed is None or relayed.settled:
            return
        relayed.show_as_it_came(flow)
        relayed.settled = True
        try:
            await self.books.settle(flow, relayed)
        except Exception:
            logger.exception("settling %s failed", relayed.id)

    def let_go(self, flow: http.HTTPFlow) -> None:
        """Forget the flow, and with it its secrets."""
        relayed = RELAYED.pop(flow, None)
        if relayed is not None:
            relayed.signature = relayed.client_signature = None
            asyncio.get_running_loop().call_soon(relayed.forget)  # after `notify_others`, if it comes at all
            self.parts.view.finished(flow)
