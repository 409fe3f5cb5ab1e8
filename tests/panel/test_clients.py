"""Client keys and groups by the API, and what a browser shows of them."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from claude_relay.core.notices import Kind, Notice
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.notices import NoticeBook
from waiting import eventually

from .stage import PASSWORD, Panel

RELAY_YAML = """
providers: {anthropic: {format: anthropic, base_url: "http://127.0.0.1:1", keys: [sk-1]}}
"""


def made(panel: Panel, name: str, **fields: Any) -> dict[str, Any]:
    answer = panel.post("/api/clients", {"name": name, **fields})
    assert answer.status == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def fields(client: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What PUT takes."""
    names = (
        "providers", "models", "key_tiers", "key_groups", "endpoints", "addresses", "programs", "tunnel", "limits",
        "group", "note", "tags", "owner", "priority", "enabled", "expires_at", "expires_after",
    )  # fmt: skip
    return {name: client[name] for name in names} | changes


def grown_old(panel: Panel) -> None:
    """As if the password had been given long ago."""
    with closing(sqlite3.connect(panel.database)) as connection, connection:
        connection.execute("UPDATE panel_sessions SET confirmed_at = 0")


def test_a_key_is_shown_once(panel: Panel) -> None:
    client = made(panel, "alice", limits=["$20/day", "60 requests/min"], expires_after="8h", tags=["team"])
    key = client["key"]
    assert key.startswith("rk-")
    assert client["limits"] == ["$20/day", "60 requests/minute"]
    assert client["expires_after"] == 8 * 3600
    assert key in client["setup"]["lines"]["sh"]
    assert "export ANTHROPIC_BASE_URL=http://" in client["setup"]["lines"]["sh"]
    for path in ("/api/clients", "/api/clients/alice", "/api/audit", "/api/clients/alice/stats"):
        answer = panel.get(path)
        assert answer.status == 200
        assert key not in answer.text
    assert panel.get("/api/clients/alice").json["keys"][0]["mask"] == f"rk-…{key[-4:]}"
    rotated = panel.post("/api/clients/alice/rotate", {"overlap": 0}).json
    assert rotated["key"] != key
    assert [one["valid_until"] is None for one in rotated["keys"]] == [False, True]
    grant = ClientBook(panel.database).directory().find(rotated["key"])
    assert grant is not None
    assert grant.client.name == "alice"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("limits", ["$20/fortnight"], "is no limit"),
        ("limits", ["$20/day", "$30/day"], "two limits of the same"),
        ("providers", ["antropic"], "did you mean 'anthropic'?"),
        ("addresses", ["10.0.0"], "10.0.0.0/24"),
        ("expires_at", "soon", "2026-12-31"),
        ("expires_at", "2001-01-01", "over already"),
        ("note", "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789", "looks like a key"),
        ("group", "nobody", "There is no group 'nobody'."),
    ],
)
def test_what_is_wrong_is_said_at_its_field(panel: Panel, field: str, value: Any, said: str) -> None:
    answer = panel.post("/api/clients", {"name": "wrong", field: value})
    assert answer.status == 422
    assert said in {error["field"]: error["detail"] for error in answer.json["errors"]}[field]
    assert panel.get("/api/clients/wrong").status == 404


def test_two_who_edit_at_once_do_not_overwrite_each_other(panel: Panel) -> None:
    made(panel, "bob", note="one")
    first = panel.get("/api/clients/bob")
    tag, wanted = first.headers["etag"], fields(first.json, note="two")
    assert panel.ask("PUT", "/api/clients/bob", wanted).status == 428
    after = panel.ask("PUT", "/api/clients/bob", wanted, {"If-Match": tag})
    assert (after.status, after.json["note"]) == (200, "two")
    assert panel.ask("PUT", "/api/clients/bob", wanted, {"If-Match": tag}).status == 412
    assert panel.ask("PUT", "/api/clients/bob", wanted, {"If-Match": after.headers["etag"]}).status == 200


def test_to_loosen_a_limit_takes_the_password_once_more(panel: Panel) -> None:
    client = made(panel, "carol", limits=["$20/day"])
    panel.post("/api/groups", {"name": "capped", "limits": ["$5/day"]})
    made(panel, "dave", group="capped")
    grown_old(panel)
    for name, changes, status in (
        ("carol", {"limits": ["$10/day"]}, 200),
        ("carol", {"limits": ["$15/day"]}, 403),
        ("carol", {"limits": []}, 403),
        ("dave", {"group": None}, 403),
    ):
        before = panel.get(f"/api/clients/{name}").json
        answer = panel.ask("PUT", f"/api/clients/{name}", fields(before, **changes), {"If-Match": "*"})
        assert answer.status == status, (name, changes, answer.text)
    assert answer.json["type"].endswith("confirm_password")
    assert panel.post("/api/clients", {"name": "erin"}).status == 403
    assert panel.post("/api/me/confirm", {"password": PASSWORD}).status == 204
    assert panel.ask("PUT", "/api/clients/carol", fields(client, limits=[]), {"If-Match": "*"}).status == 200


