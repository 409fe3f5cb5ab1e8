"""/providers: providers, routes, the default, and which way a request would go; /providers/NAME: one of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from claude_relay.core.config.models import EMPTY_POOLS, FORMATS, STRATEGIES
from claude_relay.core.config.values import AUTHS
from claude_relay.panel.api import providers as of_providers
from claude_relay.panel.api import routes as of_routes
from claude_relay.panel.api.provider_tests import tests
from claude_relay.panel.api.proxies import choices
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.relay_yaml import current

from .shell import N_, PageReader, pages, render

router = pages()
FLAGS = ("stream", "tools", "thinking", "background", "subagent")
Word = Annotated[str, Query(max_length=200)]


@router.get("/providers")
def providers(
    request: Request,
    visitor: PageReader,
    parts: Own,
    model: Word = "",
    client: Word = "",
    user_agent: Word = "",
    tokens: Annotated[int, Query(ge=0, le=100_000_000)] = 1000,
    tools: bool = False,
    thinking: bool = False,
    stream: bool = False,
    subagent: bool = False,
    route: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """With a model: which way a request for it would go. `route`: the number of the one that is to be changed; 0: one more."""
    file = current(parts)
    routes = of_routes.shown(parts)
    wanted = of_routes.Request(
        model=model,
        client=client,
        headers={"user-agent": user_agent} if user_agent else {},
        stream=stream or not model,
        tools=tools,
        thinking=thinking,
        input_tokens=tokens,
        subagent=subagent or None,
    )
    return render(
        request,
        visitor,
        "providers.html",
        title=N_("Providers & routes"),
        file=file,
        providers=of_providers.all_of(parts, file),
        presets=of_providers.known_presets(visitor).data,
        tests=tests(parts),
        routes=routes,
        edited=next((one for one in routes.data if one.number == route), None),
        wanted=wanted,
        user_agent=user_agent,
        way=of_routes.way_of(parts, wanted) if model else None,
        models=[found.id for found in of_routes.models(visitor, parts).data],
        formats=FORMATS,
        flags=FLAGS,
    )


@router.get("/providers/{name}")
def provider(name: of_providers.Name, request: Request, visitor: PageReader, parts: Own) -> Response:
    """One, to be changed."""
    file = current(parts)
    found = of_providers.one(parts, file, name)
    return render(
        request,
        visitor,
        "provider.html",
        title=name,
        file=file,
        provider=found,
        presets=of_providers.known_presets(visitor).data,
        tests=tests(parts),
        formats=FORMATS,
        strategies=STRATEGIES,
        empty_pools=EMPTY_POOLS,
        auths=list(AUTHS),
        ways=choices(parts, of_vault=False),
    )
