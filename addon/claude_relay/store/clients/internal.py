"""The panel's own client: what the playground, replays and duels send, counts as that of the client `panel`.

    key = renew(Path("relay.db"), actor)           made at the first use, with a new key each time

It has a row as any client has, so that relays know it, but no list shows it, and nobody can edit, rotate or remove it. Its key is in the
memory of the panel that asked for it, and nowhere else; one that was given before holds for OVERLAP, since several panels may run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from claude_relay.core.clients.credentials import digest, mask, new_key
from claude_relay.core.times import DAY, iso
from claude_relay.store.audit import Act, Actor, write

from .book import ClientBook
from .rows import PANEL

NAMES: Final = ("panel", "panel.internal")
"""The second where somebody else had the first already."""
OVERLAP: Final = DAY


def renew(path: Path, actor: Actor) -> tuple[str, str]:
    """Its name, and a key that nobody else has. Raises StoreError."""
    key, now = new_key(os.urandom), time.time()
    with ClientBook(path).writing() as connection:
        row = connection.execute("SELECT name FROM clients WHERE id = ?", [PANEL]).fetchone()
        if row is None:
            held = {name for (name,) in connection.execute("SELECT name FROM clients")}
            name = next(name for name in NAMES if name not in held)
            note = "What is sent from the panel: the playground, replays, duels."
            connection.execute("INSERT INTO clients (id, name, note) VALUES (?, ?, ?)", [PANEL, name, note])
        else:
            (name,) = row
        until = iso(now + OVERLAP)
        connection.execute("DELETE FROM client_keys WHERE client = ? AND valid_until <= ?", [PANEL, iso(now)])
        connection.execute(
            "UPDATE client_keys SET valid_until = min(coalesce(valid_until, ?), ?) WHERE client = ?",
            [until, until, PANEL],
        )
        connection.execute(
            "INSERT INTO client_keys (digest, client, mask) VALUES (?, ?, ?)", [digest(key), PANEL, mask(key)]
        )
        write(connection, actor, Act("rotate", "client", name, None, {"key": mask(key), "old_valid_until": until}))
    return name, key
