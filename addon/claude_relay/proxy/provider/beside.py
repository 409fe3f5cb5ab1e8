"""What a format module of the user's own finds beside its file: `import helper`, `from . import helper`, `from .package.inner import x`.

    with Folder(path.parent) as folder:
        folder.run(module)          its name begins with `folder.package`
    folder.files                    what it has imported from there

Each load sees the files as they are at that moment, and two folders may have files of one name. `import helper` finds a file beside the
module only if nothing else is called so: no library is covered up. After an error nothing of it is left. It must not know formats.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec
from importlib.machinery import SourceFileLoader as FileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Self

PREFIX = "relay_format_"
_NUMBERS = itertools.count(1)


class Source(FileLoader):
    """Compiles what the file says now. Python's cache takes two versions of one second and one size for the same."""

    def get_code(self, fullname: str) -> CodeType:
        """The module's code, from its text."""
        return self.source_to_code(self.get_data(self.path), self.path)


class _Beside:
    """The last that Python asks for a module by its plain name. `folders`: the one that was loaded from last comes first."""

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.found: set[str] = set()
        """What was imported so, with what lies within it."""

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        """The module beside a format's file."""
        spec = _spec(name, self.folders) if path is None else None
        if spec is not None:
            self.found.add(name)
        return spec


class _Within:
    """The first that Python asks, as its own way to a package's modules has a cache."""

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        """The module within the package of a load, or within one that was found by its plain name."""
        top, dot, _others = name.partition(".")
        if path is None or not dot or not (top.startswith(PREFIX) or top in _BESIDE.found):
            return None
        spec = _spec(name, path)
        if spec is not None and not top.startswith(PREFIX):
            _BESIDE.found.add(name)
        return spec


def _spec(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    for folder in folders:
        finder = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (Source, SOURCE_SUFFIXES))
        if (spec := finder.find_spec(name)) is not None and spec.loader is not None:
            return spec
    return None


_BESIDE, _WITHIN = _Beside(), _Within()


class Folder:
    """One load of a module, and of what stands beside it. `package`: as which the folder is known for this load."""

    def __init__(self, folder: Path) -> None:
        self.package = f"{PREFIX}{next(_NUMBERS)}"
        self._folder = str(folder)

    def __enter__(self) -> Self:
        """From here on imports see the folder."""
        if _WITHIN not in sys.meta_path:
            sys.meta_path[:] = [_WITHIN, *sys.meta_path, _BESIDE]
        self._before = list(_BESIDE.folders)
        self._others = {name: sys.modules.pop(name) for name in _BESIDE.found if name in sys.modules}
        _BESIDE.found.clear()
        _BESIDE.folders = [self._folder, *(folder for folder in self._before if folder != self._folder)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """What earlier loads have imported by name is there again, unless this one has something of that name."""
        if error is not None:
            for name in self._names():
                del sys.modules[name]
            _BESIDE.folders = self._before
            _BESIDE.found.clear()
        for name, module in self._others.items():
            sys.modules.setdefault(name, module)
        _BESIDE.found.update(self._others)

    def run(self, module: ModuleType) -> None:
        """Run a module as part of the folder, which may be a package. Raises what it raises."""
        start = Path(self._folder, "__init__.py")
        spec = ModuleSpec(self.package, Source(self.package, str(start)), origin=str(start), is_package=True)
        spec.submodule_search_locations = [self._folder]
        spec.has_location = True
        sys.modules[self.package] = package = module_from_spec(spec)
        if start.is_file():
            Source(self.package, str(start)).exec_module(package)
        sys.modules[module.__name__] = module
        assert module.__spec__ is not None
        assert module.__spec__.loader is not None
        module.__spec__.loader.exec_module(module)

    @property
    def files(self) -> set[Path]:
        """Those that were imported, as far as they have been by now."""
        found = (getattr(sys.modules.get(name), "__file__", None) for name in self._names())
        return {Path(file) for file in found if file}

    def _names(self) -> list[str]:
        ours = [name for name in sys.modules if name == self.package or name.startswith(f"{self.package}.")]
        return [*ours, *(name for name in _BESIDE.found if name in sys.modules)]
