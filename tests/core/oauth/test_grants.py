"""What the answers of token endpoints mean, whatever they hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.oauth.grants import Failed, Granted, Pending, Refused, Tokens, answer_of

ACCESS, REFRESH = "oat-0123456789abcdef", "ort-0123456789abcdef"


def said(status: int, **fields: object) -> object:
    return answer_of(status, {}, json.dumps(fields).encode())


def test_a_grant() -> None:
    found = said(
        200,
        access_token=ACCESS,
        refresh_token=REFRESH,
        expires_in=28800,
        scope="a b",
        account={"email_address": "me@example.com"},
    )
    assert found == Granted(Tokens(ACCESS, REFRESH, 28800.0, ("a", "b"), "me@example.com"))


def test_a_bare_grant() -> None:
    found = answer_of(200, {}, json.dumps({"access_token": ACCESS}).encode(), ("asked",))
    assert found == Granted(Tokens(ACCESS, None, None, ("asked",), ""))


def form(status: int, text: str) -> object:
    return answer_of(status, {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, text.encode())


def test_answers_that_are_forms() -> None:
    granted = Granted(Tokens(ACCESS, REFRESH, 28800.0, ("a", "b"), ""))
    assert form(200, f"access_token={ACCESS}&refresh_token={REFRESH}&expires_in=28800&scope=a%20b") == granted
    assert form(200, "error=authorization_pending") == Pending()
    assert isinstance(form(400, "error=invalid_grant&error_description=gone"), Refused)
    assert isinstance(form(200, "&".join(f"a{n}=1" for n in range(200))), Failed)
    assert isinstance(form(200, "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")), Failed)


@pytest.mark.parametrize(
    ("code", "expected"), [("authorization_pending", Pending()), ("slow_down", Pending(slower=True))]
)
def test_waiting_that_is_said_with_status_200(code: str, expected: Pending) -> None:
    assert said(200, error=code) == expected


def test_an_error_that_is_said_with_status_200() -> None:
    assert isinstance(said(200, error="invalid_grant"), Refused)
    found = said(200, error="incorrect_client_credentials")
    assert found == Failed("the token endpoint answered 200 (incorrect_client_credentials)")


@pytest.mark.parametrize("life", [0, -1, "soon", True, None, 1e300, [], "nan"])
def test_a_life_that_is_none(life: object) -> None:
    found = said(200, access_token=ACCESS, expires_in=life)
    assert isinstance(found, Granted)
    assert found.tokens.expires_in is None


@pytest.mark.parametrize(
    "token", ["", "short", "with blank in it", "line\nbreak-0123456789", 7, None, "x" * 5000, "a,b-0123456789"]
)
def test_a_token_that_is_none(token: object) -> None:
    assert isinstance(said(200, access_token=token), Failed)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "invalid_grant"},
        {"error": "invalid_grant", "error_description": "Refresh token not found or invalid"},
        {"error": {"type": "invalid_grant", "message": "gone"}},
        {"error": {"code": "invalid_grant"}},
    ],
)
def test_what_is_no_good_any_more(body: dict[str, object]) -> None:
    found = said(400, **body)
    assert isinstance(found, Refused)
    assert found.reason.startswith("invalid_grant")


@pytest.mark.parametrize(("code", "meant"), [("authorization_pending", Pending()), ("slow_down", Pending(True))])
def test_a_person_who_has_not_answered(code: str, meant: Pending) -> None:
    assert said(400, error=code) == meant


def test_mistakes_of_the_client_say_where_to_mend_them() -> None:
    found = said(401, error="invalid_client")
    assert isinstance(found, Failed)
    assert (found.undone, "oauth.client_id" in found.reason) == (True, True)


@pytest.mark.parametrize(("status", "undone"), [(400, True), (429, True), (408, False), (500, False), (503, False)])
def test_other_errors_are_tried_again(status: int, undone: bool) -> None:
    found = answer_of(status, {"retry-after": "7"}, b"<html>invalid_grant</html>")
    assert isinstance(found, Failed)
    assert (found.undone, found.retry_after) == (undone, 7.0)


def test_a_500_that_says_invalid_grant_is_none() -> None:
    assert isinstance(said(500, error="invalid_grant"), Failed)


@given(st.integers(100, 599), st.binary(max_size=200))
def test_nothing_raises(status: int, body: bytes) -> None:
    assert isinstance(answer_of(status, {}, body), Granted | Refused | Failed | Pending)


def test_tokens_show_nothing() -> None:
    assert ACCESS not in repr(Granted(Tokens(ACCESS, REFRESH)))
    assert REFRESH not in repr(Tokens(ACCESS, REFRESH))
    assert Tokens(ACCESS).after(REFRESH).refresh == REFRESH
    assert Tokens(ACCESS, "ort-another").after(REFRESH).refresh == "ort-another"
