"""relay.yaml by the panel: providers, routes, budgets, the text; by a browser too, and with a relay that follows."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from waiting import eventually
from wire.clients import RawClient, messages_body
from wire.relay import Relay, free_ports
from wire.upstream import FakeUpstream

from .browsing import visiting
from .inside import Inside
from .stage import Answer, Panel, running

SECRET = "sk-ant-api03-abcdefghijklmnopqrst"
RELAY_YAML = f"""\

providers:
  anthropic:                 # the real one
    preset: anthropic
    keys: ["${{ANTHROPIC_API_KEYS}}", {SECRET}]
  glm: {{preset: zhipu, keys: ["${{GLM_KEYS}}"]}}
  local:
    preset: ollama
    keys:                    # needs none
    models: {{}}

routes:
  # small ones
  - match: {{model: "claude-haiku-*"}}
    to: [glm, anthropic]
  - match: {{client: "${{TEAM:-red}}-*"}}
    to: [local]
  # all others
  - to: [anthropic]

budgets:
  - {{per: day, usd: 50}}   # enough
"""


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Any:
    """Each test begins with the file of the first."""
    if "panel" not in request.fixturenames and "visit" not in request.fixturenames:
        yield
        return
    panel: Panel = request.getfixturevalue("panel")
    before = panel.config.read_bytes()
    yield
    panel.config.write_bytes(before)


def tag(panel: Panel) -> str:
    return panel.get("/api/settings").headers["etag"]


def change(panel: Panel, method: str, path: str, body: Any = None, etag: str | None = None) -> Answer:
    return panel.ask(method, path, body, {"If-Match": etag or tag(panel)})


def diff(answer: Answer) -> list[str]:
    """What goes and what comes."""
    signs = {"added": "+", "removed": "-"}
    return [signs[line["kind"]] + line["text"] for line in answer.json["diff"] if line["kind"] in signs]


def fields(answer: Answer) -> list[str]:
    return [error["field"] for error in answer.json["errors"]]


# --- providers ---


def test_a_provider_is_added_in_place_and_the_change_is_shown_first(panel: Panel) -> None:
    before = panel.config.read_text()
    new = {"name": "deep", "preset": "deepseek", "keys": ["${DEEP}"], "models": {"claude-*": "v4"}, "routed": True}
    tried = change(panel, "POST", "/api/providers?dry_run=true", new)
    assert (tried.status, tried.json["saved"]) == (201, False)
    assert panel.config.read_text() == before
    assert change(panel, "POST", "/api/providers", new).json["saved"]
    wanted = ["+  deep:", "+    preset: deepseek", '+    keys: ["${DEEP}"]', '+    models: {"claude-*": v4}']
    assert diff(tried) == [*wanted, "-  - to: [anthropic]", "+  - to: [anthropic, deep]"]
    added = "".join(f"{line[1:]}\n" for line in wanted)
    last = "    models: {}\n"
    assert panel.config.read_text() == before.replace(last, last + added).replace(
        "  - to: [anthropic]", "  - to: [anthropic, deep]"
    )
    shown = panel.get("/api/providers/deep").json
    assert (shown["base_url"], shown["routed"]) == ("https://api.deepseek.com/anthropic", True)


def test_who_has_seen_another_version_is_told(panel: Panel) -> None:
    seen = tag(panel)
    assert panel.ask("PUT", "/api/default", {"target": "glm"}).status == 428
    assert change(panel, "PUT", "/api/default", {"target": "glm"}, seen).status == 200
    assert change(panel, "PUT", "/api/default", {"target": "anthropic"}, seen).status == 412
    assert "default: glm\n" in panel.config.read_text()


@pytest.mark.parametrize(
    ("path", "body", "status", "wrong"),
    [
        ("POST /api/providers", {"name": "x y", "preset": "zhipu"}, 422, ["name"]),
        ("POST /api/providers", {"name": "glm", "preset": "zhipu"}, 409, ["name"]),
        ("POST /api/providers", {"name": "x", "base_url": "https://x", "strategy": "best"}, 422, ["strategy"]),
        ("POST /api/providers", {"name": "x"}, 422, [""]),
        ("POST /api/providers", {"name": "x", "preset": "zhipu", "keys": ["sk-or-v1-0123456789abcdef"]}, 422, ["keys"]),
        ("PUT /api/providers/glm", {"preset": "zhipu", "keys": ["short"]}, 422, ["keys"]),
        ("PUT /api/providers/glm", {"preset": "zhipu", "keys": ["‹literal 9›"]}, 422, None),
        ("PUT /api/routes", {"routes": [{"to": ["nobody"]}]}, 422, ["routes[0].to[0]"]),
        ("POST /api/routes", {"to": ["nobody"]}, 422, ["to"]),
        ("PUT /api/routes/2", {"to": ["nobody"]}, 422, ["to"]),
        ("PUT /api/routes/4", {"to": ["glm"]}, 404, None),
        ("DELETE /api/routes/4", None, 404, None),
        ("DELETE /api/routes/0", None, 422, None),
        ("PUT /api/default", {"target": "nobody"}, 422, ["default"]),
        ("POST /api/budgets", {"per": "year", "usd": 1}, 422, ["per"]),
        ("POST /api/budgets", {"per": "day", "usd": 1}, 422, [""]),
        ("DELETE /api/providers/nobody", None, 404, None),
        ("DELETE /api/budgets/nothing", None, 404, None),
    ],
)
def test_what_cannot_be_is_refused_by_field(
    panel: Panel, path: str, body: Any, status: int, wrong: list[str] | None
) -> None:
    before = panel.config.read_bytes()
    answer = change(panel, *path.split(" "), body)
    assert answer.status == status, answer.text
    if wrong is not None:
        assert fields(answer) == wrong
    assert "0123456789abcdef" not in answer.text
    assert panel.config.read_bytes() == before


def test_a_definition_changes_where_it_differs_and_secrets_stay(panel: Panel) -> None:
    shown = panel.get("/api/providers/anthropic").json["definition"]
    assert shown == {"preset": "anthropic", "keys": ["${ANTHROPIC_API_KEYS}", "‹literal 1›"]}
    answer = change(panel, "PUT", "/api/providers/anthropic", shown | {"strategy": "random"})
    assert diff(answer) == ["+    strategy: random"]
    assert SECRET in panel.config.read_text()
    answer = change(panel, "PUT", "/api/providers/anthropic", {"preset": "anthropic", "keys": ["‹literal 1›"]})
    assert f"    keys: [{SECRET}]\n" in panel.config.read_text()
    for provider in panel.get("/api/providers").json["data"]:
        assert diff(change(panel, "PUT", f"/api/providers/{provider['name']}", provider["definition"])) == []
        assert panel.page(f"/providers/{provider['name']}").status == 200


def test_what_has_no_field_here_stays(panel: Panel) -> None:
    """Such as a client's own login; the form knows nothing of it."""
    text = panel.config.read_text()
    panel.config.write_text(
        text.replace("    preset: anthropic\n", "    preset: anthropic\n    own_credential: first\n")
    )
    answer = change(panel, "PUT", "/api/providers/anthropic", {"preset": "anthropic", "keys": ["${OTHER}"]})
    assert answer.status == 200
    assert "own_credential: first" in panel.config.read_text()


