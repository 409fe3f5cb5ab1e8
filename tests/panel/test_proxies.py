"""Ways out by the panel: proxies of the vault and of relay.yaml, tried for real; no password in any answer, the audit log or a diff."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from claude_relay.panel.security.passwords import hashed
from claude_relay.store.audit import Actor
from claude_relay.store.ledger.ledger import AttemptRow, RequestRow
from claude_relay.store.ledger.tables import Tables
from claude_relay.store.panel.admins import Admins, Role
from upstream.providers import answering, raw
from waiting import PATIENCE, eventually
from wire.socks import microsocks
from wire.upstream import FakeUpstream

from .stage import PASSWORD, Answer, Panel

HIDDEN = "hunter2"
URL = f"socks5://me:{HIDDEN}@proxy.example:1080"
RELAY_YAML = f"""\
providers:
  near: {{base_url: "http://127.0.0.1:9"}}
  far: {{base_url: "http://127.0.0.1:9", proxy: office}}   # by the office
proxies:
  # of the company
  office: {{url: "http://me:{HIDDEN}@office.example:3128", timeout: 5s}}
  spare: {{url: "https://spare.example"}}
"""


@pytest.fixture(autouse=True)
def as_it_was(panel: Panel) -> Iterator[None]:
    """Each test begins with the file of the first, and with an empty vault; what is said nowhere has a password."""
    before = panel.config.read_bytes()
    yield
    panel.config.write_bytes(before)
    for key in panel.get("/api/keys").json["data"]:
        if key["source"] == "vault":
            panel.ask("DELETE", f"/api/keys/{key['id']}?forever=true")
    for one in listed(panel):
        if one["source"] == "vault":
            assert ask(panel, "DELETE", f"/api/proxies/{one['name']}?source=vault").status == 200
    with closing(sqlite3.connect(panel.database)) as db:
        assert HIDDEN not in repr(db.execute("SELECT * FROM audit").fetchall())


def ask(panel: Panel, method: str, path: str, body: Any = None, etag: str = "*", **more: str) -> Answer:
    answer = panel.ask(method, path, body, {"If-Match": etag} | more)
    assert HIDDEN not in answer.text
    return answer


def listed(panel: Panel) -> list[dict[str, Any]]:
    answer = panel.get("/api/proxies")
    assert HIDDEN not in answer.text
    return answer.json["data"]


def add(panel: Panel, **fields: Any) -> Answer:
    return ask(panel, "POST", "/api/proxies", {"name": "home", "url": URL} | fields)


def add_key(panel: Panel, proxy: str | None = "home", provider: str = "near") -> Answer:
    return ask(panel, "POST", f"/api/providers/{provider}/keys", {"key": "sk-ant-0123456789abcdef", "proxy": proxy})


def settled(panel: Panel, name: str) -> dict[str, Any]:
    """When something has gone through it: figures are worked out every two seconds at most."""

    def found() -> dict[str, Any] | None:
        [one] = [one for one in listed(panel) if one["name"] == name]
        return one if one["last_day"]["requests"] else None

    one = eventually(found)
    assert one is not None
    return one


def diff(answer: Answer) -> list[str]:
    signs = {"added": "+", "removed": "-"}
    return [signs[line["kind"]] + line["text"] for line in answer.json["diff"] if line["kind"] in signs]


# -- in the vault


def test_one_is_added_used_changed_and_taken_away(panel: Panel) -> None:
    added = add(panel, direct=True, timeout="2s", notes="at home", headers={})
    assert added.status == 422  # no such field
    added = add(panel, direct=True, timeout="2s", notes="at home")
    assert added.status == 201
    assert added.json["address"] == "socks5://proxy.example:1080"
    assert (added.json["source"], added.json["signed_in"], added.json["direct"]) == ("vault", True, True)
    key = add_key(panel).json["name"]
    one = panel.get("/api/proxies/home")
    assert (one.json["keys"], one.json["timeout"]) == ([key], 2.0)
    etag = one.headers["etag"]
    assert panel.ask("PUT", "/api/proxies/home", {"timeout": 3}).status == 428
    changed = ask(panel, "PUT", "/api/proxies/home", {"timeout": 3, "direct": False}, etag)
    assert (changed.json["timeout"], changed.json["direct"], changed.json["notes"]) == (3.0, False, "at home")
    assert ask(panel, "PUT", "/api/proxies/home", {"timeout": 4}, etag).status == 412
    changed = ask(panel, "PUT", "/api/proxies/home", {"url": "http://other.example"}, changed.headers["etag"])
    assert (changed.json["address"], changed.json["signed_in"]) == ("http://other.example:80", False)
    refused = ask(panel, "DELETE", "/api/proxies/home")
    assert (refused.status, key in refused.json["detail"]) == (409, True)
    [id] = [one["id"] for one in panel.get("/api/keys").json["data"]]
    assert ask(panel, "PATCH", f"/api/keys/{id}", {"proxy": None}).status == 200
    assert ask(panel, "DELETE", "/api/proxies/home").status == 200
    assert panel.get("/api/proxies/home").status == 404


def test_what_is_sent_twice_is_done_once(panel: Panel) -> None:
    once = {"Idempotency-Key": "one"}
    assert [ask(panel, "POST", "/api/proxies", {"name": "home", "url": URL}, **once).status for _ in range(2)] == [
        201
    ] * 2
    assert add(panel).status == 409


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"name": "two words"}, "name"),
        ({"name": "direct"}, "name"),
        ({"url": f"socks4://me:{HIDDEN}@h:1"}, "url"),
        ({"url": f"me:{HIDDEN}"}, "url"),
        ({"timeout": "0"}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"notes": "sk-ant-api03-0123456789abcdef"}, "notes"),
        ({"ca": "ca.pem"}, "ca"),
        ({"source": "relay.yaml"}, "url"),
        ({"source": "relay.yaml", "url": "http://h", "ca": "ca.pem"}, ""),
    ],
)
def test_what_cannot_be_is_refused_by_field(panel: Panel, said: dict[str, Any], wrong: str) -> None:
    answer = add(panel, **said)
    assert answer.status == 422, answer.text
    assert [error["field"] for error in answer.json["errors"]][:1] == [wrong]


def test_keys_refer_to_those_that_there_are(panel: Panel) -> None:
    answer = add_key(panel, "offce")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "proxy")
    assert "office" in answer.json["detail"]
    answer = add_key(panel, "office")
    assert answer.status == 201
    [office] = [one for one in listed(panel) if one["name"] == "office"]
    assert (office["providers"], office["keys"]) == (["far"], [answer.json["name"]])


# -- in relay.yaml


def test_one_of_relay_yaml_is_changed_in_place_and_shown_first(panel: Panel) -> None:
    before = panel.config.read_text()
    tag = panel.get("/api/proxies").headers["etag"]
    new = {"name": "new", "url": "socks5://me:${P:-}@new.example", "source": "relay.yaml", "direct": True}
    assert ask(panel, "POST", "/api/proxies?dry_run=true", new | {"url": URL}, tag).status == 422
    new["url"] = "socks5://new.example"
    shown = ask(panel, "POST", "/api/proxies?dry_run=true", new, tag)
    assert (shown.status, shown.json["saved"], panel.config.read_text()) == (201, False, before)
    assert diff(shown) == ["+  new: {url: socks5://new.example, direct: true}"]
    assert ask(panel, "POST", "/api/proxies", new, tag).json["saved"]
    assert ask(panel, "POST", "/api/proxies", new | {"name": "newer"}, tag).status == 412
    changed = ask(
        panel, "PUT", "/api/proxies/office", {"timeout": "7s"}, panel.get("/api/proxies/office").headers["etag"]
    )
    assert [line[0] for line in diff(changed)] == ["-", "+"]
    assert HIDDEN in panel.config.read_text()  # which the mark in the diff stands for
    assert "# of the company" in panel.config.read_text()
    assert panel.get("/api/proxies/office").json["timeout"] == 7.0
    assert ask(panel, "DELETE", "/api/proxies/office").status == 409
    assert diff(ask(panel, "DELETE", "/api/proxies/spare")) == ['-  spare: {url: "https://spare.example"}']
    assert "proxy: office" in panel.config.read_text()


def test_the_settings_do_not_show_a_password(panel: Panel) -> None:
    for path in ("/api/settings", "/api/providers", "/proxies?edit=office&source=relay.yaml", "/settings"):
        assert HIDDEN not in panel.get(path).text, path


def test_a_name_in_both(panel: Panel) -> None:
    """relay.yaml's is used, and the other one can be taken away."""
    assert add(panel, name="office").status == 409
    add(panel)
    key = add_key(panel).json["name"]
    panel.config.write_text(panel.config.read_text().replace("  spare:", "  home:"))
    ones = {one["source"]: one for one in listed(panel) if one["name"] == "home"}
    assert ones["relay.yaml"]["keys"] == [key]
    assert (ones["vault"]["shadowed"], ones["vault"]["keys"]) == (True, [])
    assert panel.get("/api/proxies/home").json["source"] == "relay.yaml"
    assert ask(panel, "DELETE", "/api/proxies/home?source=vault").status == 200


