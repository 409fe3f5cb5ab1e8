"""Why a request goes where it goes, in words.

    route = Route.of(facts, config.routes, config.default)
    route.passed_over(before, after, "over its budget")     providers that are in the first and not in the second
    route.described(["anthropic"])
    -> "route 2 (model claude-*): gemini, openai, anthropic; gemini over its budget; openai: none of its keys was free"

    unmet(rule.match, facts)
    -> ["model claude-haiku-*"]         what the rule asks for and the request is not

It must not know why a provider is passed over; who does it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from claude_relay.core.exchange import Facts, Target

from .routes import CHECKS, MatchLike, RouteLike, matches

CONDITIONS = ("model", "client", "program", "stream", "tools", "thinking", "min_input_tokens", "background", "subagent")
"""Of a rule, besides headers."""
CHECKED = (
    "model",
    "stream",
    "tools",
    "thinking",
    "client",
    "program",
    "min_input_tokens",
    "background",
    "subagent",
    "header",
)
"""What each of `routes.CHECKS` looks at."""
BUSY = "none of its keys was free"
"""Of a provider that was not asked, though a later one was."""


@dataclass(slots=True)
class Route:
    """The way of one request. `rule`: what was decided by; `targets`: the providers, in order; `skipped`: why one is not asked."""

    rule: str
    targets: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Facts, routes: Sequence[RouteLike], default: str | None) -> Route:
        """By the first rule that takes the request."""
        found = next(((n, rule) for n, rule in enumerate(routes, 1) if matches(rule.match, facts)), None)
        rule = _named(*found) if found is not None else "no route" if routes else "all providers"
        return cls(f"default {default}, then {rule}" if default else rule)

    def goes_to(self, targets: Iterable[Target], why: str = "") -> None:
        """These providers are left; those that were there before and are not any more were passed over for this reason."""
        names = tuple([target.provider for target in targets])
        if not why:
            self.targets = names
        elif names != self.targets:
            self.skipped |= {name: why for name in self.targets if name not in names}

    def described(self, attempted: Sequence[str]) -> str:
        """All of it, once it is known which providers were asked."""
        skipped = self.skipped
        if attempted and attempted[-1] in self.targets and (at := self.targets.index(attempted[-1])):
            before = self.targets[:at]
            skipped = skipped | {name: BUSY for name in before if name not in attempted and name not in skipped}
        reasons = [f"{name}: {why}" for name, why in skipped.items()]
        return "; ".join([f"{self.rule}: {', '.join(self.targets)}" if self.targets else self.rule, *reasons])


def _named(number: int, rule: RouteLike) -> str:
    """The rule and what it asks for; worked out once, as long as it is the same."""
    known = _NAMES.get(number)
    if known is None or known[0] is not rule:
        conditions = words(rule.match)
        text = f"route {number}" + (f" ({', '.join(conditions)})" if conditions else "")
        known = _NAMES[number] = rule, text
    return known[1]


_NAMES: dict[int, tuple[RouteLike, str]] = {}


def words(match: MatchLike) -> list[str]:
    """What a rule asks for, a few words each."""
    found = [f"header {name}: {glob}" for name, glob in match.header.items()]
    return [*found, *(_word(match, name) for name in CONDITIONS if getattr(match, name) is not None)]


def unmet(match: MatchLike, facts: Facts) -> list[str]:
    """Of what a rule asks for, all that a request is not; nothing: it takes it."""
    failed = [name for name, check in zip(CHECKED, CHECKS, strict=True) if not check(match, facts)]
    header = [f"header {name}: {glob}" for name, glob in match.header.items()] if "header" in failed else []
    return [*header, *(_word(match, name) for name in CONDITIONS if name in failed)]


def _word(match: MatchLike, name: str) -> str:
    value = getattr(match, name)
    return name if value is True else f"not {name}" if value is False else f"{name} {value}"