def test_taking_a_provider_away_takes_it_out_of_the_routes_and_can_be_undone(panel: Panel) -> None:
    before = panel.config.read_bytes()
    answer = change(panel, "DELETE", "/api/providers/glm")
    assert diff(answer) == [
        '-  glm: {preset: zhipu, keys: ["${GLM_KEYS}"]}',
        "-    to: [glm, anthropic]",
        "+    to: [anthropic]",
    ]
    back = change(panel, "POST", "/api/settings/undo", etag=answer.json["etag"])
    assert back.status == 200
    assert panel.config.read_bytes() == before
    assert change(panel, "POST", "/api/settings/undo", etag='"other"').status == 412


def test_what_was_done_is_written_down_without_secrets(panel: Panel) -> None:
    change(panel, "PUT", "/api/providers/anthropic", {"preset": "anthropic", "keys": ["${OTHER}"]})
    with closing(sqlite3.connect(panel.database)) as db:
        sql = "SELECT who, kind, subject, before, after FROM audit WHERE kind = 'config' ORDER BY id DESC LIMIT 1"
        who, kind, subject, was, then = db.execute(sql).fetchone()
    assert (who, kind, subject) == ("admin", "config", "providers.anthropic")
    assert SECRET not in was
    assert "‹literal›" in was
    assert then == '{"providers.anthropic.keys": ["${OTHER}"]}'


