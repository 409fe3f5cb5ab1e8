"""What the answers to checks mean, and many checks at once, against providers on this machine."""

from __future__ import annotations

import threading
import time

import pytest

from claude_relay.core.exchange import Failure, Key, Outcome
from claude_relay.core.keys.check_results import CHECKS
from claude_relay.core.retry.verdicts import MEANINGS, judge
from claude_relay.store.vault.records import StoredKey
from claude_relay.upstream.checking import FACTS, MEANING, check, meaning
from claude_relay.upstream.queries import query
from waiting import PATIENCE

from .providers import ANSWERS, Upstream, issued, provider, secret, serving

EXPECTED = {
    "valid": "valid",
    "limited": "limited",
    "vague": "limited",
    "broke": "no-credit",
    "revoked": "revoked",
    "disabled": "revoked",
    "forbidden": "unclear",
    "absent": "unclear",
    "down": "unreachable",
    "html": "unreachable",
    "moved": "unclear",
    "mistaken": "revoked",
}


# -- what an answer means


@pytest.mark.parametrize("name", ANSWERS)
def test_what_answers_mean(name: str) -> None:
    with serving(Upstream()) as upstream:
        now = time.time()
        result = meaning(query(provider(upstream.url), issued(name), timeout=PATIENCE), now)
    assert result.status == EXPECTED[name]
    assert result.until == (pytest.approx(now + 600, abs=2) if name == "limited" else None)
    assert bool(result.reason) == (name != "valid")
    assert len(upstream.requests) == 1  # redirects are not followed


def test_meanings_are_verdicts_and_checks() -> None:
    assert MEANING.keys() <= MEANINGS.keys()
    assert set(MEANING.values()) | {"unclear"} == set(CHECKS)
    for failure in set(Failure) - {Failure.UNSUITED}:  # nothing is translated for a check
        outcome = Outcome(failure=failure)
        assert MEANING[judge(outcome, FACTS, now=0.0).name] == meaning(outcome, 0.0).status == "unreachable"


# -- many at once


def stored(n: int) -> StoredKey:
    return StoredKey(str(n), "p", f"v{n}", "…")


def test_they_are_asked_at_once() -> None:
    told: list[str] = []
    secrets = {str(n): Key("p", f"v{n}", secret("valid"), str(n)) for n in range(8)}
    with serving(Upstream(barrier=threading.Barrier(8))) as upstream:
        check(
            [stored(n) for n in range(8)],
            secrets,
            {"p": provider(upstream.url)},
            parallel=8,
            timeout=PATIENCE,
            clock=time.time,
            done=lambda key, result: told.append(result.status),
        )
    assert told == ["valid"] * 8


def test_no_more_than_that_at_once_and_none_after_an_interruption() -> None:
    def interrupt(key: StoredKey, result: object) -> None:
        raise KeyboardInterrupt

    secrets = {str(n): Key("p", f"v{n}", secret("valid"), str(n)) for n in range(1000)}
    every = [stored(n) for n in range(1000)]
    with serving(Upstream()) as upstream:
        providers = {"p": provider(upstream.url)}
        with pytest.raises(KeyboardInterrupt):
            check(every, secrets, providers, parallel=2, timeout=PATIENCE, clock=time.time, done=interrupt)
    assert len(upstream.requests) < 500
