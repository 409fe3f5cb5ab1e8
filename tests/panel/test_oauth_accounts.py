"""OAuth accounts by the API and in a browser, over the real process, with OAuth endpoints on this machine; and that no token comes out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from claude_relay.core.bodies.ratelimits import Window
from claude_relay.core.times import HOUR
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admins, Role
from claude_relay.store.panel.api_tokens import Scope, Tokens
from claude_relay.store.shared.key_windows import Seen, StoredWindows
from upstream.oauth_server import OAuthServer
from upstream.providers import Upstream, serving

from .stage import Answer, Panel, running

TOKEN = re.compile(r"(oat|ort|device)-[0-9A-Za-z_-]{8,}")


@pytest.fixture(scope="module")
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer()) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


@pytest.fixture(scope="module")
def panel(server: OAuthServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    with serving(Upstream()) as api:
        providers = {
            "anthropic": {"base_url": api.url, "oauth": server.section()},
            "pages": {"base_url": api.url, "oauth": server.section(device_url=None)},
            "keys": {"base_url": api.url},
        }
        folder = tmp_path_factory.mktemp("panel")
        with running(folder, f"providers: {json.dumps(providers)}\nroutes: [{{to: [anthropic]}}]\n") as found:
            assert found.sign_in().status == 200
            yield found


def back(url: str, code: str, state: str | None = None) -> str:
    """Where the browser is sent to."""
    said = parse_qs(urlsplit(url).query)
    return f"{said['redirect_uri'][0]}?code={code}&state={state or said['state'][0]}"


def begun(panel: Panel, **more: Any) -> dict[str, Any]:
    answer = panel.post("/api/accounts", {"provider": "anthropic"} | more)
    assert answer.status == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def finish(panel: Panel, id: str, pasted: str) -> Answer:
    return panel.post(f"/api/accounts/{id}/authorize", {"answer": pasted})


def account(panel: Panel, server: OAuthServer, **more: Any) -> dict[str, Any]:
    login = begun(panel, **more)
    answer = finish(panel, login["id"], back(login["url"], server.code(login["url"])))
    assert answer.status == 200, answer.text
    assert not TOKEN.search(answer.text)
    found: dict[str, Any] = answer.json["account"]
    return found


def test_a_login_by_the_address_that_the_browser_shows(panel: Panel, server: OAuthServer) -> None:
    login = begun(panel, label="my plan")
    assert (login["account"], login["user_code"], login["job"]) == (None, None, None)
    code = server.code(login["url"])
    wrong = finish(panel, login["id"], back(login["url"], code, "another-state"))
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "answer")
    answer = finish(panel, login["id"], back(login["url"], code))
    found = answer.json["account"]
    assert (found["provider"], found["label"], found["account"]) == ("anthropic", "my plan", "me@example.com")
    assert (found["state"], found["renews"], found["scopes"]) == ("active", True, ["user:inference"])
    assert finish(panel, login["id"], back(login["url"], code)).status == 404
    listed = panel.get("/api/accounts")
    assert found in listed.json["data"]
    assert not TOKEN.search(listed.text)
    assert panel.get(f"/api/keys/{found['id']}").json["label"] == "my plan"


def test_a_code_that_the_provider_does_not_take(panel: Panel, server: OAuthServer) -> None:
    login = begun(panel)
    answer = finish(panel, login["id"], back(login["url"], "code-of-nobody"))
    assert (answer.status, "invalid_grant" in answer.json["detail"]) == (409, True)
    assert "code-of-nobody" not in answer.text
    assert finish(panel, login["id"], back(login["url"], server.code(login["url"]))).status == 200


def test_a_login_is_finished_by_who_began_it(panel: Panel, server: OAuthServer) -> None:
    actor = Actor("test", "cli")
    other = Admins(panel.database).add(actor, "other", Role.ADMIN, "")
    _, token = Tokens(panel.database).add(actor, other, "other", Scope.ADMIN, None)
    login = begun(panel)
    pasted = back(login["url"], server.code(login["url"]))
    answer = panel.ask(
        "POST",
        f"/api/accounts/{login['id']}/authorize",
        {"answer": pasted},
        {"Authorization": f"Bearer {token}", "Cookie": ""},
    )
    assert answer.status == 404
    assert finish(panel, login["id"], pasted).status == 200


@pytest.mark.parametrize(("said", "state"), [("confirmed", "done"), ("denied", "failed")])
def test_a_login_on_another_device(panel: Panel, server: OAuthServer, said: str, state: str) -> None:
    login = begun(panel, device=True)
    assert (login["user_code"], login["url"]) == ("WDJB-MJHT", f"{server.url}/activate")
    assert panel.get(f"/api/jobs/{login['job']}").json["state"] == "running"
    server.devices[list(server.devices)[-1]] = said
    done = panel.job(login["job"])
    assert done["state"] == state
    if state == "done":
        assert panel.get(f"/api/accounts/{done['results'][0]['id']}").json["state"] == "active"
    else:
        assert "has refused" in done["detail"]
    assert {"done": "Logged in", "failed": "Not logged in"}[state] in panel.page(f"/accounts?login={login['id']}").text


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        ({"provider": "nobody"}, 404, "no provider"),
        ({"provider": "keys"}, 409, "has no `oauth`"),
        ({"provider": "pages", "device": True}, 409, "device_url"),
        ({"provider": "anthropic", "label": "two\nlines"}, 422, "label"),
    ],
)
def test_a_login_that_cannot_begin(panel: Panel, said: dict[str, Any], status: int, text: str) -> None:
    answer = panel.post("/api/accounts", said)
    assert (answer.status, text in answer.json["detail"]) == (status, True), answer.text


def test_tokens_are_renewed_and_a_revoked_account_logs_in_again(panel: Panel, server: OAuthServer) -> None:
    found = account(panel, server)
    path, own = f"/api/accounts/{found['id']}", server.accounts[-1]
    assert panel.post(f"{path}/refresh").json["outcome"] == "renewed"
    assert own.renewals == 1
    own.revoked = True
    answer = panel.post(f"{path}/refresh")
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (409, "revoked")
    assert not TOKEN.search(answer.text)
    assert panel.get(path).json["state"] == "revoked"
    login = panel.post(f"{path}/authorize", {}).json["login"]
    assert login["account"] == found["id"]
    again = finish(panel, found["id"], back(login["url"], server.code(login["url"]))).json["account"]
    assert (again["id"], again["state"], again["reason"]) == (found["id"], "active", "")


def test_a_token_endpoint_that_fails(panel: Panel, server: OAuthServer) -> None:
    found = account(panel, server)
    server.plan.append(503)
    answer = panel.post(f"/api/accounts/{found['id']}/refresh")
    assert (answer.status, "503" in answer.json["detail"]) == (502, True)
    assert panel.get(f"/api/accounts/{found['id']}").json["failures"] == 1


def test_what_is_done_to_one(panel: Panel, server: OAuthServer) -> None:
    path = f"/api/accounts/{account(panel, server)['id']}"
    assert panel.post(f"{path}/check").json["status"] == "valid"
    assert panel.get(path).json["check"]["status"] == "valid"
    assert panel.post(f"{path}/toggle").json["enabled"] is False
    assert panel.post(f"{path}/toggle").json["enabled"] is True
    seen = panel.get(path).headers["etag"]
    assert panel.ask("PATCH", path, {"label": "mine"}).status == 428
    edited = panel.ask("PATCH", path, {"label": "mine", "enabled": False}, {"If-Match": seen})
    assert (edited.json["label"], edited.json["enabled"]) == ("mine", False)
    assert panel.ask("PATCH", path, {"label": "yours"}, {"If-Match": seen}).status == 412
    assert panel.ask("DELETE", path).status == 204
    ids = [one["id"] for one in panel.get("/api/accounts").json["data"]]
    assert path.rpartition("/")[2] not in ids
    assert panel.post(f"{path}/refresh").status == 409
    assert panel.post(f"{path}/restore").json["removed_at"] is None
    assert panel.ask("DELETE", f"{path}?forever=true").status == 204
    assert panel.get(path).status == 404


def test_credentials_of_a_file(panel: Panel, server: OAuthServer) -> None:
    first, second = server.login(), server.login()
    for tokens, renew in ((first, False), (second, True)):
        said = {"provider": "anthropic", "credentials": json.dumps(tokens), "renew": renew}
        answer = panel.post("/api/accounts/import", said)
        assert answer.status == 201, answer.text
        [found] = answer.json["added"]
        assert found["renews"] is renew
        assert not TOKEN.search(answer.text)
        assert panel.post("/api/accounts/import", said).status == 409
    broken = panel.post("/api/accounts/import", {"provider": "anthropic", "credentials": first["access_token"]})
    assert (broken.status, broken.json["errors"][0]["field"]) == (422, "credentials")
    assert not TOKEN.search(broken.text)


def test_pages_of_the_list(panel: Panel, server: OAuthServer) -> None:
    ids = [one["id"] for one in panel.get("/api/accounts").json["data"]]
    while len(ids) < 3:
        ids.append(account(panel, server)["id"])
    first = panel.get("/api/accounts?limit=2").json
    rest = panel.get(f"/api/accounts?after={first['next']}").json
    assert [one["id"] for one in first["data"] + rest["data"]] == ids


def windows(panel: Panel, id: str, used: float) -> None:
    """As a relay writes down what answers said, an hour ago and now."""
    now = time.time()
    with closing(StoredWindows(panel.database)) as known:
        for ago, share in ((HOUR + 60, 0.1), (1.0, used)):
            both = Window("5h", "allowed", now + 2 * HOUR, share), Window("7d", "allowed", now + 90 * HOUR, share / 100)
            known.exchange([Seen("anthropic", id, both, now - ago)])


def test_capacity(panel: Panel, server: OAuthServer) -> None:
    found = account(panel, server)
    windows(panel, found["id"], 0.5)
    said = panel.get("/api/capacity").json
    mine = {one["window"]: one for one in said["windows"] if one["key"] == found["alias"]}
    assert (mine["5h"]["left"], mine["5h"]["pace"]) == (pytest.approx(0.5), pytest.approx(0.4, abs=0.02))
    assert mine["5h"]["ends_at"] is not None
    assert mine["7d"]["ends_at"] is None
    assert {one["window"] for one in said["forecasts"]} == {"5h", "7d"}
    listed = panel.get(f"/api/accounts/{found['id']}").json["windows"]
    assert {one["window"]: one["used"] for one in listed} == {"5h": 0.5, "7d": 0.005}


def test_the_page(visit: Any, panel: Panel, server: OAuthServer) -> None:
    """Log in by the dialog, switch the account off, and back."""
    visit.goto("/accounts")
    visit.locator(".page-head").get_by_role("button", name="Log in").click()
    dialog = visit.locator("#add-account")
    dialog.get_by_label("Label").fill("in the browser")
    dialog.get_by_role("button", name="Go on").click()
    url = visit.get_by_role("link", name="Open the page").get_attribute("href")
    visit.get_by_label("Code or address").fill("nothing of this login")
    visit.get_by_role("button", name="Finish").click()
    visit.locator('[data-error="answer"]:visible').wait_for()
    visit.get_by_label("Code or address").fill(back(url, server.code(url)))
    visit.get_by_role("button", name="Finish").click()
    row = visit.locator("tr", has_text="in the browser")
    row.get_by_text("active", exact=True).wait_for()
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Disable").click()
    row.get_by_text("disabled", exact=True).wait_for()
    visit.locator("#toasts").get_by_role("button").click()
    row.get_by_text("active", exact=True).wait_for()


def test_the_page_says_by_itself_what_came_of_a_login_on_another_device(
    visit: Any, panel: Panel, server: OAuthServer
) -> None:
    visit.goto(f"/accounts?login={begun(panel, device=True)['id']}")
    visit.get_by_text("WDJB-MJHT").wait_for()
    server.devices[list(server.devices)[-1]] = "denied"
    visit.get_by_text("Not logged in").wait_for()