def test_testing_a_provider_says_what_is_wrong(panel: Panel) -> None:
    with FakeUpstream() as upstream:
        body = {"name": "here", "base_url": upstream.url, "format": "anthropic", "keys": ["${HOME}"]}
        assert change(panel, "POST", "/api/providers", body).status == 201
        found = panel.post("/api/providers/here/test").json
        assert (found["ok"], found["status"], found["key"]) == (True, 200, "k1")
    found = panel.post("/api/providers/here/test").json
    assert (found["ok"], found["status"], found["verdict"]) == (False, None, "unreachable")
    assert panel.post("/api/providers/glm/test").status == 409


# --- routes, models ---


def test_routes_keep_their_comments_in_another_order(panel: Panel) -> None:
    routes = [{"match": route["match"], "to": route["to"]} for route in panel.get("/api/routes").json["data"]]
    assert change(panel, "PUT", "/api/routes", {"routes": routes[::-1]}).status == 200
    text = panel.config.read_text()
    assert (
        "routes:\n  # all others\n  - to: [anthropic]\n"
        '  - match: {client: "${TEAM:-red}-*"}\n    to: [local]\n'
        '  # small ones\n  - match: {model: "claude-haiku-*"}\n    to: [glm, anthropic]\n'
    ) in text


def test_one_route_is_added_changed_and_taken_away(panel: Panel) -> None:
    assert diff(change(panel, "POST", "/api/routes", {"match": {"tools": True}, "to": ["glm"]})) == [
        "+  - match: {tools: true}",
        "+    to: [glm]",
    ]
    assert panel.get("/api/routes").json["data"][2]["match"] == {
        "tools": True
    }  # before the one that takes every request
    assert change(panel, "POST", "/api/routes", {"to": ["local"]}).status == 201
    assert change(panel, "PUT", "/api/routes/5", {"match": {"model": "x-*"}, "to": ["local"]}).status == 200
    assert panel.get("/api/routes").json["data"][4]["match"] == {"model": "x-*"}
    assert diff(change(panel, "DELETE", "/api/routes/3")) == ["-  - match: {tools: true}", "-    to: [glm]"]
    assert "# small ones" in panel.config.read_text()


def test_which_way_would_it_go(panel: Panel) -> None:
    found = panel.post("/api/routes/try", {"model": "claude-haiku-4-5"}).json
    assert [(target["provider"], target["model"]) for target in found["targets"]] == [
        ("glm", "claude-haiku-4-5"),
        ("anthropic", "claude-haiku-4-5"),
    ]
    found = panel.post("/api/routes/try", {"model": "claude-opus-5"}).json
    assert found["rule"] == "route 3"
    assert [(one["takes"], one["unmet"]) for one in found["considered"]] == [
        (False, ["model claude-haiku-*"]),
        (False, ["client red-*"]),
        (True, []),
    ]
    page = panel.page("/providers?model=claude-opus-5&tokens=5").text
    assert "takes it" in page


def test_models_say_where_they_go(panel: Panel) -> None:
    found = {model["id"]: model for model in panel.get("/api/models").json["data"]}
    haiku = next(model for name, model in found.items() if name.startswith("claude-haiku"))
    assert haiku["official"]
    assert [target.partition("/")[0] for target in haiku["targets"]] == ["glm", "anthropic"]


# --- budgets ---


def test_budgets(panel: Panel) -> None:
    opus = {
        "name": "opus a/b",
        "provider": "anthropic",
        "model": "claude-opus-*",
        "per": "month",
        "usd": 200,
        "then": "glm",
    }
    assert diff(change(panel, "POST", "/api/budgets", opus)) == [
        '+  - {name: "opus a/b", provider: anthropic, model: "claude-opus-*", per: month, usd: 200, then: glm}'
    ]
    answer = change(panel, "PUT", "/api/budgets/opus%20a%2Fb", opus | {"usd": 150.5})
    assert diff(answer)[1].endswith("usd: 150.5, then: glm}")
    found = panel.get("/api/budgets").json["data"]
    assert [(one["name"], one["spent"], one["state"]) for one in found] == [
        ("total per day", 0, "ok"),
        ("opus a/b", 0, "ok"),
    ]
    assert diff(change(panel, "DELETE", "/api/budgets/total%20per%20day")) == ["-  - {per: day, usd: 50}   # enough"]
    assert panel.get("/api/prices").json["data"][0]["input"] > 0


