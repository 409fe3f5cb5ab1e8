"""What mitmproxy loads: one addon that sets the relay up, tears it down, and carries the hooks of its requests.

`configure`, `running` and `done` are synchronous because mitmproxy's hot reload needs them so.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mitmproxy import addonmanager, ctx, exceptions
from mitmproxy.connection import Client
from mitmproxy.log import ALERT
from mitmproxy.tls import TlsData

from claude_relay.core.config import Config, ConfigError, WayOut, default, needs_restart, running
from claude_relay.core.config.listening import modes
from claude_relay.core.config.locate import locate
from claude_relay.store.ledger import Ledger

from . import banner, options, reload, shortcuts
from .addon import RelayHooks
from .bookkeeping import Bookkeeper
from .commands import RelayCommands
from .hookindex import HookIndex
from .inspection import View
from .reporting import Reporting
from .runtime import Runtime
from .stored import Lent, Stored

logger = logging.getLogger(__name__)
UPSTREAM_CONNECTIONS = 100
"""To one upstream, for one client connection."""


class ClaudeRelay(RelayHooks):
    """The relay as a mitmproxy addon."""

    name = "claude_relay"

    def __init__(self) -> None:
        super().__init__(Bookkeeper(None, View(2000, 200)))
        self.path: Path | None = None
        self.seen: reload.Stamp = None
        self.watcher: reload.Watcher | None = None
        self.index: HookIndex | None = None
        self.lent: Lent = {}
        self.announced = False
        self.stored: Stored | None = None
        self.listening: asyncio.Task[None] | None = None
        self.default_listener = DefaultListenerFilter()
        self.addons = [RelayCommands(lambda: self.runtime, self.read_again, self.set_default)]

    def load(self, loader: addonmanager.Loader) -> None:
        """Declare the options."""
        options.declare(loader)
        self.default_listener.install()

    def configure(self, updated: set[str]) -> None:
        """Read the configuration when its place is (newly) known."""
        if "relay_config" in updated:
            self.read_config()
        if updated & {"relay_keep_flows", "relay_keep_bodies"}:
            self.books.view.keep_flows = max(1, ctx.options.relay_keep_flows)
            self.books.view.keep_bodies = max(0, ctx.options.relay_keep_bodies)

    def read_config(self) -> None:
        """Read relay.yaml, or do without."""
        self.path = locate(ctx.options.relay_config or None, os.environ, Path.cwd())
        try:
            self.seen = reload.stamp(self.path) if self.path is not None else None
            config = reload.read(self.path) if self.path is not None else default(os.environ)
            if self.runtime is not None:
                config = running(self.runtime.config, config)
            self.change(Runtime.of(config, self.runtime, self.lent))
        except ConfigError as e:
            if self.runtime is not None:
                raise exceptions.OptionsError(str(e)) from None
            # mitmproxy ends at an error during its start; loaded later, an addon without runtime refuses every request.
            logger.error("The relay cannot start:\n%s", e)
            return
        options.apply(config)
        if self.listening is not None:
            self.watch()

    def running(self) -> None:
        """Everything is loaded: open the ledger, listen where the configuration says, watch the file."""
        if self.runtime is None:
            return
        config = self.runtime.config
        self.index = HookIndex(ctx.master.addons)
        self.index.install()
        shortcuts.install()
        self.books.ledger = Ledger(config.database, report=say_loudly, durability=config.ledger.durability)
        self.books.ledger.open()
        self.books.stored = self.stored = Stored(config.database, os.environ, self.running_runtime, self.lend)
        self.books.reporting = Reporting(self.running_runtime, self.books.ledger, os.environ)
        self.listening = asyncio.get_running_loop().create_task(self.listen(config), name="relay listeners")
        self.watch()

    def watch(self) -> None:
        """Look at the file that counts now, and at no other."""
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher = None
        if self.path is not None:
            self.watcher = reload.Watcher(self.path, self.seen, self.reconfigure)
            self.watcher.start()

    async def listen(self, config: Config) -> None:
        """Replace mitmproxy's default listener by the configured ones, unless the user named some."""
        assert self.stored is not None
        assert self.books.reporting is not None
        await self.stored.start()
        await self.books.reporting.start()
        proxyserver = ctx.master.addons.get("proxyserver")
        if not ctx.options.has_changed("mode"):
            self.default_listener.replaced = True
            ctx.options.update(mode=modes(config))
        await proxyserver.setup_servers()  # waits for the update that the option began
        self.default_listener.remove()
        if all(server.is_running for server in proxyserver.servers):
            self.announced = True
            for line in banner.lines(self.runtime, self.path):
                logger.log(ALERT, line)
            if threading.current_thread() is threading.main_thread():  # the process is the relay's own
                gc.freeze()  # what is loaded by now stays: no full collection walks over it, for 0.1 s in which nothing moves
        else:
            logger.error(
                "The relay cannot listen (see above). Change `listen` in relay.yaml or end the program that uses the port."
            )
            raise SystemExit(1)

    def reconfigure(self, config: Config) -> None:
        """An edit of relay.yaml applies to the requests that come from now on."""
        assert self.runtime is not None
        for what in needs_restart(self.runtime.config, config):
            logger.warning("%s changes when the relay is started again", what)
        config = running(self.runtime.config, config)
        self.change(Runtime.of(config, self.runtime, self.lent))
        if self.books.reporting is not None:
            self.books.reporting.change(config)
        options.apply(config)

    def change(self, runtime: Runtime) -> None:
        """Another configuration holds from now on. What is not followed of what the environment says of the way out is said once."""
        before = WayOut() if self.runtime is None else self.runtime.way
        for warning in (*runtime.way.warnings, *runtime.way.circles):
            if warning not in (*before.warnings, *before.circles):
                logger.warning("%s", warning)
        self.runtime = runtime

    def lend(self, lent: Lent) -> None:
        """The vault's keys changed."""
        assert self.runtime is not None
        self.lent = lent
        self.runtime = Runtime.of(self.runtime.config, self.runtime, lent)
        if self.announced:
            logger.log(ALERT, "the vault now lends %d keys", sum(map(len, lent.values())))

    def running_runtime(self) -> Runtime:
        """The relay as it is now."""
        assert self.runtime is not None
        return self.runtime

    def read_again(self) -> None:
        """The command `relay.reload`."""
        if self.watcher is not None:
            asyncio.get_running_loop().create_task(self.watcher.reload(), name="relay.reload")

    def set_default(self, target: str | None) -> None:
        """The command `relay.default`."""
        self.default = target

    def done(self) -> None:
        """Leave nothing behind: rows are written, mitmproxy's manager gets its methods back."""
        self.default_listener.remove()
        if self.listening is not None:
            self.listening.cancel()  # a relay that is ended while it starts
        if self.watcher is not None:
            self.watcher.stop()
        if self.index is not None:
            self.index.remove()
            shortcuts.remove()
        if self.books.ledger is not None:
            self.books.closed = True
        if self.books.reporting is not None:
            self.books.reporting.close()
        if self.stored is not None:
            self.stored.close()
        if self.books.ledger is not None:
            self.books.ledger.close()

    def client_connected(self, client: Client) -> None:
        """mitmproxy opens at most five connections to one upstream for a client; over HTTP/2 a client may well want more at once."""
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        if handler is not None:
            handler.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(UPSTREAM_CONNECTIONS))

    def tls_failed_client(self, data: TlsData) -> None:
        """A client does not trust the relay's certificate: say what it needs."""
        banner.explain_tls_failure(data)


