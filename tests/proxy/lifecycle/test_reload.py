"""relay.yaml is read again when it has changed and is whole; what was lost of it changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from claude_relay.core.config import Config, ConfigError, default
from claude_relay.proxy.lifecycle.reload import Version, Watcher, is_cut_off, is_special, read, read_anew, stamp

TEXT = """providers:
  one: {base_url: 'https://one.example', keys: [key-one-of-mine]}
  two: {base_url: 'https://two.example', keys: [key-two-of-mine]}
routes:
  - to: [one, two]
sessions: {ttl: 2h}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "relay.yaml"
    found.write_text(TEXT)
    return found


def test_a_file_and_how_it_looked(path: Path) -> None:
    version, config = read(path)
    assert version == Version(stamp(path), TEXT.encode())
    assert list(config.providers) == ["one", "two"]
    before = stamp(path)
    path.write_text(TEXT + "# more\n")
    assert stamp(path) != before
    path.unlink()
    assert stamp(path) is None
    with pytest.raises(ConfigError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize(
    ("text", "serves", "cut"),
    [
        (TEXT, True, False),
        (TEXT + "# more\n", True, False),
        (TEXT[:-1], True, False),
        (TEXT[:-3], True, True),
        (TEXT[: TEXT.index("sessions")], True, False),
        (TEXT[: TEXT.index("routes")], False, True),
        ("another: text\n", False, False),
    ],
)
def test_what_looks_cut_off(text: str, serves: bool, cut: bool) -> None:
    assert is_cut_off(text.encode(), TEXT.encode(), serves=serves) is cut


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (TEXT + "# more\n", True),
        (TEXT.replace("one.example", "three.example"), True),
        ("", False),
        ("# nothing\n", False),
        (TEXT[: TEXT.index("  two")], False),
        ("providers: {one: {base_url: 'https://one.example', keys: [key-one-of-mine]}}\n", True),
        ("wat: 1\n", False),
    ],
)
def test_an_edit_while_it_runs(path: Path, text: str, taken: bool) -> None:
    version, now = read(path)
    path.write_text(text)
    if taken:
        read_anew(path, now, version.text, lambda _: False)
    else:
        with pytest.raises(ConfigError):
            read_anew(path, now, version.text, lambda _: False)


def test_whoever_goes_back_to_what_was_in_force_has_lost_nothing(path: Path) -> None:
    version, now = read(path)
    shorter = TEXT[: TEXT.index("  two")]
    path.write_text(shorter)
    assert read_anew(path, now, version.text, lambda text: text == shorter.encode())


def test_a_pipe_is_not_read(path: Path, tmp_path: Path) -> None:
    version, now = read(path)
    os.mkfifo(tmp_path / "pipe")
    assert is_special(tmp_path / "pipe")
    assert not is_special(path)
    assert not is_special(tmp_path / "gone")
    with pytest.raises(ConfigError, match="no file any more"):
        read_anew(tmp_path / "pipe", now, version.text, lambda _: False)


class Watched:
    """A watcher, and what it has reported."""

    def __init__(self, path: Path) -> None:
        version, self.config = read(path)
        self.path = path
        self.taken: list[Config] = []
        self.refuse = False
        self.watcher = Watcher(path, version, self.change, lambda: self.config)

    def write(self, text: str) -> None:
        self.path.write_text(text)

    async def change(self, config: Config) -> None:
        if self.refuse:
            raise ConfigError([])
        self.config = config
        self.taken.append(config)


def on(path: Path, do: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        await do(Watched(path))

    asyncio.run(main())


def test_a_file_that_comes_is_taken_over(path: Path, tmp_path: Path) -> None:
    async def do(on: Watched) -> None:
        later = tmp_path / "later.yaml"
        on.watcher = Watcher(later, Version(), on.change, lambda: default({}))
        for _ in range(3):
            await on.watcher.look()
        assert on.taken == []
        later.write_text(TEXT)
        for _ in range(2):
            await on.watcher.look()
        assert [config.sessions.ttl for config in on.taken] == [2 * 3600]

    on(path, do)


def test_a_changed_file_is_read_when_two_looks_have_found_the_same(path: Path) -> None:
    async def do(on: Watched) -> None:
        await on.watcher.look()
        on.write("")  # as editors do before they write
        await on.watcher.look()
        on.write(TEXT.replace("2h", "3h"))
        await on.watcher.look()
        assert on.taken == []
        await on.watcher.look()
        assert [config.sessions.ttl for config in on.taken] == [3 * 3600]
        await on.watcher.look()
        assert len(on.taken) == 1

    on(path, do)


def test_a_broken_edit_is_told_of_once_and_the_next_one_counts(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def do(on: Watched) -> None:
        on.write("wat: 1\n")
        for _ in range(4):
            await on.watcher.look()
        assert caplog.text.count("goes on with the last good configuration") == 1
        assert on.taken == []
        on.write(TEXT.replace("2h", "3h"))
        for _ in range(2):
            await on.watcher.look()
        assert len(on.taken) == 1
        on.refuse = True
        on.write(TEXT)
        for _ in range(2):
            await on.watcher.look()
        assert len(on.taken) == 1

    on(path, do)