def test_a_page_of_budgets_does_not_wait_until_all_is_added_up(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(RELAY_YAML.replace("${ANTHROPIC_API_KEYS}", "sk-a").replace("${GLM_KEYS}", "sk-g"))
    inside = Inside(tmp_path)
    inside.parts.named = str(file)
    del inside.parts.source, inside.parts.in_force  # those that read the file
    inside.add("admin")
    browser = inside.signed_in("admin")
    reading = inside.parts.kept["budgets guard"] = threading.Lock()
    with reading:
        page = inside.ask("GET", "/budgets", headers=browser).text
        assert "Figures are worked out." in page
        assert "total per day" in page
        assert "$0.00" not in page
    assert inside.ask("GET", "/api/budgets", headers=browser).json["data"][0]["spent"] == 0
    page = inside.ask("GET", "/budgets", headers=browser).text
    assert "Figures are worked out." not in page
    assert "0.00" in page


# --- the text ---


def test_the_text_is_checked_by_lines_and_saved_with_its_secrets(panel: Panel) -> None:
    text = panel.get("/api/settings").json["text"]
    assert SECRET not in text
    broken = panel.post("/api/settings/check", {"text": text + "\nretry: {attemts: 3}\n"}).json
    assert [problem["path"] for problem in broken["problems"]] == ["retry.attemts"]
    assert broken["problems"][0]["line"] == text.count("\n") + 2
    moved = text.replace("status: null", "status: 127.0.0.1:9")
    assert panel.post("/api/settings/check", {"text": moved}).json["restart"] == ["listen.status"]
    answer = change(panel, "PUT", "/api/settings", {"text": text.replace("# enough", "# plenty")})
    assert len(diff(answer)) == 2
    assert panel.config.read_text().count(SECRET) == 1
    assert change(panel, "PUT", "/api/settings", {"text": text + "x: ["}).status == 422
    typed = text.replace("${GLM_KEYS}", "sk-or-v1-0123456789abcdef")
    assert panel.post("/api/settings/check", {"text": typed}).json["type"].endswith(":literal_key")


def test_a_broken_file_is_shown_and_can_be_mended(panel: Panel) -> None:
    good = panel.get("/api/settings").json["text"]
    before = panel.config.read_text()
    panel.config.write_text(before + "  : [")
    shown = panel.get("/api/settings").json
    assert shown["problems"]
    assert SECRET not in shown["text"]
    assert change(panel, "PUT", "/api/default", {"target": "glm"}).json["type"].endswith(":broken")
    assert "cannot be used" in panel.page("/providers").text
    mended = shown["text"].removesuffix("  : [")
    assert change(panel, "PUT", "/api/settings", {"text": mended}).status == 200
    assert panel.config.read_text() == before
    assert panel.get("/api/settings").json["text"] == good


@pytest.mark.parametrize(
    "text", ["providers: 5\nroutes: {a: 1}\nbudgets: x", "providers: [1]\nroutes: 3", "- 1", "\xff"]
)
def test_any_text_can_be_looked_at(panel: Panel, text: str) -> None:
    panel.config.write_bytes(text.encode("latin-1"))
    for path in ("/providers", "/providers?model=x", "/budgets", "/settings"):
        assert panel.page(path).status == (200 if text.isascii() else 409)
    assert change(panel, "PUT", "/api/routes", {"routes": [{"to": ["glm"]}]}, "*").status == 409


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/budgets", '{"per": "day", "usd": 1e999}', "usd"),
        ("/api/budgets", '{"per": "day", "usd": 5, "warn": NaN}', "warn"),
        ("/api/budgets", '{"per": "day", "usd": 5, "name": "two\\nlines"}', "name"),
        ("/api/providers", '{"name": "x", "preset": "zhipu", "body": {"a": [NaN]}}', "body"),
        (
            "/api/providers",
            '{"name": "x", "preset": "zhipu", "options": ' + '{"a":' * 3000 + "1" + "}" * 3001,
            "options",
        ),
    ],
)
def test_what_no_file_could_hold(panel: Panel, path: str, body: str, field: str) -> None:
    answer = panel.ask("POST", path, body.encode(), {"If-Match": "*"})
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, [field])


# --- people ---