class DefaultListenerFilter(logging.Filter):
    """mitmproxy binds its default port while the script is loaded. The relay's listeners replace it, so its failure is no error."""

    LOGGER = "mitmproxy.addons.proxyserver"
    replaced = False
    """Whether the modes are the relay's by now. Even then mitmproxy may still be trying the default port."""
    dropped = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the complaint about a listener that nobody asked for."""
        message = record.getMessage()
        if "failed to listen on *:" in message and (self.replaced or not ctx.options.has_changed("mode")):
            self.dropped = True
            return False
        # Stopping the listener that never came up is reported once more, as an error without words.
        return bool(message) or not self.dropped

    def install(self) -> None:
        """Begin to filter. What mitmproxy has complained of before is forgotten, or it would end for it."""
        logging.getLogger(self.LOGGER).addFilter(self)
        check = ctx.master.addons.get("errorcheck")
        if check is not None:
            errors = check.logger.has_errored
            errors[:] = [record for record in errors if self.filter(record)]
            if self.dropped:
                logger.log(ALERT, "That does not matter: the relay listens where its configuration says.")

    def remove(self) -> None:
        """Stop filtering."""
        logging.getLogger(self.LOGGER).removeFilter(self)


def say_loudly(message: str) -> None:
    """The ledger's reports, for the log."""
    logger.warning("%s", message)


addons: Sequence[Any] = [ClaudeRelay()]
