"""What a format module finds beside its file, and what of it is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from claude_relay.proxy.provider.beside import Folder


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """For other tests."""
    modules, path = dict(sys.modules), list(sys.meta_path)
    yield
    sys.modules.clear()
    sys.modules.update(modules)
    sys.meta_path[:] = path


def load(path: Path) -> tuple[ModuleType, set[str]]:
    """A module, and the files that it has imported from its folder."""
    with Folder(path.parent) as folder:
        spec = spec_from_file_location(f"{folder.package}.{path.stem}", path)
        assert spec is not None
        folder.run(module := module_from_spec(spec))
        return module, {file.name for file in folder.files}


def test_files_beside_it_by_name_and_as_a_package(tmp_path: Path) -> None:
    (tmp_path / "of_mine.py").write_text("VALUE = 1")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "deep.py").write_text("VALUE = 2")
    text = "import of_mine\nfrom . import of_mine as again\nfrom .inner.deep import VALUE\nFOUND = of_mine.VALUE, again.VALUE, VALUE\n"
    (tmp_path / "form.py").write_text(text)
    module, files = load(tmp_path / "form.py")
    assert module.FOUND == (1, 1, 2)
    assert {"of_mine.py", "deep.py", "form.py"} <= files


def test_each_load_sees_the_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "form.py").write_text("import of_mine\nVALUE = of_mine.VALUE\n")
    for value in range(3):  # of one size, and within one second
        (tmp_path / "of_mine.py").write_text(f"VALUE = {value}")
        assert value == load(tmp_path / "form.py")[0].VALUE


def test_two_folders_may_have_files_of_one_name(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "of_mine.py").write_text(f"VALUE = {name!r}")
        (tmp_path / name / "form.py").write_text("import of_mine\ndef value():\n    return of_mine.VALUE\n")
    first, second = (load(tmp_path / name / "form.py")[0] for name in "ab")
    assert (first.value(), second.value()) == ("a", "b")


def test_no_library_is_covered_up(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("VALUE = 'mine'")
    (tmp_path / "form.py").write_text("import json\nfrom . import json as own\nFOUND = json.dumps(1), own.VALUE\n")
    assert load(tmp_path / "form.py")[0].FOUND == ("1", "mine")


def test_after_an_error_nothing_of_it_is_left(tmp_path: Path) -> None:
    (tmp_path / "of_a_failure.py").write_text("VALUE = 1")
    (tmp_path / "form.py").write_text("import of_a_failure\n1 / 0\n")
    before = set(sys.modules)
    with pytest.raises(ZeroDivisionError):
        load(tmp_path / "form.py")
    assert set(sys.modules) == before
    with pytest.raises(ModuleNotFoundError):
        __import__("of_a_failure")
