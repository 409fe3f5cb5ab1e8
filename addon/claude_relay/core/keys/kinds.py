"""What a request is for the health of keys: a limit or a refusal holds for requests like the one that met it.

    kind_of(facts, "claude-opus-5")                        -> "claude-opus-5", at standard speed
    scopes_of("claude-opus-5")                             -> ("", "model:claude-opus-5", "family:opus")
    scopes_of(kind_of(fast_facts, "claude-opus-5"))        -> ("", "model:claude-opus-5/fast", "family:opus/fast", "limits:fast")

A key's own limits (scope "") are those of ordinary requests; fast ones, and those of another service tier, have limits of their own:
https://docs.claude.com/en/api/rate-limits, https://docs.claude.com/en/docs/build-with-claude/fast-mode. A kind is a plain text, so that
whatever chooses among keys can remember what it found by it.
"""

from __future__ import annotations

from functools import lru_cache

from claude_relay.core.bodies.ratelimits import family_of
from claude_relay.core.exchange import Facts

MARK = "\0"
"""Between the parts of a kind."""
LONGEST_NAME = 255
"""Characters of a client's names that count: thousands of kinds are remembered, and cooldowns are stored by them."""

type Scopes = tuple[str, ...]
"""The names of the cooldowns that concern a request: the key's own, that with the model, that with its family; and, where the request
has limits of its own, that with those."""


def kind_of(facts: Facts, model: str) -> str:
    """The kind of a request for a model by the provider's name for it."""
    model = model[:LONGEST_NAME].replace(MARK, "")
    limits = "/".join(name[:LONGEST_NAME] for name in (facts.speed, facts.tier) if name)
    long = "long" if facts.long else ""
    return MARK.join((model, limits, long)) if limits or long else model


@lru_cache(maxsize=1024)
def scopes_of(kind: str) -> Scopes:
    """The scopes that a request of this kind falls under."""
    model, limits, long, *_ = *kind.lower().split(MARK), "", ""
    named = "".join(f"/{part}" for part in (limits, long) if part)
    slash = f"/{limits}" if limits else ""
    scopes = "", f"model:{model}{named}", f"family:{family_of(model)}{slash}"
    return (*scopes, f"limits:{limits}") if limits else scopes
