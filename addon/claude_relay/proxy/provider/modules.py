"""The format that a provider's `format:` names: one of ours, or a module of the user's own.

    format_of("gemini")                    -> Format
    format_of("/home/me/my_format.py")     the functions of `core.formats.base.Format`, in a file
    format_of("anthropic")                 -> None: nothing is translated

A user's module runs with all rights of the relay, as every addon of mitmproxy does. It may import what stands beside it (`beside`). It is
loaded anew when it, or what it has imported from there, has changed and the configuration is read again; requests under way keep the one
before.
"""

from __future__ import annotations

import importlib.util
import re
import threading
import traceback
from collections import OrderedDict
from pathlib import Path

from claude_relay.core.config import ConfigError
from claude_relay.core.config.problems import ConfigProblem
from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Format

from .beside import Folder, Source

NATIVE = "anthropic"
FUNCTIONS = ("request", "answer", "stream", "error")
"""What a module of the user's own must have."""
MOST = 32
"""Modules that are remembered."""

type Version = tuple[int, int, int]
"""What changes when a file is edited or replaced."""

_LOADED: OrderedDict[Path, tuple[dict[Path, Version | None], Format]] = OrderedDict()
"""With the files that each was made of."""
_LOADING = threading.Lock()


def format_of(name: str) -> Format | None:
    """The format; None for Claude's own. Raises ConfigError when a module cannot be used, whose code runs here."""
    if name == NATIVE or name in FORMATS:
        return FORMATS.get(name)
    path = Path(name)
    try:
        path.stat()
    except OSError as e:
        raise unusable(
            f"{path} cannot be read ({e.strerror or e})", f"give the path of a module, or {', '.join(FORMATS)}"
        ) from e
    with _LOADING:
        files, form = _LOADED.pop(path, ({}, None))
        if form is None or any(version_of(file) != version for file, version in files.items()):
            files, form = load(path)
        _LOADED[path] = files, form
        while len(_LOADED) > MOST:
            _LOADED.popitem(last=False)
    return form


def version_of(path: Path) -> Version | None:
    """The file as it is now; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def load(path: Path) -> tuple[dict[Path, Version | None], Format]:
    """The format in a file as it is now, and the files that it is made of.

    The module is in `sys.modules`, as `@dataclass` and others need it, under a name that no other version has, and stays there: requests
    of an earlier configuration may still use it.
    """
    before = version_of(path)  # should it change while it is read, the next look finds it changed
    with Folder(path.parent) as folder:
        name = f"{folder.package}.{re.sub(r'\W', '_', path.stem)}"
        spec = importlib.util.spec_from_file_location(name, path, loader=Source(name, str(path)))
        if spec is None or spec.loader is None:
            raise unusable(f"{path} is no Python module", "name a file that ends in .py")
        module = importlib.util.module_from_spec(spec)
        try:
            folder.run(module)
        except (Exception, SystemExit) as e:
            raise unusable(f"{path} fails when it is loaded ({where(e, path)}{described(e)})", "mend it there") from e
        if lacking := [wanted for wanted in FUNCTIONS if not callable(getattr(module, wanted, None))]:
            raise unusable(f"{path} has no function {' and no '.join(lacking)}", f"it needs {', '.join(FUNCTIONS)}")
        form = Format.of(module)
        return {file: version_of(file) for file in folder.files} | {path: before}, form


def where(error: BaseException, path: Path) -> str:
    """`line 7: `, where the module's own code led to the error, or `helper.py, line 7: ` for what it imports from beside it."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    here = [(Path(file), line) for file, line in places if line and Path(file).is_relative_to(path.parent)]
    own = [(file, line) for file, line in here if "site-packages" not in file.parts]
    if not own:
        return ""
    file, line = own[-1]
    return f"line {line}: " if file == path else f"{file.relative_to(path.parent)}, line {line}: "


def described(error: BaseException) -> str:
    """The error, with what it was raised from."""
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:
        said = type(error).__name__
    return said if error.__cause__ is None else f"{said}; from {described(error.__cause__)}"


def unusable(what: str, remedy: str) -> ConfigError:
    """A problem of the configuration."""
    return ConfigError([ConfigProblem("relay.yaml", None, "format", f"{what}; {remedy}")])
