"""The retry policy: which attempt is next, when to wait, how a request ends. A sans-IO generator; the caller sends and sleeps.

    steps = attempts(facts, targets, pools, retry, clock=time.time, random=random.random)
    step = next(steps)
    try:
        while True:
            if isinstance(step, Wait):
                await sleep(step.seconds)
                step = steps.send(None)
            elif isinstance(step, Renew):
                await renew(step.key)                  the pool has the key's next token then, or not
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

    next_key        a cooldown for the key, which does not count; the next key, then the next provider; when all have one: wait for
                    the first if its end is known and near enough
    any_key         jittered pause, a key not asked yet if there is one; after two failures the next provider; then again from the first
    same_key        once more with the same key after a jittered pause (or the retry-after, if there is time), which does not count;
                    then like any_key
    other_way       like any_key, but keys that go out another way come first, then other providers, and these keys only after them
    fresh_key       a key not asked yet, at once; then passed on
    other_key       like next_key after a clear answer, like any_key otherwise; no cooldown
    next_route      the next provider, or a key that goes out another way; then passed on
    next_provider   nothing was sent, for this provider cannot be asked that: the next one
    renew           once more with the same key and its next token, which does not count; without one: as `unauthorized`
    repair          once more with the same key, without the thoughts of earlier turns; then passed on
    pass_on         the client sees it as it is

`retry.attempts` bounds the tries that say nothing certain of a key, over all providers, and `retry.keys` the keys that are found to be of
no use; so every key is asked, unless too many fail in ways that are not certain. Where another key of a provider was answered within
the last minute, that provider is well: its other keys come next, for as many tries again. `retry.max_wait` bounds all waiting.

A failure of the route counts against a key when the same request then succeeds with another key of the provider.

A request of a session uses the session's key while that is of use (`affinity`); one about something that a key made uses that key.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.exchange import (
    Accepted,
    Attempt,
    Cause,
    Conclusion,
    Endpoint,
    Facts,
    Fault,
    Outcome,
    PassedOn,
    Renew,
    Target,
    Verdict,
    Wait,
)
from claude_relay.core.keys.affinity import Affinity
from claude_relay.core.keys.kinds import kind_of
from claude_relay.core.keys.own_credentials import OwnCredential
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.sessions import Sessions

from .candidates import RetryLike
from .endings import give_up, requested_wait
from .state import RetryState
from .table import AtEnd, Then
from .tries import NOBODY, Candidate, Last, add
from .verdicts import MEANINGS, judge

TOKEN_REFUSED = "token_refused"
NONE_BARRED: Mapping[str, frozenset[str]] = {}
NONE_OF_ITS_OWN: Mapping[str, OwnCredential] = {}
INFERENCE = frozenset({Endpoint.MESSAGES, Endpoint.COMPLETE})
"""Endpoints that say something about a key. The others cost nothing, or have rules of their own (an admin key, a scope): their success says
as little about a key's work as their failure."""


