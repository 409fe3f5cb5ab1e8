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
import random
import time
from collections.abc import Awaitable, Callable

from mitmproxy import ctx, http
from mitmproxy.proxy import layer
from mitmproxy.proxy.mode_specs import ReverseMode

from claude_relay.core.config import Address
from claude_relay.core.config.locate import command
from claude_relay.core.endpoints import at_base_url, classify, own_page
from claude_relay.core.errors import BudgetError, RelayError
from claude_relay.core.exchange import (
    Attempt,
    Cause,
    Conclusion,
    Endpoint,
    Facts,
    Failure,
    Outcome,
    PassedOn,
    Refused,
    Target,
    Verdict,
    Wait,
)
from claude_relay.core.retry.policy import attempts
from claude_relay.core.routing.routes import route
from claude_relay.proxy.access import doors, trail
from claude_relay.proxy.access.door_hooks import DoorHooks
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.lifecycle.ending import Ending, ending_error
from claude_relay.proxy.lifecycle.opening import Opening
from claude_relay.proxy.log.plain import learn_of_client
from claude_relay.proxy.messages.hop_by_hop import led_on, onward
from claude_relay.proxy.messages.replies import (
    claude_error,
    cors_headers,
    error_answer,
    estimate_answer,
    new_request_id,
    own_answer,
    preflight,
    recast,
)
from claude_relay.proxy.messages.wire import lower_headers, mask_client
from claude_relay.proxy.mitm import backpressure, first_bytes, outbound
from claude_relay.proxy.provider.adapting import Translated
from claude_relay.proxy.provider.redaction import Redaction, hide_refused, own_secrets
from claude_relay.proxy.request.bodies import facts_of, reworded, uncompressed
from claude_relay.proxy.request.intake import consider
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.request.rows import ENDED
from claude_relay.proxy.running.discovery import Discovery
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.stream.layer import RelayLayer
from claude_relay.proxy.stream.receiving import Pieces

from . import reserving
from .models_page import models_answer
from .pointing import point, refuse_strangers
from .settle import Bookkeeper

logger = logging.getLogger(__name__)

BROKEN = RelayError(
    503, "relay.yaml cannot be used; the relay's log names the lines. Mend it and start the relay again.", final=True
)
UNREAD = (
    "The relay cannot read its stored keys ({}) and has no other key for this request. Send it again in a moment; "
    f"`{command('doctor')}` says what is wrong with the database."
)
ONCE = {"attempts": 1, "keys": 1}
ESTIMATED = "input_tokens: an estimate of the relay's own"
CRASHED = RelayError(502, "The relay failed at this request; its log says where. Please report it.")
NO_MEMORY = RelayError(503, "The relay has no memory for this request. Send it again in a moment.", retry_after=5.0)

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
                refuse(flow, relayed, error)
            else:
                flow.response = error_answer(error, new_request_id())
        if claims and flow.response is not None and flow not in RELAYED:
            hide_refused(flow)

    return safe


