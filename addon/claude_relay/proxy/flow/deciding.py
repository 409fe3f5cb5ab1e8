"""What becomes of a request, and of each attempt that fails: one value, `Relayed.step`, which the stream obeys.

    await decider.begin(flow, relayed)                          an Attempt, or an answer of the relay's own
    verdict = await decider.follow(flow, relayed, outcome)      after an attempt: another one, or how the request ends

Raises RelayError for what cannot be decided. It must not know how an attempt is made.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Mapping

from mitmproxy import http

from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.permitting import refuse_model
from claude_relay.core.config import Retry
from claude_relay.core.endpoints import Page
from claude_relay.core.errors import BudgetError, RelayError
from claude_relay.core.exchange import (
    Answered,
    Attempt,
    Cause,
    Conclusion,
    Endpoint,
    Failure,
    Key,
    Origin,
    Outcome,
    PassedOn,
    Refused,
    Renew,
    Target,
    Verdict,
    Wait,
)
from claude_relay.core.faults import Faults
from claude_relay.core.installation import command
from claude_relay.core.keys.own_credentials import OwnCredential
from claude_relay.core.retry.policy import attempts
from claude_relay.core.routing.routes import matches, route
from claude_relay.core.routing.story import Route
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.messages.replies import claude_error, estimate_answer, preflight, recast
from claude_relay.proxy.messages.welcome import welcome
from claude_relay.proxy.messages.wire import mark_of
from claude_relay.proxy.pages.dispatch import answer_page, refusal
from claude_relay.proxy.provider.adapting import Translated
from claude_relay.proxy.request.bodies import facts_of, uncompressed
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.renewals import MOMENT, PATIENCE

from . import admitting, reserving, rights
from .aiming import Aim, aim_of, source_of
from .models_page import models_answer
from .parts import Parts
from .pointing import NoWayError, has_way

UNREAD = (
    "The relay cannot read its stored keys ({}) and has no other key for this request. Send it again in a moment; "
    f"`{command('doctor')}` says what is wrong with the database."
)
ONCE = {"attempts": 1, "keys": 1}
NOT_PERMITTED = "its client may not use it"
OVER = "a budget does not let it pay"
ESTIMATED = "input_tokens: an estimate of the relay's own"


class Decider:
    """Decides for all requests of one relay."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.rights = rights.KeyRights()
        self.default: str | None = None
        """What the command `relay.default` has set in the place of relay.yaml's."""
        self.faults = Faults((), matches=matches, dice=dice)
        """What is to fail on purpose."""

    # -- the first step

    async def begin(self, flow: http.HTTPFlow, relayed: Relayed) -> None:
        """The first step of a request. Raises RelayError."""
        self._admit(relayed)
        relayed.source = source_of(flow, relayed.facts.headers)
        answer = answer_at_once(flow, relayed)
        if answer is None and relayed.page is not None:
            answer = await answer_page(relayed, flow, self.parts)
        if answer is None and relayed.facts.endpoint is Endpoint.SIDE:
            relayed.step = Attempt(1, "", None, "")
            return
        if answer is None:
            relayed.counts = True
            relayed.body = await uncompressed(flow.request, relayed.facts.endpoint)
            relayed.facts = await facts_of(relayed)
            if relayed.gone:  # a key is issued to nobody
                return
            if relayed.client is not None:
                await rights.permit(flow, relayed, self.parts.clients)
            await admitting.admit(relayed, self.parts.limiting)
            if relayed.gone:  # while it waited
                return
            answer = await self._set_out(flow, relayed)
        if answer is not None:
            relayed.step, flow.response = Answered(), answer

    async def _set_out(self, flow: http.HTTPFlow, relayed: Relayed) -> http.Response | None:
        """Find the way, and take the first step on it; or an answer of the relay's own."""
        runtime, config = relayed.runtime, relayed.runtime.config
        owner = await self.parts.owner_of(relayed)
        aim = aim_of(relayed.facts, runtime)
        targets, own = await self._served(relayed, aim)
        if own is not None:
            return own
        if aim is not None:
            owner = aim.key or (owner if owner and owner.provider == aim.target.provider else None)
        barred = self.rights.barred(relayed, targets, owner)
        relayed.policy = attempts(
            relayed.facts,
            targets,
            runtime.pools,
            retry_of(relayed),
            clock=NOW,
            wall=NOW.wall,
            random=random.random,
            short_wait=config.sessions.short_wait,
            sessions=runtime.sessions if relayed.source is Origin.CLIENT else None,
            owner=owner,
            barred=barred,
            own=self._own_of(relayed),
            faults=self.faults.choose if self.faults and not relayed.goes_through else None,
        )
        await self.follow(flow, relayed, None)
        return None

    def _admit(self, relayed: Relayed) -> None:
        """Raises RelayError for a request that cannot be decided: the relay ends, or all its keys are in a vault that cannot be read."""
        if relayed.ended is not None:
            raise relayed.ended
        if relayed.turned_away is not None:
            raise relayed.turned_away
        why = self.parts.keys_unread
        if why is None or relayed.facts.endpoint is Endpoint.SIDE:
            return
        pools = relayed.runtime.pools.values()
        takes_part = bool(self._own_of(relayed))
        if takes_part or any(pool.keys or (pool.passthrough and not relayed.placeholder_only) for pool in pools):
            return
        raise RelayError(503, UNREAD.format(why), retry_after=5.0)

    def _own_of(self, relayed: Relayed) -> Mapping[str, OwnCredential]:
        """The client's own credential, by the providers at which it takes part beside the pool."""
        if not relayed.runtime.own_credentials:
            return {}
        return relayed.runtime.own_credential(mark_of(relayed.client_signature, self.parts.salt))

    async def _served(self, relayed: Relayed, aim: Aim | None) -> tuple[tuple[Target, ...], http.Response | None]:
        """The providers of the route that have this endpoint, or an answer of the relay's own in their place."""
        facts, runtime = relayed.facts, relayed.runtime
        config = runtime.config if self.default is None else runtime.config.model_copy(update={"default": self.default})
        if facts.endpoint is Endpoint.MODELS:
            providers, own = await models_answer(self.parts.discovery, relayed, config)
            return rights.permitted(relayed, tuple(Target(name, facts.model) for name in providers)), own
        if aim is not None:
            relayed.route = aim.route
            targets: tuple[Target, ...] = (aim.target,)
            if relayed.client is not None and aim.model:
                refuse_model(relayed.client, aim.model, config.clients.contact)
        else:
            relayed.route = Route.of(facts, config.routes, config.default)
            targets = route(facts, config.routes, config.providers, default=config.default)
        way = relayed.route
        way.goes_to(targets)
        if relayed.client is not None:
            permitted = rights.permitted(relayed, targets)
            if permitted is not targets:
                targets = permitted
                way.goes_to(targets, NOT_PERMITTED)
        targets = await self.parts.discovery.named(runtime, targets)
        if facts.endpoint is Endpoint.MESSAGES:
            targets = await reserving.admitted(relayed, self.parts.reporting, targets)
            way.goes_to(targets, OVER)
            return targets, None
        counting = facts.endpoint is Endpoint.COUNT_TOKENS
        able = tuple(
            target
            for target in targets
            if (f := runtime.formats.get(target.provider)) is None or (counting and f.count)
        )
        way.goes_to(able, f"has no {facts.endpoint} requests")
        if not able and counting:
            relayed.notes = (ESTIMATED,)
            return targets, estimate_answer(await self.parts.translator.estimate(relayed), relayed.id)
        if not able:
            names = ", ".join(target.provider for target in targets)
            why = f"{names}: only providers of Claude's own format have {facts.endpoint} requests."
            if relayed.client is None:
                raise RelayError(404, why)
            # What programs expect of a gateway that knows them.
            raise RelayError(501, why, final=True, type="not_supported")
        if reserving.is_paid(relayed):
            admitted = await reserving.admitted(relayed, self.parts.reporting, able)
            way.goes_to(admitted, OVER)
            return admitted, None
        return able, None

    # -- the steps that follow

    async def follow(self, flow: http.HTTPFlow, relayed: Relayed, outcome: Outcome | None) -> Verdict | None:
        """Tell the policy what became of the attempt and do what it says next. Returns what the attempt's outcome meant."""
        step = await self._next_step(relayed, outcome)
        verdict, unpaid = step.because, None
        if outcome is not None and relayed.attempts:
            relayed.attempts[-1].end(outcome, verdict)
        while isinstance(step, Attempt):
            try:
                await self._adapt(relayed, step)
            except RelayError as error:
                unpaid = error if isinstance(error, BudgetError | ClientLimitError) else None
                relayed.begin_attempt(step)
                body = error.claude_body(relayed.id)
                outcome = Outcome(error.status, body=body, failure=Failure.UNSUITED, message=error.message)
                if isinstance(error, NoWayError):
                    relayed.attempts[-1].proxy = error.name
                    outcome = Outcome(failure=Failure.PROXY, message=error.message)
                step = await self._next_step(relayed, outcome)
                relayed.attempts[-1].end(outcome, step.because)
                relayed.attempts[-1].ended_at = time.monotonic()  # what the client is told is nobody's answer
            else:
                relayed.step = step
                return verdict
        if isinstance(step, PassedOn) and unpaid is not None:
            step = Refused(unpaid, step.because)
        self._conclude(flow, relayed, step, outcome)
        return verdict

    async def _adapt(self, relayed: Relayed, attempt: Attempt) -> None:
        """Reserve what the attempt may cost, and prepare its request where it is another one than the client's.

        Raises RelayError when it cannot be made: `BudgetError`, `Unsuited`, `NoWayError`.
        """
        relayed.notes = ()
        has_way(relayed, attempt)
        reserving.follow(relayed, attempt)
        relayed.adaptation = await self.parts.translator.adapt(relayed, attempt)

    @staticmethod
    def _conclude(flow: http.HTTPFlow, relayed: Relayed, step: Conclusion, outcome: Outcome | None) -> None:
        """No further attempt: an upstream's answer goes to the client as it is, or it gets one of the relay's own."""
        if isinstance(step, Refused) and outcome is not None and sole_key_refused(relayed, step):
            step = PassedOn(step.because or Verdict("unauthorized", Cause.KEY))
        if isinstance(step, Refused):
            relayed.step = step
            flow.response = relayed.refuse(step.error)
            return
        outcome = outcome or Outcome()
        if isinstance(step, PassedOn) and in_other_words(relayed, outcome):
            step = dataclasses.replace(step, recast=True)
            flow.response = recast(outcome, relayed.id)
        relayed.step = step

    async def _next_step(self, relayed: Relayed, outcome: Outcome | None) -> Attempt | Conclusion:
        """Drive the policy through its waits. A client that leaves ends them."""
        policy = relayed.policy
        assert policy is not None
        try:
            step = policy.send(outcome)
            while isinstance(step, Wait | Renew):
                began = time.monotonic()
                if isinstance(step, Renew):
                    await self._renew(relayed, step.key, MOMENT if step.others else PATIENCE)
                else:
                    await relayed.wait(step.seconds)
                relayed.waited += time.monotonic() - began
                if relayed.gone or relayed.ended is not None:
                    policy.close()
                    return Refused(relayed.ended or RelayError(502, "the client left"), step.because)
                step = policy.send(None)
        except StopIteration as end:
            conclusion: Conclusion = end.value
            return conclusion
        return step

    async def _renew(self, relayed: Relayed, key: Key, most: float) -> None:
        """Wait for the account's next token, which others may wait for as well."""
        if self.parts.renewals is None:
            return
        renewal = self.parts.renewals.renew(key)
        renewal.add_done_callback(lambda _: relayed.waker.set() if relayed.waker is not None else None)
        if not renewal.done():
            await relayed.wait(most)

    def unless_unread(self, error: RelayError) -> RelayError:
        """A key that is missing because the vault cannot be read is missing for now only."""
        why = self.parts.keys_unread
        return error if why is None or error.status != 401 else RelayError(503, UNREAD.format(why), retry_after=5.0)


