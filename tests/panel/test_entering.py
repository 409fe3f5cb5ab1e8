from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .stage import PASSWORD, Panel, running


@pytest.mark.parametrize("path", ["/api/me", "/api/openapi.json"])
def test_nothing_is_told_to_somebody_who_has_not_signed_in(panel: Panel, path: str) -> None:
    assert panel.get(path).status == 200
    answer = panel.ask("GET", path, headers={"Cookie": "relay-panel=other"})
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == "urn:claude-relay:problem:sign_in"


def test_a_page_leads_to_the_sign_in_and_back(panel: Panel) -> None:
    answer = panel.ask("GET", "/?x=1", headers={"Accept": "text/html", "Cookie": "relay-panel=other"})
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=/%3Fx%3D1")


def test_another_sites_page_changes_nothing(panel: Panel) -> None:
    body = {"password": PASSWORD}
    assert panel.post("/api/me/confirm", body, Origin="https://evil.example").status == 403
    assert panel.ask("POST", "/api/me/confirm", body, {"X-CSRF-Token": "other"}).status == 403
    assert panel.post("/api/me/confirm", body, Host="evil.example").status == 403
    assert panel.post("/api/me/confirm", body).status == 204


def test_the_first_link_works_once(tmp_path: Path) -> None:
    with running(tmp_path, password=None) as panel:
        link = panel.said[0].split()[-1]
        assert link.startswith(panel.url)
        path = link.removeprefix(panel.url)
        assert "Choose a password" in panel.page(path).text
        secret = path.partition("=")[2]
        assert (
            panel.post("/api/welcome", {"link": secret, "password": "short"}).json["errors"][0]["field"] == "password"
        )
        assert panel.post("/api/welcome", {"link": secret, "password": PASSWORD}).status == 200
        assert panel.post("/api/welcome", {"link": secret, "password": PASSWORD}).status == 404
        assert panel.sign_in().status == 200
        assert panel.get("/api/me").json["role"] == "admin"


def test_signing_in_with_a_browser(visit: Any, panel: Panel) -> None:
    visit.context.clear_cookies()
    visit.goto("/login?next=//evil.example")
    visit.get_by_label("Name").fill("admin")
    visit.get_by_label("Password").fill("wrong")
    visit.get_by_role("button", name="Sign in").click()
    visit.get_by_role("alert").filter(has_text="wrong").wait_for()
    visit.get_by_label("Password").fill(PASSWORD)
    visit.get_by_role("button", name="Sign in").click()
    visit.get_by_role("heading", name="Overview").wait_for()
    assert visit.url == f"{panel.url}/"
