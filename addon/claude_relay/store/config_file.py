"""relay.yaml on the disk: found, read, checked; for commands and the panel. (A running relay follows it by itself.)

    source = read_config("relay.yaml", environ, Path.cwd())         raises ConfigError with every problem
    source.config, source.path, source.text

What this module must not know: what is done with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from claude_relay.core.config import Config, ConfigError, ConfigProblem, default, lacks_variables, parse
from claude_relay.core.config.locate import base, locate


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration and where it came from; `path` None: the defaults.

    lacks    why only the sections that concern clients could be read
    listens  whether `listen` was among them
    """

    config: Config
    path: Path | None
    text: bytes
    lacks: ConfigError | None = None
    listens: bool = True


def shown_path(path: Path, folder: Path) -> str:
    """A path as a person in that folder would write it."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def read_config(path: str | None, environ: Mapping[str, str], folder: Path) -> Source:
    """Find, read and check the configuration, seen from a folder. Raises ConfigError."""
    found = locate(path, environ, folder)
    if found is None:
        return Source(default(environ, folder=base(None, environ)), None, b"")
    try:
        text = found.read_bytes()
    except OSError as error:
        remedy = "name another file, or unset RELAY_CONFIG"
        raise ConfigError([ConfigProblem(shown_path(found, folder), None, "", f"{error.strerror}; {remedy}")]) from None
    where = shown_path(found, folder)
    return Source(parse(text, environ=environ, where=where, folder=found.parent), found, text)


PARTS = (("listen", "database", "intercept"), ("listen", "database"), ("database", "intercept"), ("database",))
"""Sections that concern clients; the first of these that need no variable which is unset."""


def read_for_clients(path: str | None, environ: Mapping[str, str], folder: Path) -> Source:
    """As `read_config`, but where variables are unset that only the relay's own terminal has, without the sections that need them.

    Raises ConfigError when even `database` needs one, or something else is wrong.
    """
    try:
        return read_config(path, environ, folder)
    except ConfigError as error:
        found = locate(path, environ, folder)
        if found is None or not lacks_variables(error):
            raise
        return _part_of(found, error, environ, folder)


def _part_of(found: Path, why: ConfigError, environ: Mapping[str, str], folder: Path) -> Source:
    text = found.read_bytes()
    for sections in PARTS:
        with suppress(ConfigError):
            where = shown_path(found, folder)
            config = parse(text, environ=environ, where=where, folder=found.parent, only=sections)
            return Source(config, found, text, why, "listen" in sections)
    raise why
