"""Whatever the package imports is declared: for everybody under `dependencies`, for some under `optional-dependencies`.

What happens to be installed because something else needs it may be gone with the next version of that.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "addon" / "claude_relay"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
OPTIONAL = {"keyring": "the system's keyring is used where there is one"}
"""Distributions that no extra brings, and why the relay does well without them."""
NOT_INSTALLED = {"claude_relay", "compression", *sys.stdlib_module_names}
"""The package itself, and the standard library; `compression` is in it since 3.14."""


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    return {name_of(text) for text in requirements}


ALWAYS = declared(PROJECT["dependencies"])
OPTIONAL_DEPENDENCIES: dict[str, list[str]] = PROJECT["optional-dependencies"]
EXTRAS = set().union(*map(declared, OPTIONAL_DEPENDENCIES.values()))


class Imports(ast.NodeVisitor):
    """Modules that a file imports. `needed`: as soon as it is itself imported; `asked`: also those that a function imports."""

    def __init__(self, tree: ast.AST) -> None:
        self.needed: set[str] = set()
        self.asked: set[str] = set()
        self.depth = 0
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        self.add(*(alias.name for alias in node.names))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level:
            self.add(*(f"{node.module}.{alias.name}" for alias in node.names))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        """What only a type checker reads is imported by nobody."""
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`importlib.import_module("name")`."""
        if ast.unparse(node.func).endswith("import_module") and isinstance(node.args[0], ast.Constant):
            self.add(str(node.args[0].value))
        self.generic_visit(node)

    def add(self, *modules: str) -> None:
        self.asked.update(modules)
        if not self.depth:
            self.needed.update(modules)


@cache
def distributions() -> dict[str, list[str]]:
    return {name: [name_of(found) for found in known] for name, known in packages_distributions().items()}


def distributions_of(module: str) -> list[str]:
    """Who may bring a module; several share `opentelemetry` and the like, where only the files say whose one is."""
    top, _, rest = module.partition(".")
    if top in NOT_INSTALLED:
        return []
    if top in ("backports", "opentelemetry"):
        return SHARED[f"{top}.{rest.partition('.')[0]}"]
    return distributions().get(top, [top])


SHARED = {
    "backports.zstd": ["backports-zstd"],
    "opentelemetry.sdk": ["opentelemetry-sdk"],
    "opentelemetry.context": ["opentelemetry-sdk"],  # the API, of the very version that the SDK needs
    "opentelemetry.trace": ["opentelemetry-sdk"],
    "opentelemetry.exporter": ["opentelemetry-exporter-otlp-proto-http"],
}


def undeclared(modules: Iterable[str], allowed: set[str]) -> Iterator[str]:
    for module in sorted(modules):
        found = distributions_of(module)
        if found and allowed.isdisjoint(found):
            yield f"{module}: none of {', '.join(found)} is in pyproject.toml"


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_import_is_declared(file: Path) -> None:
    imports = Imports(ast.parse(file.read_text()))
    of_panel = declared(OPTIONAL_DEPENDENCIES["panel"]) if file.is_relative_to(PACKAGE / "panel") else set()
    assert list(undeclared(imports.needed, ALWAYS | of_panel)) == []
    assert list(undeclared(imports.asked, ALWAYS | EXTRAS | set(OPTIONAL))) == []


def test_an_undeclared_import_is_found() -> None:
    tree = ast.parse(
        "import wsproto.events, os\n"
        "from urwid.x import y\n"
        "def later():\n    import wsproto\n    importlib.import_module('aioquic')\n"
        "if TYPE_CHECKING:\n    import jinja2\n"
    )
    imports = Imports(tree)
    assert [line.partition(":")[0] for line in undeclared(imports.needed, ALWAYS)] == ["urwid.x.y", "wsproto.events"]
    found = [line.partition(":")[0] for line in undeclared(imports.asked, ALWAYS)]
    assert found == ["aioquic", "urwid.x.y", "wsproto", "wsproto.events"]


def test_nothing_is_declared_that_nobody_imports() -> None:
    used = {name for file in FILES for m in Imports(ast.parse(file.read_text())).asked for name in distributions_of(m)}
    assert used >= ALWAYS


def pinned(lock: str) -> set[str]:
    return {name_of(found) for found in re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.MULTILINE)}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_name_all_that_is_declared(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert pinned(lock) >= ALWAYS
    assert "(pyproject.toml" in text
    assert not re.search(r"(via|#) +claude-relay", text), "made of an earlier pyproject.toml"


def test_each_extra_has_a_lock_of_what_it_adds() -> None:
    extras = {f"requirements-with-{name}.lock": declared(texts) for name, texts in OPTIONAL_DEPENDENCIES.items()}
    names = extras.pop("requirements-with-panel.lock")  # everybody gets it
    assert pinned("requirements.lock") >= names
    assert {path.name for path in ROOT.glob("requirements-with-*.lock")} == set(extras)
    for lock, names in extras.items():
        assert pinned(lock) >= names
        assert pinned(lock).isdisjoint(pinned("requirements.lock"))
        assert pinned(lock) <= pinned("requirements-dev.lock")


def test_the_standard_library_takes_the_place_of_a_package() -> None:
    """From 3.14 on nothing of `backports` is installed."""
    [zstd] = [Requirement(text) for text in PROJECT["dependencies"] if text.startswith("backports")]
    assert zstd.marker is not None
    assert [zstd.marker.evaluate({"python_version": version}) for version in ("3.13", "3.14")] == [True, False]


def test_the_distributions_name() -> None:
    """Another program has the shorter one."""
    assert PROJECT["name"] == "mitmproxy-claude-relay"
    assert PROJECT["scripts"] == {"claude-relay": "claude_relay.cli.main:main"}
    said = re.compile(r"(install (-\S+ )*|uvx |pipx run )['\"]?claude-relay")
    assert said.search("pipx install 'claude-relay[parquet]'")
    told = [path for path in ROOT.glob("*.md") if path.is_file()] + FILES
    told += [path for folder in ("docs", "scripts") for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert [path for path in told if path.suffix not in (".pyc", ".png") and said.search(path.read_text("utf-8"))] == []


def test_a_wheel_holds_every_file_of_the_package() -> None:
    """Beside its modules: what pyproject.toml says of each folder."""
    told = PYPROJECT["tool"]["setuptools"]["package-data"]
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert PACKAGE / "cli" / "grafana.json" in files

    def is_in(file: Path) -> bool:
        folders = [(folder, PACKAGE.parent.joinpath(*folder.split("."))) for folder in told]
        own = [(folder, path) for folder, path in folders if file.is_relative_to(path)]
        return any(file.relative_to(path).match(pattern) for folder, path in own for pattern in told[folder])

    assert [file for file in files if not is_in(file)] == []
