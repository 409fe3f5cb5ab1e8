"""Claude Code's terminal interface, started for the first time on this machine: it asks nothing about keys and logins, and answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wire.upstream import FakeUpstream

from . import packages
from .conftest import KEY
from .stage import Shell
from .terminal import Terminal

pytestmark = packages.needed()

DOWN, ENTER = "\x1b[B", "\r"
ITS_OWN = {
    "Choose the text style": ENTER,
    "Press Enter to continue": ENTER,
    "❯ No, exit": DOWN,
    "❯ Yes, I trust this folder": ENTER,
}
"""What Claude Code asks everybody at a first start, and the keys that answer: theme, security notes, trust in the folder."""
READY = "/effort"
ABOUT_CREDENTIALS = (
    "custom API key",
    "Not logged in",
    "/login",
    "login method",
    "Unable to connect",
    "Invalid API key",
)


@pytest.fixture
def claude(shell: Shell) -> Iterator[Terminal]:
    """Claude Code behind `scripts/env -- claude`."""
    with Terminal(shell.command("claude"), shell.environ, shell.work) as found:
        yield found


def start_up(terminal: Terminal) -> list[str]:
    """Answers its own questions until it takes a prompt; what it asked, in order. AssertionError at any other question."""
    asked: list[str] = []
    while True:
        others = [words for words in ITS_OWN if words not in asked[-1:]]
        found = terminal.wait_for(READY, *others, *ABOUT_CREDENTIALS)
        assert found not in ABOUT_CREDENTIALS, terminal.text()
        if found == READY:
            return asked
        asked.append(found)
        terminal.settle()  # keys that come sooner than a person's count as slips of the fingers
        terminal.type(ITS_OWN[found])


def ask(terminal: Terminal, prompt: str, answer: str) -> None:
    terminal.type(prompt)
    terminal.wait_for(f"❯ {prompt}")
    terminal.type(ENTER)
    terminal.wait_for(answer)


def test_a_first_start_asks_nothing_about_keys_and_answers(claude: Terminal, upstream: FakeUpstream) -> None:
    assert set(start_up(claude)) == set(ITS_OWN)
    ask(claude, "question #1", "● answer 1")
    ask(claude, "question #2", "● answer 2")
    shown = "\n".join(claude.seen)
    assert not [words for words in ABOUT_CREDENTIALS if words in shown]
    assert set(upstream.used_keys()) == {KEY}
