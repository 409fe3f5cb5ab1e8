"""Who asks, by which name, and for which page."""

from __future__ import annotations

import doctest

import pytest

from claude_relay.core import visitors
from claude_relay.core.visitors import FORWARDING, comes_from_here, is_meant, is_same, networks, page_behind

TRUSTED = networks(("127.0.0.1", "10.0.0.0/24", "fd00::/64"))
FAR, NEAR = "203.0.113.9", "127.0.0.1"


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(visitors).failed == 0


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::1%lo"])
def test_peers_on_this_machine(peer: str) -> None:
    assert comes_from_here(peer, ())
    assert comes_from_here(peer, (), TRUSTED)


@pytest.mark.parametrize(
    "peer", ["192.0.2.2", "10.0.0.5", "fd00::2", "fe80::1%eth0", "::ffff:10.0.0.5", "0.0.0.0", "::", "", "x"]
)
def test_peers_elsewhere(peer: str) -> None:
    assert not comes_from_here(peer, ())
    assert not comes_from_here(peer, (), TRUSTED)


@pytest.mark.parametrize("name", sorted(FORWARDING))
def test_whoever_is_not_trusted_speaks_for_nobody(name: str) -> None:
    for said in (NEAR, "::1", f"for={NEAR}", "https", ""):
        assert not comes_from_here(NEAR, [(name, said)])
        assert not comes_from_here(NEAR, [(name, said)], networks(("10.0.0.5",)))
        assert not comes_from_here(FAR, [(name, said)], TRUSTED)


@pytest.mark.parametrize(
    ("fields", "here"),
    [
        ([("x-forwarded-for", NEAR)], True),
        ([("x-forwarded-for", "::1")], True),
        ([("x-forwarded-for", "::ffff:127.0.0.1")], True),
        ([("x-forwarded-for", "127.0.0.1:4711")], True),
        ([("x-forwarded-for", "[::1]:4711")], True),
        ([("x-forwarded-for", f"{FAR}, {NEAR}")], False),  # 127.0.0.1 is itself trusted
        ([("x-forwarded-for", f"{FAR}, 10.0.0.7")], False),
        ([("x-forwarded-for", f"{NEAR}, {FAR}")], False),
        ([("x-forwarded-for", f"{NEAR}, {FAR}, 10.0.0.7")], False),
        ([("x-forwarded-for", NEAR), ("x-forwarded-for", FAR)], False),
        ([("x-forwarded-for", "unknown")], False),
        ([("x-forwarded-for", f"{NEAR}, unknown")], False),
        ([("x-forwarded-for", "127.1")], False),
        ([("x-forwarded-for", "")], False),
        ([("x-forwarded-for", ",")], False),
        ([("x-real-ip", NEAR)], True),
        ([("x-real-ip", FAR)], False),
        ([("x-real-ip", NEAR), ("x-forwarded-for", FAR)], False),
        ([("forwarded", f"for={NEAR};proto=https")], True),
        ([("forwarded", 'proto=http;For="[::1]:47011"')], True),
        ([("forwarded", f"for={NEAR}, for={FAR}")], False),
        ([("forwarded", f'for="{NEAR}, for={FAR}')], False),
        ([("forwarded", "for=_hidden")], False),
        ([("forwarded", "proto=https")], False),
        ([("forwarded", f"xfor={NEAR}")], False),
        ([("x-forwarded-proto", "https")], True),  # says nothing of who asks: the peer does
        ([("cf-connecting-ip", FAR)], True),
    ],
)
def test_what_a_trusted_proxy_says(fields: list[tuple[str, str]], here: bool) -> None:
    assert comes_from_here(NEAR, fields, TRUSTED) is here
    if here and fields[0][0] in visitors.CLIENT_FIELDS:
        assert comes_from_here("10.0.0.1", fields, TRUSTED)
        assert comes_from_here("::ffff:10.0.0.1", fields, TRUSTED)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8082",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:9",
        "127.1",
        "127.8.8.8",
        "[::1]",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
    ],
)
@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0", "::", "192.0.2.2", "relay.lan"])
def test_names_of_this_machine(host: str, listening: str) -> None:
    assert is_meant(host, listening)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "evil.example",
        "evil.example:8082",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost:80@evil.example",
        "localhost, evil.example",
        "localhost/evil",
        "localhost evil.example",
        "local\u0000host",
        "localhost:x",
        "localhost:999999",
        "localhost..",
        "xlocalhost",
        "[::1",
        "::1",
        "[evil.example]",
        "192.0.2.2",
        "[fd00::2]",
        "0.0.0.0",
    ],
)
def test_names_that_are_somebody_elses(host: str) -> None:
    assert not is_meant(host, "127.0.0.1", ("relay.lan",))


def test_names_that_depend_on_the_listener() -> None:
    assert is_meant("192.0.2.2:80", "192.0.2.2")
    assert is_meant("[FD00::2]", "fd00:0::2")
    assert is_meant("192.0.2.2", "0.0.0.0")
    assert is_meant("Relay.LAN:8082", "127.0.0.1", ("relay.lan",))
    assert is_meant("relay.lan.", "relay.lan")
    assert not is_meant("relay.lan", "0.0.0.0")


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ("api.anthropic.com", True),
        ("API.Anthropic.com.:443", True),
        ("api.anthropic.com:444", False),
        ("evil.example", False),
        ("api.anthropic.com.evil.example", False),
        ("", False),
        ("api.anthropic.com@evil.example", False),
    ],
)
def test_the_place_of_a_tunnel(said: str, same: bool) -> None:
    assert is_same(said, "api.anthropic.com", 443) is same


def test_addresses_are_the_same_in_every_form() -> None:
    assert is_same("[0:0::1]:443", "::1", 443)
    assert not is_same("[::2]", "::1", 443)


CORS = ("https://app.example",)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"user-agent": "Mozilla/5.0"},
        {"sec-fetch-mode": "cors"},  # Node
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},  # the address bar
        {"origin": "https://app.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
    ],
)
def test_who_is_no_page_or_let_in(headers: dict[str, str]) -> None:
    assert page_behind(headers, CORS) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://app.example.evil.example"},
        {"origin": "HTTPS://app.example"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "something-new"},
        {"sec-fetch-site": "none, cross-site"},
        {"sec-fetch-mode": "no-cors"},
        {"sec-fetch-mode": "websocket"},
        {"sec-fetch-mode": "navigate"},
    ],
)
def test_pages(headers: dict[str, str]) -> None:
    assert page_behind(headers, CORS)
    assert page_behind(headers)
