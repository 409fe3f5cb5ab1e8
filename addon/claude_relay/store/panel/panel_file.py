"""The database as the panel's own tables use it: see `store.db.database_file`."""

from __future__ import annotations

from dataclasses import dataclass

from claude_relay.store.db.database_file import DatabaseFile


@dataclass(frozen=True, slots=True)
class PanelFile(DatabaseFile):
    """The file at `path`, with the panel's tables or without."""

    table: str = "panel_links"
