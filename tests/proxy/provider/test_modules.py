"""Format modules of the user's own: what they may hold, and how they are loaded anew."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.config import ConfigError
from claude_relay.proxy.provider.modules import format_of

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


@pytest.mark.parametrize("future", ["from __future__ import annotations", ""])
@pytest.mark.parametrize("how", ["@dataclass", "@dataclass(frozen=True, slots=True)", "@dataclass(kw_only=True)"])
def test_a_dataclass(tmp_path: Path, how: str, future: str) -> None:
    """It looks its own module up, which is not there by itself for a file that is loaded by its path."""
    path = tmp_path / "mine.py"
    path.write_text(f"""{future}
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import ClassVar

{how}
class Part:
    text: str = "x"
    count: ClassVar[int] = 0
    first: InitVar[int] = 0
    _: KW_ONLY = None
    more: "Part | None" = None
{FUNCTIONS}""")
    assert format_of(str(path)) is not None


FAILS = [
    ("def broken(:", "line 1: SyntaxError: invalid syntax"),
    ("x = 1\n\n1 / 0", "line 3: ZeroDivisionError: division by zero"),
    ("raise SystemExit(3)", "line 1: SystemExit: 3"),
    ("import no_such_module_anywhere", "line 1: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    ("def go():\n    import sys\n    sys.nothing\ngo()", "line 3: AttributeError: module 'sys' has no attribute"),
    (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: list = []",
        "line 2: ValueError: mutable default",
    ),
    ("import json\njson.loads('{')", "line 2: JSONDecodeError"),
    ("\0", "SyntaxError|ValueError"),
]


@pytest.mark.parametrize(("text", "why"), FAILS)
@pytest.mark.parametrize("functions", ["", FUNCTIONS])
def test_a_module_that_fails_says_where_and_why(tmp_path: Path, text: str, why: str, functions: str) -> None:
    """Whether or not it has the functions: they are not what is wrong with it."""
    path, before = tmp_path / "broken.py", modules()
    path.write_text(f"{text}\n{functions}")
    with pytest.raises(ConfigError, match=why) as caught:
        format_of(str(path))
    assert "function" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert modules() == before


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("def request(): ...", "no function answer and no stream and no error; it needs"),
        (FUNCTIONS.replace("def stream", "def streams"), "no function stream; it needs"),
        (f"{FUNCTIONS}\nerror = 3", "no function error; it needs"),
    ],
)
def test_a_module_that_lacks_a_function_says_which(tmp_path: Path, text: str, lacks: str) -> None:
    path, before = tmp_path / "lacking.py", modules()
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"lacking.py has {lacks} request, answer, stream, error"):
        format_of(str(path))
    assert modules() == before


BESIDE = {
    "helper.py": "from dataclasses import dataclass\nNAME = 'one'\n@dataclass\nclass Part:\n    x: 'int' = 1\n",
    "bundle/__init__.py": "from .inner import VALUE\n",
    "bundle/inner.py": "VALUE = 3\n",
    "json.py": "1 / 0\n",
}
IMPORTS = """
from __future__ import annotations
import json
import helper
import bundle.inner
from bundle import VALUE
from . import helper as again
from .helper import Part
from .bundle import inner
assert (helper.NAME, again.NAME, VALUE, inner.VALUE, bundle.inner.VALUE) == ("one", "one", 3, 3, 3)
def name():
    import helper
    return helper.NAME, again.NAME
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = {*sys.modules}
    for name, text in BESIDE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    for name in {*sys.modules} - before:
        del sys.modules[name]


def module_of(path: Path) -> Any:
    found = format_of(str(path))
    assert found is not None
    return sys.modules[found.request.__module__]


def test_what_stands_beside_it(folder: Path) -> None:
    """By its plain name and relatively; what is called like a library's module takes nobody's place."""
    path = folder / "my-format.v2.py"
    path.write_text(IMPORTS + FUNCTIONS)
    assert module_of(path).name() == ("one", "one")
    assert not list(folder.rglob("__pycache__"))


def test_a_change_beside_it_is_a_change(folder: Path) -> None:
    path = folder / "mine.py"
    path.write_text(IMPORTS + FUNCTIONS)
    first = module_of(path)
    assert module_of(path) is first
    (folder / "helper.py").write_text(BESIDE["helper.py"] + "OTHER = 1\n")
    second = module_of(path)
    assert second is not first
    assert (hasattr(first.again, "OTHER"), hasattr(second.again, "OTHER"), second.helper.OTHER) == (False, True, 1)


def test_two_folders_with_files_of_one_name(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = folder / "mine.py"
    path.write_text(IMPORTS + FUNCTIONS)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mine.py"
    elsewhere.with_name("helper.py").write_text("NAME = 'two'\n")
    elsewhere.write_text(f"import helper\nfrom . import helper as again\n{FUNCTIONS}")
    first, second = module_of(path), module_of(elsewhere)
    assert (first.helper.NAME, second.helper.NAME, second.again.NAME) == ("one", "two", "two")


def test_a_folder_that_is_a_package(folder: Path) -> None:
    (folder / "__init__.py").write_text("from .helper import NAME\n")
    (folder / "mine.py").write_text(f"from . import NAME\n{FUNCTIONS}")
    assert module_of(folder / "mine.py").NAME == "one"


@pytest.mark.parametrize("how", ["import wrong", "from . import wrong", "from .wrong import x"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1\n1 / 0", "wrong.py, line 2: ZeroDivisionError: division by zero"),
        ("def (", "wrong.py, line 1: SyntaxError: invalid syntax"),
        ("import not_there_at_all", "wrong.py, line 1: ModuleNotFoundError: No module named 'not_there_at_all'"),
        (
            "try:\n    import not_there\nexcept ImportError as e:\n    raise RuntimeError('no') from e",
            "wrong.py, line 4: RuntimeError: no; from ModuleNotFoundError: No module named 'not_there'",
        ),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E", "wrong.py, line 3: E\\)"),
    ],
)
def test_what_fails_beside_it_says_where_and_why(folder: Path, how: str, text: str, why: str) -> None:
    (folder / "wrong.py").write_text(text)
    path, before = folder / "mine.py", {*sys.modules}
    path.write_text(f"import helper\n{how}\n{FUNCTIONS}")
    with pytest.raises(ConfigError, match=why):
        format_of(str(path))
    assert {*sys.modules} - before == set()
    (folder / "wrong.py").write_text("x = 1\n")
    assert module_of(path).helper.NAME == "one"


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        format_of(str(tmp_path / "none.py"))
