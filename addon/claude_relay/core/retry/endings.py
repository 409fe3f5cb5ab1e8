"""How a request ends when no attempt is left: by a column of the verdict table (`at_end`).

    give_up(state)      -> PassedOn: the last error is the client's; Refused: the relay says what all attempts come to

It must not decide whether another attempt is due: that is `policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from claude_relay.core.bodies.ratelimits import retry_at
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Conclusion, Failure, PassedOn, Refused

from .refusals import all_in_cooldown, no_answer, overloaded, silent
from .state import RetryState
from .table import AtEnd
from .tries import Candidate, Last
from .verdicts import MEANINGS


def give_up(state: RetryState) -> Conclusion:
    """What the client gets."""
    if state.last is None:
        return Refused(_all_in_cooldown(state))
    if state.last.step.own and state.last.status:  # what its own account says to it is the client's to know
        return PassedOn(state.last.verdict)
    return AT_END[MEANINGS[state.last.verdict.name].at_end](state, state.last)


def _end_as_it_is(state: RetryState, last: Last) -> Conclusion:
    return PassedOn(last.verdict)


def _end_in_cooldown(state: RetryState, last: Last) -> Conclusion:
    """Keys are the cause; when a provider failed as well, so that keys are ready but of no use, it is."""
    if any(_still_ready(state, failed.step) for failed in state.failures):
        return _end_down(state, last)
    return Refused(_all_in_cooldown(state), last.verdict)


def _all_in_cooldown(state: RetryState) -> RelayError:
    """Of the providers that the request can be sent to: that others have keys to spare is no reason to come again."""
    targets = tuple(target for target in state.targets if target.provider not in state.gone) or state.targets
    return all_in_cooldown(targets, state.pools, state.clock(), state.barred)


def _still_ready(state: RetryState, step: Candidate) -> bool:
    return step.key is None or step.pool.is_ready(step.key, step.target.kind, state.clock())


def _end_down(state: RetryState, last: Last) -> Conclusion:
    """The upstream's own error where that came last; otherwise what all failures have in common."""
    came_last = MEANINGS[last.verdict.name].at_end is AtEnd.DOWN
    if came_last and last.status:
        return PassedOn(last.verdict)
    busy = [failed for failed in state.failures if failed.verdict.name == "overloaded"]
    if busy:
        return Refused(overloaded(busy, requested_wait(state, busy[-1])), last.verdict)
    if came_last and last.outcome.failure is Failure.ERROR_EVENT:
        return PassedOn(last.verdict)
    failures = state.failures or [last]
    all_silent = all(failed.outcome.failure is Failure.TIMEOUT for failed in failures)
    return Refused((silent if all_silent else no_answer)(failures), last.verdict)


AT_END: Mapping[AtEnd, Callable[[RetryState, Last], Conclusion]] = {
    AtEnd.PASS_ON: _end_as_it_is,
    AtEnd.COOLDOWN: _end_in_cooldown,
    AtEnd.DOWN: _end_down,
}


def requested_wait(state: RetryState, last: Last) -> float:
    """Seconds that the provider asked to wait; 0.0 when it did not."""
    today = state.today(state.clock())
    until = retry_at(last.outcome.headers, today)
    return 0.0 if until is None else until - today
