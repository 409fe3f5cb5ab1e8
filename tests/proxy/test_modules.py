"""Format modules of the user's own: what they may hold, and how they are loaded anew."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from claude_relay.core.config import ConfigError
from claude_relay.proxy.modules import format_of

FUNCTIONS = """
def request(*args): ...
def answer(*args): ...
def stream(*args): ...
def error(*args): ...
"""
RICH = (
    """
from __future__ import annotations
import dataclasses, enum, pickle, typing
from dataclasses import dataclass, field

@dataclass(slots=True)
class Part:
    text: str
    more: typing.ClassVar[int] = 1
    parts: list[Part] = field(default_factory=list)

class Named(typing.NamedTuple):
    a: int

class Colour(enum.Enum):
    RED = 1

HINTS = typing.get_type_hints(Part)
COPY = pickle.loads(pickle.dumps(Part("x")))
"""
    + FUNCTIONS
)


def modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("relay_format_")}


def test_what_needs_to_find_its_module(tmp_path: Path) -> None:
    path = tmp_path / "rich.py"
    path.write_text(RICH)
    found = format_of(str(path))
    assert found is not None
    module = sys.modules[found.request.__module__]  # still there
    assert module.Part("x") == module.COPY
    assert format_of(str(path)) is found


def test_two_versions_of_one_second_and_one_size(tmp_path: Path) -> None:
    """Python's own cache would take the second for the first; and both are there at once."""
    path = tmp_path / "mine.py"
    found = []
    for number in (1, 2):
        path.write_text(f"NUMBER = {number}\n{FUNCTIONS}")
        os.utime(path, ns=(1_700_000_000_000_000_000 + number, 1_700_000_000_000_000_000 + number))
        form = format_of(str(path))
        assert form is not None
        found.append(sys.modules[form.request.__module__])
    assert [module.NUMBER for module in found] == [1, 2]
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("def request(): ...", "answer"),
        ("\0", "SyntaxError|ValueError"),
    ],
)
def test_a_module_that_cannot_be_used(tmp_path: Path, text: str, why: str) -> None:
    path, before = tmp_path / "broken.py", modules()
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        format_of(str(path))
    assert modules() == before


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        format_of(str(tmp_path / "none.py"))
