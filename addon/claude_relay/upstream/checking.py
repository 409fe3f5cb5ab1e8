"""Asks many keys at once, and says what each answer means for its key.

    results = check(keys, secrets, config.providers, parallel=PARALLEL, timeout=TIMEOUT, clock=time.time, done=print)
    results[key.id]         -> CheckResult("limited", until=1795341600.0, reason="429: requests per minute")

The verdict table judges, as it judges the relay's own attempts; MEANING says in one word what its verdicts mean for a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Protocol

from claude_relay.core.config import Provider
from claude_relay.core.exchange import Endpoint, Facts, Key, Outcome
from claude_relay.core.installation import command
from claude_relay.core.keys.check_results import LIMITED, NO_CREDIT, REVOKED, UNCLEAR, UNREACHABLE, VALID, CheckResult
from claude_relay.core.retry.verdicts import judge

from .queries import query

MEANING = {
    "ok": VALID,
    "unauthorized": REVOKED,
    "key_disabled": REVOKED,
    "no_credit": NO_CREDIT,
    "rate_limited": LIMITED,
    "window_exhausted": LIMITED,
    "family_limited": LIMITED,
    "unexplained_429": LIMITED,
    "overloaded": UNREACHABLE,
    "upstream_error": UNREACHABLE,
    "unreachable": UNREACHABLE,
    "proxy_failed": UNREACHABLE,
    "broken": UNREACHABLE,
    "timeout": UNREACHABLE,
    "empty": UNREACHABLE,
    "garbage": UNREACHABLE,
    "oversized": UNREACHABLE,
}
"""Name of a verdict → one of CHECKS; the others say nothing about the key."""

FACTS = Facts(Endpoint.MESSAGES)  # the list of models by itself says nothing of a key; this look at it is meant to

PARALLEL, TIMEOUT = 8, 15.0
"""So many are asked at once, and so many seconds each may take, as a rule."""


class Named(Protocol):
    """What is known of a key that is to be checked."""

    @property
    def id(self) -> str:
        """By which its secret and its result are found."""

    @property
    def provider(self) -> str:
        """By its name in relay.yaml."""


def check[K: Named](
    keys: Sequence[K],
    secrets: Mapping[str, Key],
    providers: Mapping[str, Provider],
    *,
    parallel: int,
    timeout: float,
    clock: Callable[[], float],
    done: Callable[[K, CheckResult], object],
) -> None:
    """Ask every key once, `parallel` at a time, and tell `done` each result as it comes, in this thread."""

    def one(key: K) -> CheckResult:
        return check_one(secrets.get(key.id), providers.get(key.provider), timeout=timeout, clock=clock)

    with ThreadPoolExecutor(parallel, thread_name_prefix="check") as threads:
        try:
            running = {threads.submit(one, key): key for key in keys}
            for future in as_completed(running):
                done(running[future], future.result())
        except BaseException:  # Ctrl-C: those that wait need not start
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def check_one(key: Key | None, provider: Provider | None, *, timeout: float, clock: Callable[[], float]) -> CheckResult:
    """What one request says about a key."""
    if key is None:
        return CheckResult(UNCLEAR, reason="what is stored of it is damaged; remove it with --forever and add it again")
    if provider is None:
        return CheckResult(UNCLEAR, reason="relay.yaml has no provider of this name")
    outcome = query(provider, key, timeout=timeout)
    found = meaning(outcome, clock())
    if found.status == REVOKED and key.renews:
        return CheckResult(
            UNCLEAR, reason=f"its token is not accepted by now; {command('accounts')} check renews it first"
        )
    return CheckResult(found.status, found.until, found.reason.replace(key.secret, "…"))


def meaning(outcome: Outcome, now: float) -> CheckResult:
    """What an outcome says about the key it was got with."""
    verdict = judge(outcome, FACTS, now=now)
    if verdict.name == "ok":
        good = outcome.status is not None and 200 <= outcome.status < 300
        return CheckResult(VALID) if good else CheckResult(UNCLEAR, reason=f"{outcome.status}: it leads elsewhere")
    status = MEANING.get(verdict.name, UNCLEAR)
    ends = status == LIMITED and verdict.cooldown_until is not None and verdict.cooldown_until > now
    return CheckResult(status, verdict.cooldown_until if ends else None, verdict.reason)
