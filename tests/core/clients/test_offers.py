"""What a head says of who asks."""

from __future__ import annotations

from base64 import b64encode

import pytest

from claude_relay.core.clients.offers import Offer, has_own, holds_own, of_proxy, of_request, without_own

KEY = "rk-" + "0123456789abcdef" * 3


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"x-api-key": KEY}, [KEY]),
        ({"authorization": f"Bearer {KEY}"}, [KEY]),
        ({"authorization": f"bearer  {KEY} "}, [KEY]),
        ({"authorization": KEY}, [KEY]),
        ({"x-api-key": "sk-ant-placeholder", "authorization": f"Bearer {KEY}"}, [KEY]),
        ({"x-api-key": "rk-cut", "api-key": KEY}, ["rk-cut", KEY]),
        ({"authorization": basic(f"alice:{KEY}")}, [KEY]),
        ({"authorization": "Bearer sk-ant-api03-x", "x-other": KEY}, []),
        ({"authorization": "Bearer "}, []),
        ({"authorization": "Basic !"}, []),
    ],
)
def test_keys_of_a_request(headers: dict[str, str], found: list[str]) -> None:
    assert [offer.secret for offer in of_request(headers)] == found


def test_what_is_said_to_a_proxy() -> None:
    assert of_proxy(basic(f"alice:{KEY}")) == Offer(KEY, "alice")
    assert of_proxy(basic("me:pass:word")) == Offer("pass:word", "me")
    assert of_proxy(basic(f":{KEY}")) == Offer(KEY, "")
    assert of_proxy(f"Bearer {KEY}") == Offer(KEY)
    assert [of_proxy(text) for text in (None, "", basic("no colon"), basic("me:"), "Basic ====")] == [None] * 5


def test_what_must_not_leave() -> None:
    held = [KEY, f"Bearer {KEY}", "rk-mistyped", f"Bearer a {KEY}", basic(f"alice:{KEY}"), f"[{KEY}]"]
    assert [text for text in held if not holds_own(text.encode())] == []
    others = ["sk-ant-api03-work-x", "Bearer work-1", basic("me:work-1"), "Basic rk"]
    assert [text for text in others if holds_own(text.encode())] == []
    assert has_own(f"my {KEY}!".encode())
    assert not has_own(b"rk-short")


def test_a_text_without_them() -> None:
    assert without_own(f"/v1/models?key={KEY}&x=1") == "/v1/models?key=relay:client&x=1"
    assert without_own("/v1/work-x") == "/v1/work-x"


def test_an_offer_does_not_show_its_secret() -> None:
    assert KEY not in repr(Offer(KEY, "alice"))
