"""Which providers the messages of one client can get to, whatever models they name.

    reach(facts, routes, providers)     -> Reach(ways=(("gemini",), ("anthropic",)), whole=True)

A route counts when everything in its `match` but the model fits, up to the first that takes every model. It must not know what a
provider has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claude_relay.core.bodies.facts import BACKGROUND_MODEL, as_message
from claude_relay.core.exchange import Facts

from .routes import MatchLike, ProviderLike, RouteLike, fits, matches_but_model


@dataclass(frozen=True, slots=True)
class Reach:
    """Where messages can go.

    ways   the providers of each route that counts, in the order in which they are tried
    whole  every model finds one of them
    """

    ways: tuple[tuple[str, ...], ...]
    whole: bool

    @property
    def providers(self) -> tuple[str, ...]:
        """All of them, in the order of the routes."""
        return tuple(dict.fromkeys(name for way in self.ways for name in way))


def reach(
    facts: Facts,
    routes: Sequence[RouteLike],
    providers: Mapping[str, ProviderLike],
    default: str | None = None,
) -> Reach:
    """Where the client that sent a request could send messages. `default`: as `routing.route` has it."""
    ways, whole = _ways(facts, routes) if routes else ([tuple(providers)], True)
    first = (default or "").partition("/")[0]
    if first in providers:
        ways, whole = [(first, *way) for way in ways] or [(first,)], True
    kept = (tuple(dict.fromkeys(name for name in way if name in providers)) for way in ways)
    return Reach(tuple(way for way in kept if way), whole)


def _ways(facts: Facts, routes: Sequence[RouteLike]) -> tuple[list[tuple[str, ...]], bool]:
    """By the routes alone; the model decides whether a message is a side query, so both are tried."""
    messages = [as_message(facts, model) for model in ("", BACKGROUND_MODEL)]
    ways = []
    for rule in routes:
        fitting = [matches_but_model(rule.match, message) for message in messages]
        if any(fitting):
            ways.append(tuple(rule.to))
        if all(fitting) and _takes_every_model(rule.match):
            return ways, True
    return ways, False


def _takes_every_model(match: MatchLike) -> bool:
    return match.model is None or fits(match.model, "")
