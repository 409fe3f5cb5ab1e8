"""The real relay in a process of its own: `scripts/relay` with a temporary relay.yaml, database and CA, on two free ports.

    with Relaying(folder, configuration(claude.url)) as relay:
        relay.base_port, relay.proxy_port, relay.ca, relay.database

It ends with the block, by its process id. Nothing of the user's is read: neither relay.yaml nor mitmproxy's settings.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from claude_relay.cli.console.terminal import Failure
from claude_relay.cli.fake.free_ports import free_ports
from claude_relay.core.installation import ADDON
from claude_relay.store.db.database import MissingDatabase, StoreError, read_only

from .cast import HOST, PROVIDER, ROLES

START_SECONDS = 60.0
END_SECONDS = 3.0
POLL_SECONDS = 0.05
LINES_SHOWN = 15
PRICES = [
    {"model": "claude-haiku-*", "input": 1.0, "output": 5.0, "cache_read": 0.1, "cache_write_5m": 1.25},
    {"model": "claude-opus-*", "input": 5.0, "output": 25.0, "cache_read": 0.5, "cache_write_5m": 6.25},
    {"model": "claude-*", "input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write_5m": 3.75},
]
"""The built-in lists know the providers by their hosts, and the made-up Claude is none of them."""
ALL = tuple(role.key for role in ROLES)
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from claude_relay.cli.main import main; main()"
"""The command in a fresh interpreter, from where this package lies, installed or not."""


class Relaying:
    """A relay for as long as a `with` block lasts. `folder` is its own; `settings`: its relay.yaml, but for where it is.

    arguments  more of `scripts/relay`, such as `--web`
    """

    def __init__(self, folder: Path, settings: Mapping[str, object], arguments: Sequence[str] = ()) -> None:
        self.folder, self.arguments = folder, arguments
        self.proxy_port, self.base_port = free_ports(2)
        self.database = folder / "relay.db"
        self.ca = folder / "mitmproxy-ca-cert.pem"
        self.config = folder / "relay.yaml"
        self.log = folder / "relay.log"
        listen = {
            "proxy": f"127.0.0.1:{self.proxy_port}",
            "base_url": f"127.0.0.1:{self.base_port}",
            "panel": None,
            "status": None,
        }
        own = {"listen": listen, "database": str(self.database)}
        self.config.write_text(json.dumps({**settings, **own}, indent=2), encoding="utf-8")  # JSON is YAML

    def __enter__(self) -> Relaying:
        """Start it; it listens when this returns. Raises ClickException with what it said when it does not start."""
        options = [f"relay_config={self.config}", f"confdir={self.folder}"]
        settings = [word for option in options for word in ("--set", option)]
        command = [sys.executable, "-P", "-c", RUN, str(ADDON), "relay", *self.arguments, *settings]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    def stop(self) -> None:
        """End it before the block does: a polite signal first, so that it closes its database. A second time does nothing."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not (listening(self.base_port) and listening(self.proxy_port) and has_tables(self.database)):
            if self.process.poll() is not None or time.monotonic() > until:
                raise Failure(f"the relay did not start. It said:\n{self.last_words()}")
            time.sleep(POLL_SECONDS)

    def last_words(self) -> str:
        """The end of what the relay has printed."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LINES_SHOWN:]) or "  (nothing)"


def configuration(upstream: str, keys: Sequence[str] = ALL) -> dict[str, object]:
    """The demo's relay.yaml. `upstream`: a URL."""
    return {
        "intercept": {"hosts": [HOST]},
        # In turns, so that every role is met, in the order of the cast.
        "providers": {PROVIDER: {"base_url": upstream, "keys": list(keys), "strategy": "round-robin"}},
        "prices": PRICES,
        "retry": {"attempts": 6, "max_wait": "3s", "first_byte": "4s", "idle": "4s"},
    }


def listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def has_tables(database: Path) -> bool:
    """Whether the ledger is open."""
    try:
        with contextlib.closing(read_only(database)) as connection:
            return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'attempts'").fetchone())
    except (MissingDatabase, StoreError):
        return False
