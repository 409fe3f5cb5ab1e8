"""Attacks on the sign-in: guessing, from one address and from many; waiting for the owner; cookies, links and tokens of others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from claude_relay.panel.security import delays, passwords
from claude_relay.panel.security.delays import FREE, LONGEST
from claude_relay.panel.security.doors import HEADERS, POLICY
from claude_relay.store.panel.admins import Role
from claude_relay.store.panel.api_tokens import Scope
from waiting import PATIENCE, eventually

from .inside import ACTOR, HASHED, PASSWORD, Inside, cookie_of


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """With one admin, and hashing that costs little: what it costs is not what is looked at here."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    found = Inside(tmp_path)
    found.add("ann")
    return found


def guess(inside: Inside, name: str = "ann", **more: str) -> int:
    return inside.login(name, "wrong one", **more).status


# -- guessing


def test_guessing_costs_more_with_each_guess(inside: Inside) -> None:
    assert [guess(inside) for _ in range(FREE + 1)] == [401] * FREE + [429]
    waits = []
    for _ in range(10):
        answer = inside.login("ann", "wrong one")
        waits.append(int(answer.headers["retry-after"]))
        inside.clock.now += waits[-1]
        assert guess(inside) == 401
    assert waits == sorted(waits)
    assert LONGEST <= waits[-1] <= LONGEST + 1
    assert inside.login("ann").status == 429
    inside.clock.now += LONGEST
    assert inside.login("ann").status == 200
    assert guess(inside) == 401


def test_a_hundred_guesses_at_once_are_a_hundred(inside: Inside) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: guess(inside), range(40)))
    assert found.count(401) == FREE
    assert found.count(429) == 40 - FREE


@pytest.mark.parametrize("name", ["ANN", "nobody"])
def test_names_that_are_not_there_are_told_from_none(inside: Inside, name: str) -> None:
    ours = [(answer.status, answer.text) for answer in (inside.login("ann", "wrong one") for _ in range(5))]
    inside.clock.now += 24 * 3600 + 1
    assert [(answer.status, answer.text) for answer in (inside.login(name, "wrong one") for _ in range(5))] == ours


def test_many_names_from_one_address_wait_too(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "FREE_ANY", 6)
    assert [guess(inside, f"name{n}") for n in range(8)] == [401] * 6 + [429] * 2
    inside.place = "203.0.113.9"
    assert inside.login("ann").status == 200


def test_addresses_of_one_network_are_one(inside: Inside) -> None:
    for n in range(FREE):
        inside.place = f"2001:db8:1:2::{n + 1}"
        assert guess(inside) == 401
    inside.place = "2001:db8:1:2:3:4:5:6"
    assert guess(inside) == 429
    inside.place = "2001:db8:1:3::1"
    assert guess(inside) == 401


# -- the owner


