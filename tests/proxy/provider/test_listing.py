"""The list of a provider's models, page by page, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from claude_relay.core.exchange import Key
from claude_relay.proxy.provider.listing import PAGES, listing
from upstream.providers import Upstream, provider, serving
from waiting import PATIENCE

KEYS = [Key("p", f"k{n}", f"sk-ant-api03-key-{n}-0123456789", str(n)) for n in (1, 2)]


class Listing(Upstream):
    """Answers with these pages, by the last id of the one before."""

    def __init__(self, pages: list[Any], refuse: str = "") -> None:
        super().__init__()
        self.pages, self.refuse = pages, refuse
        outer = self

        class Handler(self.RequestHandlerClass):  # type: ignore[name-defined, misc]
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.path, headers))
                page = outer.pages[min(len(outer.requests), len(outer.pages)) - 1]
                body = page if isinstance(page, bytes) else json.dumps(page).encode()
                self.send_response(401 if outer.refuse and outer.refuse in str(headers) else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.RequestHandlerClass = Handler


@contextmanager
def lists(*pages: Any, refuse: str = "") -> Iterator[Listing]:
    with serving(Listing(list(pages), refuse)) as server:
        assert isinstance(server, Listing)
        yield server


def page(*names: object, more: object = False) -> dict[str, object]:
    return {"data": [{"id": name, "type": "model"} for name in names], "has_more": more}


def found(server: Listing, **more: Any) -> list[str] | None:
    models = listing(provider(server.url), KEYS, timeout=PATIENCE, **more)
    return None if models is None else list(models)


def test_all_pages_in_their_order() -> None:
    with lists(page("b", "a", more=True), page("c d", "b", None, more=False)) as server:
        assert found(server) == ["b", "a", "c d"]
        first, second = (parse_qs(urlsplit(path).query) for path, _ in server.requests)
    assert (first, second) == ({"limit": ["1000"]}, {"limit": ["1000"], "after_id": ["a"]})


def test_half_a_list_is_none() -> None:
    with lists(page("a", more=True), b"no page") as server:
        assert found(server) is None
        assert len(server.requests) == 3  # with each of two keys


def test_pages_that_go_on_for_ever_end() -> None:
    with lists(page("a", more=True)) as server:
        assert found(server) == ["a"]
        assert len(server.requests) == 2
    with lists(*(page(f"m{n}", more=True) for n in range(50))) as server:
        assert len(found(server) or ()) == PAGES


def test_the_first_key_that_gets_a_list_is_enough() -> None:
    with lists(page("a"), refuse="key-1") as server:
        assert found(server) == ["a"]
        assert [headers["x-api-key"] for _, headers in server.requests] == [key.secret for key in KEYS]
    with lists(page("a")) as server:
        found(server)
        assert len(server.requests) == 1


@pytest.mark.parametrize("own", [None, {"authorization": "Bearer sk-ant-oat01-theirs-0123456789"}])
def test_a_list_that_repeats_a_credential_is_none(own: dict[str, str] | None) -> None:
    secret = KEYS[0].secret if own is None else own["authorization"].split()[1]
    with lists(page("a", f"x-{secret}")) as server:
        assert found(server, own=own) is None


def test_nobody_is_asked_when_the_time_is_over() -> None:
    with lists(page("a")) as server:
        assert listing(provider(server.url), KEYS, timeout=0) is None
        assert server.requests == []
