"""A request that says itself where it goes, or what it is: `x-relay-target` and `x-relay-origin`.

    relayed.source = source_of(flow, relayed.facts.headers)          sent by a client, or a recorded one that is sent again
    aim = aim_of(relayed.facts, relayed.runtime)                     PROVIDER, PROVIDER/MODEL or PROVIDER/KEY; None: by the routes

Raises RelayError 400 for what nobody can follow. What goes to a target goes nowhere else. It must not know attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from mitmproxy import http

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Origin, Target
from claude_relay.core.recordings.recorded import ORIGIN, TARGET
from claude_relay.core.routing.routes import model_at
from claude_relay.core.routing.story import Route
from claude_relay.proxy.running.runtime import Runtime

RECORDED: Final = (Origin.REPLAY, Origin.DUEL)


class Aim(NamedTuple):
    """`key`: the only one that may be used, if one is named; `model`: as it is named there, empty if it is not."""

    target: Target
    key: Owner | None
    route: Route
    model: str = ""


def source_of(flow: http.HTTPFlow, headers: Mapping[str, str]) -> Origin:
    """Where a request comes from. Raises RelayError."""
    named = headers.get(ORIGIN)
    if named is None:
        return Origin.CLIENT if flow.is_replay is None else Origin.REPLAY
    if named not in RECORDED:
        raise RelayError(400, f"{ORIGIN} is {' or '.join(RECORDED)}, or is left out.", final=True)
    return Origin(named)


def aim_of(facts: Facts, runtime: Runtime) -> Aim | None:
    """Where a request wants to go. Raises RelayError."""
    named = facts.headers.get(TARGET)
    if named is None or facts.endpoint is Endpoint.MODELS:
        return None
    try:
        provider, which = provider_of(named, runtime)
    except ValueError as error:
        raise RelayError(400, f"{TARGET}: {error}.", final=True) from None
    key = next((key for key in runtime.pools[provider].keys if key.alias == which), None)
    there = model_at(runtime.config.providers[provider], facts.model)
    model = which if which and key is None and facts.model else ""
    owner = None if key is None else Owner(provider, key.id)
    return Aim(Target(provider, model or there), owner, Route(f"{TARGET} {named}", (provider,)), model)


def provider_of(target: str, runtime: Runtime) -> tuple[str, str]:
    """The provider that a target names, and the model or the key, if it names one. Raises ValueError."""
    provider, slash, which = target.partition("/")
    if provider not in runtime.config.providers:
        known = ", ".join(runtime.config.providers)
        raise ValueError(f"no provider of relay.yaml has the name {provider[:100]!r}; there are: {known}")
    if slash and not which:
        raise ValueError("name a model or a key after the slash, or leave the slash out")
    return provider, which
