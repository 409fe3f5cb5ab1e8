"""The rooms of the package, and what each may import. Drawn from the code, imports for the type checker included.

FLOORS is the plan: a room may import those before it. It has no circle, then; nor have files within a room.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ADDON = Path(__file__).parents[1] / "addon"
PACKAGE = "claude_relay"
FLOORS = (
    # pure
    "core",
    "core.data",
    "core.config",
    "core.bodies",
    "core.formats",
    "core.formats.claude",
    "core.formats.openai",
    "core.formats.gemini",
    "core.recordings",
    "core.duels",
    "core.routing",
    "core.accounting",
    "core.clients",
    "core.imports",
    "core.keys",
    "core.oauth",
    "core.retry",
    "core.redacting",
    "core.capsules",
    # the disk, and providers
    "upstream",
    "store.db",
    "store",
    "store.ledger",
    "store.vault",
    "store.shared",
    "store.clients",
    "store.panel",
    # mitmproxy
    "proxy.common",
    "proxy.messages",
    "proxy.mitm",
    "proxy.provider",
    "proxy.running",
    "proxy.log",
    "proxy.request",
    "proxy.access",
    "proxy.pages",
    "proxy.stream",
    "proxy.watch",
    "proxy.views",
    "proxy.lifecycle",
    "proxy.pages",
    "proxy.flow",
    "proxy",
    # the panel
    "panel.common",
    "panel.security",
    "panel.api",
    "panel.pages",
    "panel",
    # commands
    "cli.console",
    "cli.fake",
    "cli.demonstration",
    "cli.keyring",
    "cli.logins",
    "cli.spending",
    "cli.roster",
    "cli.drilling",
    "cli.dueling",
    "cli.script",
    "cli",
)
APART = {"upstream": ("store",), "store": ("upstream",), "cli": ("proxy", "panel"), "panel": ("proxy",)}
"""Floors side by side: the first must not import the second, which stands before it."""


@cache
def modules() -> Mapping[str, Path]:
    """Every module's name within the package, and its file."""
    found = {}
    for file in sorted((ADDON / PACKAGE).rglob("*.py")):
        parts = file.relative_to(ADDON / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room_of(module: str) -> str:
    """The folder that a module is in."""
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def imported(module: str) -> Iterator[str]:
    """The full names of what a module imports, by whatever statement."""
    package = f"{PACKAGE}.{room_of(module)}".rstrip(".").split(".")
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def graph() -> Mapping[str, frozenset[str]]:
    """The modules of the package that each module imports."""

    def own(name: str) -> str | None:
        name = name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else "?"
        while name not in modules() and "." in name:
            name = name.rpartition(".")[0]
        return name if name in modules() else None

    return {module: frozenset(filter(None, map(own, imported(module)))) - {module} for module in modules()}


def wrong(module: str) -> Iterator[str]:
    """The arrows of a module that lead up, or to a floor beside its own."""
    room = room_of(module)
    for other in sorted(graph()[module]):
        there = room_of(other)
        if there == room:
            continue
        top = room.partition(".")[0]
        apart = APART.get(top, ()) if room != "cli.script" else ()  # what an installed package gives to mitmproxy
        if FLOORS.index(there) > FLOORS.index(room) or there.partition(".")[0] in apart:
            yield f"{module} imports {other}"


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_a_module_imports_what_is_below_it(module: str) -> None:
    assert room_of(module) in FLOORS, "a room that has no place in FLOORS"
    assert list(wrong(module)) == []


def test_no_file_needs_itself() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" ─► ".join(error.args[1]))


def test_only_the_proxy_knows_mitmproxy() -> None:
    found = {
        module.partition(".")[0] for module in modules() for name in imported(module) if name.startswith("mitmproxy")
    }
    assert found == {"proxy"}


IMPURE = (
    "asyncio",
    "http.client",
    "os",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
)


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("core")])
def test_the_core_is_pure(module: str) -> None:
    found = {name for name in imported(module) if any(f"{name}.".startswith(f"{impure}.") for impure in IMPURE)}
    assert found <= ALLOWED.get(module, set())


ALLOWED: Mapping[str, set[str]] = {
    "core.config": {"os.path.normpath"},  # texts of paths, no disk
    "core.config.locate": {"os.path"},
    "core.installation": {"os.pathsep"},
    "core.spans": {"time"},  # to let other threads go on, between two steps
}


def test_every_room_says_what_is_in_it() -> None:
    """In its first lines, and in the table of docs/architecture.md."""
    page = (ADDON.parent / "docs" / "architecture.md").read_text()
    for room in FLOORS:
        if room in modules():  # cli.script is a folder with a script in it
            assert len(ast.get_docstring(ast.parse(modules()[room].read_text())) or "") > 20, room
        assert f"| `{room.replace('.', '/')}` |" in page, room