def test_a_provider_is_added_from_a_preset_reviewed_and_undone(visit: Any, panel: Panel) -> None:
    before = panel.config.read_bytes()
    visit.goto("/providers")
    visit.get_by_role("button", name="Add a provider").click()
    dialog = visit.get_by_role("dialog", name="Add a provider")
    dialog.locator("[name=preset]").select_option("moonshot")
    dialog.get_by_label("Requests go there").check()
    dialog.get_by_role("button", name="Review").click()
    review = visit.get_by_role("dialog", name="This changes in relay.yaml")
    review.get_by_text("+   moonshot:").wait_for()
    assert panel.config.read_bytes() == before
    review.get_by_role("button", name="Save").click()
    visit.get_by_role("row", name="moonshot").wait_for()
    assert b"to: [anthropic, moonshot]" in panel.config.read_bytes()
    visit.get_by_role("button", name="Undo").click()
    visit.get_by_text("as it was before").wait_for()
    assert panel.config.read_bytes() == before


def test_two_admins_at_once(visit: Any, panel: Panel) -> None:
    visit.goto("/providers/glm")
    assert change(panel, "PUT", "/api/default", {"target": "glm"}).status == 200
    visit.locator("[name=models]").fill("claude-*: glm-4.6")
    visit.get_by_role("button", name="Review and save").click()
    visit.get_by_text("Somebody has changed it").wait_for()
    visit.get_by_role("button", name="Load again").click()
    visit.get_by_text("first for all").wait_for()
    visit.locator("[name=models]").fill("claude-*: glm-4.6")
    visit.get_by_role("button", name="Review and save").click()
    visit.get_by_role("button", name="Save", exact=True).click()
    visit.get_by_text("Saved").wait_for()
    text = panel.config.read_text()
    assert "default: glm" in text
    assert '  glm: {preset: zhipu, keys: ["${GLM_KEYS}"], models: {"claude-*": glm-4.6}}\n' in text


def test_the_order_of_routes_by_keyboard(visit: Any, panel: Panel) -> None:
    visit.goto("/providers")
    visit.get_by_role("button", name="Route 3 up").press("Enter")
    assert "Now at place 2" in visit.locator("#route-said").inner_text()
    visit.get_by_role("button", name="Review the order").press("Enter")
    visit.get_by_role("button", name="Save", exact=True).press("Enter")
    visit.get_by_text("Saved").wait_for()
    text = panel.config.read_text()
    assert text.index("# small ones") < text.index("# all others") < text.index("${TEAM:-red}-*")


def test_a_route_is_changed_in_a_browser(visit: Any, panel: Panel) -> None:
    """Its dialog shows what is there; what is wrong stands at its field."""
    visit.goto("/providers?model=claude-opus-5")
    visit.get_by_role("button", name="Edit route 1").click()
    dialog = visit.get_by_role("dialog", name="Route")
    assert dialog.get_by_label("Model").input_value() == "claude-haiku-*"
    dialog.get_by_label("Goes to").fill("nobody")
    dialog.get_by_label("Streams").select_option("yes")
    dialog.get_by_role("button", name="Review").click()
    dialog.locator("[data-error=to]:visible").wait_for()
    dialog.get_by_label("Goes to").fill("local, glm")
    dialog.get_by_role("button", name="Review").click()
    visit.get_by_role("button", name="Save", exact=True).click()
    visit.get_by_text("Saved").wait_for()
    assert "match: {model: claude-haiku-*, stream: true}" in panel.config.read_text().replace('"', "")
    visit.get_by_role("button", name="Undo").click()
    visit.get_by_text("as it was before").wait_for()
    visit.get_by_role("button", name="Remove route 3").click()
    visit.get_by_role("button", name="Save", exact=True).click()
    visit.get_by_role("button", name="Edit route 3").wait_for(state="detached")
    visit.get_by_role("button", name="Add a route").click()
    assert dialog.get_by_label("Goes to").input_value() == ""
    dialog.get_by_label("Goes to").fill("anthropic")
    dialog.get_by_role("button", name="Review").click()
    visit.get_by_role("button", name="Save", exact=True).click()
    visit.get_by_role("button", name="Edit route 3").wait_for()


