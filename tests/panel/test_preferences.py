"""On a phone, in both languages: what is chosen stays, and errors are in it, too."""

from __future__ import annotations

from typing import Any

from .stage import Panel


def test_a_phone_in_chinese_and_back(visit: Any, panel: Panel) -> None:
    visit.set_viewport_size({"width": 360, "height": 740})
    visit.goto("/keys")
    visit.get_by_label("Language and theme").click()
    visit.get_by_role("link", name="中文").click()
    visit.get_by_role("heading", name="密钥", exact=True).wait_for()
    assert visit.locator("html").get_attribute("lang") == "zh"
    assert visit.url == f"{panel.url}/keys"
    visit.goto("/clients")
    visit.get_by_role("heading", name="客户端", exact=True).wait_for()
    assert visit.evaluate("document.documentElement.scrollWidth") == 360
    assert visit.evaluate("fetch('/api/keys/none').then((it) => it.json())")["title"] == "未找到"
    visit.locator("summary[aria-label]").first.click()
    visit.get_by_role("link", name="English").click()
    visit.get_by_role("heading", name="Clients", exact=True).wait_for()