@pytest.mark.parametrize("module", [name for name in modules() if name and modules()[name].name == "__init__.py"])
def test_maps_name_what_is_there(module: str) -> None:
    """Every file of a room is named in its map."""
    text = ast.get_docstring(ast.parse(modules()[module].read_text())) or ""
    files = [name.rpartition(".")[2] for name in modules() if room_of(name) == module and name != module]
    assert [file for file in files if module not in UNMAPPED and file not in text] == []


UNMAPPED = {"cli", "cli.demonstration", "cli.keyring", "cli.script", "cli.spending", "core.config", "core.formats"}
"""Rooms whose files are commands, or are told of in another way."""


TESTS = Path(__file__).parent
WITHOUT_A_FILE: Mapping[str, str] = {
    "proxy.access.origin": "what clients are told is seen on the wire: tests/wire/test_sign_in",
    "proxy.flow.own_limits": "header fields of answers: tests/wire/test_client_spending; their rules: tests/core/clients/test_caps",
    "proxy.pages.callers": "who gets a page is seen on the wire: tests/wire/test_client_spending, test_own_pages",
    "proxy.pages.page_parts": "what pages have in common is seen in each: tests/wire/test_sign_in, test_own_pages",
    "proxy.pages.device": "a page over real sockets: tests/wire/test_device_page",
    "proxy.pages.device_html": "what the page looks like: tests/wire/test_device_page",
    "proxy.pages.settings": "a page over real sockets: tests/wire/test_own_pages",
    "proxy.pages.sign_in": "pages over real sockets: tests/wire/test_sign_in; tokens: tests/store/clients/test_sign_ins",
    "proxy.pages.standing": "pages over real sockets: tests/wire/test_client_spending",
    "proxy.pages.otlp": "a page over real sockets: tests/wire/test_own_pages",
    "proxy.mitm.far_tls": "handshakes over real sockets: tests/wire/test_far_tls",
    "proxy.recordings": "its flows go through the relay: tests/wire/test_recordings",
    "proxy.stream.resending": "mitmproxy's own replay over real sockets: tests/wire/test_resending",
    "proxy.flow.hooks": "what the hooks decide is seen on the wire: tests/wire, by subject",
    "proxy.request.requested": "a record of what others put into it; tests of those use it",
    "proxy.request.relayed": "a record of what others put into it; tests of those use it",
    "proxy.request.records": "what its names say, and nothing else: test_rows, test_costs",
    "proxy.stream.answering": "bytes through mitmproxy's own stream: tests/wire/test_streams, test_replay, test_whole_or_not",
    "proxy.stream.layer": "it only stands within mitmproxy: tests/proxy/test_contract, tests/wire/test_replay",
    "proxy.stream.faulting": "faults through mitmproxy's own stream, from every way in: tests/wire/test_faults",
    "proxy.stream.dispatching": "attempts to real sockets: tests/wire/test_dead_connections, test_outbound, test_one_good_key",
    "proxy.stream.receiving": "uploads from real sockets: tests/wire/test_bounds, test_limits, test_floods",
    "proxy.stream.client_connections": "mitmproxy's live connections: tests/wire/test_ending",
    "proxy.lifecycle.stopping": "mitmproxy's live connections: tests/wire/test_stops",
}
"""Modules whose tests stand elsewhere, and why."""


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith(("proxy.", "upstream."))])
def test_a_module_has_a_test_file(module: str) -> None:
    """In the folder that mirrors its room."""
    if modules()[module].name == "__init__.py":
        return
    room, _, name = module.rpartition(".")
    file = TESTS.joinpath(*room.split("."), f"test_{name}.py")
    assert file.is_file() is (module not in WITHOUT_A_FILE), WITHOUT_A_FILE.get(module, f"there is no {file}")


def test_what_has_no_test_file_is_there() -> None:
    assert WITHOUT_A_FILE.keys() <= modules().keys()
    named = {name for why in WITHOUT_A_FILE.values() for name in re.findall(r"\btest_\w+", why)}
    assert named <= {file.stem for file in TESTS.rglob("test_*.py")}


@pytest.mark.parametrize("floor", ["core", "store", "proxy", "upstream"])
def test_tests_lie_in_the_rooms_that_they_test(floor: str) -> None:
    folders = {
        file.parent.relative_to(TESTS).as_posix().replace("/", ".") for file in (TESTS / floor).rglob("test_*.py")
    }
    assert folders <= set(FLOORS)