def test_a_removed_client_comes_back(panel: Panel) -> None:
    made(panel, "frank")
    assert panel.ask("DELETE", "/api/clients/frank").status == 204
    assert panel.ask("DELETE", "/api/clients/frank").status == 409
    assert "frank" not in [one["name"] for one in panel.get("/api/clients?limit=500").json["data"]]
    removed = panel.get("/api/clients?state=removed").json["data"]
    assert [one["name"] for one in removed] == ["frank"]
    assert panel.post("/api/clients/frank/restore").json["state"] == "enabled"
    assert panel.post("/api/clients/frank/disable").json["state"] == "disabled"


def test_lists_come_in_pages(panel: Panel) -> None:
    for n in range(5):
        made(panel, f"page-{n}", tags=["paged"])
    first = panel.get("/api/clients?tag=paged&limit=3").json
    assert [one["name"] for one in first["data"]] == ["page-0", "page-1", "page-2"]
    rest = panel.get(f"/api/clients?tag=paged&limit=3&after={first['next']}").json
    assert ([one["name"] for one in rest["data"]], rest["next"]) == (["page-3", "page-4"], None)
    assert [one["name"] for one in panel.get("/api/clients?q=PAGE-4").json["data"]] == ["page-4"]


def test_a_stop_names_its_end(panel: Panel) -> None:
    made(panel, "grace")
    assert panel.post("/api/clients/grace/stop", {"for": "10m", "session": "s-1"}).status == 200
    (stop,) = ClientBook(panel.database).directory().stops
    assert (stop.session, round((stop.until - time.time()) / 60)) == ("s-1", 10)
    assert panel.post("/api/clients/nobody/stop", {}).status == 404
    assert panel.post("/api/clients/grace/stop", {"for": "-1s"}).status == 422


def test_a_group_has_the_sum_of_its_clients(panel: Panel) -> None:
    assert panel.post("/api/groups", {"name": "team", "limits": ["$100/month"]}).status == 201
    made(panel, "heidi", group="team")
    with closing(sqlite3.connect(panel.database)) as connection, connection:
        connection.execute(
            "INSERT INTO requests (id, started_at, method, path, stream, attempts, finished, client, client_group, session, "
            "requested_model, cost_usd, input_tokens) VALUES ('req_relay_1', strftime('%Y-%m-%dT%H:%M:%fZ'), 'POST', "
            "'/v1/messages', 0, 1, 'complete', 'heidi', 'team', 's-9', 'claude-haiku-4-5', 25.0, 100)"
        )
    stats = panel.get("/api/groups/team/stats").json
    assert (stats["today"]["requests"], stats["today"]["cost_usd"], stats["limits"][0]["share"]) == (1, 25.0, 0.25)
    own = panel.get("/api/clients/heidi/stats").json
    assert [(one["owner"], one["used"]) for one in own["limits"]] == [("team", 25.0)]
    assert [session["id"] for session in own["sessions"]] == ["s-9"]
    assert panel.ask("DELETE", "/api/groups/team").status == 409
    group = panel.get("/api/groups/team")
    changed = {"note": "all of us", "limits": ["$100/month"]}
    answer = panel.ask("PUT", "/api/groups/team", changed, {"If-Match": group.headers["etag"]})
    assert (answer.json["note"], answer.json["clients"]) == ("all of us", ["heidi"])


def test_a_notice_can_be_put_off_and_done(panel: Panel) -> None:
    NoticeBook(panel.database).put(
        Notice(Kind.KEY_OUT, "anthropic/k7", "It has no credit left.", time.time()), time.time()
    )
    (one,) = panel.get("/api/notices").json["data"]
    path = f"/api/notices/{one['id']}"
    assert panel.ask("PATCH", path, {"snoozed_until": "2099-01-01T00:00:00Z"}).json["state"] == "snoozed"
    assert panel.get("/api/notices").json["data"] == []
    assert panel.ask("PATCH", path, {"snoozed_until": None, "done": True}).json["done_by"] == "admin"
    assert panel.get("/api/notices?state=done").json["data"][0]["id"] == one["id"]
    assert panel.ask("PATCH", "/api/notices/none", {"done": True}).status == 404


def test_the_audit_log_says_who_did_what(panel: Panel) -> None:
    made(panel, "ivan", note="new here")
    (entry,) = panel.get("/api/audit?kind=client&subject=ivan").json["data"]
    assert (entry["who"], entry["via"], entry["act"], entry["after"]["note"]) == ("admin", "panel", "add", "new here")
    page = panel.get("/api/audit?limit=1").json
    older = panel.get(f"/api/audit?limit=1&after={page['next']}").json
    assert older["data"][0]["id"] < page["data"][0]["id"]
    assert panel.get("/api/audit?until=2001-01-01T00:00:00Z").json["data"] == []