def attempts(
    facts: Facts,
    targets: Sequence[Target],
    pools: Mapping[str, Pool],
    retry: RetryLike,
    *,
    clock: Callable[[], float],
    random: Callable[[], float],
    short_wait: float = 5.0,
    sessions: Sessions | None = None,
    owner: Owner | None = None,
    barred: Mapping[str, frozenset[str]] = NONE_BARRED,
    own: Mapping[str, OwnCredential] = NONE_OF_ITS_OWN,
    wall: Callable[[], float] | None = None,
    faults: Callable[[Facts, int], Fault | None] | None = None,
) -> Generator[Attempt | Wait | Renew, Outcome | None, Conclusion]:
    """The steps of one request; see the module's text.

    clock       seconds since the epoch; never goes back
    random      numbers from 0.0 to 1.0, 1.0 excluded
    short_wait  the longest pause of the relay's own making, in seconds, and the longest wait for a session's warm key; waits that a
                provider asked for are bounded by `retry.max_wait` alone
    sessions    which session is bound to which key; None: nobody has a binding
    owner       the key that made what the request is about; while the pool has it no other is asked
    barred      ids of keys that must not be used for this request, by provider
    own         the client's own credential, by the providers at which it takes part beside the pool
    wall        seconds since the epoch as others have them, in whose terms providers name dates; None: as `clock`
    faults      whether the nth attempt of this request is to fail on purpose; from then on it goes by copies of pools and session, so
                that nothing which is not real is remembered; None: none is
    """
    targets = tuple(Target(target.provider, target.model, kind_of(facts, target.model)) for target in targets)
    affinity = Affinity.of(sessions, facts, short_wait)
    state = RetryState(facts, targets, pools, retry, clock, wall or clock, random, short_wait, affinity, faults=faults)
    state.barred, state.own = barred, own
    state.shared = pools
    pool = pools.get(owner.provider) if owner else None
    if owner and pool and pool.by_id(owner.key_id):
        target = next(
            (target for target in targets if target.provider == owner.provider), Target(owner.provider, facts.model)
        )
        state.keep_to(target, pool, owner.key_id)
    while True:
        if state.stale and state.stale.step.key:
            others = state.count_fresh(state.stale.step.target) > 0
            yield Renew(state.stale.step.key, state.stale.verdict, others)
            if conclusion := _renewed(state, state.stale):
                return conclusion
        step = _next_step(state)
        if isinstance(step, Wait):
            state.waited += step.seconds
            yield step
        elif isinstance(step, Candidate):
            conclusion = yield from _attempt(state, step)
            if conclusion:
                return conclusion
        else:
            return step


def _next_step(state: RetryState) -> Candidate | Wait | Conclusion:
    """The next attempt, a wait before it, or the end."""
    step: Candidate | Wait | None = state.settled_on()
    if step is None and state.is_over:
        return give_up(state)
    step = step or state.candidate()
    if isinstance(step, Wait):
        return step
    if step is None:
        return _wait_for_key(state) or state.another_round() or _candidate_denied(state) or give_up(state)
    if state.last and step.target == state.last.step.target:
        state.forced = step
        return state.take_pause() or step
    state.pause = 0.0
    return step


def _wait_for_key(state: RetryState) -> Wait | None:
    """An error that is passed on when no other key is left is passed on at once."""
    at_end = MEANINGS[state.last.verdict.name].at_end if state.last else AtEnd.COOLDOWN
    return None if at_end is AtEnd.PASS_ON else state.wait_for_key()


def _candidate_denied(state: RetryState) -> Candidate | None:
    """Keys with a cooldown for this model are asked all the same, until one is refused it again, which speaks for all; an error that is
    passed on when no other key is left is not exchanged for theirs.
    """
    last = state.last.verdict if state.last else None
    ends = last and (last.cause is Cause.KEY_MODEL or MEANINGS[last.name].at_end is AtEnd.PASS_ON)
    return None if ends else state.denied()


def _attempt(state: RetryState, step: Candidate) -> Generator[Attempt, Outcome | None, Conclusion | None]:
    """One attempt, its key counted as busy while it is under way. Returns the end of the request, or None to go on."""
    fault = state.fault()
    step = state.apart(step, fault)
    attempt = _begin(state, step, fault)
    learned, conclusion = False, None
    try:
        outcome = yield attempt
        conclusion = _learn(state, step, attempt, outcome or Outcome())
        learned = True
    finally:
        if step.key:
            step.pool.answered(step.key)
        if step.key and not isinstance(conclusion, Accepted):
            step.pool.finished(step.key)
        if step.key and not learned:
            step.pool.abandoned(step.key, step.target.kind, probe=attempt.probe)
        if step.own and not (learned and attempt.fault is None):
            step.own.abandoned(step.target.kind, probe=attempt.probe)
    return conclusion


