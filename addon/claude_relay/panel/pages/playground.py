"""/playground: a conversation with a model through the pool, or with two side by side. It stays in static/playground.js."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from claude_relay.core.clients.setup import MODEL
from claude_relay.core.config import Config
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.store.db.database import StoreError

from .shell import N_, PageReader, pages, render

router = pages()

RECENT: Final = """
    SELECT requested_model, sum(requests) FROM rollups WHERE hour >= ? AND requested_model != ''
    GROUP BY requested_model ORDER BY 2 DESC LIMIT 20"""
USUAL: Final = (MODEL, "claude-sonnet-5", "claude-opus-4-8")


@router.get("/playground")
def playground(request: Request, visitor: PageReader, parts: Own) -> Response:
    """The page."""
    config = parts.in_force()
    values: dict[str, Any] = {
        "targets": [*dict.fromkeys(targets(config))],
        "models": [*dict.fromkeys([*models(parts), *USUAL])],
        "route": config.default or "",
        "relay": any(row.listener("base_url") for row in parts.relays()),
    }
    return render(request, visitor, "playground.html", title=N_("Playground"), **values)


def targets(config: Config) -> Iterator[str]:
    """PROVIDER, and PROVIDER/MODEL for models that it is said to have."""
    if config.default:
        yield config.default
    for name, provider in config.providers.items():
        yield name
        yield from (f"{name}/{model}" for model in provider.models.values())


def models(parts: Parts) -> list[str]:
    """Those that were requested lately, the most used first."""
    hour = f"{datetime.fromtimestamp(parts.clock(), UTC) - timedelta(days=7):%Y-%m-%dT%H}"
    try:
        with parts.ledger() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rollups'").fetchone():
                return []
            return [name for name, _ in connection.execute(RECENT, [hour])]
    except StoreError:
        return []
