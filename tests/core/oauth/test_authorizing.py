"""The page that a person opens, and what may come back from it."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.oauth.authorizing import Begun, Place, begin, code_of, place_of


@dataclass(frozen=True)
class Settings:
    authorize_url: str | None = "https://example.com/authorize?code=true"
    client_id: str = "mine"
    scopes: tuple[str, ...] = ("a", "b")


def begun() -> Begun:
    return begin(Settings(), "http://127.0.0.1:1/callback", os.urandom)


def test_the_url() -> None:
    found = begun()
    said = {name: values[0] for name, values in parse_qs(urlsplit(found.url).query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(found.verifier.encode()).digest()).decode().rstrip("=")
    assert said == {
        "code": "true",
        "response_type": "code",
        "client_id": "mine",
        "redirect_uri": "http://127.0.0.1:1/callback",
        "scope": "a b",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": found.state,
    }
    assert 43 <= len(found.verifier) <= 128, "https://www.rfc-editor.org/rfc/rfc7636#section-4.1"
    assert found.verifier not in found.url
    assert found.state != begun().state


def test_what_a_person_may_paste() -> None:
    one = begun()
    for text in (
        f"the-code#{one.state}",
        f"  the-code#{one.state}\n",
        f"http://127.0.0.1:1/callback?code=the-code&state={one.state}",
        f"/callback?state={one.state}&code=the-code&scope=a+b",
        f"https://example.com/done?code=the-code&state={one.state}#",
    ):
        assert code_of(text, one) == "the-code"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing that could be"),
        ("the code#x", "nothing that could be"),
        ("the-code", "of another login"),
        ("the-code#", "of another login"),
        ("the-code#foreign", "of another login"),
        ("http://127.0.0.1:1/callback?code=the-code", "of another login"),
        ("http://127.0.0.1:1/callback?error=access_denied&error_description=no", "access_denied: no"),
        ("x" * 9000, "nothing that could be"),
    ],
)
def test_what_is_no_code_of_this_login(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        code_of(text, begun())


def test_a_state_without_a_code() -> None:
    one = begun()
    with pytest.raises(ValueError, match="no code"):
        code_of(f"#{one.state}", one)


@given(st.text(max_size=80))
def test_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        code_of(text, Begun("", "", "a-state-that-nobody-guesses", "v"))


@pytest.mark.parametrize(
    ("redirect", "place"),
    [
        (None, Place("127.0.0.1", 0, "/callback")),
        ("http://localhost:54545/back", Place("localhost", 54545, "/back")),
        ("http://[::1]/cb", Place("::1", 0, "/cb")),
        ("https://example.com/oauth/code/callback", None),
    ],
)
def test_where_to_listen(redirect: str | None, place: Place | None) -> None:
    assert place_of(redirect) == place


def test_the_place_as_a_url() -> None:
    assert Place("::1", 0, "/cb").at(7) == "http://[::1]:7/cb"