def _begin(state: RetryState, step: Candidate, fault: Fault | None) -> Attempt:
    state.began(step)
    probe = step.pool.started(step.key, step.target.kind, state.clock()) if step.key else False
    if step.own:
        probe = step.own.started(step.target.kind, state.clock())
    if step.key and state.affinity:
        state.affinity.bind(step.target, step.pool, step.key, state.clock())
    state.probed = state.probed or probe
    because = state.last.verdict if state.last else None
    return Attempt(
        state.attempts, step.target.provider, step.key, step.target.model, because, probe, state.repaired, fault
    )


def _learn(state: RetryState, step: Candidate, attempt: Attempt, outcome: Outcome) -> Conclusion | None:
    """Take in an outcome: what it does to the key, and what follows."""
    now = state.clock()
    today = state.today(now)
    verdict = _in_terms_of(now, today, judge(outcome, _facts_at(state, step), now=today))
    if attempt.fault is None and state.may_renew(step, verdict, outcome):
        verdict = Verdict(TOKEN_REFUSED, Cause.NOBODY, reason=verdict.reason)
    then = MEANINGS[verdict.name].then
    if step.key and then is Then.ACCEPT and state.facts.endpoint in INFERENCE:
        step.pool.succeeded(step.key, step.target.kind, outcome.headers, now, probe=attempt.probe, today=today)
        if state.affinity:
            state.affinity.accepted(step.target, step.key, now)
    elif step.key:
        step.pool.apply(verdict, step.key, step.target.kind, now, state.random, probe=attempt.probe)
    if step.own and attempt.fault is None:
        _learn_of_own(state, step.own, step.target.kind, attempt, outcome, verdict)
    state.last = Last(step, outcome, verdict, attempt.fault is None)
    return AFTER[then](state, state.last)


def _learn_of_own(
    state: RetryState, own: OwnCredential, kind: str, attempt: Attempt, outcome: Outcome, verdict: Verdict
) -> None:
    """What an outcome says of the client's own credential."""
    now = state.clock()
    if MEANINGS[verdict.name].then is not Then.ACCEPT:
        own.failed(verdict, kind, now, state.random, probe=attempt.probe)
    elif state.facts.endpoint in INFERENCE:
        own.succeeded(kind, outcome.headers, now, probe=attempt.probe, today=state.today(now))
    else:
        own.abandoned(kind, probe=attempt.probe)


def _in_terms_of(now: float, today: float, verdict: Verdict) -> Verdict:
    """A verdict of `today`, by the clock that says `now`."""
    until = verdict.cooldown_until
    if until is None or now == today:
        return verdict
    return replace(verdict, cooldown_until=now if until <= today else until + (now - today))


def _facts_at(state: RetryState, step: Candidate) -> Facts:
    """The request as this provider sees it. Without a key whose health is to be protected every endpoint speaks for itself."""
    facts, model = state.facts, step.target.model
    endpoint = facts.endpoint if step.key or step.own else Endpoint.MESSAGES
    return (
        facts if (model, endpoint) == (facts.model, facts.endpoint) else replace(facts, model=model, endpoint=endpoint)
    )


# --- after a verdict ---


def _accept(state: RetryState, last: Last) -> Conclusion | None:
    """The failures that led here were those of their keys, where another key of the same provider did it."""
    mine = {
        failed.step.key_id: failed
        for failed in state.failures
        if failed.real
        and failed.step.target.provider == last.step.target.provider
        and failed.verdict.cause is Cause.ROUTE
    }
    for key_id, failed in mine.items():
        if failed.step.key and last.step.key and key_id != last.step.key.id and state.facts.endpoint in INFERENCE:
            failed.step.pool.failed_alone(failed.verdict, failed.step.key, state.clock(), state.random)
    return Accepted(last.verdict)


def _pass_on(state: RetryState, last: Last) -> Conclusion | None:
    return PassedOn(last.verdict)