class RelayHooks(DoorHooks):
    """The hooks that mitmproxy calls for flows."""

    def __init__(self, books: Bookkeeper) -> None:
        self.runtime: Runtime | None = None
        self.books = books
        self.translator = books.translator
        self.discovery = Discovery()
        self.opening = Opening()
        self.ending: Ending | None = None
        self.default: str | None = None
        """What the command `relay.default` has set in the place of relay.yaml's."""

    # -- claiming

    def next_layer(self, next_layer: layer.NextLayer) -> None:
        """Let mitmproxy decide first, then make its HTTP layers able to replay."""
        if next_layer.layer is None:
            ctx.master.addons.get("nextlayer").next_layer(next_layer)
            first_bytes.settle(next_layer)
        if next_layer.layer is not None and self.runtime is not None:
            next_layer.layer = outbound.through(next_layer.layer, self.runtime.way)
        first_bytes.bound(next_layer.layer)
        RelayLayer.adopt(next_layer.layer)
        backpressure.told(next_layer.layer, next_layer.context.client)

    @guarded
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Claim a request to an intercepted host. One that comes early waits until the relay can decide it."""
        runtime, request = self.runtime, flow.request
        if not flow.live:  # read from a file: it was relayed, and counted, long ago
            return
        if flow.error is not None:  # its head was refused as invalid
            hide_refused(flow)
            return
        if runtime is None:
            flow.response = error_answer(BROKEN, new_request_id())
            return
        if request.method == "CONNECT":
            return
        if not runtime.claims(request.host, request.port):
            error = await doors.passage(flow, runtime.config, lower_headers(request))
            if (error := error or doors.astray(flow, runtime.claims)) is not None:
                flow.response = error_answer(error, new_request_id())
            else:
                request.data.headers.fields = led_on(request.data.headers.fields)
                request.stream = True  # nothing of it is looked at, so nothing need be kept
                outbound.lead_on(flow, runtime.way)
            return
        headers = lower_headers(request)
        local, barred = doors.entrance(flow, runtime.config, headers)
        host = base = page = None
        if isinstance(flow.client_conn.proxy_mode, ReverseMode):
            base = Address(*flow.client_conn.sockname[:2]).url
            request.path = at_base_url(request.path)
            page = own_page(request.path)
            # A request to the base URL means the intercepted host, which speaks TLS.
            request.data.scheme, host = b"https", request.data.host.encode()
            request.data.authority = host if request.is_http2 else b""
        endpoint = classify(request.path) if page is None else Endpoint.SIDE
        side = endpoint is Endpoint.SIDE
        relayed = Relayed(
            id=new_request_id(),
            facts=Facts(endpoint, headers=headers),
            runtime=runtime,
            limits=runtime.side_limits if side else runtime.limits,
            started_at=time.time(),
            method=request.method,
            base=base,
            page=page,
            local=local,
            turned_away=barred,
            keep_body=self.books.keeps_bodies and not side,
            is_shown=self.books.view.view is not None,
        )
        RELAYED[flow] = relayed
        relayed.client_signature, relayed.placeholder_only = mask_client(request, host)
        secrets = own_secrets(relayed.client_signature.fields)
        relayed.redaction = Redaction(secrets, side=side)
        learn_of_client(secrets)
        if not self.opening.over:
            await self.opening.wait(relayed)
            relayed.runtime = self.runtime or runtime
        if relayed.ended is None and self.ending is not None and self.ending.begun:
            relayed.ended = ending_error(flow)
        turn_away(flow, relayed)
        consider(flow, relayed)

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """A connection through an outbound proxy: give the proxy its credential, and tell it the way if it is near."""
        if self.runtime is not None:
            under_way = (relayed.proxy for relayed in RELAYED.values())
            outbound.authorize(flow, (*under_way, *self.runtime.way.proxies))
        fields = flow.request.data.headers
        fields.fields = trail.marked(fields.fields, flow.server_conn.peername, trail.heard(flow.client_conn, None))

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
            if relayed.policy is None and relayed.next_attempt is None:
                self.admit(relayed)
                await self.begin(flow, relayed)
            if (attempt := relayed.next_attempt) is not None:
                point(flow, relayed, attempt, await reworded(relayed, attempt))
        except RelayError as error:
            refuse(flow, relayed, self.unless_unread(error))

    def unless_unread(self, error: RelayError) -> RelayError:
        """A key that is missing because the vault cannot be read is missing for now only."""
        why = self.books.stored.keys_unread if self.books.stored is not None else None
        return error if why is None or error.status != 401 else RelayError(503, UNREAD.format(why), retry_after=5.0)

    def admit(self, relayed: Relayed) -> None:
        """Raises RelayError for a request that cannot be decided: the relay ends, or all its keys are in a vault that cannot be read."""
        if relayed.ended is not None:
            raise relayed.ended
        if relayed.turned_away is not None:
            raise relayed.turned_away
        why = self.books.stored.keys_unread if self.books.stored is not None else None
        if why is None or relayed.facts.endpoint is Endpoint.SIDE:
            return
        pools = relayed.runtime.pools.values()
        if not any(pool.keys or (pool.passthrough and not relayed.placeholder_only) for pool in pools):
            raise RelayError(503, UNREAD.format(why), retry_after=5.0)

    async def begin(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """The first attempt of a request."""
        answer = answer_at_once(flow, relayed)
        if answer is not None:
            relayed.own_answer, flow.response = True, answer
        elif relayed.facts.endpoint is Endpoint.SIDE:
            relayed.next_attempt = Attempt(1, "", None, "")
        else:
            relayed.counts = True
            runtime = relayed.runtime
            relayed.body = await uncompressed(flow.request, relayed.facts.endpoint)
            relayed.facts = facts = await facts_of(relayed)
            if relayed.gone:  # no key is lent to nobody
                return
            if not relayed.local:  # lists of models are asked for with the pool's keys, before any attempt
                refuse_strangers(flow, runtime)
            owner = await self.books.owner_of(relayed)
            targets, own = await self.served(relayed)
            if own is not None:
                relayed.own_answer, flow.response = True, own
                return
            relayed.policy = attempts(
                facts,
                targets,
                runtime.pools,
                runtime.config.retry.model_copy(update=ONCE) if relayed.goes_through else runtime.config.retry,
                clock=NOW,
                wall=NOW.wall,
                random=random.random,
                short_wait=runtime.config.sessions.short_wait,
                sessions=runtime.sessions,
                owner=owner,
            )
            await self.follow(flow, relayed, None)

    async def served(self, relayed: Relayed) -> tuple[tuple[Target, ...], http.Response | None]:
        """The providers of the route that have this endpoint, or an answer of the relay's own in their place."""
        facts, runtime = relayed.facts, relayed.runtime
        config = runtime.config if self.default is None else runtime.config.model_copy(update={"default": self.default})
        if facts.endpoint is Endpoint.MODELS:
            asked, own = await models_answer(self.discovery, relayed, config)
            return tuple(Target(name, facts.model) for name in asked), own
        targets = route(facts, config.routes, config.providers, default=config.default)
        targets = await self.discovery.named(runtime, targets)
        if facts.endpoint is Endpoint.MESSAGES:
            return await reserving.admitted(relayed, self.books.reporting, targets), None
        counting = facts.endpoint is Endpoint.COUNT_TOKENS
        able = tuple(
            target
            for target in targets
            if (f := runtime.formats.get(target.provider)) is None or (counting and f.count)
        )
        if not able and counting:
            relayed.notes = (ESTIMATED,)
            return targets, estimate_answer(await self.translator.estimate(relayed), relayed.id)
        if not able:
            names = ", ".join(target.provider for target in targets)
            raise RelayError(404, f"{names}: only providers of Claude's own format have {facts.endpoint} requests.")
        if reserving.is_paid(relayed):
            able = await reserving.admitted(relayed, self.books.reporting, able)
        return able, None

    async def follow(self, flow: http.HTTPFlow, relayed: Relayed, outcome: Outcome | None) -> Verdict | None:
        """Tell the policy what became of the attempt and do what it says next. Returns what the attempt's outcome meant."""
        step = await self.next_step(relayed, outcome)
        verdict = step.because
        if outcome is not None and relayed.tries:
            relayed.end_try(outcome, step.because)
        while isinstance(step, Attempt) and (unsuited := await self.adapt(relayed, step)) is not None:
            relayed.begin_try(step)
            outcome, step = unsuited, await self.next_step(relayed, unsuited)
            relayed.end_try(outcome, step.because)
            relayed.tries[-1].ended_at = time.monotonic()  # what the client is told is nobody's answer
        if isinstance(step, Attempt):
            relayed.next_attempt, relayed.again = step, True
            return verdict
        relayed.next_attempt = None
        if isinstance(step, PassedOn) and relayed.no_room is not None:
            step = Refused(relayed.no_room, step.because)
        if isinstance(step, Refused) and outcome is not None and sole_key_refused(relayed, step):
            step = PassedOn(step.because or Verdict("unauthorized", Cause.KEY))
        relayed.conclusion = step
        if isinstance(step, Refused):
            refuse(flow, relayed, step.error)
        elif isinstance(step, PassedOn):
            pass_on(flow, relayed, outcome or Outcome())
        return verdict

    async def adapt(self, relayed: Relayed, attempt: Attempt) -> Outcome | None:
        """Reserve what the attempt may cost, and prepare its request where it is another one than the client's.

        Returns why it cannot be made, if it cannot.
        """
        try:
            relayed.notes, relayed.no_room = (), None
            reserving.follow(relayed, attempt)
            relayed.adaptation = await self.translator.adapt(relayed, attempt)
        except RelayError as error:
            relayed.no_room = error if isinstance(error, BudgetError) else None
            body = error.claude_body(relayed.id)
            return Outcome(error.status, body=body, failure=Failure.UNSUITED, message=error.message)
        return None

    async def next_step(self, relayed: Relayed, outcome: Outcome | None) -> Attempt | Conclusion:
        """Drive the policy through its waits. A client that leaves ends them."""
        policy = relayed.policy
        assert policy is not None
        try:
            step = policy.send(outcome)
            while isinstance(step, Wait):
                await relayed.wait(step.seconds)
                if relayed.gone or relayed.ended is not None:
                    policy.close()
                    return Refused(relayed.ended or RelayError(502, "the client left"), step.because)
                step = policy.send(None)
        except StopIteration as end:
            conclusion: Conclusion = end.value
            return conclusion
        return step

    @guarded
    async def relay_attempt(self, flow: http.HTTPFlow) -> None:
        """An attempt failed and nothing has reached the client."""
        relayed = RELAYED[flow]
        answer, outcome = flow.response, relayed.outcome or Outcome()
        outcome = outbound.told(outcome, relayed.proxy)
        relayed.tries[-1].ended_at = time.monotonic()  # what follows may be a wait, which belongs to no attempt
        outcome = relayed.redaction.outcome(outcome)
        if relayed.ended is not None:
            relayed.end_try(outcome, None)
            relayed.tries[-1].verdict = ENDED
            refuse(flow, relayed, relayed.ended)
            return
        if relayed.turned_away is not None:  # while its body went on as it came
            relayed.end_try(outcome, None)
            refuse(flow, relayed, relayed.turned_away)
            return
        if relayed.facts.endpoint is Endpoint.SIDE:
            relayed.end_try(outcome, None)
            if outcome.failure is not None or outcome.status is None:
                refuse(flow, relayed, RelayError(404, f"The host of this call did not answer ({outcome.message})."))
            return
        tried = relayed.tries[-1]
        verdict = await self.follow(flow, relayed, outcome)
        self.books.attempt_failed(flow, relayed, tried, outcome, verdict, answer)

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
            if relayed.policy is not None and relayed.conclusion is None and not relayed.own_answer:
                await self.follow(flow, relayed, relayed.outcome)
            self.books.say_by_whom(flow, relayed)
        origin = relayed.facts.headers.get("origin")
        if origin is not None:
            flow.response.headers.update(cors_headers(origin, relayed.runtime.config.listen.cors))
        if relayed.own_answer and relayed.method == "HEAD":
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
        if not relayed.settled and flow.response is not None and relayed.meter is not None:
            body = flow.response.raw_content or b""
            relayed.response_bytes = len(body)
            relayed.meter.feed(body)
            relayed.meter.end()
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
            asyncio.get_running_loop().call_soon(forget, relayed)  # after `tell_others`, if it comes at all
            self.books.view.finished(flow)


