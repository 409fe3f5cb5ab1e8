"""Which relay.yaml counts, and where the database of one that names none is. Pure: the answers of the disk are given by the caller.

    option relay_config ─► RELAY_CONFIG ─┬► in a checkout: beside addon/                       ─► the defaults
                                         └► installed: $XDG_CONFIG_HOME/claude-relay/relay.yaml ─► the defaults

Never the working directory by itself: a relay.yaml may name Python files, and that of a repository somebody has cloned must not run
its own with the user's keys.

    locate(None, os.environ, Path.cwd())        -> the file to read, or None
    base(path, os.environ)                      -> what its relative paths start from
"""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from claude_relay.core.installation import ADDON, is_checkout

VARIABLE = "RELAY_CONFIG"
NAME = "relay.yaml"
FOLDER = "claude-relay"
"""In the user's folders of configurations and of states: https://specifications.freedesktop.org/basedir-spec/latest/"""


def locate(
    explicit: str | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    is_file: Callable[[Path], bool] = os.path.isfile,
    addon: Path = ADDON,
) -> Path | None:
    """The file to read, absolute; None when there is none and the defaults hold.

    A file that was asked for by name is returned whether it exists or not: who named it must hear that it is missing.
    """
    if named := explicit or environ.get(VARIABLE):
        return cwd / (_home(environ) / named[2:] if named.startswith("~/") else Path(named))
    usual = usual_file(environ, addon=addon)
    return usual if is_file(usual) else None


def usual_file(environ: Mapping[str, str], *, addon: Path = ADDON) -> Path:
    """The file that counts when nobody names one, whether it is there or not."""
    return (addon.parent if is_checkout(addon) else config_folder(environ)) / NAME


def before_command(path: Path | None, environ: Mapping[str, str], *, addon: Path = ADDON) -> str:
    """What stands before a command so that it reads this file too: `RELAY_CONFIG=/srv/relay.yaml `. Empty: it does so by itself."""
    usual = path is None or path == usual_file(environ, addon=addon)
    return "" if usual else f"{VARIABLE}={shlex.quote(str(path))} "


def base(path: Path | None, environ: Mapping[str, str], *, addon: Path = ADDON) -> Path:
    """What the relative paths of this file start from; without a file, those of the defaults."""
    if path is not None:
        return path.parent
    return addon.parent if is_checkout(addon) else state_folder(environ)


def database_folder(folder: Path, environ: Mapping[str, str]) -> Path:
    """Where the database of a configuration in this folder is, if it names none: what changes has no place among configurations."""
    return state_folder(environ) if folder == config_folder(environ) else folder


def overlooked(path: Path | None, cwd: Path) -> Path | None:
    """The relay.yaml of the working directory, if there is one and it is not the file in force. Looks at the disk."""
    here = cwd / NAME
    other = os.path.isfile(here) and (path is None or here.resolve() != path.resolve())
    return here if other else None


def config_folder(environ: Mapping[str, str]) -> Path:
    """`~/.config/claude-relay`."""
    return _folder(environ, "XDG_CONFIG_HOME", ".config")


def state_folder(environ: Mapping[str, str]) -> Path:
    """`~/.local/state/claude-relay`."""
    return _folder(environ, "XDG_STATE_HOME", ".local/state")


def _folder(environ: Mapping[str, str], variable: str, usual: str) -> Path:
    """Relative paths in these variables do not count, the specification says; nor would they be safe."""
    named = Path(environ.get(variable, ""))
    return (named if named.is_absolute() else _home(environ) / usual) / FOLDER


def _home(environ: Mapping[str, str]) -> Path:
    named = Path(environ.get("HOME") or environ.get("USERPROFILE") or "")
    return named if named.is_absolute() else Path.home()
