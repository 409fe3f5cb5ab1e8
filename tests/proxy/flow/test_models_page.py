"""`/v1/models`: whose answer it is, and the relay's own, page by page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.proxy.flow.models_page import models_answer, requested_page
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.discovery import Discovery
from claude_relay.proxy.running.runtime import Runtime
from upstream.providers import Upstream, serving

KEYS = ["sk-ant-valid-0123456789"]


def page_of(path: str, providers: dict[str, Any], routes: list[Any]) -> tuple[tuple[str, ...], Any]:
    runtime = Runtime.of(parse(json.dumps({"providers": providers, "routes": routes}), environ={}), environ={})
    found = Relayed("req_relay_1", Facts(Endpoint.MODELS), runtime, runtime.limits, started_at=0.0)
    found.keep_request(tflow.treq(method=b"GET", path=path.encode()), b"")
    names, answer = asyncio.run(models_answer(Discovery(), found, runtime.config))
    return names, None if answer is None else json.loads(answer.raw_content or b"")


def mixed(url: str) -> dict[str, Any]:
    return {
        "anthropic": {"base_url": url, "keys": KEYS},
        "google": {"format": "gemini", "base_url": "https://h.example", "models": {"claude-haiku-*": "gemini-3-flash"}},
    }


ROUTES = [{"match": {"model": "claude-haiku-4-5"}, "to": ["google"]}, {"to": ["anthropic"]}]


def test_it_is_theirs_where_all_goes_to_the_same_provider_of_claudes_format() -> None:
    providers = {"anthropic": {"base_url": "https://h.example", "keys": KEYS}}
    assert page_of("/v1/models", providers, [{"to": ["anthropic"]}]) == (("anthropic",), None)


def test_otherwise_it_is_the_relays_own() -> None:
    with serving(Upstream()) as upstream:
        names, answer = page_of("/v1/models", mixed(upstream.url), ROUTES)
        assert names == ()
        assert {"claude-haiku-4-5", "claude-sonnet-5"} <= {model["id"] for model in answer["data"]}
        names, answer = page_of("/v1/models/claude-haiku-4-5", mixed(upstream.url), ROUTES)
        assert (names, answer["id"]) == ((), "claude-haiku-4-5")
        names, answer = page_of("/v1/models?limit=1", mixed(upstream.url), ROUTES)
        assert (len(answer["data"]), answer["has_more"]) == (1, True)


def test_a_model_that_such_a_provider_does_not_list_is_asked_for_there() -> None:
    with serving(Upstream()) as upstream:
        assert page_of("/v1/models/claude-opus-9", mixed(upstream.url), ROUTES) == (("anthropic",), None)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "１", "99999"])
def test_a_limit_that_is_none(limit: str) -> None:
    with pytest.raises(RelayError) as caught:
        requested_page(f"limit={limit}")
    assert caught.value.status == 400


def test_a_page() -> None:
    assert requested_page("limit=1000&after_id=a&x=y&limit=5") == {"limit": 5, "after_id": "a"}
