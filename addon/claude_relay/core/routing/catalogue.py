"""The models that the routes can serve, as Claude's Models API lists them.

    models(config)                          -> [{"type": "model", "id": "claude-opus-5-5", "display_name": "Claude Opus 5.5", …}, …]
    models_answer(config, limit=1)          -> {"data": [{…}], "has_more": True, "first_id": "claude-opus-5-5", "last_id": …}
    model_answer(config, "glm-4.6")["id"]   -> "glm-4.6"

For each name the question is where a plain message for it from the client that asks would go (`facts`: the request for the list). The
names come from the lists of the providers of Claude's own format (`lists`; data/models.json for one that does not tell), from
data/models.json where a provider has other names for Claude's models, and from what the configuration writes out: the model of
`default`, a route's `match.model`, the names that a provider's `models` renames. Globs cannot be listed.
It must not know keys, cooldowns, clients or HTTP, nor how lists are got.

Shapes and paging: https://docs.claude.com/en/api/models-list, https://docs.claude.com/en/api/models
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from claude_relay.core.bodies.facts import as_message
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Target

from .reach import reach
from .routes import ProviderLike, RouteLike, fits, route

type Models = Mapping[str, Mapping[str, Any]]
"""Models as a provider lists them, by id, in its order."""
type Lists = Mapping[str, Models]
"""The lists of providers of Claude's format; of one that does not tell there is none."""
NOBODYS: Lists = {}
type Permits = Callable[[str, Sequence[Target]], bool]
"""Whether a model is for who asks, by its name and where a message for it would go."""

EPOCH = "1970-01-01T00:00:00Z"
"""The date of a model whose release date is not known; the Models API says it so too."""
WILDCARDS = frozenset("*?[")
PAGE = 20
ANYBODY = Facts(Endpoint.MODELS)
FAMILY = "claude"


class Server(ProviderLike, Protocol):
    """A provider's part in the catalogue."""

    @property
    def native(self) -> bool:
        """Whether it speaks Claude's own format, and so may know Claude's models by their names."""


class ConfigLike(Protocol):
    """A configuration's part in the catalogue."""

    @property
    def routes(self) -> Sequence[RouteLike]:
        """First match wins."""

    @property
    def providers(self) -> Mapping[str, Server]:
        """By name."""

    @property
    def default(self) -> str | None:
        """PROVIDER or PROVIDER/MODEL that comes first for every request."""


class Known(msgspec.Struct, frozen=True):
    """A model of data/models.json. `created_at`: RFC 3339."""

    id: str
    display_name: str
    created_at: str


class _File(msgspec.Struct):
    models: tuple[Known, ...]


# -- whose list it is


def passed_on(config: ConfigLike, facts: Facts) -> tuple[str, ...]:
    """The providers whose own list is all that this client can use, in the order to ask them; () when the relay has to say it."""
    found = reach(facts, config.routes, config.providers, config.default)
    simple = all(config.providers[name].native and not config.providers[name].models for name in found.providers)
    one_way = found.whole and len(set(found.ways)) == 1
    return found.providers if simple and one_way and not _default_model(config) else ()


def listers(config: ConfigLike, facts: Facts) -> tuple[str, ...]:
    """The providers whose lists belong into the relay's: of Claude's format, where messages of this client can keep their model's name."""
    found = reach(facts, config.routes, config.providers, config.default)
    return tuple(
        name
        for name in found.providers
        if config.providers[name].native and not any(set(glob) == {"*"} for glob in config.providers[name].models)
    )


def providers_to_query(config: ConfigLike, name: str, facts: Facts, lists: Lists) -> tuple[str, ...]:
    """The providers that must say themselves whether they have a model; () when that is known, or when none of Claude's format would be
    asked for it by this name. Raises RelayError 404 when no route takes it.
    """
    targets = _targets(config, name, facts)
    native = tuple(target.provider for target in targets if config.providers[target.provider].native)
    goes_elsewhere = len(native) < len(targets) and FAMILY not in name.lower()  # whose lists are not asked for
    return () if goes_elsewhere or any(_serves(config, target, name, lists) for target in targets) else native


# -- what is in it


def models(
    config: ConfigLike, facts: Facts = ANYBODY, lists: Lists = NOBODYS, permits: Permits | None = None
) -> list[dict[str, Any]]:
    """Every model in the API's shape: the providers' own in their order, Claude's that are renamed, then the others as configured.

    permits  which of them are for who asks; None: all
    """
    lists = {name: lists.get(name) or _builtin() for name in listers(config, facts)}
    listed = _merged(lists)
    own = (name for name in listed if _served(config, name, facts, lists))
    claude = (name for name in _renamed(config, lists) if _served(config, name, facts, lists))
    names = dict.fromkeys((*own, *claude, *_written(config, facts)))
    return [_shape(name, listed) for name in names if permits is None or permits(name, _route(config, name, facts))]


