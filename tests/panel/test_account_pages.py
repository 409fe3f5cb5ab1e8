"""/login with a code, /profile and /admins, in a browser."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

import pyotp

from claude_relay.panel.pages.sign_in import SAID
from claude_relay.panel.security import entering

from .stage import PASSWORD, Panel


def test_a_second_factor_from_its_picture_to_a_sign_in(visit: Any, panel: Panel) -> None:
    panel.post("/api/admins", {"name": "carol", "role": "viewer"})
    link = panel.post("/api/admins/carol/link").json["link"]
    visit.context.clear_cookies()
    visit.goto(link)
    visit.get_by_label("Password").fill("short words")
    visit.get_by_role("button", name="Go on").click()
    visit.get_by_role("heading", name="Overview").wait_for()
    visit.goto("/profile")
    visit.get_by_role("button", name="Set up").click()
    picture = visit.get_by_role("img", name="QR code")
    picture.wait_for()
    visit.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    app = pyotp.TOTP(visit.locator("[data-value=secret]").inner_text())
    visit.get_by_role("textbox", name="Code").fill("000000")
    visit.get_by_role("button", name="Turn on").click()
    visit.get_by_text("This code is wrong").wait_for()
    now = int(time.time())
    visit.get_by_role("textbox", name="Code").fill(app.at(now))
    visit.get_by_role("button", name="Turn on").click()
    visit.get_by_role("button", name="I have them").wait_for()
    codes = visit.locator(".codes li").all_inner_texts()
    assert len(codes) == 10
    visit.get_by_role("button", name="I have them").click()
    visit.get_by_text("10 recovery codes are left").wait_for()
    visit.context.clear_cookies()
    visit.goto("/login?next=/profile")
    visit.get_by_label("Name").fill("carol")
    visit.get_by_label("Password").fill("short words")
    visit.get_by_role("button", name="Sign in").click()
    visit.get_by_role("textbox", name="Code").fill(codes[0])
    assert visit.get_by_label("Password").input_value() == "short words"
    visit.get_by_role("button", name="Sign in").click()
    visit.get_by_text("9 recovery codes are left").wait_for()


def test_a_token_and_a_link_are_shown_once(visit: Any, panel: Panel) -> None:
    visit.goto("/profile")
    visit.get_by_text("No token yet").wait_for()
    visit.get_by_role("button", name="New token").click()
    dialog = visit.get_by_role("dialog")
    dialog.get_by_label("Name").fill("ci")
    dialog.get_by_role("button", name="Make token").click()
    visit.get_by_text("It is shown now only.").wait_for()
    secret = visit.locator("#token-secret").inner_text()
    assert panel.ask("GET", "/api/me", headers={"Cookie": "", "Authorization": f"Bearer {secret}"}).status == 200
    visit.get_by_role("dialog").get_by_role("button", name="Done").click()
    visit.get_by_role("button", name="Remove the token ci").wait_for()
    assert secret not in visit.content()
    visit.goto("/admins")
    visit.get_by_role("button", name="Add admin").click()
    dialog = visit.get_by_role("dialog")
    dialog.get_by_label("Name").fill("dave@example.com")
    dialog.get_by_text("Operator").click()
    dialog.get_by_role("button", name="Add", exact=True).click()
    visit.get_by_text("whoever opens it first").wait_for()
    assert visit.locator("#link-text").inner_text().startswith(f"{panel.url}/welcome?link=")
    visit.get_by_role("dialog").get_by_role("button", name="Done").click()
    row = visit.get_by_role("row").filter(has_text="dave@example.com")
    assert "Link not used yet" in row.inner_text()
    assert "Operator" in row.inner_text()


def test_what_the_sign_in_says_is_in_the_catalogues() -> None:
    tree = ast.parse(Path(entering.__file__).read_text())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem"
    ]
    said = {call.args[2].value for call in calls if isinstance(call.args[2], ast.Constant)}
    assert len(said) > 3
    assert said <= set(SAID)


def test_the_account_can_be_read_without_scripts(panel: Panel) -> None:
    text = panel.page("/profile").text
    assert "This one" in text
    assert PASSWORD not in text
    assert panel.page("/admins").status == 200
