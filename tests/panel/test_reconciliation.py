"""/usage/reconcile and /api/reconciliation: before there is a key, entering one, fetching, what a person sees, who may do what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from claude_relay.store.audit import Actor, read
from claude_relay.store.panel.admins import Admins
from claude_relay.store.panel.api_tokens import Scope, Tokens
from upstream.providers import serving
from upstream.report_server import ADMIN, ReportServer

from . import ledgers
from .stage import Panel, running
from .test_every_page import TAGS

OPUS = "claude-opus-4-8"
DAY = 86400.0


@pytest.fixture(scope="module")
def server() -> Iterator[ReportServer]:
    with serving(ReportServer()) as found:  # type: ignore[type-var]
        found.used(day(3), OPUS, uncached_input_tokens=100, cache_read_input_tokens=900, output_tokens=50)
        found.cost(day(3), OPUS, "1")
        found.used(day(4), OPUS, output_tokens=250_000)
        found.cost(day(4), OPUS, "1234")
        yield found


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, server: ReportServer) -> Iterator[Panel]:
    providers = {"anthropic": {"base_url": server.url}, "glm": {"preset": "zhipu"}}
    folder = tmp_path_factory.mktemp("panel")
    with running(folder, f"providers: {json.dumps(providers)}\n") as found:
        assert found.sign_in().status == 200
        spend(found.database)
        yield found


def day(ago: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}"


def spend(path: Path) -> None:
    at = (datetime.now(UTC).replace(hour=12, minute=0) - timedelta(days=3)).timestamp()
    used = {"input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 900, "cost_usd": 0.01}
    ledgers.write(path, [ledgers.request("a", at)], [ledgers.attempt("a", 1, at, model=OPUS, **used)])


def token(panel: Panel, scope: Scope) -> dict[str, str]:
    admin = Admins(panel.database).find("admin")
    assert admin is not None
    _, secret = Tokens(panel.database).add(Actor("test", "cli"), admin, f"{scope} {time.time()}", scope, None)
    return {"Authorization": f"Bearer {secret}", "Cookie": ""}


def one(panel: Panel) -> dict[str, Any]:
    answer = panel.get("/api/reconciliation")
    assert answer.status == 200, answer.text
    (found,) = answer.json["data"]
    return dict(found)


def fetch(panel: Panel) -> dict[str, Any]:
    begun = panel.post("/api/reconciliation/anthropic/fetch?days=7")
    assert begun.status == 202, begun.text
    return panel.job(begun.json["id"])


def test_a_key_is_entered_and_the_report_fetched(panel: Panel, server: ReportServer, visit: Any) -> None:
    before = one(panel)
    assert (before["source"], before["fetched_at"], before["rows"]) == (None, None, [])
    assert panel.post("/api/reconciliation/anthropic/fetch").status == 409
    visit.goto("/usage/reconcile")
    assert "As an owner of the organisation" in visit.inner_text("main")
    visit.click("text=Enter an admin key")
    field = visit.locator("dialog[open] input[name=key]")
    field.fill("sk-ant-api03-0123456789abcdef")
    visit.click("dialog[open] button.primary")
    visit.locator("dialog[open] [data-error=key]:not([hidden])").wait_for()
    assert "sk-ant-admin" in visit.inner_text("dialog[open] [data-error=key]")
    field.fill(ADMIN)
    visit.click("dialog[open] button.primary")
    visit.click("text=Fetch now")
    visit.locator("#reconciled table").wait_for()
    shown = visit.inner_text("#reconciled")
    assert "250,000 tokens did not pass this relay (100 % of the difference)." in shown
    assert "agrees" in shown
    assert ADMIN not in visit.content()
    violations = Axe().run(visit, options={"runOnly": {"type": "tag", "values": TAGS}}).response["violations"]
    assert [violation["id"] for violation in violations] == []
    found = one(panel)
    assert (found["source"], found["key"], found["origin"]) == ("vault", "sk-ant-…cdef", server.url)
    assert [(row["day"], row["verdict"]) for row in found["rows"]] == [(day(3), "agrees"), (day(4), "differs")]
    assert (found["total"]["usd"], found["total"]["theirs"]["tokens"]) == (12.34, 251_050)
    acts = [(entry.act, entry.kind, entry.who) for entry in read(panel.database)]
    assert ("add", "admin key", "admin") in acts
    assert ("fetch", "report", "admin") in acts


def test_what_goes_wrong_is_said(panel: Panel, server: ReportServer) -> None:
    assert panel.ask("PUT", "/api/reconciliation/anthropic/key", {"key": ADMIN}).status == 204
    server.plan.append((403, {}, b'{"error": {"message": "no"}}'))
    job = fetch(panel)
    assert (job["state"], job["detail"]) == (
        "failed",
        "The key may not read reports (403): it has to be an admin key of the organisation: no.",
    )
    assert "it has to be an admin key" in one(panel)["problem"]
    page = panel.page("/usage/reconcile")
    assert "the key may not read reports (403)" in page.text
    page = panel.ask("GET", "/usage/reconcile", headers={"Accept": "text/html", "Accept-Language": "zh"})
    assert "该密钥无权读取报告（403）" in page.text
    assert fetch(panel)["state"] == "done"


def test_everything_agrees(panel: Panel) -> None:
    panel.ask("PUT", "/api/reconciliation/anthropic/key", {"key": ADMIN})
    assert fetch(panel)["state"] == "done"
    assert "Everything agrees" in panel.page("/usage/reconcile?differing=true&days=3").text
    assert day(3) not in panel.page("/usage/reconcile?differing=true").text
    assert day(4) in panel.page("/usage/reconcile?differing=true").text


def test_others(panel: Panel) -> None:
    assert panel.get("/api/reconciliation?provider=nobody").status == 404
    assert panel.get("/api/reconciliation?provider=glm").status == 409
    assert panel.ask("PUT", "/api/reconciliation/glm/key", {"key": ADMIN}).status == 409
    assert panel.post("/api/reconciliation/nobody/fetch").status == 404
    assert panel.ask("DELETE", "/api/reconciliation/nobody/key").status == 404
    wrong = panel.ask("PUT", "/api/reconciliation/anthropic/key", {"key": "sk-ant-api03-0123456789abcdef"})
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "key")
    assert "0123456789abcdef" not in wrong.text
    until = panel.get(f"/api/reconciliation?days=2&until={day(3)}").json
    assert (until["first"], until["last"]) == (day(5), day(4))
    assert panel.get("/api/reconciliation?days=9999").status == 422


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "", Scope.READ),
        ("POST", "/anthropic/fetch", Scope.OPERATE),
        ("PUT", "/anthropic/key", Scope.ADMIN),
        ("DELETE", "/nobody/key", Scope.ADMIN),
    ],
)
def test_who_may_do_it(panel: Panel, method: str, path: str, least: Scope) -> None:
    scopes = [Scope.READ, Scope.OPERATE, Scope.ADMIN]
    for scope in scopes:
        body = {"key": ADMIN} if method == "PUT" else None
        answer = panel.ask(method, f"/api/reconciliation{path}", body, token(panel, scope))
        assert (answer.status == 403) is (scopes.index(scope) < scopes.index(least)), (scope, answer.text)


def test_a_key_is_forgotten(panel: Panel) -> None:
    panel.ask("PUT", "/api/reconciliation/anthropic/key", {"key": ADMIN})
    assert panel.ask("DELETE", "/api/reconciliation/anthropic/key").status == 204
    assert one(panel)["source"] is None
    assert ADMIN.encode() not in panel.database.read_bytes()
