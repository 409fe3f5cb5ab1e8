"""The errors that the relay itself gives when no attempt is left: who rests, until when, and what to do about it.

Aliases and reasons only, never a secret; it must not decide anything.

all_rest(hops, pools, now)      -> RelayError(429, "…", retry_after=42.0), or 503 when no key comes back by itself
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .errors import RelayError
from .exchange import Hop
from .keys.pool import Pool
from .keys.states import KeyState

SHOWN = 3
SOON = 1.0
NOBODY: Mapping[str, frozenset[str]] = {}


def all_rest(
    hops: Sequence[Hop], pools: Mapping[str, Pool], now: float, barred: Mapping[str, frozenset[str]] = NOBODY
) -> RelayError:
    """No key may be used now: 429 with the soonest true retry-after; 503 when that is never; 503 too when there is no key at all.

    barred  ids of keys, by provider, that the request could not use anyway
    """
    known = [(pools[hop.provider], hop) for hop in hops if hop.provider in pools]
    if not any(pool.keys for pool, _ in known):
        return no_keys(hops)
    others = {pool.provider: barred.get(pool.provider, frozenset()) for pool, _ in known}
    ends = [end for pool, hop in known if (end := pool.soonest(hop.model, now, others[pool.provider])) is not None]
    reasons = _reasons([pool for pool, _ in known], now, others)
    if not ends:
        return RelayError(
            503, f"every key is out: {reasons}. Replace or mend them, then start the relay again.", final=True
        )
    wait = max(SOON, min(ends) - now)
    return RelayError(
        429, f"no key can take this request now: {reasons}. Try again in {wait:.0f} s, or add keys.", retry_after=wait
    )


def no_keys(hops: Sequence[Hop]) -> RelayError:
    """There is nothing to send the request with."""
    names = " or ".join(dict.fromkeys(hop.provider for hop in hops)) or "any provider"
    return RelayError(
        503,
        f"no key for {names}: set ANTHROPIC_API_KEYS and start the relay again, or add one under `keys` in relay.yaml.",
        final=True,
    )


def all_down(hops: Sequence[Hop], reason: str, tries: int, asked: float | None = None) -> RelayError:
    """No provider gave an answer. `asked`: the seconds that the last one asked for."""
    names = " and ".join(dict.fromkeys(hop.provider for hop in hops))
    wait = max(SOON, asked or 0.0)
    text = f"{names} gave no answer after {tries} tries; the last failed with {reason}. Try again in {wait:.0f} s."
    return RelayError(529, text, retry_after=wait)


def _reasons(pools: Sequence[Pool], now: float, barred: Mapping[str, frozenset[str]]) -> str:
    keys = [
        (pool.provider, state)
        for pool in pools
        for key, state in zip(pool.keys, pool.state(now).keys, strict=True)
        if key.id not in barred[pool.provider] and (state.reason or state.status != "ready")
    ]
    shown = "; ".join(_about(provider, key) for provider, key in keys[:SHOWN])
    return f"{shown}; and {len(keys) - SHOWN} more" if len(keys) > SHOWN else shown or "all are in use"


def _about(provider: str, key: KeyState) -> str:
    return f"{provider}/{key.alias} {key.status} ({key.reason})"
