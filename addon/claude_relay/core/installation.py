"""How this copy of the relay is installed, and so how its commands are called: in a checkout, or as a package.

    command("env")              -> scripts/env                      | claude-relay env
    installing("parquet")       -> scripts/relay --with parquet     | pip install 'mitmproxy-claude-relay[parquet]'

Every hint that names a command asks here. Needs the standard library only: it also has to say which package is missing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from os import pathsep
from pathlib import Path

ADDON = Path(__file__).parents[2]
"""The folder that holds the package: addon/ in a checkout."""
DISTRIBUTION = "mitmproxy-claude-relay"
OF_PANEL = ("argon2", "babel", "fastapi", "fastapi_offline", "jinja2", "pyotp", "segno", "uvicorn")
"""What the panel imports, and the relay does not."""
PANEL_UNABLE, PANEL_TAKEN = 3, 4
"""Its exit status where only another configuration helps, and where somebody else listens in its place."""


def is_checkout(addon: Path = ADDON) -> bool:
    """Whether the package lies in a checkout, and not among installed ones."""
    return addon.name == "addon"


def own_version(addon: Path = ADDON) -> str:
    """`0.1.0`."""
    if not is_checkout(addon):
        return version(DISTRIBUTION)
    return str(tomllib.loads((addon.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def command(name: str = "", *, addon: Path = ADDON) -> str:
    """How a command is called here. Without a name: what stands before one."""
    return f"scripts/{name}" if is_checkout(addon) else f"claude-relay {name}"


def missing_for_panel() -> str:
    """The first package that the panel lacks here; empty: none. Looks for files."""
    return next((name for name in OF_PANEL if find_spec(name) is None), "")


def installing_panel(*, addon: Path = ADDON) -> str:
    """What installs all that the panel needs: in a checkout everybody gets it."""
    return installing("" if is_checkout(addon) else "panel", addon=addon)


def panel_program(python: str, config: Path | None) -> list[str]:
    """What starts the panel; `-P`: a file of the folder that somebody is in is none of its modules."""
    named = ["--config", str(config)] if config is not None else []
    return [python, "-P", "-m", "claude_relay.panel", *named]


def finding_package(environ: Mapping[str, str], addon: Path = ADDON) -> dict[str, str]:
    """Variables with which another Python finds this package."""
    paths = [str(addon), *filter(None, [environ.get("PYTHONPATH")])]
    return {**environ, "PYTHONPATH": pathsep.join(paths)}


def installing(extra: str = "", *, name: str = "relay", addon: Path = ADDON) -> str:
    """What installs an extra, or without one all that the relay needs. `name`: the command that the extra is for."""
    if is_checkout(addon):
        return command(name, addon=addon) + (extra and f" --with {extra}")
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"
