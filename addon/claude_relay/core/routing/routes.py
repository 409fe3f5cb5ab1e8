"""Which providers a request goes to, in which order, and what the model is called there.

The first route whose `match` fits wins; its providers are tried from left to right. Globs as in the shell (`*`, `?`, `[…]`),
models in either case. It must not know keys, cooldowns or how configuration is read: any objects of the shapes below do.

    route(facts, [Route(match=Match(model="claude-haiku-*"), to=("glm",))], {"glm": Provider(models={"claude-*": "glm-4.6"})})
        -> (Target("glm", "glm-4.6"),)

A request that names no model (a list of models, a file) fits no glob of models but `*`. One whose body cannot be read fits no route that
asks for anything that would stand in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Facts, Target


class MatchLike(Protocol):
    """What a request must be like; None and empty: anything."""

    @property
    def model(self) -> str | None:
        """A glob."""

    @property
    def header(self) -> Mapping[str, str]:
        """A glob for each header's value; every one must fit."""

    @property
    def stream(self) -> bool | None:
        """Whether the answer is to be streamed."""

    @property
    def tools(self) -> bool | None:
        """Whether tools are offered."""

    @property
    def thinking(self) -> bool | None:
        """Whether thinking is asked for."""

    @property
    def client(self) -> str | None:
        """A glob of the name of the client whose key it came with."""

    @property
    def program(self) -> str | None:
        """A glob of the client's program."""

    @property
    def min_input_tokens(self) -> int | None:
        """The least number of input tokens, as estimated."""

    @property
    def background(self) -> bool | None:
        """Whether it is a side query."""

    @property
    def subagent(self) -> bool | None:
        """Whether a sub-agent sent it."""


class RouteLike(Protocol):
    """A rule of `routes`."""

    @property
    def match(self) -> MatchLike:
        """What it takes."""

    @property
    def to(self) -> Sequence[str]:
        """Names of providers."""


class ProviderLike(Protocol):
    """A provider's part in routing."""

    @property
    def models(self) -> Mapping[str, str]:
        """The model's name there, by glob of the client's name."""


def route(
    facts: Facts,
    routes: Sequence[RouteLike],
    providers: Mapping[str, ProviderLike],
    default: str | None = None,
) -> tuple[Target, ...]:
    """The providers for a request, each with the model's name there. Without any route: all providers in their order.

    default  PROVIDER or PROVIDER/MODEL that comes first, whatever the routes say; theirs are what it falls back to

    Raises RelayError 404 when no route takes the request, or when none of its providers exists.
    """
    names = providers.keys() if not routes else next((rule.to for rule in routes if matches(rule.match, facts)), ())
    first, _, model = (default or "").partition("/")
    targets = [
        Target(name, model_at(providers[name], facts.model)) for name in names if name in providers and name != first
    ]
    if first in providers:
        there = model if model and facts.model else model_at(providers[first], facts.model)
        targets.insert(0, Target(first, there))
    if not targets:
        raise RelayError(404, _nothing(facts), final=True)
    return tuple(targets)


def matches(match: MatchLike, facts: Facts) -> bool:
    """Whether a request fits."""
    for check in CHECKS:  # noqa: SIM110 - a generator here costs as much as the checks, for each rule and request
        if not check(match, facts):
            return False
    return True


def matches_but_model(match: MatchLike, facts: Facts) -> bool:
    """Whether a request fits, were it for the right model."""
    return all(check(match, facts) for check in CHECKS if check is not _model_fits)


def model_at(provider: ProviderLike, model: str) -> str:
    """The model's name at a provider: the first glob that fits decides; when none fits the name goes through."""
    return next((there for glob, there in provider.models.items() if model and fits(glob, model)), model)


def fits(glob: str, model: str) -> bool:
    """Whether the name of a model or a program fits a glob, whatever the case."""
    return fnmatchcase(model.lower(), glob.lower())


def _model_fits(match: MatchLike, facts: Facts) -> bool:
    return match.model is None or fits(match.model, facts.model)


def _headers_fit(match: MatchLike, facts: Facts) -> bool:
    return not match.header or all(
        (value := facts.headers.get(name.lower())) is not None and fnmatchcase(value, glob)
        for name, glob in match.header.items()
    )


CHECKS: tuple[Callable[[MatchLike, Facts], bool], ...] = (
    _model_fits,
    lambda match, facts: match.stream is None or (match.stream is facts.stream and not facts.stream_unknown),
    lambda match, facts: match.tools is None or (match.tools is facts.tools and not facts.unread),
    lambda match, facts: match.thinking is None or (match.thinking is facts.thinking and not facts.unread),
    lambda match, facts: match.client is None or fits(match.client, facts.client),
    lambda match, facts: match.program is None or fits(match.program, facts.program),
    lambda match, facts: (
        match.min_input_tokens is None or (match.min_input_tokens <= facts.input_estimate and not facts.unread)
    ),
    lambda match, facts: match.background is None or match.background is facts.background,
    lambda match, facts: match.subagent is None or match.subagent is facts.subagent,
    _headers_fit,
)


def _nothing(facts: Facts) -> str:
    about = f"model {facts.model[:100]!r}" if facts.model else f"{facts.endpoint} requests"
    return f"no route of relay.yaml takes {about}: add one under `routes`, or end the list with `- to: [anthropic]`"
