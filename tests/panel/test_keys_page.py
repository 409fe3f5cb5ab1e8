"""The pages of keys in a browser, beside a real relay."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from claude_relay.core.keys.cooldown import begin, to_row
from claude_relay.core.keys.replication import Shared
from claude_relay.store.shared.state import State
from waiting import PATIENCE
from wire import steps
from wire.clients import RawClient, messages_body
from wire.relay import Relay, config, make_confdir, provider
from wire.upstream import FakeUpstream, Signal

from .stage import PASSWORD, Panel, running

PROVIDERS = ("anthropic", "many", "few", "slow")


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as found:
        yield found


@pytest.fixture(scope="module")
def panel(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    lines = "".join(f"  {name}: {{base_url: '{upstream.url}'}}\n" for name in PROVIDERS)
    with running(tmp_path_factory.mktemp("panel"), f"providers:\n{lines}routes: [{{to: [anthropic]}}]\n") as found:
        assert found.sign_in().status == 200
        yield found


@pytest.fixture(scope="module")
def relay(panel: Panel, upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("relay")
    text = config(providers={name: provider(upstream.url) for name in PROVIDERS}) | {"database": str(panel.database)}
    with Relay(folder, make_confdir(folder / "mitmproxy"), text) as found:
        yield found


def keys_of(panel: Panel, provider: str, count: int, word: str) -> list[str]:
    text = "\n".join(f"sk-ant-{word}-{n:04}-0123456789abcdef" for n in range(count))
    answer = panel.post(f"/api/providers/{provider}/keys/batch", {"text": text})
    assert answer.json["new"] == count
    found: list[str] = answer.json["added"]
    return found


def test_five_hundred_keys_are_pasted(visit: Any, panel: Panel) -> None:
    lines = [f"sk-ant-pasted-{n:04}-0123456789abcdef" for n in range(500)]
    visit.goto("/keys/import")
    visit.locator("[name=provider]").select_option("many")
    visit.locator("textarea[name=text]").fill("\n".join([*lines, lines[3], "oops"]))
    visit.get_by_role("button", name="Preview").click()
    visit.get_by_text("500 new · 1 twice · 1 not a key").wait_for()
    assert visit.get_by_text("line 502:").inner_text().startswith("line 502: a key has")
    visit.get_by_role("button", name="Add 500").click()
    visit.wait_for_url("**/keys")
    visit.goto("/keys?provider=many")
    visit.get_by_text("500 keys").wait_for()
    assert visit.locator("tbody tr").count() == 100
    visit.get_by_role("link", name="Next page").click()
    visit.get_by_role("link", name="v101", exact=True).wait_for()
    assert lines[0] not in visit.content()
    found = Axe().run(visit, options={"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag22aa"]}})
    assert [one["id"] for one in found.response["violations"]] == []


def test_a_key_is_added_and_used(visit: Any, panel: Panel, relay: Relay) -> None:
    visit.goto("/keys?provider=anthropic")
    visit.get_by_role("button", name="Add key").click()
    dialog = visit.get_by_role("dialog", name="Add a key")
    dialog.locator("input[name=key]").fill("sk-ant-by-hand-0123456789abcdef")
    dialog.get_by_label("Label").fill("by hand")
    dialog.get_by_role("button", name="Add", exact=True).click()
    row = visit.get_by_role("row").filter(has_text="by hand")
    row.wait_for()
    relay.wait_for_log("keys that the vault issues")
    with closing(RawClient(relay.base_port)) as client:
        answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.header("x-relay-key")) == (200, "v1")
    row.locator("td.num").first.filter(has_text="1").wait_for()
    row.get_by_role("link", name="v1").click()
    visit.get_by_role("heading", name="anthropic/v1").wait_for()
    visit.get_by_label("Label").fill("")
    visit.get_by_label("Requests a minute").fill("50")
    visit.get_by_role("button", name="Save").click()
    visit.get_by_text("Saved").wait_for()
    [key] = panel.get("/api/providers/anthropic/keys").json["data"]
    assert (key["label"], key["limits"]["requests_per_minute"]) == ("", 50)


def test_a_cooldown_ends_while_somebody_looks(visit: Any, panel: Panel) -> None:
    [id] = keys_of(panel, "few", 1, "cooling")
    line, cooldown = visit.locator(f"#key-{id}"), visit.get_by_text("429: requests per minute")
    for seconds in (3, 15, 75):  # a slow machine shows the page when a short one is over
        now = time.time()
        row = to_row(begin(now + seconds, now, "429: requests per minute", stated=True))
        with closing(State(panel.database)) as state:
            state.exchange(Shared((row | {"provider": "few", "key_id": id, "scope": "", "lifted": 0.0},)), now)
        visit.goto("/keys?provider=few")
        if seen := line.locator(cooldown).is_visible():
            break
    assert seen
    line.get_by_text("ready").wait_for(timeout=(seconds + PATIENCE) * 1000)
    assert line.locator("time[data-countdown]").count() == 0


def test_several_are_picked_switched_off_and_on_again(visit: Any, panel: Panel) -> None:
    ids = keys_of(panel, "few", 4, "picked")
    visit.goto("/keys?provider=few&search=sk-ant")
    visit.locator(f"[data-pick='{ids[0]}']").click()
    visit.locator(f"[data-pick='{ids[2]}']").focus()
    visit.keyboard.press("Shift+Space")
    visit.get_by_text("Selected: 3").wait_for()
    visit.get_by_role("button", name="Disable").click()
    visit.get_by_text("Disabled: 3").wait_for()
    for id in ids[:3]:
        visit.locator(f"#key-{id}").get_by_text("disabled").wait_for()
    visit.get_by_role("button", name="Undo").click()
    visit.locator(f"#key-{ids[1]}").get_by_text("ready").wait_for()
    visit.get_by_role("button", name=f"Actions for {panel.get(f'/api/keys/{ids[3]}').json['name']}").click()
    visit.get_by_role("button", name="Use it first").click()
    visit.locator(f"#key-{ids[3]}").get_by_text("first", exact=True).wait_for()
    assert panel.get(f"/api/keys/{ids[3]}").json["chosen"]


def test_the_menu_of_a_row_before_and_while_things_change(visit: Any, panel: Panel) -> None:
    panel.post("/api/providers/few/keys", {"key": "sk-ant-api03-menu-of-a-row-0123456789"})
    held: list[Any] = []
    visit.route("**/keys.js", lambda route: held.append(route))
    visit.goto("/settings")
    visit.evaluate("location.assign('/keys?provider=few')")
    visit.get_by_role("button", name="Actions for few/v1").click()
    menu = visit.locator("#row-menu")
    menu.wait_for()
    while not held:
        visit.wait_for_timeout(20)
    for route in held:
        route.continue_()
    menu.locator("a[href^='/keys/']").wait_for()
    assert menu.get_by_role("button", name="Enable").count() == 0
    before = menu.bounding_box()
    panel.post("/api/providers/few/keys", {"key": "sk-ant-api03-another-one-0123456789"})
    visit.evaluate(
        "import(document.querySelector('script').src.replace('app.js', 'live.js')).then((live) => live.refresh())"
    )
    assert menu.bounding_box() == before


def test_a_password_that_is_asked_for_is_given_with_enter(visit: Any, panel: Panel) -> None:
    visit.goto("/keys?provider=few")
    with closing(sqlite3.connect(panel.database)) as connection, connection:
        connection.execute("UPDATE panel_sessions SET confirmed_at = 0")
    visit.get_by_role("button", name="Add key").click()
    dialog = visit.locator("#add-key")
    dialog.locator("[name=key]").fill("sk-ant-api03-asked-for-a-password-012345")
    dialog.get_by_role("button", name="Add", exact=True).click()
    visit.get_by_role("textbox", name="Your password").fill(PASSWORD)
    visit.get_by_role("textbox", name="Your password").press("Enter")
    visit.get_by_text("Added").wait_for()


def test_removed_keys_are_seen_and_brought_back(visit: Any, panel: Panel) -> None:
    [id] = keys_of(panel, "few", 1, "removed")
    visit.goto(f"/keys/{id}")
    visit.get_by_role("button", name="Remove").click()
    visit.get_by_role("button", name="Restore").wait_for()
    visit.goto("/keys?provider=few&status=removed")
    visit.locator(f"[data-pick='{id}']").check()
    visit.get_by_role("button", name="Restore").click()
    visit.get_by_text("No key is like that").wait_for()
    assert panel.get(f"/api/keys/{id}").json["state"] == "ready"


def test_a_check_is_stopped(visit: Any, panel: Panel, upstream: FakeUpstream) -> None:
    keys_of(panel, "slow", 9, "stopped")
    answers, before = Signal("answers"), len(upstream.requests)
    upstream.script(*[steps.stream([answers])] * 8)
    visit.goto("/keys?provider=slow")
    visit.get_by_role("button", name="Check all").click()
    upstream.wait_for_requests(before + 8)
    visit.get_by_role("button", name="Stop", exact=True).click()
    visit.get_by_text("Stopped: 0 / 9").first.wait_for()
    answers.set()  # what has begun may end
    upstream.wait_until_idle()
