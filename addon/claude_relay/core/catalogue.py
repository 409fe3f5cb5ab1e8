"""The models that the routes can serve, as Claude's Models API lists them.

    models(config)                          -> [{"type": "model", "id": "claude-opus-5-5", "display_name": "Claude Opus 5.5", …}, …]
    models_answer(config, limit=1)          -> {"data": [{…}], "has_more": True, "first_id": "claude-opus-5-5", "last_id": …}
    model_answer(config, "glm-4.6")["id"]   -> "glm-4.6"

Globs cannot be listed, so the names come from four places: Claude's own models (data/models.json), the model of `default`, names that a
route's `match.model` writes out, and names that a provider's `models` renames. Each is asked of `routing.route` as a plain message:
what only requests with certain headers, tools or sizes could reach is left out. It must not know keys, rests, clients or HTTP.

Shapes and paging: https://docs.claude.com/en/api/models-list, https://docs.claude.com/en/api/models
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from .errors import RelayError
from .exchange import Endpoint, Facts, Hop
from .routing import ProviderLike, RouteLike, fits, route

EPOCH = "1970-01-01T00:00:00Z"
"""The date of a model whose release date is not known; the Models API says it so too."""
WILDCARDS = frozenset("*?[")
PAGE = 20


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


def models(config: ConfigLike) -> list[dict[str, Any]]:
    """Every model in the API's shape: Claude's own, newest first, then the others in the order of the configuration."""
    claude = (name for name in known() if _serves_claude(config, name))
    return [_shape(name) for name in dict.fromkeys((*claude, *_written(config)))]


def models_answer(
    config: ConfigLike, *, limit: int = PAGE, after_id: str | None = None, before_id: str | None = None
) -> dict[str, Any]:
    """One page of the list. `limit`: at least 1.

    Raises RelayError 400 for both cursors at once or for one that is not in the list.
    """
    if after_id and before_id:
        raise RelayError(400, "after_id, before_id: only one of them can be given", final=True)
    every = models(config)
    if after_id:
        rest = every[_place("after_id", after_id, every) + 1 :]
        page, more = rest[:limit], len(rest) > limit
    elif before_id:
        rest = every[: _place("before_id", before_id, every)]
        page, more = rest[-limit:], len(rest) > limit
    else:
        page, more = every[:limit], len(every) > limit
    ids = [model["id"] for model in page]
    return {
        "data": page,
        "has_more": more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def model_answer(config: ConfigLike, name: str) -> dict[str, Any]:
    """One model in the API's shape, listed or not, as long as a route takes it. Raises RelayError 404 when none does."""
    _hops(config, name)
    return _shape(name)


@cache
def known() -> Mapping[str, Known]:
    """Claude's own models by id, newest first."""
    data = files("claude_relay.core.data").joinpath("models.json").read_bytes()
    return {model.id: model for model in msgspec.json.decode(data, type=_File).models}


def _written(config: ConfigLike) -> Iterator[str]:
    """The names that the configuration writes out, in its order."""
    if (chosen := (config.default or "").partition("/")[2]) and _served(config, chosen):
        yield chosen
    for rule in config.routes:
        if (name := rule.match.model) and _exact(name) and _served(config, name):
            yield name
    for provider, settings in config.providers.items():
        for name in filter(_exact, settings.models):
            if any(hop.provider == provider for hop in _served(config, name)):
                yield name


def _serves_claude(config: ConfigLike, name: str) -> bool:
    """A provider of another format knows a Claude model only by the name that its `models` gives it."""
    return any(
        hop.model != name
        or config.providers[hop.provider].native
        or any(fits(glob, name) for glob in config.providers[hop.provider].models)
        for hop in _served(config, name)
    )


def _served(config: ConfigLike, name: str) -> tuple[Hop, ...]:
    try:
        return _hops(config, name)
    except RelayError:
        return ()


def _hops(config: ConfigLike, name: str) -> tuple[Hop, ...]:
    return route(Facts(Endpoint.MESSAGES, model=name), config.routes, config.providers, config.default)


def _exact(name: str) -> bool:
    return bool(name) and WILDCARDS.isdisjoint(name)


def _place(parameter: str, name: str, every: list[dict[str, Any]]) -> int:
    for place, model in enumerate(every):
        if model["id"] == name:
            return place
    raise RelayError(400, f"{parameter}: {name[:100]!r} is not in the list of models", final=True)


def _shape(name: str) -> dict[str, Any]:
    model = known().get(name)
    return {
        "type": "model",
        "id": name,
        "display_name": model.display_name if model else name,
        "created_at": model.created_at if model else EPOCH,
        "lifecycle": "active",
    }
