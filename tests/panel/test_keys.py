"""Keys by the API: each of its operations, over the real process, with providers on this machine; and that no key comes out."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from claude_relay.core.keys.cooldown import begin, to_row
from claude_relay.core.keys.replication import Shared
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admins
from claude_relay.store.panel.api_tokens import Scope, Tokens
from claude_relay.store.shared.relays import RelayRow, Relays
from claude_relay.store.shared.state import State
from claude_relay.store.vault.rows import moment
from upstream.providers import Upstream, secret, serving

from .stage import Panel, running

CONFIGURED = "sk-ant-valid-of-the-file-0123456789abcdef"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with serving(Upstream()) as found:
        yield found


@pytest.fixture(scope="module")
def panel(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    yaml = (
        f"providers:\n  own: {{base_url: '{upstream.url}', keys: ['{CONFIGURED}']}}\n  p: {{base_url: '{upstream.url}'}}\n"
        f"  q: {{base_url: '{upstream.url}'}}\n  r: {{base_url: '{upstream.url}'}}\nroutes: [{{to: [p]}}]\n"
    )
    with running(tmp_path_factory.mktemp("panel"), yaml) as found:
        assert found.sign_in().status == 200
        yield found


def added(panel: Panel, name: str = "valid", provider: str = "p", **fields: Any) -> dict[str, Any]:
    key = secret(name) + f"-{time.monotonic_ns()}"
    answer = panel.post(f"/api/providers/{provider}/keys", {"key": key} | fields)
    assert answer.status == 201, answer.text
    assert key not in answer.text
    found: dict[str, Any] = answer.json
    return found


def cool_down(panel: Panel, id: str, seconds: float) -> None:
    now, state = time.time(), State(panel.database)
    row = to_row(begin(now + seconds, now, "429: requests per minute", stated=True))
    row |= {"provider": "p", "key_id": id, "scope": "", "lifted": 0.0}
    with closing(state):
        state.exchange(Shared((row,)), now)


def test_a_key_goes_in_and_only_its_mask_comes_out(panel: Panel) -> None:
    key = "sk-ant-valid-only-once-0123456789abcdef"
    fields = {"label": "team a", "tier": "admin", "requests_per_minute": 50, "notes": "bought in May"}
    answer = panel.post("/api/providers/p/keys", {"key": f" {key}\n", **fields})
    assert answer.status == 201
    assert answer.json["mask"] == "sk-ant-…cdef"
    assert (answer.json["label"], answer.json["limits"]["requests_per_minute"]) == ("team a", 50)
    again = panel.post("/api/providers/p/keys", {"key": key})
    assert (again.status, again.json["errors"][0]["field"]) == (409, "key")
    assert answer.json["name"] in again.json["detail"]
    for path in ("/api/keys", f"/api/keys/{answer.json['id']}", "/api/providers/p/keys"):
        assert key not in panel.get(path).text
    with closing(sqlite3.connect(panel.database)) as connection:
        assert key not in str(connection.execute("SELECT * FROM audit").fetchall())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key": "short"}, "key"),
        ({"key": "two keys-in-one-line-000"}, "key"),
        ({"key": secret("valid"), "weight": 0}, "weight"),
        ({"key": secret("valid"), "group": "no group!"}, "group"),
        ({"key": secret("valid"), "proxy": "ftp://x"}, "proxy"),
        ({"key": secret("valid"), "label": secret("valid")}, "label"),
        ({"key": secret("valid"), secret("valid"): 1}, "…"),
        ({}, "key"),
    ],
)
def test_what_is_no_key_is_refused_without_repeating_it(panel: Panel, body: dict[str, Any], field: str) -> None:
    answer = panel.post("/api/providers/p/keys", body)
    assert answer.status == 422, answer.text
    assert field in answer.json["errors"][0]["field"]
    assert secret("valid") not in answer.text
    assert "short" not in answer.text


def test_a_providers_name_that_nobody_knows(panel: Panel) -> None:
    for method, path in (("GET", "/keys"), ("GET", "/keys/stats"), ("POST", "/keys")):
        body = {"key": secret("valid")} if method == "POST" else None
        assert panel.ask(method, f"/api/providers/nobody{path}", body).status == 404
    assert panel.get("/api/keys/nothing").status == 404


def test_two_who_edit_at_once(panel: Panel) -> None:
    key = added(panel, concurrent=2)
    path, tag = f"/api/keys/{key['id']}", panel.get(f"/api/keys/{key['id']}").headers["etag"]
    assert panel.ask("PATCH", path, {"label": "one"}).status == 428
    first = panel.ask("PATCH", path, {"label": "one", "weight": 3}, {"If-Match": tag})
    assert (first.status, first.json["label"], first.json["weight"]) == (200, "one", 3)
    assert first.json["limits"]["concurrent"] == 2, "what was not sent stays"
    assert panel.ask("PATCH", path, {"label": "other"}, {"If-Match": tag}).status == 412
    second = panel.ask("PATCH", path, {"concurrent": None}, {"If-Match": first.headers["etag"]})
    assert second.json["limits"]["concurrent"] is None


def test_off_on_away_and_back(panel: Panel) -> None:
    id = added(panel)["id"]
    assert panel.post(f"/api/keys/{id}/toggle").json["state"] == "disabled"
    assert panel.post(f"/api/keys/{id}/toggle").json["state"] == "ready"
    assert panel.ask("DELETE", f"/api/keys/{id}").status == 204
    assert panel.get(f"/api/keys/{id}").json["state"] == "removed"
    assert panel.post(f"/api/keys/{id}/toggle").status == 409
    assert id not in [key["id"] for key in panel.get("/api/providers/p/keys?limit=500").json["data"]]
    assert id in [key["id"] for key in panel.get("/api/providers/p/keys?status=removed").json["data"]]
    assert panel.post(f"/api/keys/{id}/restore").json["state"] == "ready"
    assert panel.ask("DELETE", f"/api/keys/{id}?forever=true").status == 204
    assert panel.get(f"/api/keys/{id}").status == 404


def test_a_cooldown_is_seen_and_lifted(panel: Panel) -> None:
    id = added(panel)["id"]
    cool_down(panel, id, 600)
    found = panel.get(f"/api/keys/{id}").json
    assert (found["state"], found["reason"]) == ("cooldown", "429: requests per minute")
    assert found["until"] > found["created_at"]
    assert [key["id"] for key in panel.get("/api/keys?status=cooldown").json["data"]] == [id]
    assert panel.post(f"/api/keys/{id}/reset-cooldown").json["state"] == "ready"


def test_a_check_says_what_the_provider_says(panel: Panel) -> None:
    id = added(panel, "revoked")["id"]
    answer = panel.post(f"/api/keys/{id}/check")
    assert (answer.status, answer.json["status"]) == (200, "revoked")
    assert panel.get(f"/api/keys/{id}").json["state"] == "revoked"


def test_a_key_that_a_check_refused_is_ready_nowhere(panel: Panel) -> None:
    """Also while a relay, which has not tried it since, says so."""
    key = added(panel, "revoked", "r")
    assert panel.post(f"/api/keys/{key['id']}/check").json["status"] == "revoked"
    [pool] = [pool for pool in panel.get("/api/dashboard").json["pools"] if pool["provider"] == "r"]
    assert (pool["ready"], pool["out"]) == (0, 1)
    now, relays = moment(time.time()), Relays(panel.database)
    pools = {"r": {"count": 1, "keys": [{"alias": key["alias"], "mask": "", "source": "vault"}], "own": False}}
    relays.say(RelayRow("r", 1, "h", "1", now, now, 0, None, "", "{}", json.dumps(pools), "{}"))
    try:
        [provider] = [one for one in panel.get("/api/providers").json["data"] if one["name"] == "r"]
        assert (provider["keys"]["live"], provider["keys"]["ready"], provider["keys"]["out"]) == (True, 0, 1)
    finally:
        relays.leave("r")


def test_a_key_of_the_configuration_is_there_and_changed_elsewhere(panel: Panel) -> None:
    [key] = panel.get("/api/providers/own/keys").json["data"]
    assert (key["id"], key["source"], key["state"]) == ("own:k1", "relay.yaml", "ready")
    assert panel.ask("DELETE", "/api/keys/own:k1").status == 409
    assert panel.ask("PATCH", "/api/keys/own:k1", {"label": "x"}, {"If-Match": "*"}).status == 409
    assert panel.post("/api/keys/own:k1/check").json["status"] == "valid"
    assert panel.ask("PUT", "/api/providers/own/keys/chosen", {"id": "own:k1"}).status == 204
    assert panel.get("/api/keys/own:k1").json["chosen"]
    assert CONFIGURED not in panel.get("/api/keys").text


def test_a_chosen_key(panel: Panel) -> None:
    id = added(panel)["id"]
    path = "/api/providers/p/keys/chosen"
    assert panel.ask("PUT", path, {"id": id}).status == 204
    assert panel.get("/api/providers/p/keys/stats").json["chosen"] == id
    assert panel.ask("PUT", "/api/providers/q/keys/chosen", {"id": id}).status == 409
    assert panel.ask("PUT", path, {"id": None}).status == 204
    assert not panel.get(f"/api/keys/{id}").json["chosen"]
    panel.post(f"/api/keys/{id}/toggle")
    assert panel.ask("PUT", path, {"id": id}).status == 409


def test_five_hundred_keys_at_once(panel: Panel) -> None:
    keys = [f"sk-ant-valid-of-many-{n:04}-0123456789abcdef" for n in range(500)]
    text = "\n".join([*keys, keys[7], "x", "# a comment"])
    plan = panel.post("/api/providers/q/keys/batch", {"text": text, "dry_run": True})
    assert plan.status == 200
    assert [plan.json[name] for name in ("new", "twice", "invalid", "known")] == [500, 1, 1, 0]
    assert plan.json["rows"][-1]["where"] == "line 502"
    assert panel.get("/api/providers/q/keys").json["data"] == []
    done = panel.post("/api/providers/q/keys/batch", {"text": text, "fields": {"tier": "public"}, "check": True})
    assert (done.json["new"], len(done.json["added"])) == (500, 500)
    assert not any(key in plan.text + done.text for key in keys)
    checked = panel.job(done.json["job"])
    assert (checked["state"], checked["done"], checked["total"]) == ("done", 500, 500)
    assert {result["status"] for result in checked["results"]} == {"valid"}
    again = panel.post("/api/providers/q/keys/batch", {"text": text, "dry_run": True}).json
    assert (again["known"], again["new"]) == (501, 0)
    seen, after = [], ""
    while True:
        page = panel.get(f"/api/providers/q/keys?limit=200&sort=-used{after}").json
        seen += [key["alias"] for key in page["data"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == sorted(f"v{n}" for n in range(1, 501))
    stats = panel.get("/api/providers/q/keys/stats").json
    assert (stats["total"], stats["tiers"], stats["checks"]) == (500, {"public": 500}, {"valid": 500})


def test_other_forms_of_a_batch(panel: Panel) -> None:
    path = "/api/providers/p/keys/batch"
    csv = f"key,label,tier\n{secret('csv-one')},first,admin\n{secret('csv-two')},second,wrong\n"
    answer = panel.post(path, {"text": csv, "dry_run": True})
    assert [(row["status"], row["label"]) for row in answer.json["rows"]] == [("new", "first"), ("invalid", "")]
    assert "csv-two" not in answer.text
    mixed_up = panel.post(path, {"text": f"key,provider\nfirst-{secret('one')},{secret('two')}\n", "dry_run": True})
    assert mixed_up.json["invalid"] == 1
    assert secret("two") not in mixed_up.text
    rows = [{"key": secret("row-one"), "label": "by row", "weight": 2}, {"label": "no key"}]
    assert panel.post(path, {"rows": rows}).status == 422, "a row without a key"
    assert panel.post(path, {"rows": rows[:1]}).json["new"] == 1
    assert panel.post(path, {}).status == 422
    new_api = '{"channels": [{"id": 1, "name": "theirs", "type": 14, "key": "' + secret("theirs") + '"}]}'
    found = panel.post(path, {"text": new_api, "gateway": "new-api", "dry_run": True})
    assert (found.status, found.json["new"]) == (200, 1), found.text


def test_operations_on_many(panel: Panel) -> None:
    ids = [added(panel, provider="p", group="many")["id"] for _ in range(3)]
    path = "/api/providers/p/keys/batch-operation"
    done = panel.post(path, {"operation": "disable", "filter": {"group": "many"}}).json
    assert (sorted(done["changed"]), done["meant"]) == (sorted(ids), 3)
    assert panel.post(path, {"operation": "disable", "ids": ids}).json["changed"] == []
    assert len(panel.post(path, {"operation": "enable", "ids": ids[:2]}).json["changed"]) == 2
    cool_down(panel, ids[0], 600)
    assert panel.post(path, {"operation": "reset", "ids": ids}).json["changed"] == ids[:1]
    assert panel.job(panel.post(path, {"operation": "check", "ids": ids}).json["job"])["done"] == 3
    assert len(panel.post(path, {"operation": "delete", "ids": ids}).json["changed"]) == 3
    assert len(panel.post(path, {"operation": "restore", "ids": ids}).json["changed"]) == 3
    both = panel.post("/api/providers/*/keys/batch-operation", {"operation": "disable", "ids": [ids[0], "own:k1"]}).json
    assert both["changed"] == ids[:1]
    assert both["left_out"][0]["name"] == "own/k1"
    assert panel.post(path, {"operation": "disable", "ids": ["nobody"]}).status == 404
    assert panel.post(path, {"operation": "disable"}).status == 422


def test_maintenance_removes_what_is_revoked(panel: Panel) -> None:
    bad, good = added(panel, "revoked", group="old")["id"], added(panel, "valid", group="old")["id"]
    begun = panel.post("/api/providers/p/keys/maintenance", {})
    assert begun.status == 202
    found = panel.job(begun.json["id"])
    assert {"id": bad, "removed": True} in found["results"]
    assert panel.get(f"/api/keys/{bad}").json["state"] == "removed"
    assert panel.get(f"/api/keys/{good}").json["state"] == "ready"


def test_who_may_do_what(panel: Panel) -> None:
    id, admin = added(panel)["id"], Admins(panel.database).find("admin")
    assert admin is not None
    tokens = Tokens(panel.database)
    say = {
        scope: {
            "Authorization": f"Bearer {tokens.add(Actor('t', 'cli'), admin, scope.value, scope, None)[1]}",
            "Cookie": "",
        }
        for scope in (Scope.READ, Scope.OPERATE)
    }
    remove = {"operation": "delete", "ids": [id]}
    assert panel.ask("GET", "/api/keys", headers=say[Scope.READ]).status == 200
    assert panel.ask("POST", f"/api/keys/{id}/toggle", headers=say[Scope.READ]).status == 403
    assert panel.ask("POST", f"/api/keys/{id}/toggle", headers=say[Scope.OPERATE]).status == 200
    assert panel.ask("POST", "/api/providers/p/keys/batch-operation", remove, say[Scope.OPERATE]).status == 403
    assert panel.ask("POST", "/api/providers/p/keys", {"key": secret("valid")}, say[Scope.OPERATE]).status == 403
    with closing(sqlite3.connect(panel.database)) as connection, connection:
        connection.execute("UPDATE panel_sessions SET confirmed_at = 0")
    said = panel.post("/api/providers/p/keys", {"key": secret("valid")}).json
    assert said["type"].endswith(":confirm_password")
    many = {"text": f"{secret('valid')}\nhello world\n"}
    assert panel.post("/api/providers/p/keys/batch", many).json["type"].endswith(":confirm_password")
    seen = panel.post("/api/providers/p/keys/batch", many | {"dry_run": True}).json
    assert (seen["new"], seen["invalid"], seen["added"]) == (1, 1, [])
    panel.post("/api/me/confirm", {"password": "correct horse battery"})
