"""The relay that runs, as the other terminals see it: its row in the database that relay.yaml names.

found = find(source, source.config.database)
found.row         -> what it listens on, its pools; None when none runs
found.why         -> then, in one line: that none runs, and how to start it
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from claude_relay.core.clients.credentials import PLACEHOLDER
from claude_relay.core.config import Address, Config
from claude_relay.core.config.locate import before_command
from claude_relay.core.installation import command
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.relays import RelayRow, running

from .common import Source
from .ports import listeners

PROBE = "/api/relay-doctor"
"""A path outside the API: the relay answers it itself, at once, and sends a placeholder nowhere."""
MOST_HEALTH = 64 * 1024
"""Bytes of what a relay says of its health."""
NARROW = 80
"""Columns of most terminals."""
LOOKS, BETWEEN = 20, 0.15
"""How often, and after how many seconds again, to look for the row of a relay that listens already."""
ANSWERING = 5.0
"""Seconds in which a relay answers, however busy its machine is."""


@dataclass(frozen=True, slots=True)
class Found:
    """The relay of a configuration; `row` None: none runs, as `why` says. `others`: those of other configurations."""

    row: RelayRow | None
    why: str = ""
    others: tuple[RelayRow, ...] = ()

    @property
    def in_lines(self) -> str:
        """`why`, in two lines where one would be wider than most terminals."""
        return self.why if len(self.why) <= NARROW else self.why.replace("; ", ";\n  ", 1)

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, so that its paths are right here, too."""
        return self.row is not None and self.row.host == socket.gethostname()


NONE = Found(None)


def find(source: Source, database: Path) -> Found:
    """The relay that runs with this configuration over this database."""
    places = dict(listeners(source.config)) if source.listens else {}
    try:
        rows, row = _look(source, database, places)
        answers = (
            None if row is not None else next((a for n, a in places.items() if _answers(n, a, source.config)), None)
        )
        for _ in range(LOOKS if answers else 0):
            time.sleep(BETWEEN)
            rows, row = _look(source, database, places)
            if row is not None:
                break
    except StoreError as error:
        return Found(None, f"cannot find out whether a relay runs: {error}")
    others = tuple(other for other in rows if other is not row)
    if row is not None:
        return Found(row, others=others)
    return Found(None, _unknown(answers, database) if answers else none_runs(source), others)


def none_runs(source: Source) -> str:
    """`no relay runs at http://127.0.0.1:8080; start it: scripts/relay`."""
    listen = source.config.listen
    address = listen.proxy or listen.base_url
    at = f" at {address.url}" if address is not None and source.listens else ""
    return f"no relay runs{at}; start it: {start(source.path)}"


def start(path: Path | None) -> str:
    """The command that starts a relay with this configuration."""
    return before_command(path, os.environ) + command("relay")


def is_relay(name: str, address: Address, host: str) -> bool:
    """Ask whoever listens there for a path that only a relay answers, with a request-id of its own."""
    target = f"http://{host}{PROBE}" if name == "proxy" else PROBE
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=ANSWERING)) as connection:
        try:
            connection.request("GET", target, headers={"Host": host, "x-api-key": PLACEHOLDER})
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        return answer.getheader("request-id", "").startswith("req_relay_")


def health(found: Found, source: Source) -> tuple[bool, tuple[str, ...]] | None:
    """Whether a relay of this machine answers requests, and what it says is wrong; None: it cannot be asked.

    One that has no row is looked for where the configuration would have it: when its disk is full it cannot write one.
    """
    if found.row is None:
        usual = source.config.listen.status if source.listens else None
        return None if usual is None else _health_at(usual, ())
    place = found.row.listener("status") if found.is_here else None
    if place is None:
        return None
    return _health_at(Address.parse(place), (f"its status server at {place} does not answer",))


def _health_at(place: Address, otherwise: tuple[str, ...]) -> tuple[bool, tuple[str, ...]] | None:
    """`otherwise`: what is wrong when nobody answers; when nothing is, None is returned."""
    address = place.reachable
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=ANSWERING)) as connection:
        try:
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            said = json.loads(connection.getresponse().read(MOST_HEALTH))
            return bool(said["ok"]), tuple(map(str, said.get("problems", ())))
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
            return (False, otherwise) if otherwise else None


def _look(source: Source, database: Path, places: dict[str, Address]) -> tuple[tuple[RelayRow, ...], RelayRow | None]:
    """All that run, and the one that is meant: of the same file and at its addresses, else of the same file, else at the addresses."""
    rows = running(database, time.time())
    ranks = [(_same_file(row.config, source.path), _listens(row, places)) for row in rows]
    best = max(range(len(rows)), key=lambda n: (ranks[n][0] + ranks[n][1], ranks[n][0], -n), default=None)
    return rows, rows[best] if best is not None and any(ranks[best]) else None


def _same_file(config: str | None, path: Path | None) -> bool:
    if config is None or path is None:
        return config is None and path is None
    return Path(config).resolve() == path.resolve()


def _listens(row: RelayRow, places: dict[str, Address]) -> bool:
    return any(row.listener(name) == str(address) for name, address in places.items())


def _answers(name: str, address: Address, config: Config) -> bool:
    return is_relay(name, address.reachable, config.intercept.hosts[0])


def _unknown(address: Address, database: Path) -> str:
    return (
        f"a relay answers at {address.url}, but it does not write to {database}; "
        "set the same RELAY_CONFIG and variables here as where it was started"
    )
