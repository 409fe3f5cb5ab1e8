"""Files of a person's own credentials."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.oauth.grants import Tokens
from claude_relay.core.oauth.own_files import read_credentials

NOW = 1_795_000_000.0
ACCESS, REFRESH = "oat-0123456789abcdef", "ort-0123456789abcdef"


def read(document: object) -> tuple[Tokens, ...]:
    return read_credentials(json.dumps(document).encode(), NOW)


def test_claude_code() -> None:
    own = {"accessToken": ACCESS, "refreshToken": REFRESH, "expiresAt": (NOW + 60) * 1000, "scopes": ["a"], "x": 1}
    assert read({"claudeAiOauth": own, "mcpOAuth": {}}) == (Tokens(ACCESS, REFRESH, 60.0, ("a",)),)


@pytest.mark.parametrize(
    ("end", "left"),
    [
        ({"expires_at": NOW + 60}, 60.0),
        ({"expires_at": "2026-11-18T08:27:40Z"}, None),
        ({"expires_in": 60}, 60.0),
        ({"expires_at": NOW - 9}, 1.0),
        ({}, None),
        ({"expires_at": True}, None),
    ],
)
def test_a_plain_form(end: dict[str, object], left: float | None) -> None:
    (found,) = read({"access_token": ACCESS, "refresh_token": REFRESH, "scope": "a b", "email": "me@x", **end})
    assert (found.access, found.refresh, found.scopes, found.account) == (ACCESS, REFRESH, ("a", "b"), "me@x")
    if left is not None:
        assert found.expires_in == left


def test_several() -> None:
    assert len(read([{"access_token": ACCESS}, {"access_token": ACCESS + "2"}])) == 2


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        [1],
        "text",
        {"access_token": ""},
        {"access_token": 7},
        {"claudeAiOauth": []},
        {"access_token": ACCESS, "refresh_token": 7},
    ],
)
def test_what_is_none(document: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|copy the file again") as raised:
        read(document)
    assert ACCESS not in str(raised.value)


@given(st.binary(max_size=200))
def test_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        read_credentials(data, NOW)