def test_a_provider_is_tested_in_a_browser(visit: Any, panel: Panel) -> None:
    """What came of it is drawn by the server, without the rest of the page."""
    with FakeUpstream() as upstream:
        here = {"name": "here.too", "base_url": upstream.url, "keys": ["${HOME}"]}
        assert change(panel, "POST", "/api/providers", here | {"format": "anthropic"}).status == 201
        visit.goto("/providers")
        visit.get_by_role("button", name="Test here.too").click()
        visit.get_by_role("row", name="here.too").get_by_text(" ms · ").wait_for()


def test_the_text_in_a_browser(visit: Any, panel: Panel) -> None:
    visit.goto("/settings")
    area = visit.get_by_label("Text")
    text = area.input_value()
    area.fill(text.replace("usd: 50", "usd: none"))
    visit.get_by_role("button", name="Review and save").click()
    visit.get_by_role("button", name="line ").click()
    assert "usd: none" in visit.evaluate("getSelection().toString()")
    area.fill(text.replace("usd: 50", "usd: 60"))
    visit.get_by_role("button", name="Review and save").click()
    visit.get_by_role("button", name="Save", exact=True).click()
    visit.get_by_text("Saved").wait_for()
    assert SECRET in panel.config.read_text()
    assert "usd: 60" in panel.config.read_text()


def test_a_text_that_is_not_saved_is_not_lost_by_a_click(visit: Any) -> None:
    visit.goto("/settings")
    visit.get_by_label("Text").fill("budgets: []")
    asked: list[str] = []
    visit.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    visit.get_by_role("link", name="Overview").click(no_wait_after=True)
    visit.get_by_role("button", name="Check").click()
    visit.locator("#found .state").wait_for()
    assert asked == ["beforeunload"]
    assert visit.evaluate("document.getElementById('found').getBoundingClientRect().top < innerHeight")


def test_a_viewer_reads_the_text(visit: Any, panel: Panel) -> None:
    link = panel.post("/api/admins", {"name": "vera", "role": "viewer"}).json["link"]
    visit.context.clear_cookies()
    visit.goto(link)
    visit.get_by_label("Password").fill("correct horse battery")
    visit.get_by_role("button", name="Go on").click()
    visit.wait_for_url(f"{panel.url}/")
    visit.goto("/settings")
    visit.get_by_text("To change it takes the role admin.").wait_for()
    assert not visit.get_by_label("Text").is_editable()


# --- a relay that follows ---


def test_a_provider_is_added_and_requests_go_there(chromium: Any, tmp_path: Path, confdir: Path) -> None:
    """In a browser, while a relay runs: the next request goes where the new route leads."""
    with FakeUpstream() as one, FakeUpstream() as two:
        text = f"providers:\n  one: {{base_url: '{one.url}', keys: [sk-ant-api03-first-of-all]}}   # ours\n"
        with running(tmp_path, text) as panel:
            panel.sign_in()
            base = int(re.search(r"base_url: '127.0.0.1:(\d+)", panel.config.read_text())[1])  # type: ignore[index]
            [proxy] = free_ports(1)
            panel.config.write_text(panel.config.read_text().replace("proxy: null", f"proxy: '127.0.0.1:{proxy}'"))
            environ = {"SECOND": "sk-ant-api03-second-of-all"}
            with (
                Relay(tmp_path, confdir, None, environ=environ, ports=(proxy, base)) as relay,
                visiting(chromium, panel, "a provider is added") as page,
            ):
                assert ask(base) == 200
                page.goto("/providers")
                page.get_by_role("button", name="Add a provider").click()
                dialog = page.get_by_role("dialog", name="Add a provider")
                dialog.locator("[name=name]").fill("two")
                dialog.locator("[name=base_url]").fill(two.url)
                dialog.locator("[name=keys]").fill("${SECOND}")
                dialog.get_by_role("button", name="Review").click()
                page.get_by_role("button", name="Save", exact=True).click()
                page.get_by_role("row", name="two").wait_for()
                page.get_by_role("button", name="Add a route").click()
                dialog = page.get_by_role("dialog", name="Route", exact=True)
                dialog.get_by_label("Goes to").fill("two, one")
                dialog.get_by_role("button", name="Review").click()
                page.get_by_role("button", name="Save", exact=True).click()
                eventually(lambda: ask(base) == 200 and two.requests)  # within a second
                assert len(one.requests) >= 1
                assert "# ours" in panel.config.read_text()
                assert relay.config_file == panel.config


def ask(port: int) -> int:
    with RawClient(port) as client:
        return client.ask("POST", "/v1/messages", body=messages_body()).status
