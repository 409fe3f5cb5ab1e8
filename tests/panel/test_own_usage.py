"""What the holder of a client key does by the panel, with a real relay behind it: sees the own use, and signs in with Claude Code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from claude_relay.core.clients.sign_in import new_user_code
from claude_relay.store.audit import Actor
from wire import steps
from wire.clients import RawClient, messages_body
from wire.limiting import add, ask
from wire.relay import Relay
from wire.upstream import FakeUpstream

from .relayed import relay_over
from .stage import Panel

ME = Actor("me", "cli", "here")
PAID = {"input_tokens": 1_000_000, "output_tokens": 1}


@pytest.fixture(scope="module")
def relayed(
    panel: Panel, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Relay, FakeUpstream]]:
    more: dict[str, Any] = {"prices": [{"model": "*", "input": 3, "output": 15}], "listen": {"sign_in": True}}
    with relay_over(panel, tmp_path_factory.mktemp("relayed"), confdir, **more) as found:
        yield found


def form(panel: Panel, path: str, **fields: str) -> Any:
    head = {
        "Accept": "text/html",
        "Cookie": "",
        "X-CSRF-Token": "",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return panel.ask("POST", path, urlencode(fields).encode(), head)


def begun(relay: Relay) -> dict[str, Any]:
    """A sign-in, as Claude Code begins it."""
    with RawClient(relay.base_port) as client:
        head = [("content-type", "application/x-www-form-urlencoded")]
        meta = client.ask("GET", "/.well-known/oauth-authorization-server").json()
        path = "/" + meta["device_authorization_endpoint"].split("/", 3)[3]
        answer = client.ask("POST", path, headers=head, body=b"client_id=claude-code")
        found: dict[str, Any] = answer.json()
        found["token_path"] = "/" + meta["token_endpoint"].split("/", 3)[3]
        return found


def token(relay: Relay, said: dict[str, Any]) -> dict[str, Any]:
    with RawClient(relay.base_port) as client:
        body = (
            "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=claude-code"
            f"&device_code={said['device_code']}"
        ).encode()
        head = [("content-type", "application/x-www-form-urlencoded")]
        found: dict[str, Any] = client.ask("POST", said["token_path"], headers=head, body=body).json()
        return found


def test_a_client_over_its_cap_sees_it(visit: Any, panel: Panel, relayed: tuple[Relay, FakeUpstream]) -> None:
    relay, upstream = relayed
    key = add(panel.database, "capped", "$2/day")
    upstream.script(steps.message(usage=PAID))
    with RawClient(relay.base_port) as client:
        assert ask(client, key).status == 200
        assert ask(client, key).status == 429
    visit.goto("/clients")
    visit.locator("#client-capped").get_by_role("img", name="$2/day: 150.0 % is used").wait_for()
    visit.context.clear_cookies()
    visit.goto("/me")
    visit.get_by_label("Your client key").fill(key)
    visit.get_by_role("button", name="Show").click()
    visit.get_by_role("heading", name="capped").wait_for()
    text = visit.locator("main").inner_text()
    assert "$3.00 of $2.00" in text
    assert key not in visit.content()
    assert visit.url == f"{panel.url}/me"


def test_a_session_is_stopped_from_its_page(visit: Any, panel: Panel, relayed: tuple[Relay, FakeUpstream]) -> None:
    relay, upstream = relayed
    key = add(panel.database, "agent")
    begin = steps.claude.events()[:4]
    upstream.script(steps.message(), steps.stream([*begin, steps.stall]))
    head = [("authorization", f"Bearer {key}"), ("x-claude-code-session-id", "runaway")]
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", headers=head, body=messages_body()).status == 200
        client.post(stream=True, headers=head)
        client.head()
        client.until(b"Hel")
        visit.goto("/clients/agent")
        visit.get_by_role("button", name="Stop the session runaway").click()
        visit.get_by_role("button", name="Stop", exact=True).last.click()
        visit.get_by_text("The session is stopped").wait_for()
        while client.piece() is not None:
            pass
        assert b"was stopped" in client.current.body


def test_who_has_a_key_signs_in(panel: Panel, relayed: tuple[Relay, FakeUpstream]) -> None:
    relay, _ = relayed
    key = add(panel.database, "ann")
    said = begun(relay)
    page = panel.ask("GET", f"/device?user_code={said['user_code']}", headers={"Accept": "text/html", "Cookie": ""})
    assert said["user_code"] in page.text
    assert "Approve for somebody else" not in page.text
    assert form(panel, "/device", user_code=said["user_code"], key="rk-" + "0" * 48, action="approve").status == 403
    answer = form(panel, "/device", user_code=said["user_code"].lower(), key=key, action="approve")
    assert (answer.status, "You are signed in as ann" in answer.text) == (200, True)
    assert key not in answer.text
    assert token(relay, said)["access_token"].startswith("rk-at-")


def test_an_admin_approves_for_somebody(visit: Any, panel: Panel, relayed: tuple[Relay, FakeUpstream]) -> None:
    relay, _ = relayed
    add(panel.database, "ben")
    said = begun(relay)
    visit.goto(f"/device?user_code={said['user_code']}")
    visit.get_by_label("Who it is").select_option("ben")
    visit.get_by_role("button", name="Approve").click()
    visit.get_by_text("Signed in", exact=True).wait_for()
    assert token(relay, said)["access_token"].startswith("rk-at-")
    assert panel.post("/api/sign-ins/deny", {"code": said["user_code"]}).status == 409


def test_guesses_cost_time(panel: Panel) -> None:
    key = add(panel.database, "cleo")
    codes = [new_user_code(lambda n: bytes([n % 7 * 31 % 256]) * n) for _ in range(12)]
    statuses = [form(panel, "/device", user_code=code, key=key, action="approve").status for code in codes]
    assert (statuses[0], statuses[-1]) == (403, 429)
    late = form(panel, "/me", key=key)
    assert (late.status, int(late.headers["retry-after"]) > 0) == (429, True)