def test_health_without_a_relay_is_not_ready(panel: Panel) -> None:
    found = panel.get("/api/health").json
    assert (found["ready"], found["relays"], found["database"]["level"]) == (False, [], "ok")
    assert found["versions"]["claude-relay"]
    answer = panel.post("/api/playground", {"request": {"model": "m", "max_tokens": 1, "messages": []}})
    assert (answer.status, answer.json["type"]) == (409, "urn:claude-relay:problem:no_relay")


def test_the_panels_own_client_is_not_shown(panel: Panel) -> None:
    assert panel.post("/api/clients", {"name": "nobody's", "limits": []}).status == 422
    assert all(one["name"] != "panel" for one in panel.get("/api/clients?limit=500&removed=true").json["data"])
    assert panel.ask("DELETE", "/api/clients/panel").status == 404
    answer = panel.page("/clients/panel")
    assert (answer.status, answer.headers["location"]) == (303, "/requests?client=panel")


def test_a_client_is_added_in_a_browser(visit: Any, panel: Panel) -> None:
    """Its key is shown this once, and is gone with the dialog; what is wrong is shown at its field."""
    visit.goto("/clients")
    visit.get_by_role("button", name="Add a client").first.click()
    dialog = visit.get_by_role("dialog", name="Add a client")
    dialog.get_by_label("Name").fill("judy")
    dialog.get_by_label("Limits").fill("$5/fortnight")
    dialog.get_by_role("button", name="Add, and show its key").click()
    dialog.get_by_text("is no limit").first.wait_for()
    dialog.get_by_label("Limits").fill("$5/day")
    visit.evaluate(
        "() => { const form = document.querySelector('#add form'); form.requestSubmit(); form.requestSubmit(); }"
    )
    made = visit.get_by_role("dialog", name="The client key")
    made.get_by_text("What its person needs").wait_for()
    assert visit.get_by_text("is there already").count() == 0  # the second one was not sent
    key = visit.locator("#made-key").inner_text()
    made.get_by_text("fish", exact=True).click()
    assert f"set -gx ANTHROPIC_AUTH_TOKEN {key}" in visit.locator("#made-fish").inner_text().replace("'", "")
    made.get_by_role("button", name="Done").click()
    visit.get_by_role("link", name="judy").wait_for()
    visit.locator("#made-key", has_text=key).wait_for(state="detached")
    assert key not in visit.content()
    grant = ClientBook(panel.database).directory().find(key)
    assert grant is not None


def test_a_client_is_changed_in_a_browser(visit: Any, panel: Panel) -> None:
    made(
        panel, "kim", models=["claude-*"], tags=["a", "b"], expires_after="8h", limits=["$5/day", "$1/day per session"]
    )
    before = panel.get("/api/clients/kim").json
    visit.goto("/clients/kim")
    visit.get_by_label("Note").fill("in the other room")
    visit.get_by_role("button", name="Save").click()
    visit.get_by_text("Saved").wait_for()
    assert panel.get("/api/clients/kim").json == before | {"note": "in the other room"}
    visit.get_by_role("button", name="Remove").click()
    visit.get_by_role("button", name="Undo").click()
    eventually(lambda: panel.get("/api/clients/kim").json["state"] == "enabled")


def test_a_notice_is_done_in_a_browser(visit: Any, panel: Panel) -> None:
    NoticeBook(panel.database).put(Notice(Kind.LOGIN, "anthropic/k9", "Log in again.", time.time()), time.time())
    visit.goto("/notices")
    visit.get_by_text("Log in again.").wait_for()
    visit.get_by_role("button", name="Done").click()
    visit.get_by_text("Nothing needs you").wait_for()
    visit.get_by_role("button", name="Undo").click()
    visit.locator("summary", has_text="Snooze").click()
    visit.get_by_role("button", name="1 day").click()
    visit.get_by_text("Nothing needs you").wait_for()
    visit.goto("/audit?kind=notice")
    visit.get_by_text("snoozed_until").first.click()
    assert visit.locator("ins").first.is_visible()


@pytest.mark.parametrize("kind", ["clients", "groups", "keys"])
def test_of_many_who_change_it_at_once_one_has_seen_it(panel: Panel, kind: str) -> None:
    """Also where all of them were let pass before the first has written."""
    if kind == "keys":
        added = panel.post("/api/providers/anthropic/keys", {"key": "sk-ant-at-once-0123456789abcdef"})
        method, path, field = "PATCH", f"/api/keys/{added.json['id']}", "label"
    else:
        assert panel.post(f"/api/{kind}", {"name": "at-once"}).status == 201
        method, path, field = "PUT", f"/api/{kind}/at-once", "note"
    seen = panel.get(path).headers["etag"]
    with ThreadPoolExecutor(8) as pool:
        work = lambda n: panel.ask(method, path, {field: f"by {n}"}, {"If-Match": seen}).status  # noqa: E731
        assert sorted(pool.map(work, range(8))) == [200] + [412] * 7
