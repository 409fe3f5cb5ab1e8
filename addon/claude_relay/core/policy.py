"""The retry policy: which attempt is next, when to wait, how a request ends. A sans-IO generator; the caller sends and sleeps.

    steps = attempts(facts, hops, pools, retry, clock=time.time, random=random.random)
    step = next(steps)
    try:
        while True:
            if isinstance(step, Wait):
                await sleep(step.seconds)
                step = steps.send(None)
            else:                                      # an Attempt
                step = steps.send(await send(step))    # its Outcome
    except StopIteration as end:
        conclusion = end.value                         # Accepted, PassedOn or Refused

Who counts a key as busy: the generator calls `pool.started` when it yields an Attempt, and `pool.finished` when it is sent the
Outcome or is closed, unless that Outcome is accepted. **After `Accepted`, and only then, the caller calls
`pools.finished(attempt)` once, when the answer has ended.** Close the generator (`steps.close()`) when the client leaves early:
nothing stays busy, and a probe that was under way is left to the next request.

What happens after a verdict is a column of the verdict table (`then`), as is what the client gets when it was the last one (`at_end`):

    next_key        the key rests; the next key, then the next provider; when all rest: wait for the first if its end is known
                    and near enough
    any_key         jittered pause, another key if there is one (else the same); after two failures the next provider; then
                    again from the first
    same_key        jittered pause (or the retry-after, if there is time) on the same key; after two the next provider; then again
    one_other_key   one other key, once for the request, then passed on
    other_key       like next_key after a clear answer, like any_key otherwise; nobody rests
    next_provider   nothing was sent, for this provider cannot be asked that: the next one
    repair          once more with the same key, without the thoughts of earlier turns; then passed on
    pass_on         the client sees it as it is

`retry.attempts` bounds the attempts over all providers (a probe is one, waiting is none), `retry.max_wait` all waiting.

A request of a session uses the session's key while that is of use (`seating`); one about something that a key made uses that key.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

from .exchange import Accepted, Attempt, Conclusion, Endpoint, Facts, Hop, Outcome, PassedOn, Refused, Wait
from .keys.limits import retry_at
from .keys.pool import Pool
from .keys.seating import Seating
from .keys.sessions import Sessions
from .reading.resources import Owner
from .refusals import all_down, all_rest
from .table import AtEnd, Then
from .trip import Last, RetryLike, Trip, Try
from .verdicts import MEANINGS, judge

NO_EVIDENCE = frozenset({Endpoint.COUNT_TOKENS, Endpoint.SIDE})
"""Endpoints whose success says as little about a key as their failure: they cost nothing."""


def attempts(
    facts: Facts,
    hops: Sequence[Hop],
    pools: Mapping[str, Pool],
    retry: RetryLike,
    *,
    clock: Callable[[], float],
    random: Callable[[], float],
    short_wait: float = 5.0,
    sessions: Sessions | None = None,
    owner: Owner | None = None,
) -> Generator[Attempt | Wait, Outcome | None, Conclusion]:
    """The steps of one request; see the module's text.

    clock       seconds since the epoch
    random      numbers from 0.0 to 1.0, 1.0 excluded
    short_wait  the longest pause of the relay's own making, in seconds, and the longest wait for a session's warm key; waits that a
                provider asked for are bounded by `retry.max_wait` alone
    sessions    who sits where; None: nobody has a seat
    owner       the key that made what the request is about; while the pool has it no other is asked
    """
    trip = Trip(facts, tuple(hops), pools, retry, clock, random, short_wait, Seating.of(sessions, facts, short_wait))
    pool = pools.get(owner.provider) if owner else None
    if owner and pool and pool.by_id(owner.key_id):
        hop = next((hop for hop in hops if hop.provider == owner.provider), Hop(owner.provider, facts.model))
        trip.keep_to(hop, pool, owner.key_id)
    while True:
        step = _next_step(trip)
        if isinstance(step, Wait):
            trip.waited += step.seconds
            yield step
        elif isinstance(step, Try):
            conclusion = yield from _attempt(trip, step)
            if conclusion:
                return conclusion
        else:
            return step


def _next_step(trip: Trip) -> Try | Wait | Conclusion:
    """The next attempt, a wait before it, or the end."""
    if trip.sent >= max(1, trip.retry.attempts):
        return _give_up(trip)
    step = trip.candidate()
    if isinstance(step, Wait):
        return step
    if step is None:
        return _wait_for_key(trip) or trip.another_round() or trip.denied() or _give_up(trip)
    if trip.last and step.hop == trip.last.step.hop:
        trip.forced = step
        return trip.take_pause() or step
    trip.pause = 0.0
    return step


def _wait_for_key(trip: Trip) -> Wait | None:
    """An error that is passed on when no other key is left is passed on at once."""
    at_end = MEANINGS[trip.last.verdict.name].at_end if trip.last else AtEnd.REST
    return None if at_end is AtEnd.PASS_ON else trip.wait_for_key()


def _attempt(trip: Trip, step: Try) -> Generator[Attempt, Outcome | None, Conclusion | None]:
    """One attempt, its key counted as busy while it is under way. Returns the end of the request, or None to go on."""
    attempt = _begin(trip, step)
    learned, conclusion = False, None
    try:
        outcome = yield attempt
        conclusion = _learn(trip, step, attempt, outcome or Outcome())
        learned = True
    finally:
        if step.key:
            step.pool.answered(step.key)
        if step.key and not isinstance(conclusion, Accepted):
            step.pool.finished(step.key)
        if step.key and not learned:
            step.pool.abandoned(step.key, step.hop.model, probe=attempt.probe)
    return conclusion


def _begin(trip: Trip, step: Try) -> Attempt:
    trip.sent += 1
    trip.forced = None
    probe = step.pool.started(step.key, step.hop.model, trip.clock()) if step.key else False
    if step.key and trip.seating:
        trip.seating.sit(step.hop, step.pool, step.key, trip.clock())
    trip.probed = trip.probed or probe
    because = trip.last.verdict if trip.last else None
    return Attempt(trip.sent, step.hop.provider, step.key, step.hop.model, because, probe, trip.repaired)


def _learn(trip: Trip, step: Try, attempt: Attempt, outcome: Outcome) -> Conclusion | None:
    """Take in an outcome: what it does to the key, and what follows."""
    now = trip.clock()
    verdict = judge(outcome, _facts_at(trip, step), now=now)
    then = MEANINGS[verdict.name].then
    if step.key and then is Then.ACCEPT and trip.facts.endpoint not in NO_EVIDENCE:
        step.pool.succeeded(step.key, step.hop.model, outcome.headers, now, probe=attempt.probe)
        if trip.seating:
            trip.seating.accepted(step.hop, step.key, now)
    elif step.key:
        step.pool.apply(verdict, step.key, step.hop.model, now, trip.random, probe=attempt.probe)
    trip.last = Last(step, outcome, verdict)
    return AFTER[then](trip, trip.last)


def _facts_at(trip: Trip, step: Try) -> Facts:
    """The request as this provider sees it. Without a key of ours there is no health to protect, so every endpoint speaks for itself."""
    facts, model = trip.facts, step.hop.model
    endpoint = facts.endpoint if step.key else Endpoint.MESSAGES
    return (
        facts if (model, endpoint) == (facts.model, facts.endpoint) else replace(facts, model=model, endpoint=endpoint)
    )


# --- after a verdict ---


def _accept(trip: Trip, last: Last) -> Conclusion | None:
    return Accepted(last.verdict)


def _pass_on(trip: Trip, last: Last) -> Conclusion | None:
    return PassedOn(last.verdict)


def _next_key(trip: Trip, last: Last) -> Conclusion | None:
    """The key rests, so it is not chosen again. The client's own credential has no next."""
    return None if last.step.key else PassedOn(last.verdict)


