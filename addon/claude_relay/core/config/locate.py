"""Which relay.yaml counts. Pure: the answer to "is there such a file?" is given by the caller.

option relay_config ─► RELAY_CONFIG ─► relay.yaml in the working directory ─► relay.yaml beside addon/ ─► the defaults
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

VARIABLE = "RELAY_CONFIG"
NAME = "relay.yaml"
ADDON = Path(__file__).parents[3]
"""The folder that holds the package: addon/ in a checkout."""


def locate(
    explicit: str | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    is_file: Callable[[Path], bool] = Path.is_file,
    addon: Path = ADDON,
) -> Path | None:
    """The file to read, absolute; None when there is none and the defaults hold.

    A file that was asked for by name is returned whether it exists or not: who named it must hear that it is missing.
    """
    if asked := explicit or environ.get(VARIABLE):
        home = environ.get("HOME") or environ.get("USERPROFILE") or "~"
        return cwd / (Path(home, asked[2:]) if asked.startswith("~/") else asked)
    beside = [addon.parent / NAME] if addon.name == "addon" else []
    return next((path for path in [cwd / NAME, *beside] if is_file(path)), None)
