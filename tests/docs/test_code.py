"""What the pages say of the code: paths, rooms, and what may import what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .pages import ALL, CHANGELOG, DOCS, PAGES, README, ROOT

PACKAGE = ROOT / "addon" / "claude_relay"
ARCHITECTURE = DOCS["docs/architecture.md"]
IMPORT = re.compile(r"^ *(?:from (\.*)([\w.]*) import \(?([^()]*?)\)?$|import ([\w.]+))", re.MULTILINE)
ROOMS = [row[0].strip("`") for row in ARCHITECTURE.table("room")]


def test_paths_are_there() -> None:
    named = {
        path for page in PAGES.values() for path in re.findall(r"\b((?:addon|tests|scripts/lib)/[\w./-]*)", page.text)
    }
    assert len(named) > 15
    assert not [path for path in named if not (ROOT / path.rstrip(".")).exists()]


def test_map_of_one_request_names_modules_that_exist() -> None:
    first = (PACKAGE / "__init__.py").read_text("utf-8")
    for text, least in ((first, 12), (ARCHITECTURE.section("The way of a request"), 12)):
        named = set(re.findall(r"\b((?:core|store|proxy|cli)(?:/\w+)+)\b", text))
        assert len(named) > least
        assert not [name for name in named if not ((PACKAGE / f"{name}.py").is_file() or (PACKAGE / name).is_dir())]


def test_every_room_has_its_row() -> None:
    folders = [p.parent.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*") if p.suffix in (".py", ".json")]
    assert set(ROOMS) == set(folders) - {"."}


def floors() -> dict[str, int]:
    """The page's line, read: how far to the left each floor is."""
    [line] = [text.strip() for _, text in ARCHITECTURE.split[1] if "◄─" in text]
    return {name: at for at, names in enumerate(line.split("◄─")) for name in re.findall(r"\w+", names)}


def imports(path: Path) -> Iterator[str]:
    """The modules that a module imports, in full."""
    here = path.relative_to(PACKAGE.parent).parent.parts
    for dots, module, names, plain in IMPORT.findall(path.read_text("utf-8")):
        start = here[: len(here) - len(dots) + 1] if dots else ()
        base = ".".join([*start, *filter(None, [module])])
        yield from (
            [f"{base}.{name}" for name in re.findall(r"\w+", names)] if base == "claude_relay" else [base or plain]
        )


def test_imports_go_to_the_left() -> None:
    order = floors()
    assert set(order) == {room for room in ROOMS if "/" not in room}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        mine = path.relative_to(PACKAGE).parts[0]
        for name in imports(path):
            theirs = name.split(".")[1] if name.startswith("claude_relay.") else ""
            starts_it = mine == "cli" and path.parent.name == "script"  # the addon's first line
            if theirs in order and mine in order and theirs != mine and order[theirs] >= order[mine] and not starts_it:
                wrong.append(f"{path.name} imports {name}")
            if name.split(".")[0] == "mitmproxy" and mine != "proxy":
                wrong.append(f"{path.name} imports {name}")
    assert wrong == []


def test_readmes_example_of_python_is_python() -> None:
    for page in PAGES.values():
        for text in page.blocks("python"):
            ast.parse(text)


def test_version_is_in_the_changelog() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert f"\n## {version[1]}" in CHANGELOG.text


def test_the_distributions_name() -> None:
    assert "mitmproxy-claude-relay" in README.text
    assert "Python 3.12" in README.text
    assert 'requires-python = ">=3.12"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert str(ROOT) not in ALL