def test_others_elsewhere_do_not_keep_the_owner_out(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses guess, without a pause: the owner's own has failed never."""
    monkeypatch.setattr(delays, "MANY", 8)
    for n in range(12):
        inside.place = f"198.51.100.{n}"
        assert guess(inside) == 401
    inside.place = "198.51.100.200"
    assert [guess(inside), guess(inside)] == [401, 429]
    inside.place = "192.0.2.1"
    assert inside.login("ann").status == 200


def test_others_at_the_same_address_do_not_keep_the_owner_out_of_a_known_browser(inside: Inside) -> None:
    """As behind a reverse proxy that is not known to be one, or on one machine."""
    cookie = cookie_of(inside.login("ann"), "relay-device")
    while guess(inside) == 401:
        pass
    assert inside.login("ann").status == 429
    assert inside.login("ann", cookie=cookie).status == 200
    assert [guess(inside, cookie=cookie) for _ in range(FREE + 1)] == [401] * FREE + [429]
    inside.add("bob")
    assert [guess(inside, "bob", cookie=cookie) for _ in range(2)] == [401, 401]


def test_a_known_browser_is_forgotten_with_the_password(inside: Inside) -> None:
    cookie = cookie_of(inside.login("ann"), "relay-device")
    inside.parts.admins.set_password(ACTOR, "ann", passwords.hashed("another horse"))
    while guess(inside) == 401:
        pass
    assert inside.login("ann", "another horse", cookie=cookie).status == 429
    for odd in ("relay-device=é.ü", "relay-device=", "relay-device=."):
        assert inside.login("ann", "another horse", cookie=odd).status == 429


def test_a_link_waits_for_nobody(inside: Inside) -> None:
    while guess(inside) == 401:
        pass
    link = inside.parts.admins.link("ann", inside.clock.now + 60)
    assert inside.ask("POST", "/api/welcome", {"link": link, "password": PASSWORD}).status == 200
    assert inside.login("ann").status == 200


def test_a_flood_of_names_does_not_fill_the_disk(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_relay.store.panel.failures.MOST", 20)
    monkeypatch.setattr("secrets.randbelow", lambda _: 0)
    for n in range(15):
        inside.place = f"10.0.0.{n}"
        guess(inside, f"name{n}")
    with inside.parts.ledger() as db:
        assert db.execute("SELECT count(*) FROM login_failures").fetchone()[0] <= 20


def test_a_name_that_is_not_there_costs_as_much(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Noted(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            seen.append(str(hash).rpartition("$")[0].rpartition("$")[0])
            return bool(super().verify(hash, password))

    real = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", Noted())
    inside.parts.admins.set_password(ACTOR, "ann", real.hash(PASSWORD))
    inside.parts.admins.add(ACTOR, "unset", Role.VIEWER)
    assert [inside.login(name, "wrong one").status for name in ("ann", "nobody", "unset")] == [401] * 3
    assert len(seen) == 3
    assert len(set(seen)) == 1


# -- cookies, sessions


def test_a_session_is_another_one_than_the_browser_brought(inside: Inside) -> None:
    first = inside.signed_in("ann")
    answer = inside.login("ann", cookie=first["Cookie"])
    assert cookie_of(answer, "relay-panel") not in first["Cookie"]
    assert inside.ask("GET", "/api/me", headers=first).status == 401
    planted = inside.login("ann", cookie="relay-panel=planted")
    assert "planted" not in cookie_of(planted)


@pytest.mark.parametrize("tls", [False, True])
def test_cookies_are_for_this_panel_alone(tmp_path: Path, tls: bool) -> None:
    inside = Inside(tmp_path, tls=tls)
    inside.add("ann")
    answer = inside.login("ann")
    assert len(answer.cookies) == 2
    for cookie in answer.cookies:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= attributes
        assert ("secure" in attributes, cookie.startswith("__Host-")) == (tls, tls)
        assert not any(part.startswith("domain") for part in attributes)
    assert ("strict-transport-security" in answer.headers) is tls


def test_a_session_ends(inside: Inside) -> None:
    idle, worked = inside.signed_in("ann"), inside.signed_in("ann")
    for _ in range(13):
        inside.clock.now += 3600
        assert inside.ask("GET", "/api/me", headers=worked).status == 200
    assert inside.ask("GET", "/api/me", headers=idle).status == 401
    for _ in range(7 * 3):
        inside.clock.now += 8 * 3600
        last = inside.ask("GET", "/api/me", headers=worked).status
    assert last == 401


def test_a_new_password_signs_out_everywhere_else(inside: Inside) -> None:
    here, there = inside.signed_in("ann"), inside.signed_in("ann")
    said = {"current": PASSWORD, "password": "another horse"}
    assert inside.ask("POST", "/api/me/password", said | {"current": "wrong"}, here).status == 403
    answer = inside.ask("POST", "/api/me/password", said, here)
    assert answer.status == 204
    assert cookie_of(answer).startswith("relay-device=")
    assert inside.ask("GET", "/api/me", headers=here).status == 200
    assert inside.ask("GET", "/api/me", headers=there).status == 401
    assert inside.login("ann").status == 401


def test_signing_out_ends_it_for_whoever_has_the_cookie(inside: Inside) -> None:
    here = inside.signed_in("ann")
    answer = inside.ask("POST", "/api/logout", headers=here)
    assert answer.status == 204
    assert "Max-Age=0" in answer.cookies[0]
    assert inside.ask("GET", "/api/me", headers=here).status == 401


def test_a_link_is_used_once_even_at_once(inside: Inside) -> None:
    link = inside.parts.admins.link("new", inside.clock.now + 60)

    def choose(n: int) -> int:
        return inside.ask("POST", "/api/welcome", {"link": link, "password": f"battery {n} horse"}).status

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(choose, range(8)))
    assert found[0] == 200
    assert set(found[1:]) <= {404, 409}
    late = inside.parts.admins.link("new", inside.clock.now + 60)
    inside.clock.now += 61
    assert inside.ask("POST", "/api/welcome", {"link": late, "password": PASSWORD}).status == 404


# -- tokens


def test_tokens_end(inside: Inside) -> None:
    ann = inside.parts.admins.find("ann")
    assert ann is not None
    _, over = inside.parts.tokens.add(ACTOR, ann, "over", Scope.READ, "2027-01-15T08:00:10.000Z")
    made, gone = inside.parts.tokens.add(ACTOR, ann, "gone", Scope.READ, None)
    _, of_role = inside.parts.tokens.add(ACTOR, ann, "role", Scope.ADMIN, None)

    def status(secret: str, path: str = "/api/me") -> int:
        return inside.ask("GET", path, headers={"Authorization": f"Bearer {secret}"}).status

    assert [status(secret) for secret in (over, gone, of_role)] == [200, 200, 200]
    inside.clock.now += 11
    inside.parts.tokens.remove(ACTOR, ann, made.id)
    assert [status(secret) for secret in (over, gone, of_role)] == [401, 401, 200]
    inside.parts.admins.add(ACTOR, "bob", Role.ADMIN, HASHED)
    inside.parts.admins.set_role(ACTOR, "ann", Role.VIEWER)
    assert status(of_role, "/api/admins") == 403
    inside.parts.admins.remove(ACTOR, "ann")
    assert status(of_role) == 401


# -- every answer


def test_every_answer_has_the_policy(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    html = {"Accept": "text/html"}
    static = inside.ask("GET", "/login", headers=html).text.partition('stylesheet" href="')[2].partition('"')[0]
    found = {
        "page": inside.ask("GET", "/login", headers=html),
        "static": inside.ask("GET", static),
        "missing": inside.ask("GET", "/nothing", headers=html),
        "missing file": inside.ask("GET", "/static/x"),
        "method": inside.ask("DELETE", "/login"),
        "host": inside.ask("GET", "/login", headers={"Host": "evil.example"}),
        "length": inside.ask("POST", "/login", headers={"Content-Length": "x"}),
        "too large": inside.ask("POST", "/login", headers={"Content-Length": "99999999"}),
        "redirect": inside.ask("GET", "/", headers=html),
    }
    monkeypatch.setattr(type(inside.parts.admins), "find", fail)
    found["fault"] = inside.ask("POST", "/api/login", {"username": "ann", "password": "x"})
    monkeypatch.setattr(type(inside.parts.sessions), "find", fail)
    found["fault of a page"] = inside.ask("GET", "/login", headers=html | {"Cookie": "relay-panel=x"})
    statuses = [200, 200, 404, 404, 405, 403, 400, 413, 303, 500, 500]
    assert [answer.status for answer in found.values()] == statuses
    for name, answer in found.items():
        assert HEADERS.items() <= answer.headers.items(), name
        assert answer.headers["content-security-policy"] == POLICY, name
        assert ("immutable" in answer.headers["cache-control"]) is (name == "static"), name
    assert found["fault of a page"].headers["content-type"].startswith("text/html")
    assert "on purpose" not in found["fault"].text + found["fault of a page"].text


def test_only_pages_of_the_panel_change_anything(inside: Inside) -> None:
    here = inside.signed_in("ann")

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return inside.ask("POST", "/api/me/confirm", {"password": PASSWORD}, here | named).status

    assert status(Origin="http://127.0.0.1:8083") == 204
    assert status(Sec_Fetch_Site="none") == 204
    for wrong in ("http://evil.example", "https://127.0.0.1:8083", "http://127.0.0.1:9", "null"):
        assert status(Origin=wrong) == 403
    for site in ("cross-site", "same-site"):
        assert status(Sec_Fetch_Site=site) == 403


def test_a_flood_of_passwords_fills_neither_memory_nor_threads(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    go, began = threading.Event(), threading.Semaphore(0)

    class Slow(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            began.release()
            go.wait()
            return bool(super().verify(hash, password))

    quick, here = passwords._HASHER, cookie_of(inside.login("ann"), "relay-device")
    monkeypatch.setattr(passwords, "_HASHER", Slow())
    monkeypatch.setattr(passwords, "PATIENCE", PATIENCE)
    room = passwords.AT_ONCE + passwords.WAITING
    with ThreadPoolExecutor(room) as pool:
        waiting = [pool.submit(passwords.verify, None, "x") for _ in range(room)]
        for _ in range(passwords.AT_ONCE):
            assert began.acquire(timeout=PATIENCE)
        assert not began.acquire(blocking=False)
        eventually(lambda: passwords._ROOM._value == 0)
        assert inside.login("ann").status == 503
        monkeypatch.setattr(passwords, "_HASHER", quick)
        assert inside.login("ann", cookie=here).status == 200  # the owner does not stand behind strangers
        go.set()
        assert [work.result(PATIENCE) for work in waiting] == [False] * room


def test_what_one_token_was_told_is_not_told_to_another(inside: Inside) -> None:
    here = inside.signed_in("ann") | {"Idempotency-Key": "k"}
    said = {"name": "ci", "scope": "read"}
    first, again = (inside.ask("POST", "/api/tokens", said, here) for _ in range(2))
    assert (first.json, again.headers["idempotent-replayed"]) == (again.json, "true")
    other = {"Authorization": f"Bearer {first.json['token']}", "Idempotency-Key": "k"}
    assert inside.ask("POST", "/api/tokens", said, other).status == 403
