"""The format that a provider's `format:` names: one of ours, or a module of the user's own.

    format_of("gemini")                    -> Format
    format_of("/home/me/my_format.py")     the functions of `core.formats.base.Format`, in a file
    format_of("anthropic")                 -> None: nothing is translated

A user's module runs with all rights of the relay, as every addon of mitmproxy does. It is loaded anew when it changes and the
configuration is read again; requests under way keep the one before.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import traceback
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from claude_relay.core.config import ConfigError
from claude_relay.core.config.problems import Problem
from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Format

NATIVE = "anthropic"
FUNCTIONS = ("request", "answer", "stream", "error")
"""What a module of the user's own must have."""

_NUMBERS = itertools.count(1)

type Version = tuple[int, int, int]
"""What changes when a file is edited or replaced."""


class Source(SourceFileLoader):
    """Compiles what the file says now. Python's cache takes two versions of one second and one size for the same."""

    def get_code(self, fullname: str) -> CodeType:
        """The module's code, from its text."""
        return self.source_to_code(self.get_data(self.path), self.path)


def format_of(name: str) -> Format | None:
    """The format; None for Claude's own. Raises ConfigError when a module cannot be used, whose code runs here."""
    if name == NATIVE or name in FORMATS:
        return FORMATS.get(name)
    path = Path(name)
    try:
        found = path.stat()
        return load(path, (found.st_mtime_ns, found.st_size, found.st_ino))
    except OSError as e:
        raise unusable(
            f"{path} cannot be read ({e.strerror or e})", f"give the path of a module, or {', '.join(FORMATS)}"
        ) from e


@lru_cache(maxsize=32)
def load(path: Path, version: Version) -> Format:
    """The format in a file as it was changed last.

    The module is in `sys.modules`, as `@dataclass` and others need it, under a name that no other version has, and stays there: requests
    of an earlier configuration may still use it.
    """
    name = f"relay_format_{path.stem}_{next(_NUMBERS)}"
    spec = importlib.util.spec_from_file_location(name, path, loader=Source(name, str(path)))
    if spec is None or spec.loader is None:
        raise unusable(f"{path} is no Python module", "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as e:
        del sys.modules[name]
        why = f"{type(e).__name__}: {e}"
        raise unusable(f"{path} fails when it is loaded ({line_of(e, path)}{why})", "mend it there") from e
    if lacking := [wanted for wanted in FUNCTIONS if not callable(getattr(module, wanted, None))]:
        del sys.modules[name]
        raise unusable(f"{path} has no function {' and no '.join(lacking)}", f"it needs {', '.join(FUNCTIONS)}")
    return Format.of(module)


def line_of(error: BaseException, path: Path) -> str:
    """`line 7: `, where the module's own code led to the error; empty when that is not known."""
    if isinstance(error, SyntaxError) and error.filename == str(path) and error.lineno:
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def unusable(what: str, remedy: str) -> ConfigError:
    """A problem of the configuration."""
    return ConfigError([Problem("relay.yaml", None, "format", f"{what}; {remedy}")])
