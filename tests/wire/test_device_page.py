"""The page in which a person confirms a sign-in: what it shows, who may send it, how often anybody may guess."""

from __future__ import annotations

import re

import pytest

from .conftest import StartRelay
from .team import FORM, Team
from .test_pages import PAGES

NAVIGATION = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]


@pytest.fixture
def team(start: StartRelay) -> Team:
    return Team(start(listen={"sign_in": True}))


def test_the_form(team: Team) -> None:
    begun = team.begin()
    for headers in ([], NAVIGATION, [("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]):
        answer = team.get(f"/device?user_code={begun['user_code']}", headers=headers)
        assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
        assert f'value="{begun["user_code"]}"' in answer.body.decode()
    policy = answer.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe-inline" not in policy
    for inline in ("<script", "<style", "style="):
        assert inline not in answer.body.decode()
    assert (answer.header("cache-control"), answer.header("referrer-policy")) == ("no-store", "same-origin")
    assert team.poll(begun["device_code"]).json()["error"] == "authorization_pending"  # looking confirms nothing


def test_its_stylesheet_is_for_itself(team: Team) -> None:
    [path] = re.findall(r'rel="stylesheet" href="([^"]+)"', team.get("/device").body.decode())
    own = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "style")]
    answer = team.get(path, headers=own)
    assert (answer.status, answer.header("content-type")) == (200, "text/css; charset=utf-8")
    assert "prefers-color-scheme: dark" in answer.body.decode()
    assert team.get(path, headers=[("sec-fetch-site", "cross-site"), *own[1:]]).status == 403
    assert team.post(path, [("origin", team.origin)]).status == 405


def test_the_field_that_is_wrong_has_the_focus(team: Team) -> None:
    ann, begun = team.add("ann"), team.begin()
    for code, key, wrong in (("BBBB-BBBB", ann, "user_code"), (begun["user_code"], "rk-x", "key")):
        fields = re.findall(r"<input [^>]+>", team.confirm(code, key).body.decode())
        [marked] = [field for field in fields if "aria-invalid" in field]
        assert f'name="{wrong}"' in marked
        assert [field for field in fields if "autofocus" in field] == [marked]


def test_what_the_address_says_is_shown_as_a_code_only(team: Team) -> None:
    for query in ("%22%3E%3Cscript%3E", "%3Cb%3E", "WDJBMJHTX", "%FF", "a" * 3000):
        page = team.get(f"/device?user_code={query}").body.decode()
        assert 'value=""' in page


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("link", "preflight")])
def test_no_other_page_may_send_it(team: Team, page: str) -> None:
    ann, begun = team.add("ann"), team.begin()
    body = f"user_code={begun['user_code']}&key={ann}&action=approve".encode()
    for headers in (PAGES[page], [], [("origin", "null")], [("origin", team.origin.upper().replace("HTTP", "https"))]):
        assert team.ask("POST", "/device", headers=[FORM, *headers], body=body).status == 403
    assert team.ask("GET", "/device", headers=PAGES[page]).status == 403
    assert team.poll(begun["device_code"]).json()["error"] == "authorization_pending"


def test_from_itself_it_may_be_sent(team: Team) -> None:
    ann, begun = team.add("ann"), team.begin()
    own = [("origin", team.origin), ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")]
    assert team.post("/device", own, user_code=begun["user_code"].lower(), key=f" {ann} ").status == 200
    assert team.poll(begun["device_code"]).status == 200


def test_only_the_relays_own_page_is_let_in_so(team: Team) -> None:
    for path in ("/oauth/token", "/v1/messages", "/device/x", "/managed/settings"):
        assert team.post(path, [("origin", team.origin)]).status == 403


def test_a_wrong_key_tells_nothing_of_codes(team: Team) -> None:
    begun = team.begin()
    token = team.sign_in(team.add("ann"))["access_token"]
    answers = [
        team.confirm(code, key)
        for code in (begun["user_code"], "BBBB-BBBB")
        for key in ("rk-" + "0" * 48, "sk-ant-x", "", token)
    ]
    assert {answer.status for answer in answers} == {403}
    assert len({answer.body.replace(begun["user_code"].encode(), b"BBBB-BBBB") for answer in answers}) == 1
    assert team.poll(begun["device_code"]).json()["error"] == "authorization_pending"


def test_a_wrong_code(team: Team) -> None:
    ann = team.add("ann")
    for code in ("BBBB-BBBB", "", "x" * 1000, "<script>"):
        answer = team.confirm(code, ann)
        assert answer.status == 403
        assert "Nobody waits under this code" in answer.body.decode()
        assert "<script" not in answer.body.decode()
        assert ann not in answer.body.decode()


def test_guessing_ends(team: Team) -> None:
    ann, begun = team.add("ann"), team.begin()
    for _ in range(10):
        assert team.confirm("BBBB-BBBB", ann).status == 403
    answer = team.confirm(begun["user_code"], ann)
    assert answer.status == 429
    assert 1 <= int(answer.header("retry-after") or 0) <= 60
    assert "Too many" in answer.body.decode()
    assert team.poll(begun["device_code"]).json()["error"] == "authorization_pending"
