"""The pages within mitmproxy: which of its views it chooses, and that they come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from mitmproxy import contentviews, http
from mitmproxy.contentviews import Contentview, Metadata
from mitmproxy.test import tflow

from claude_relay.cli.fake import messages as fake
from claude_relay.proxy.views import registry
from claude_relay.proxy.views.recognition import KINDS
from proxy.stage import mitmproxy_with

NAMES = {kind.name.lower() for kind in KINDS}


@pytest.fixture
def views() -> Iterator[None]:
    with mitmproxy_with():
        registry.install()
        try:
            yield
        finally:
            registry.remove()


def flow(path: str, asking: bytes, answering: bytes, status: int = 200) -> http.HTTPFlow:
    found = tflow.tflow(resp=True)
    found.request.path, found.request.content = path, asking
    found.request.headers["content-type"] = "application/json"
    assert found.response is not None
    found.response.content, found.response.status_code = answering, status
    return found


def shown(message: http.Message | None, found: http.HTTPFlow, view: str = "auto") -> contentviews.ContentviewResult:
    assert message is not None
    return contentviews.prettify_message(message, found, view)


@pytest.mark.usefixtures("views")
def test_they_win_for_their_bodies() -> None:
    found = flow("/v1/messages?beta=true", b'{"model": "m", "messages": []}', b"".join(fake.events("Hi")))
    found.comment = "k1 · m"
    found.metadata |= {"relay_cost_usd": "0.500000", "other": "x"}
    asked_for = shown(found.request, found)
    assert (asked_for.view_name, asked_for.syntax_highlight) == ("Claude request", "yaml")
    assert asked_for.text.startswith("# request to Claude, 30 B")
    answered = shown(found.response, found)
    assert answered.view_name == "Claude answer"
    assert "story: k1 · m\nrelay: {cost: 0.500000 USD}\ntimes: {first byte: 2.00 s, whole: 3.00 s}\n" in answered.text
    assert shown(found.response, found, "raw").text.startswith("event: message_start\n")
    assert json.loads(shown(found.request, found, "json").text) == {"model": "m", "messages": []}


@pytest.mark.usefixtures("views")
def test_they_leave_others_alone() -> None:
    found = flow("/elsewhere", b'{"model": "m"}', b'{"a": 1}')
    assert shown(found.request, found).view_name == "JSON"
    found = flow("/v1/messages", b"", b"<html></html>", 502)
    assert shown(found.request, found).view_name not in {kind.name for kind in KINDS}
    assert shown(found.response, found).view_name not in {kind.name for kind in KINDS}


@pytest.mark.usefixtures("views")
def test_any_of_them_can_be_chosen_for_anything() -> None:
    found = flow("/elsewhere", b"nothing of the kind", b'{"content": [{"type": "text", "text": "Hi"}]}')
    for kind in KINDS:
        assert shown(found.request, found, kind.name).syntax_highlight == "yaml"
    assert "- text: Hi" in shown(found.response, found, "claude answer").text


@pytest.mark.usefixtures("views")
def test_errors_and_packed_answers() -> None:
    found = flow("/v1/messages", b"{}", fake.dump(fake.error("api_error", "Oops")), 500)
    assert found.response is not None
    found.response.encode("gzip")
    result = shown(found.response, found)
    assert (result.view_name, result.description) == ("API error", "[decoded gzip]")
    assert "message: Oops" in result.text


def test_they_come_and_go() -> None:
    before = dict(contentviews.registry)
    registry.install()
    registry.install()
    assert set(contentviews.registry) - before.keys() == NAMES
    registry.remove()
    registry.remove()
    assert dict(contentviews.registry) == before


def test_somebody_elses_view_of_that_name_stays() -> None:
    class Other(Contentview):
        name = "Claude request"  # type: ignore[assignment]

        def prettify(self, data: bytes, metadata: Metadata) -> str:
            return "other"

    registry.install()
    other = Other()
    contentviews.add(other)
    try:
        registry.remove()
        assert contentviews.registry["claude request"] is other
    finally:
        del contentviews.registry._by_name["claude request"]


def test_what_is_no_http_flow_is_no_matter() -> None:
    for metadata in (Metadata(), Metadata(flow=tflow.ttcpflow()), Metadata(flow=tflow.tflow())):
        for view in registry.VIEWS:
            assert view.render_priority(b'{"a": 1}', metadata) == registry.NEVER
            view.prettify(b'{"a": 1}', metadata)
