"""Forms before their scripts are there: what is typed goes nowhere, above all not into an address."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from claude_relay.panel.pages.shell import STATIC
from waiting import PATIENCE

from .stage import Panel

TEMPLATES = STATIC.parent / "templates"
FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
BY_SCRIPTS = ("data-api", "data-module", "data-import")


def forms() -> list[tuple[str, str, str]]:
    """Template, attributes, what is in it."""
    return [
        (file.relative_to(TEMPLATES).as_posix(), *found)
        for file in sorted(TEMPLATES.rglob("*.html"))
        for found in FORM.findall(file.read_text())
    ]


def test_a_form_that_scripts_send_is_not_sent_without_them() -> None:
    """A form without a method would put its fields into the address."""
    assert len(forms()) > 20
    for template, attributes, _ in forms():
        method = re.search(r'method="(\w+)"', attributes)
        assert method is not None, f"{template}: <form{attributes}> has no method"
        if any(name in attributes for name in BY_SCRIPTS):
            assert method[1] == "dialog", f"{template}: <form{attributes}> goes to the server by itself"


def test_what_is_secret_is_not_asked_for_by_a_form_that_gets() -> None:
    for template, attributes, inside in forms():
        if 'method="get"' in attributes:
            assert 'type="password"' not in inside, template
            assert "<textarea" not in inside, template


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_a_button_that_scripts_serve_sends_no_form(template: Path) -> None:
    """With a type of its own: a button without one sends the form around it."""
    for attributes in re.findall(r"<button\b([^>]*)>", template.read_text()):
        if re.search(r"data-(api|dialog|close|copy|operation|act|check|take|two|clear|stop)\b", attributes):
            assert 'type="button"' in attributes, attributes


def test_a_form_whose_scripts_did_not_come(chromium: Any, panel: Panel) -> None:
    name, _, value = panel.cookie.partition("=")
    context = chromium.new_context(base_url=panel.url, java_script_enabled=False)
    try:
        context.set_default_timeout(PATIENCE * 1000)
        context.add_cookies([{"name": name, "value": value, "url": panel.url}])
        page = context.new_page()
        for path, field in (("/profile", "[name=current]"), ("/keys/import", "textarea"), ("/playground", "#prompt")):
            page.goto(path)
            page.locator(field).fill("sk-ant-typed-too-early")
            for button in page.locator("main button:enabled:visible").all():
                button.click()
            assert page.url == panel.url + path
    finally:
        context.close()
