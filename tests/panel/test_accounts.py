"""One's own account, and those of others: the second factor, sessions, tokens, admins."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from claude_relay.panel.security.delays import FREE_CODES
from claude_relay.store.panel.admins import Role
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault

from .inside import ACTOR, PASSWORD, Inside

type Headers = dict[str, str]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    found = Inside(tmp_path)
    found.add("ann")
    return found


def enable(inside: Inside, headers: Headers) -> tuple[pyotp.TOTP, list[str]]:
    """A second factor, and its recovery codes."""
    begun = inside.ask("POST", "/api/me/totp", headers=headers).json
    app = pyotp.TOTP(begun["secret"])
    done = inside.ask("POST", "/api/me/totp", {"code": app.at(int(inside.clock.now))}, headers)
    assert (done.status, done.json["enabled"]) == (200, True), done.text
    return app, done.json["recovery_codes"]


def now(app: pyotp.TOTP, inside: Inside, steps: int = 0) -> str:
    return app.at(int(inside.clock.now) + 30 * steps)


# -- the second factor


def test_a_second_factor_begins_with_a_picture_and_is_asked_for_once_proved(inside: Inside) -> None:
    here, there = inside.signed_in("ann"), inside.signed_in("ann")
    begun = inside.ask("POST", "/api/me/totp", headers=here).json
    uri = urlsplit(begun["uri"])
    assert (uri.scheme, parse_qs(uri.query)["secret"]) == ("otpauth", [begun["secret"]])
    assert begun["qr"].startswith("<svg")
    assert "style" not in begun["qr"]
    assert inside.login("ann").status == 200
    wrong = inside.ask("POST", "/api/me/totp", {"code": "000000"}, here)
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "code")
    app, codes = enable(inside, here)
    assert len(set(codes)) == 10
    assert inside.ask("GET", "/api/me", headers=there).status == 401
    assert inside.ask("GET", "/api/me", headers=here).json["recovery_codes_left"] == 10
    assert inside.ask("POST", "/api/me/totp", headers=here).status == 409
    missing = inside.login("ann")
    assert (missing.status, missing.json["type"]) == (401, "urn:claude-relay:problem:code")
    assert inside.login("ann", "wrong one", code=now(app, inside)).json["type"].endswith(":credentials")


def test_each_code_works_once_and_a_step_beside_its_own(inside: Inside) -> None:
    app, _ = enable(inside, inside.signed_in("ann"))
    used = now(app, inside)
    assert inside.login("ann", code=used).status == 401
    inside.clock.now += 60
    assert inside.login("ann", code=now(app, inside, -2)).status == 401
    assert inside.login("ann", code=now(app, inside, -1)).status == 200
    assert inside.login("ann", code=now(app, inside, -1)).status == 401
    assert inside.login("ann", code=f" {now(app, inside, 1)[:3]} {now(app, inside, 1)[3:]}").status == 200
    assert inside.login("ann", code=now(app, inside)).status == 401


def test_a_recovery_code_works_once_also_when_codes_have_to_wait(inside: Inside) -> None:
    here = inside.signed_in("ann")
    _, codes = enable(inside, here)
    found = [inside.login("ann", code="123456").status for _ in range(FREE_CODES + 2)]
    assert found == [401] * FREE_CODES + [429] * 2
    assert inside.login("ann", code=codes[0].upper().replace("-", " ")).status == 200
    assert inside.login("ann", code=codes[0]).status == 401
    assert inside.login("ann", code=codes[1]).json["recovery_codes_left"] == 8
    fresh = inside.ask("POST", "/api/me/recovery-codes", headers=here).json["recovery_codes"]
    assert inside.login("ann", code=codes[2]).status == 401
    assert inside.login("ann", code=fresh[0]).status == 200


def test_a_link_is_not_enough_where_there_is_a_second_factor(inside: Inside) -> None:
    app, _ = enable(inside, inside.signed_in("ann"))
    inside.clock.now += 30
    said = {"link": inside.parts.admins.link("ann", inside.clock.now + 60), "password": "another horse"}
    answer = inside.ask("POST", "/api/welcome", said)
    assert (answer.status, answer.json["type"]) == (401, "urn:claude-relay:problem:code")
    assert inside.ask("POST", "/api/welcome", said | {"code": now(app, inside)}).status == 200


def test_the_secret_is_sealed_and_moves_with_the_vaults_lock(inside: Inside) -> None:
    vault = Vault(inside.parts.database, environ={})
    app, _ = enable(inside, inside.signed_in("ann"))
    assert app.secret.encode() not in inside.parts.database.read_bytes()
    with sqlite3.connect(inside.parts.database) as db:
        before = db.execute("SELECT totp FROM admins").fetchone()[0]
        assert app.secret.encode() not in before
    db.close()
    vault.rotate_secret()
    vault.add(NewKey("anthropic", "sk-ant-api03-1"))
    vault.rotate_secret()
    inside.clock.now += 30
    assert inside.login("ann", code=now(app, inside)).status == 200
    assert [key.secret for key in vault.issue()["anthropic"]] == ["sk-ant-api03-1"]


def test_a_lost_secret_of_the_vault_leaves_recovery_codes(inside: Inside) -> None:
    app, codes = enable(inside, inside.signed_in("ann"))
    inside.parts.database.with_name("relay.db.secret").unlink()
    inside.clock.now += 30
    answer = inside.login("ann", code=now(app, inside))
    assert answer.status == 503
    assert "recovery code" in answer.json["detail"]
    assert "--without-second-factor" in answer.json["detail"]
    here = inside.signed_in("ann", code=codes[0])
    assert inside.ask("DELETE", "/api/me/totp", headers=here).status == 204
    assert inside.login("ann").status == 200
    assert inside.ask("DELETE", "/api/me/totp", headers=here).status == 404
    again, _ = enable(inside, here)
    inside.clock.now += 30
    assert inside.login("ann", code=now(again, inside)).status == 200


# -- sessions, tokens


def test_sessions_are_seen_and_ended(inside: Inside) -> None:
    here, there = inside.signed_in("ann"), inside.signed_in("ann")
    seen = inside.ask("GET", "/api/me/sessions", headers=here).json["data"]
    assert sorted(session["current"] for session in seen) == [False, True]
    [other] = [session for session in seen if not session["current"]]
    assert inside.ask("DELETE", "/api/me/sessions/0", headers=here).status == 404
    assert inside.ask("DELETE", f"/api/me/sessions/{other['id']}", headers=here).status == 204
    assert inside.ask("GET", "/api/me", headers=there).status == 401
    third = inside.signed_in("ann")
    assert inside.ask("DELETE", "/api/me/sessions", headers=here).status == 204
    assert inside.ask("GET", "/api/me", headers=third).status == 401
    assert inside.ask("GET", "/api/me", headers=here).status == 200


def test_a_token_is_shown_once_and_never_more_than_its_owner(inside: Inside) -> None:
    inside.add("viewer", Role.VIEWER)
    here = inside.signed_in("ann")
    made = inside.ask("POST", "/api/tokens", {"name": "ci", "scope": "operate", "days": 30}, here)
    assert made.status == 201
    token = {"Authorization": f"Bearer {made.json['token']}"}
    assert made.json["token"] not in inside.ask("GET", "/api/tokens", headers=here).text
    assert inside.ask("GET", "/api/me", headers=token).json["level"] == "operate"
    assert inside.ask("POST", "/api/tokens", {"name": "more", "scope": "admin"}, token).status == 403
    assert inside.ask("POST", "/api/me/totp", headers=token).status == 403
    assert inside.ask("POST", "/api/tokens", {"name": "ci", "scope": "read"}, here).status == 409
    assert inside.ask("POST", "/api/tokens", {"name": "x", "scope": "read", "days": 0}, here).status == 422
    viewer = inside.signed_in("viewer")
    refused = inside.ask("POST", "/api/tokens", {"name": "ci", "scope": "operate"}, viewer)
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "scope")
    assert inside.ask("DELETE", f"/api/tokens/{made.json['id']}", headers=viewer).status == 404
    assert inside.ask("DELETE", f"/api/tokens/{made.json['id']}", headers=here).status == 204
    assert inside.ask("GET", "/api/me", headers=token).status == 401


# -- others


def test_an_admin_is_invited_changed_and_removed(inside: Inside) -> None:
    here = inside.signed_in("ann")
    made = inside.ask("POST", "/api/admins", {"name": "bob", "role": "operator"}, here)
    assert made.status == 201
    assert made.json["link"].startswith("http://127.0.0.1:8083/welcome?link=")
    [ann, bob] = inside.ask("GET", "/api/admins", headers=here).json["data"]
    assert (ann["invited"], bob["invited"], bob["has_password"], bob["role"]) == (False, True, False, "operator")
    chosen = {"link": made.json["link"].partition("=")[2], "password": PASSWORD}
    assert inside.ask("POST", "/api/welcome", chosen).status == 200
    theirs = inside.signed_in("bob")
    one = inside.ask("GET", "/api/admins/bob", headers=here)
    tag = {"If-Match": one.headers["etag"]}
    assert inside.ask("PATCH", "/api/admins/bob", {"role": "viewer"}, here).status == 428
    assert inside.ask("PATCH", "/api/admins/bob", {"role": "admin"}, here | tag).json["role"] == "admin"
    assert inside.ask("PATCH", "/api/admins/bob", {"role": "viewer"}, here | tag).status == 412
    assert inside.ask("GET", "/api/admins", headers=theirs).status == 200
    assert inside.ask("DELETE", "/api/admins/ann", headers=theirs).status == 204
    assert inside.ask("GET", "/api/me", headers=here).status == 401
    assert inside.ask("DELETE", "/api/admins/bob", headers=theirs).status == 409
    assert inside.ask("PATCH", "/api/admins/bob", {"role": "viewer"}, theirs | {"If-Match": "*"}).status == 409
    said = [entry["act"] for entry in audit(inside)]
    assert [said.count(act) for act in ("add", "edit", "remove")] == [2, 1, 1]


def test_a_second_factor_is_taken_from_somebody_who_has_lost_it(inside: Inside) -> None:
    inside.add("bob", Role.VIEWER)
    enable(inside, inside.signed_in("bob"))
    here = inside.signed_in("ann") | {"If-Match": "*"}
    assert inside.ask("PATCH", "/api/admins/bob", {"second_factor": True}, here).status == 422
    assert inside.ask("PATCH", "/api/admins/bob", {"second_factor": False}, here).json["second_factor"] is False
    assert inside.login("bob").status == 200
    link = inside.ask("POST", "/api/admins/bob/link", headers=here)
    assert link.status == 200
    assert inside.ask("POST", "/api/admins/nobody/link", headers=here).status == 404


def test_odd_names_are_refused(inside: Inside) -> None:
    here = inside.signed_in("ann")
    for name in ("", " ", "a b", "ä", "a/b", "x" * 65):
        assert inside.ask("POST", "/api/admins", {"name": name}, here).status == 422, name
    assert inside.ask("POST", "/api/admins", {"name": "ANN"}, here).status == 409
    assert inside.parts.admins.add(ACTOR, "a.b@c", Role.VIEWER).name == "a.b@c"


def audit(inside: Inside) -> list[dict[str, Any]]:
    with inside.parts.ledger() as db:
        return [{"act": row[0]} for row in db.execute("SELECT act FROM audit WHERE kind = 'admin'")]