def models_answer(
    config: ConfigLike,
    facts: Facts = ANYBODY,
    lists: Lists = NOBODYS,
    *,
    limit: int = PAGE,
    after_id: str | None = None,
    before_id: str | None = None,
    permits: Permits | None = None,
) -> dict[str, Any]:
    """One page of the list. `limit`: at least 1.

    Raises RelayError 400 for both cursors at once or for one that is not in the list.
    """
    if after_id and before_id:
        raise RelayError(400, "after_id, before_id: only one of them can be given", final=True)
    every = models(config, facts, lists, permits)
    if after_id:
        others = every[_place("after_id", after_id, every) + 1 :]
        page, more = others[:limit], len(others) > limit
    elif before_id:
        others = every[: _place("before_id", before_id, every)]
        page, more = others[-limit:], len(others) > limit
    else:
        page, more = every[:limit], len(every) > limit
    ids = [model["id"] for model in page]
    return {
        "data": page,
        "has_more": more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def model_answer(
    config: ConfigLike, name: str, facts: Facts = ANYBODY, lists: Lists = NOBODYS, permits: Permits | None = None
) -> dict[str, Any]:
    """One model in the API's shape, listed or not, as long as a route takes it. Raises RelayError 404 when none does, or it is not for who
    asks.
    """
    targets = _targets(config, name, facts)
    if permits is not None and not permits(name, targets):
        raise RelayError(404, f"model: {name[:100]}", final=True)
    return _shape(name, _merged(lists))


@cache
def known() -> Mapping[str, Known]:
    """Claude's own models by id, newest first."""
    data = files("claude_relay.core.data").joinpath("models.json").read_bytes()
    return {model.id: model for model in msgspec.json.decode(data, type=_File).models}


@cache
def _builtin() -> Models:
    return {name: _shape(name, {}) for name in known()}


def _merged(lists: Lists) -> Models:
    """All models of all lists; where several have one, it is as the first says."""
    return {name: next(own[name] for own in lists.values() if name in own) for own in lists.values() for name in own}


def _renamed(config: ConfigLike, lists: Lists) -> Iterator[str]:
    """Claude's models that only a new name makes available: no provider that lists Claude's models would know them by their own."""
    listing = [provider for provider, own in lists.items() if any(FAMILY in name.lower() for name in own)]
    return (name for name in known() if all(_renames(config, provider, name) for provider in listing))


def _written(config: ConfigLike, facts: Facts) -> Iterator[str]:
    """The names that the configuration writes out, in its order."""
    if (chosen := _default_model(config)) and _route(config, chosen, facts):
        yield chosen
    for rule in config.routes:
        if (name := rule.match.model) and _exact(name) and _route(config, name, facts):
            yield name
    for provider, settings in config.providers.items():
        for name in filter(_exact, settings.models):
            if any(target.provider == provider for target in _route(config, name, facts)):
                yield name


def _served(config: ConfigLike, name: str, facts: Facts, lists: Lists) -> bool:
    return any(_serves(config, target, name, lists) for target in _route(config, name, facts))


def _serves(config: ConfigLike, target: Target, name: str, lists: Lists) -> bool:
    """A provider that renames a model has it; one of Claude's format has what it lists; one of another format knows no name of Claude's."""
    if target.model != name or _renames(config, target.provider, name):
        return True
    own = lists.get(target.provider)
    return name in own if own is not None else config.providers[target.provider].native and name in known()


def _renames(config: ConfigLike, provider: str, name: str) -> bool:
    return any(fits(glob, name) for glob in config.providers[provider].models)


def _default_model(config: ConfigLike) -> str:
    return (config.default or "").partition("/")[2]


def _route(config: ConfigLike, name: str, facts: Facts) -> tuple[Target, ...]:
    try:
        return _targets(config, name, facts)
    except RelayError:
        return ()


def _targets(config: ConfigLike, name: str, facts: Facts) -> tuple[Target, ...]:
    return route(as_message(facts, name), config.routes, config.providers, config.default)


def _exact(name: str) -> bool:
    return bool(name) and WILDCARDS.isdisjoint(name)


def _place(parameter: str, name: str, every: list[dict[str, Any]]) -> int:
    for place, model in enumerate(every):
        if model["id"] == name:
            return place
    raise RelayError(400, f"{parameter}: {name[:100]!r} is not in the list of models", final=True)


def _shape(name: str, listed: Models) -> dict[str, Any]:
    """As it was listed, with what Claude's clients expect of a model where that is missing."""
    entry = listed.get(name)
    model = known().get(name)
    shape: dict[str, Any] = {
        "type": "model",
        "id": name,
        "display_name": model.display_name if model else name,
        "created_at": model.created_at if model else EPOCH,
    }
    return {**shape, **entry} if entry is not None else shape | {"lifecycle": "active"}
