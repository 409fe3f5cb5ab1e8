"""The errors that the relay itself gives when no attempt is left: whose fault it is, when to come again, and what to do about it.

Aliases and reasons only, never a secret; it must not decide anything.

all_in_cooldown(targets, pools, now)      -> RelayError(429, "…", retry_after=42.0), or 503 when no key comes back by itself
overloaded, silent, no_answer   -> RelayError(529 | 504 | 502, "anthropic …"): the providers that failed so, not the keys
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import OAUTH, Target
from claude_relay.core.installation import command
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.status import KeyState

from .tries import Last

SHOWN = 3
SOON = 1.0
LOG_IN = "Log in again with accounts; replace or mend other keys."
NOBODY: Mapping[str, frozenset[str]] = {}


def all_in_cooldown(
    targets: Sequence[Target], pools: Mapping[str, Pool], now: float, barred: Mapping[str, frozenset[str]] = NOBODY
) -> RelayError:
    """No key may be used now: 429 with the soonest true retry-after; 503 when that is never; 503 too when there is no key at all.

    barred  ids of keys, by provider, that the request could not use anyway
    """
    known = [(pools[target.provider], target) for target in targets if target.provider in pools]
    if not any(pool.keys for pool, _ in known):
        return no_keys(targets)
    others = {pool.provider: barred.get(pool.provider, frozenset()) for pool, _ in known}
    ends = [end for pool, target in known if (end := pool.soonest(target.kind, now, others[pool.provider])) is not None]
    reasons = _reasons([pool for pool, _ in known], now, others)
    if not ends:
        has_accounts = any(key.kind == OAUTH for pool, _ in known for key in pool.keys)
        remedy = LOG_IN if has_accounts else "Replace or mend them, then start the relay again."
        return RelayError(503, f"every key is out: {reasons}. {remedy}", final=True)
    wait = max(SOON, min(ends) - now)
    return RelayError(
        429, f"no key can take this request now: {reasons}. Try again in {wait:.0f} s, or add keys.", retry_after=wait
    )


def no_keys(targets: Sequence[Target]) -> RelayError:
    """There is nothing to send the request with."""
    names = " or ".join(dict.fromkeys(target.provider for target in targets)) or "any provider"
    return RelayError(
        503,
        f"no key for {names}: set ANTHROPIC_API_KEYS and start the relay again, add one under `keys` in relay.yaml, or log in with an "
        "account.",
        final=True,
    )


def overloaded(failures: Sequence[Last], requested_wait: float) -> RelayError:
    """Providers said that they have no capacity, in these tries. `requested_wait`: the seconds that the last of them asked for."""
    wait = max(SOON, requested_wait)
    text = (
        f"{_names(failures)} overloaded after {_tries(failures)}: {failures[-1].verdict.reason}. "
        f"Try again in {wait:.0f} s."
    )
    return RelayError(529, text, retry_after=wait)


def silent(failures: Sequence[Last]) -> RelayError:
    """Nobody answered in time."""
    return RelayError(
        504,
        f"{_names(failures)} did not answer in time ({_tries(failures)}); the last was {_last(failures)}. "
        "Try again, or allow more time under `retry` in relay.yaml.",
    )


def no_answer(failures: Sequence[Last]) -> RelayError:
    """Nobody could be reached, or no answer was whole."""
    return RelayError(
        502,
        f"{_names(failures)} gave no usable answer ({_tries(failures)}); the last was {_last(failures)}. Check the network, "
        f"and `base_url` and `proxy` of the provider in relay.yaml; {command('doctor')} tries them.",
    )


def _names(failures: Sequence[Last]) -> str:
    return " and ".join(dict.fromkeys(failed.step.target.provider for failed in failures))


def _last(failures: Sequence[Last]) -> str:
    return f"{failures[-1].step.target.provider}: {failures[-1].verdict.reason}"


def _tries(failures: Sequence[Last]) -> str:
    return f"{len(failures)} tr{'y' if len(failures) == 1 else 'ies'}"


def _reasons(pools: Sequence[Pool], now: float, barred: Mapping[str, frozenset[str]]) -> str:
    """Of the keys that take no request now, the first few; how many are ready all the same, for the search for a good one has an end."""
    keys = [
        (pool.provider, state)
        for pool in pools
        for key, state in zip(pool.keys, pool.state(now).keys, strict=True)
        if key.id not in barred[pool.provider]
    ]
    idle = [entry for entry in keys if entry[1].status == "ready" and not entry[1].reason]
    described = [entry for entry in keys if entry not in idle]
    parts = [_about(provider, key) for provider, key in described[:SHOWN]]
    if len(described) > SHOWN:
        parts.append(f"and {len(described) - SHOWN} more")
    if idle:
        parts.append(f"{len(idle)} more were not asked, or refused without a reason (retry.keys bounds the search)")
    return "; ".join(parts) or "all are probed by other requests"


def _about(provider: str, key: KeyState) -> str:
    return f"{provider}/{key.alias} {key.status} ({key.reason})"
