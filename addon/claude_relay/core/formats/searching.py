r"""What of a web search's restrictions a provider heeds. A search that is restricted goes to no provider that would not be.

    >>> restrict({"allowed_domains": ["a.org"], "max_uses": 3}, "allowed_domains")
    >>> restrict({"blocked_domains": ["a.org"]}, "allowed_domains")
    Unsuited: tools.web_search.blocked_domains: …

It must not know providers, nor results (`sources`).

https://docs.claude.com/en/docs/agents-and-tools/tool-use/web-search-tool
"""

from __future__ import annotations

from typing import Final

from claude_relay.core.bodies.lenient import mapping, text

from .base import Unsuited
from .conversation import Json

RESTRICTIONS: Final = ("allowed_domains", "blocked_domains", "user_location")
"""Settings of a search that are never left out: where they are not heeded, the client gets what it did not want to see."""
_PLACE: Final = ("city", "region", "country", "timezone")


def restrict(settings: Json, *heeded: str) -> None:
    """Raises Unsuited when a search has a restriction that is not among those that the provider heeds."""
    for name in RESTRICTIONS:
        if settings.get(name) and name not in heeded:
            raise Unsuited(f"tools.web_search.{name}", "the web search of this provider cannot be restricted so")


def place_of(settings: Json) -> dict[str, object]:
    """The user's place: those of city, region, country and timezone that are told; {} when none is."""
    place = mapping(settings.get("user_location"))
    return {name: place[name] for name in _PLACE if text(place.get(name))}
