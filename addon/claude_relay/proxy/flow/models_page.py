"""`/v1/models` and `/v1/models/NAME`: whose answer it is, and the relay's own.

    names, answer = await models_answer(discovery, relayed, config)

Either `names` are the providers that are asked, as for any other request, or `answer` is the relay's. It is theirs where every message
of this client goes to the same providers of Claude's format, and for a model that such a provider does not list.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

import msgspec
from mitmproxy import http

from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.permitting import permits_model, permits_provider, restricts_lists
from claude_relay.core.config import Config
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Facts
from claude_relay.core.routing import catalogue
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.messages.replies import JSON
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.discovery import Discovery, own_fields

MOST = 1000


async def models_answer(
    discovery: Discovery, relayed: Relayed, config: Config
) -> tuple[tuple[str, ...], http.Response | None]:
    """Who is asked, or the answer. Raises RelayError 404 for a model that no route takes, 400 for a bad query."""
    facts = relayed.facts
    permits = permits_of(relayed.client)
    if permits is None and (names := catalogue.passed_on(config, facts)):
        return names, None
    place, _, query = relayed.path.partition("?")
    name = urllib.parse.unquote(place.rstrip("/").partition("/models/")[2])
    parts = {} if name else requested_page(query)
    own = own_fields(relayed.client_signature)
    lists = await discovery.lists(relayed.runtime, catalogue.listers(config, facts), own)
    if name and permits is None and (names := catalogue.providers_to_query(config, name, facts, lists)):
        return names, None
    body = await in_thread(written, config, name, facts, lists, parts, permits)
    return (), http.Response.make(200, body, {"content-type": JSON, "request-id": relayed.id})


def permits_of(client: Client | None) -> catalogue.Permits | None:
    """Which of the models the client may use; None: all."""
    if not restricts_lists(client):
        return None
    return lambda name, targets: (
        permits_model(client, name) and any(permits_provider(client, target.provider) for target in targets)
    )


def written(
    config: Config,
    name: str,
    facts: Facts,
    lists: catalogue.Lists,
    parts: Mapping[str, int | str],
    permits: catalogue.Permits | None = None,
) -> bytes:
    """The answer's body, for a thread: a long list takes a while. Raises RelayError."""
    found = (
        catalogue.model_answer(config, name, facts, lists, permits)
        if name
        else catalogue.models_answer(config, facts, lists, permits=permits, **parts)  # type: ignore[arg-type]
    )
    return msgspec.json.encode(found)


def requested_page(query: str) -> dict[str, int | str]:
    """The parameters of a page. Raises RelayError 400 for a limit that is none."""
    given = {name: values[-1] for name, values in urllib.parse.parse_qs(query).items()}
    limit = given.get("limit", str(catalogue.PAGE))
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= MOST):
        raise RelayError(400, f"limit: must be a whole number from 1 to {MOST}")
    return {"limit": int(limit)} | {name: given[name] for name in ("after_id", "before_id") if name in given}
