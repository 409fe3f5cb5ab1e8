"""The format that a provider's `format:` names: one of ours, or a module of the user's own.

    format_of("gemini")                    -> Format
    format_of("/home/me/my_format.py")     the functions of `core.formats.base.Format`, in a file
    format_of("anthropic")                 -> None: nothing is translated

A user's module runs with all rights of the relay, as every addon of mitmproxy does. It is loaded anew when it changes and the
configuration is read again.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from claude_relay.core.config import ConfigError
from claude_relay.core.config.problems import Problem
from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Format

NATIVE = "anthropic"


def format_of(name: str) -> Format | None:
    """The format; None for Claude's own. Raises ConfigError when a module cannot be used."""
    if name == NATIVE or name in FORMATS:
        return FORMATS.get(name)
    path = Path(name)
    try:
        return load(path, path.stat().st_mtime_ns)
    except OSError as e:
        raise unusable(
            f"{path} cannot be read ({e.strerror})", f"give the path of a module, or {', '.join(FORMATS)}"
        ) from e


@lru_cache(maxsize=32)
def load(path: Path, changed: int) -> Format:
    """The format in a file as it was changed last."""
    spec = importlib.util.spec_from_file_location(f"relay_format_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise unusable(f"{path} is no Python module", "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return Format.of(module)
    except Exception as e:
        why = f"{path} cannot be used ({type(e).__name__}: {e})"
        raise unusable(why, "it needs the functions request, answer, stream and error") from e


def unusable(what: str, remedy: str) -> ConfigError:
    """A problem of the configuration."""
    return ConfigError([Problem("relay.yaml", None, "format", f"{what}; {remedy}")])