def retry_of(relayed: Relayed) -> Retry:
    """How often and how long it is tried: what goes through once only; what it has waited for its turn counts as its waiting."""
    retry = relayed.runtime.config.retry
    changes: dict[str, float] = dict(ONCE) if relayed.goes_through else {}
    if relayed.waited:
        changes["max_wait"] = max(0.0, retry.max_wait - relayed.waited)
    return retry.model_copy(update=changes) if changes else retry


def dice(seed: int | None) -> Callable[[], float]:
    """Chance, the same again for the same seed."""
    return random.Random(seed).random


def answer_at_once(flow: http.HTTPFlow, relayed: Relayed) -> http.Response | None:
    """Answers that need no upstream and no waiting: preflights, the page for browsers, and refusals for who asks or with what."""
    headers, allowed = relayed.facts.headers, relayed.runtime.config.listen.cors
    origin = headers.get("origin")
    if origin is not None and flow.request.method == "OPTIONS" and "access-control-request-method" in headers:
        return preflight(origin, allowed, headers.get("access-control-request-headers", ""))
    if relayed.page is Page.WELCOME:
        return welcome(relayed.runtime.config, relayed.id, at_proxy=False, local=relayed.local)
    if relayed.page is not None:
        if (error := refusal(relayed.page, relayed.method, relayed.runtime.config)) is not None:
            raise error
        return None
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


def sole_key_refused(relayed: Relayed, refused: Refused) -> bool:
    """Whether a provider of another format refused the only key that there is: its words tell more than the relay's."""
    if (
        not isinstance(relayed.adaptation, Translated)
        or refused.because is None
        or refused.because.name != "unauthorized"
    ):
        return False
    return (
        sum(len(relayed.runtime.pools[name].keys) for name in {record.attempt.provider for record in relayed.attempts})
        == 1
    )


def in_other_words(relayed: Relayed, outcome: Outcome) -> bool:
    """Whether an upstream's error is not in Claude's language, so that the client gets it in the relay's words."""
    return (
        isinstance(relayed.adaptation, Translated) or outcome.failure is not None or claude_error(outcome.body) is None
    )
