"""Is all well? `/api/health`: the database, the vault, the disk, the relays that run, versions; what can be known without the network.

`/healthz` of the panel says only that it lives.
"""

from __future__ import annotations

import json
import platform
import shutil
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel

from claude_relay.core.config import ConfigError
from claude_relay.core.installation import own_version
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import documented
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.db.soundness import examine, room
from claude_relay.store.shared.relays import RelayRow
from claude_relay.store.vault.vault import VaultError

from .areas import area

router = area("health")

type Level = Literal["ok", "warn", "fail"]


class Finding(BaseModel):
    """What was found, and what to do about it; `remedy` empty: nothing."""

    level: Level
    text: str
    remedy: str = ""


class Disk(Finding):
    """Where the database is."""

    free_bytes: int | None
    total_bytes: int | None


class Relay(BaseModel):
    """A relay that runs over this database."""

    id: str
    pid: int
    host: str
    version: str
    started_at: str
    seen_at: str
    in_flight: int
    config: str | None
    listeners: dict[str, str | None]
    keys: dict[str, dict[str, int]]


class Health(BaseModel):
    """`ready`: a relay runs, and the database and the keys can be used. `keys` of relays: by provider and state."""

    ready: bool
    configuration: Finding
    database: Finding
    vault: Finding
    disk: Disk
    relays: list[Relay]
    open_notices: int
    versions: dict[str, str]


@router.get("/health", responses=documented())
def health(visitor: Reader, parts: Own) -> Health:
    """How everything is."""
    return look(parts)


def look(parts: Parts) -> Health:
    """What pages show, too."""
    database, vault = _database(parts), _vault(parts)
    relays = [_relay(row) for row in parts.relays()]
    return Health(
        ready=bool(relays) and database.level != "fail" and vault.level != "fail",
        configuration=_configuration(parts),
        database=database,
        vault=vault,
        disk=_disk(parts),
        relays=relays,
        open_notices=parts.notices.count_open(parts.clock()),
        versions=_versions(),
    )


def _configuration(parts: Parts) -> Finding:
    try:
        path = parts.source().path
    except ConfigError as error:
        text = "; ".join(str(problem) for problem in error.problems)
        return Finding(
            level="fail", text=text, remedy="mend relay.yaml; until then relays go on with the last good one"
        )
    return Finding(level="ok", text="defaults, without a file" if path is None else str(path))


def _database(parts: Parts) -> Finding:
    if not parts.database.is_file():
        return Finding(level="fail", text=f"{parts.database} is not there yet", remedy="start a relay, which makes it")
    found = examine(parts.database)
    return Finding(level=found.level.value, text=found.text, remedy=found.remedy)


def _vault(parts: Parts) -> Finding:
    try:
        found = parts.vault(None).inspect()
    except VaultError as error:
        return Finding(level="fail", text=str(error))
    if found.problem:
        return Finding(level="fail", text=found.problem)
    if found.damaged:
        text = f"damaged: {', '.join(found.damaged)}"
        return Finding(level="fail", text=text, remedy="remove these keys for good, then add them again")
    return Finding(level="ok", text=f"{found.keys} keys" if found.keys != 1 else "1 key")


def _disk(parts: Parts) -> Disk:
    little = room(parts.database)
    try:
        usage = shutil.disk_usage(parts.database.parent)
    except OSError as error:
        return Disk(level="fail", text=str(error.strerror), free_bytes=None, total_bytes=None)
    text = f"{usage.free / 1e9:,.1f} of {usage.total / 1e9:,.1f} GB are free"
    level: Level = "ok" if little is None else little.level.value
    remedy = "" if little is None else little.remedy
    return Disk(level=level, text=text, remedy=remedy, free_bytes=usage.free, total_bytes=usage.total)


def _relay(row: RelayRow) -> Relay:
    keys: dict[str, dict[str, int]] = {}
    for provider, every in row.keys().items():
        states = keys.setdefault(provider, {})
        for key in every:
            states[key["state"]] = states.get(key["state"], 0) + 1
    known = {name: getattr(row, name) for name in Relay.model_fields if name not in ("listeners", "keys")}
    return Relay(**known, listeners=json.loads(row.listeners), keys=keys)


def _versions() -> dict[str, str]:
    found = {"claude-relay": own_version(), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in ("mitmproxy", "fastapi"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