def forget(relayed: Relayed) -> None:
    """It is over, and nobody will ask for it any more."""
    relayed.redaction.forget_own()
    reserving.over(relayed)


def answer_at_once(flow: http.HTTPFlow, relayed: Relayed) -> http.Response | None:
    """Answers that need no upstream: preflights, the relay's own pages, and refusals for who asks or with what."""
    headers, allowed = relayed.facts.headers, relayed.runtime.config.listen.cors
    origin = headers.get("origin")
    if origin is not None and flow.request.method == "OPTIONS" and "access-control-request-method" in headers:
        return preflight(origin, allowed, headers.get("access-control-request-headers", ""))
    if relayed.page is not None:
        return own_answer(relayed.page, relayed.method, relayed.id)
    if relayed.facts.endpoint is Endpoint.SIDE and relayed.placeholder_only:
        why = "This path is not part of the API that the relay serves, and a placeholder key does not leave it."
        raise RelayError(404, why)
    return None


def turn_away(flow: http.HTTPFlow, relayed: Relayed) -> None:
    """What its head alone decides: then its body need not come."""
    relayed.turned_away = relayed.ended or relayed.turned_away
    if relayed.turned_away is not None:
        return
    try:
        answer_at_once(flow, relayed)
    except RelayError as error:
        relayed.turned_away = error


def refuse(flow: http.HTTPFlow, relayed: Relayed, error: RelayError) -> None:
    """The relay answers with an error of its own."""
    relayed.again, relayed.own_answer, relayed.next_attempt = False, True, None
    relayed.refusal = error
    if relayed.policy is not None:
        relayed.policy.close()
    flow.response = error_answer(error, relayed.id)


def sole_key_refused(relayed: Relayed, refused: Refused) -> bool:
    """Whether a provider of another format refused the only key that there is: its words tell more than the relay's."""
    if (
        not isinstance(relayed.adaptation, Translated)
        or refused.because is None
        or refused.because.name != "unauthorized"
    ):
        return False
    return (
        sum(len(relayed.runtime.pools[name].keys) for name in {tried.attempt.provider for tried in relayed.tries}) == 1
    )


def pass_on(flow: http.HTTPFlow, relayed: Relayed, outcome: Outcome) -> None:
    """The upstream's error is the answer: as it is when it speaks Claude's language, recast otherwise."""
    relayed.again = False
    translated = isinstance(relayed.adaptation, Translated)
    if translated or outcome.failure is not None or claude_error(outcome.body) is None:
        relayed.own_answer = True
        flow.response = recast(outcome, relayed.id)