def _next_key(state: RetryState, last: Last) -> Conclusion | None:
    """The key has a cooldown, so it is not chosen again. The client's own credential has no next, unless it takes part beside the pool."""
    state.found_out(last.step)
    return None if last.step.key or last.step.own else PassedOn(last.verdict)


def _fresh_key(state: RetryState, last: Last) -> Conclusion | None:
    state.exclude(last.step)
    state.uncertain(last.step, pause=False)
    return None if last.step.key or last.step.own else PassedOn(last.verdict)


def _other_key(state: RetryState, last: Last) -> Conclusion | None:
    if 400 <= last.status < 500 and last.status != 408:
        state.found_out(last.step)
        state.exclude(last.step)
        return None
    return _any_key(state, last)


def _any_key(state: RetryState, last: Last) -> Conclusion | None:
    state.failures.append(last)
    state.uncertain(last.step)
    return None


def _other_way(state: RetryState, last: Last) -> Conclusion | None:
    state.failures.append(last)
    state.turn_from_way(last.step)
    return None


def _same_key(state: RetryState, last: Last) -> Conclusion | None:
    """No capacity for this key: its cache is warm, so it gets a second try, if its provider does not want a longer wait than there is."""
    step, seconds = last.step, requested_wait(state, last)
    state.failures.append(last)
    if step.key:
        step.pool.overloaded(step.key, state.clock())
    if seconds > state.left():
        state.exclude(step)
    elif step.key_id not in state.repeated.get(step.target.provider, NOBODY):
        add(state.repeated, step)
        state.forced, state.pause = step, max(state.jitter(step), seconds)
        return None
    state.uncertain(step)
    if not state.count_fresh(step.target) and seconds <= state.left():
        state.pause = max(state.pause, seconds)
    return None


def _next_route(state: RetryState, last: Last) -> Conclusion | None:
    state.leave_route(last.step)
    return None


def _next_provider(state: RetryState, last: Last) -> Conclusion | None:
    state.gone.add(last.step.target.provider)
    return None


def _renew(state: RetryState, last: Last) -> Conclusion | None:
    """Once a request for each key: a second refusal is what it says."""
    state.stale = last
    add(state.renewed, last.step)
    return None


def _renewed(state: RetryState, last: Last) -> Conclusion | None:
    """Go on with the key's next token; when it has none by now, it was refused for good."""
    step, state.stale = last.step, None
    pool = state.shared[step.target.provider]
    key = pool.by_id(step.key_id)
    if step.key is None or key is None or key.secret != step.key.secret:
        state.forced = replace(step, key=key) if key else None
        return None
    now = state.clock()
    facts, today = _facts_at(state, step), state.today(now)
    verdict = _in_terms_of(now, today, judge(last.outcome, facts, now=today))
    step.pool.apply(verdict, step.key, step.target.kind, now, state.random)
    state.last = replace(last, verdict=verdict)
    return AFTER[MEANINGS[verdict.name].then](state, state.last)


def _repair(state: RetryState, last: Last) -> Conclusion | None:
    """Thoughts are signed by whoever had them, and a conversation may have been with somebody else before."""
    if state.repaired:
        return PassedOn(last.verdict)
    state.repaired, state.forced = True, last.step
    return None


AFTER: Mapping[Then, Callable[[RetryState, Last], Conclusion | None]] = {
    Then.ACCEPT: _accept,
    Then.NEXT_KEY: _next_key,
    Then.FRESH_KEY: _fresh_key,
    Then.OTHER_KEY: _other_key,
    Then.ANY_KEY: _any_key,
    Then.OTHER_WAY: _other_way,
    Then.SAME_KEY: _same_key,
    Then.NEXT_ROUTE: _next_route,
    Then.NEXT_PROVIDER: _next_provider,
    Then.REPAIR: _repair,
    Then.RENEW: _renew,
    Then.PASS_ON: _pass_on,
}
