"""Claude Code's terminal interface, signed in to the relay: `/login`, spending shown where one works, `/logout`."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from panel.browsing import chromium_or_skip, visiting
from panel.stage import running
from waiting import PATIENCE, eventually
from wire.team import ME, Team
from wire.upstream import FakeUpstream

from . import packages
from .conftest import KEY
from .stage import QUIET, Relay
from .terminal import Terminal
from .test_terminal import READY, ask, start_up

pytestmark = packages.needed()

UP, DOWN, ENTER = "\x1b[A", "\x1b[B", "\r"
CODE = re.compile(r"\b[B-Z]{4}-[B-Z]{4}\b")
type Confirm = Callable[[Team, str, str], HasStatus]
OUTPUT = 26_000
"""USD for a million tokens: an answer of 15 tokens costs 0.39 USD."""


class HasStatus(Protocol):
    """An answer."""

    @property
    def status(self) -> int: ...


@pytest.fixture
def relay(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> Iterator[Relay]:
    folder = tmp_path / "relay"
    folder.mkdir()
    sections = {
        "listen": {"sign_in": True},
        "clients": {"contact": "ops@example.com"},
        "prices": [{"model": "*", "input": 0, "output": OUTPUT}],
    }
    with Relay(folder, confdir, upstream.url, [KEY], **sections) as found:
        yield found


@pytest.fixture
def team(relay: Relay) -> Team:
    return Team(relay)


@pytest.fixture
def environ(tmp_path: Path, team: Team) -> dict[str, str]:
    """Of somebody whose settings name this gateway."""
    settings = tmp_path / "home" / ".claude" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"forceLoginMethod": "gateway", "forceLoginGatewayUrl": team.origin}))
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "LANG": "C.UTF-8", "BROWSER": "true"} | QUIET


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def claude(environ: dict[str, str], work: Path) -> Iterator[Terminal]:
    with Terminal([str(packages.claude_code())], environ, work) as found:
        yield found


def press(terminal: Terminal, screen: str, *keys: str) -> None:
    """Keys on a screen, once it stands still: those that come sooner than a person's count as slips of the fingers."""
    terminal.wait_for(screen)
    terminal.settle()
    for key in keys:
        terminal.type(key)
        terminal.settle(0.2, 1.0)


def choose(terminal: Terminal, screen: str, key: str, chosen: str) -> None:
    """Another line of a menu."""
    press(terminal, screen, key)
    terminal.wait_for(f"❯ {chosen}")
    terminal.type(ENTER)


def connect(terminal: Terminal, team: Team, key: str, confirm: Confirm = Team.confirm) -> None:
    """From the gateway's address to the word that it is connected. `confirm`: what the person does in a browser."""
    press(terminal, f"Gateway:  {team.origin}", ENTER)
    choose(terminal, "❯ No, cancel login", UP, "Yes, trust this gateway")
    terminal.wait_for("Waiting for sign-in")
    assert "ops@example.com" in terminal.text()
    found = CODE.search(terminal.text())
    assert found
    assert confirm(team, found[0], key).status == 200
    terminal.wait_for("ann@example.com")
    choose(terminal, "❯ No, cancel login", UP, "Yes, continue")
    press(terminal, "Connected to", ENTER)


def sign_in(terminal: Terminal, team: Team, key: str, confirm: Confirm = Team.confirm) -> None:
    """As a person does at a first start."""
    press(terminal, "Choose the text style", ENTER)
    connect(terminal, team, key, confirm)
    press(terminal, "Security notes", ENTER)
    choose(terminal, "❯ No, exit", DOWN, "Yes, I trust this folder")
    terminal.wait_for(READY)


def command(terminal: Terminal, name: str) -> None:
    terminal.settle()
    terminal.type(name)
    terminal.settle()
    terminal.type(ENTER)


def tokens(team: Team) -> int:
    with closing(sqlite3.connect(team.relay.database)) as connection:
        found: int = connection.execute("SELECT count(*) FROM client_tokens").fetchone()[0]
        return found


def test_from_login_to_logout(claude: Terminal, team: Team, upstream: FakeUpstream) -> None:
    """Warned at 75 %, dollars in /usage, the message of a cap that is reached, and signed out."""
    sign_in(claude, team, team.add("ann", "$1/day", owner="ann@example.com"))
    assert tokens(team) == 2
    ask(claude, "question #1", "● answer 1")
    ask(claude, "question #2", "● answer 2")
    assert "% of your" not in "\n".join(claude.seen)
    command(claude, "/usage")
    claude.wait_for("$0.78 / $1.00 spent today")
    claude.type("\x1b")
    claude.wait(lambda: None if "Spend limit" in claude.text() else "closed", "the prompt")
    claude.settle()
    ask(claude, "question #3", "● answer 3")
    claude.wait_for("78% of your")
    before = len(upstream.requests)
    ask(claude, "question #4", "ops@example.com")
    assert "is used up" in claude.text()
    assert len(upstream.requests) == before
    assert set(upstream.used_keys()) == {KEY}
    command(claude, "/logout")
    claude.wait_for("Successfully logged out")
    claude.process.wait(PATIENCE)
    assert tokens(team) == 0


def test_the_code_is_confirmed_in_the_panel(
    claude: Terminal, team: Team, relay: Relay, tmp_path: Path, upstream: FakeUpstream
) -> None:
    """By an admin in a browser, for the person who waits."""
    with running(tmp_path, database=relay.database) as panel, chromium_or_skip() as browser:
        assert panel.sign_in().status == 200

        def confirm(_team: Team, code: str, _key: str) -> HasStatus:
            with visiting(browser, panel, "sign-in of Claude Code") as page:
                page.goto(f"/device?user_code={code}")
                page.get_by_label("Who it is").select_option("ann")
                page.get_by_role("button", name="Approve").click()
                page.get_by_text("Signed in", exact=True).wait_for()
            return panel.get("/healthz")

        sign_in(claude, team, team.add("ann", owner="ann@example.com"), confirm)
        ask(claude, "question #1", "● answer 1")
        assert set(upstream.used_keys()) == {KEY}
        assert tokens(team) == 2


def test_a_client_that_is_disabled_has_to_sign_in_again(claude: Terminal, team: Team) -> None:
    key = team.add("ann", owner="ann@example.com")
    sign_in(claude, team, key)
    ask(claude, "question #1", "● answer 1")
    team.book.edit(ME, "ann", {"enabled": False})

    def refused() -> bool:
        claude.settle(0.1, 0.1)
        return team.get("/relay/me", key).status == 401

    eventually(refused)
    ask(claude, "question #2", "Please run /login")


def test_login_at_a_running_prompt(environ: dict[str, str], work: Path, team: Team, upstream: FakeUpstream) -> None:
    """Of somebody who has worked with a client key so far: from then on a token asks, and the conversation goes on."""
    key = team.add("ann", "$1/day", owner="ann@example.com")
    environ |= {"ANTHROPIC_BASE_URL": team.origin, "ANTHROPIC_AUTH_TOKEN": key}
    with Terminal([str(packages.claude_code())], environ, work) as claude:
        start_up(claude)
        ask(claude, "question #1", "● answer 1")
        assert tokens(team) == 0
        command(claude, "/login")
        connect(claude, team, key)
        claude.wait_for("Login successful")
        assert tokens(team) == 2
        ask(claude, "question #2", "● answer 2")
        assert set(upstream.used_keys()) == {KEY}
        command(claude, "/usage")
        claude.wait_for("$0.78 / $1.00 spent today")
