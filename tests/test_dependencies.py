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
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {"keyring": "the system's keyring is used where there is one"}
"""Distributions that no extra brings, and why the relay does well without them."""
NOT_INSTALLED = {"claude_relay", "compression", *sys.stdlib_module_names}
"""The package itself, and the standard library; `compression` is in it since 3.14."""


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    return {name_of(text) for text in requirements}


ALWAYS = declared(PROJECT["dependencies"])
EXTRAS = set().union(*map(declared, PROJECT["optional-dependencies"].values()))


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
    assert list(undeclared(imports.needed, ALWAYS)) == []
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


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_name_all_that_is_declared(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert {name_of(found) for found in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)} >= ALWAYS
    assert "(pyproject.toml" in text
    assert not re.search(r"(via|#) +claude-relay", text), "made of an earlier pyproject.toml"


def test_the_standard_library_takes_the_place_of_a_package() -> None:
    """From 3.14 on nothing of `backports` is installed."""
    [zstd] = [Requirement(text) for text in PROJECT["dependencies"] if text.startswith("backports")]
    assert zstd.marker is not None
    assert [zstd.marker.evaluate({"python_version": version}) for version in ("3.13", "3.14")] == [True, False]


def test_the_distributions_name() -> None:
    """Another program has the shorter one."""
    assert PROJECT["name"] == "mitmproxy-claude-relay"
    assert PROJECT["scripts"] == {"claude-relay": "claude_relay.cli.main:main"}
    told = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *FILES]
    assert [file for file in told if re.search(r"pip install '?claude-relay", file.read_text())] == []