# -- tried, and what the ledger says


def test_one_is_tried(panel: Panel) -> None:
    with ExitStack() as stack:
        proxy, upstream = stack.enter_context(microsocks("me", HIDDEN)), stack.enter_context(FakeUpstream())
        echo = stack.enter_context(raw(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n192.0.2.7")))
        panel.config.write_text(panel.config.read_text().replace("http://127.0.0.1:9", upstream.url))
        add(panel, url=proxy.url_for("me", HIDDEN), timeout=PATIENCE)
        good = panel.post("/api/proxies/home/test", {"echo": f"http://{echo}/"}).json
        assert (good["ok"], good["target"], good["seen"]) == (True, "127.0.0.1", "127.0.0.1 sees 192.0.2.7")
        assert upstream.requests == []
        ask(panel, "PUT", "/api/proxies/home", {"url": proxy.url_for("me", "wrong-one")})
        bad = panel.post("/api/proxies/home/test").json
        assert bad["reason"] == "the proxy refused the user or the password"
        assert "correct user and password" in bad["remedy"]
    gone = panel.post("/api/proxies/home/test").json
    assert "cannot be reached" in gone["reason"]
    assert panel.get("/api/proxies/home").json["tested"] == gone
    assert "wrong-one" not in str([good, bad, gone])


def test_an_operator_tries_and_asks_nobody_else(panel: Panel) -> None:
    Admins(panel.database).add(Actor("test", "cli"), "olga", Role.OPERATOR, hashed(PASSWORD))
    operator = Panel(panel.folder, panel.port, panel.process)
    assert operator.sign_in("olga").status == 200
    add(panel)
    assert operator.post("/api/proxies/home/test", {"echo": "http://127.0.0.1/"}).status == 403
    assert ask(operator, "DELETE", "/api/proxies/home").status == 403
    assert operator.page("/proxies").status == 200
    assert 'data-api="DELETE' not in operator.page("/proxies").text


def test_what_went_through_it(panel: Panel) -> None:
    tables = Tables(panel.database, patience=PATIENCE)
    tables.open()
    now = time.time()

    def request(n: int, proxy: str, verdict: str = "ok") -> tuple[RequestRow, tuple[AttemptRow, ...]]:
        error = "no proxy is there, through socks5://proxy.example:1080 (home)" if verdict != "ok" else None
        row = RequestRow(
            id=f"req_{n}", started_at=now - 60 + n, method="POST", path="/v1/messages", finished="complete" if verdict == "ok" else "error",
            attempts=1, proxy=proxy, cost_usd=0.5, provider="near",
        )  # fmt: skip
        attempt = AttemptRow(
            request=row.id, n=1, provider="near", started_at=now - 60 + n, verdict=verdict, error=error,
            proxy=None if proxy == "direct" else proxy,
        )  # fmt: skip
        return row, (attempt,)

    tables.write([request(1, "home"), request(2, "home"), request(3, "direct"), request(4, "home", "proxy_failed")])
    tables.close()
    add(panel)
    home = settled(panel, "home")
    day = home["last_day"]
    assert (day["requests"], day["errors"], day["cost_usd"], day["failures"]) == (3, 1, 1.5, 1)
    assert "no proxy is there" in day["failure"]
    assert panel.get("/api/proxies").json["direct"]["requests"] == 1
    sums = {tuple(line["names"]): line["sums"]["requests"] for line in panel.get("/api/usage?by=proxy").json["data"]}
    assert sums == {("home",): 3, ("direct",): 1}
    assert len(panel.get("/api/requests?proxy=home").json["data"]) == 3
    assert panel.get("/api/requests/req_4").json["attempts"][0]["proxy"] == "home"
    page = panel.page("/proxies").text
    assert "no proxy is there" in page


def test_the_palette_finds_it(panel: Panel) -> None:
    add(panel)
    found = [(one["kind"], one["name"], one["path"]) for one in panel.get("/api/search?q=proxy.ex").json["data"]]
    assert found == [("proxy", "home", "/proxies#proxy-vault-home")]


# -- by a browser


def test_added_tried_changed_and_removed_in_a_browser(visit: Any, panel: Panel) -> None:
    with microsocks("me", HIDDEN) as proxy, FakeUpstream() as upstream:
        panel.config.write_text(panel.config.read_text().replace("http://127.0.0.1:9", upstream.url))
        visit.goto("/proxies")
        visit.get_by_role("button", name="Add", exact=True).click()
        visit.get_by_label("Name").first.fill("home")
        visit.locator("#add-proxy [name=url]").fill(proxy.url_for("me", HIDDEN))
        visit.locator("#add-proxy button.primary").click()
        row = visit.locator("#proxy-vault-home")
        row.wait_for()
        row.get_by_role("button", name="Test home").click()
        row.get_by_text("reached").wait_for()
        visit.goto("/proxies")  # what was drawn anew would close what is opened meanwhile
        row.get_by_role("button", name="Edit home").click()
        visit.locator("#edit-proxy[open] [name=timeout]").fill("3s")
        visit.locator("#edit-proxy button.primary").click()
        visit.locator("#edit-proxy").wait_for(state="hidden")
        assert panel.get("/api/proxies/home").json["timeout"] == 3.0
        assert HIDDEN not in visit.content()
        visit.goto("/proxies")
        visit.locator("#proxy-yaml-office").get_by_role("button", name="Edit office").click()
        visit.locator("#edit-proxy[open] [name=timeout]").fill("8s")
        visit.locator("#edit-proxy button.primary").click()
        visit.locator("#review .added").first.wait_for()
        assert HIDDEN not in visit.content()
        visit.locator("#review button.primary").click()
        visit.locator("#review").wait_for(state="hidden")
        row.get_by_role("button", name="Remove home").click()
        visit.locator("dialog[open] button[value=yes]").click()
        row.wait_for(state="detached")