def _one_other_key(trip: Trip, last: Last) -> Conclusion | None:
    trip.exclude(last.step)
    trip.forced = None if trip.other_used else trip.another_key(last.step)
    trip.other_used = True
    return None if trip.forced else PassedOn(last.verdict)


def _other_key(trip: Trip, last: Last) -> Conclusion | None:
    if 400 <= last.status < 500 and last.status != 408:
        trip.exclude(last.step)
        return None
    return _any_key(trip, last)


def _any_key(trip: Trip, last: Last) -> Conclusion | None:
    trip.strike(last.step)
    trip.avoid(last.step)
    return None


def _same_key(trip: Trip, last: Last) -> Conclusion | None:
    now = trip.clock()
    asked = retry_at(last.outcome.headers, now)
    seconds = 0.0 if asked is None else asked - now
    trip.strike(last.step)
    if seconds > trip.left():
        trip.gone.add(last.step.hop.provider)
    elif not trip.is_down(last.step.hop):
        trip.forced = last.step
    trip.pause = max(trip.pause, seconds)
    return None


def _next_provider(trip: Trip, last: Last) -> Conclusion | None:
    trip.gone.add(last.step.hop.provider)
    return None


def _repair(trip: Trip, last: Last) -> Conclusion | None:
    """Thoughts are signed by whoever had them, and a conversation may have been with somebody else before."""
    if trip.repaired:
        return PassedOn(last.verdict)
    trip.repaired, trip.forced = True, last.step
    return None


AFTER: Mapping[Then, Callable[[Trip, Last], Conclusion | None]] = {
    Then.ACCEPT: _accept,
    Then.NEXT_KEY: _next_key,
    Then.ONE_OTHER_KEY: _one_other_key,
    Then.OTHER_KEY: _other_key,
    Then.ANY_KEY: _any_key,
    Then.SAME_KEY: _same_key,
    Then.NEXT_PROVIDER: _next_provider,
    Then.REPAIR: _repair,
    Then.PASS_ON: _pass_on,
}


# --- when no attempt is left ---


def _give_up(trip: Trip) -> Conclusion:
    if trip.last is None:
        return Refused(all_rest(trip.hops, trip.pools, trip.clock(), trip.barred))
    return AT_END[MEANINGS[trip.last.verdict.name].at_end](trip, trip.last)


def _end_as_it_is(trip: Trip, last: Last) -> Conclusion:
    return PassedOn(last.verdict)


def _end_resting(trip: Trip, last: Last) -> Conclusion:
    """Keys are to blame; when a provider failed as well, so that its keys are ready but of no use, it is."""
    if any(trip.strikes.values()) or trip.gone:
        return _end_down(trip, last)
    return Refused(all_rest(trip.hops, trip.pools, trip.clock(), trip.barred), last.verdict)


def _end_down(trip: Trip, last: Last) -> Conclusion:
    """529: the upstream's own if that is what it said, else the relay's."""
    if last.status == 529:
        return PassedOn(last.verdict)
    now = trip.clock()
    asked = retry_at(last.outcome.headers, now)
    seconds = None if asked is None else asked - now
    return Refused(all_down(trip.hops, last.verdict.reason, trip.sent, seconds), last.verdict)


def _end_answer(trip: Trip, last: Last) -> Conclusion:
    return PassedOn(last.verdict) if last.status else _end_down(trip, last)


AT_END: Mapping[AtEnd, Callable[[Trip, Last], Conclusion]] = {
    AtEnd.PASS_ON: _end_as_it_is,
    AtEnd.REST: _end_resting,
    AtEnd.DOWN: _end_down,
    AtEnd.ANSWER: _end_answer,
}
