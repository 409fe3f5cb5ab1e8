"""What mitmproxy loads: one addon that sets the relay up, tears it down, and carries the hooks of its requests.

    load, configure   options; relay.yaml is read (`configuring`)
    running           the relay starts: what is stored is loaded, then requests are decided (`opening`), then the listeners are changed
    done, load, …     the script's file was touched: nothing is torn down, all goes on
    shutdown, done    somebody ends mitmproxy: requests may end (`ending`), then everything is written down and closed

`configure`, `running` and `done` are synchronous because mitmproxy's hot reload needs them so.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import logging
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from mitmproxy import addonmanager, ctx
from mitmproxy.connection import Client
from mitmproxy.log import ALERT
from mitmproxy.proxy import layer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from claude_relay.core.clients.directory import Stop
from claude_relay.core.config import Config
from claude_relay.core.config.listening import modes
from claude_relay.core.notices import Notice
from claude_relay.store.ledger.ledger import Ledger

from . import banner, confdir
from .commands import RelayCommands
from .common import process
from .common.loops import errand
from .configuring import Configuring
from .exporting import Exporting
from .flow.hooks import RelayHooks
from .flow.parts import Parts
from .lifecycle.ending import Ending
from .lifecycle.opening import Opening, load
from .lifecycle.panel_process import PanelProcess, panel_of
from .lifecycle.presence import Presence
from .lifecycle.renewal import Renewal
from .lifecycle.stopping import stop_requests
from .log import plain as plainlog
from .log.folding import Folding
from .log.terminal import Terminal
from .mitm import backpressure, marks, shortcuts
from .mitm.accepting import accept_with_care
from .mitm.default_listener import DefaultListenerFilter
from .mitm.hook_index import HookIndex
from .mitm.watched import Watched, watch_over
from .pages.page_parts import PageState
from .recordings import Recordings
from .request.relayed import RELAYED
from .running import options
from .running.clients import KnownClients
from .running.limiting import Limiting
from .running.provider_reports import Reports
from .running.renewals import Renewals
from .running.rulings import REFUSED
from .running.stored import Stored
from .running.windows import Windows
from .stream.client_connections import Connections
from .stream.resending import Resending
from .views import registry as views
from .watch.health import Health
from .watch.inspection import View
from .watch.reporting import Reporting

logger = logging.getLogger(__name__)
UPSTREAM_CONNECTIONS = 100
"""To one upstream, for one client connection."""


class ClaudeRelay(RelayHooks):
    """The relay as a mitmproxy addon."""

    name = "claude_relay"

    def __init__(self) -> None:
        super().__init__(Parts(View(2000, 200)))
        self.renewal = Renewal(self.own_tls)
        self.configuring = Configuring(self, self.renewal, self.config_changed)
        self.index: HookIndex | None = None
        self.stored: Stored | None = None
        self.presence: Presence | None = None
        self.panel_process: PanelProcess | None = None
        self.mitmproxy_runs = False
        self.starting: asyncio.Task[None] | None = None
        """What `running` has begun; None while the relay does not run."""
        self.closing: asyncio.Handle | None = None
        """The end of a relay whose script went away, unless it comes back at once."""
        self.connections = Connections(lambda: ctx.master.addons.get("proxyserver").connections)
        self.resending = Resending(lambda: self.runtime, self.connections.saw)
        self.default_listener = DefaultListenerFilter()
        self.folding = Folding()
        self.terminal: Terminal | None = None
        recordings = Recordings(lambda: self.runtime, self.resending, self.parts.replayed)
        commands = RelayCommands(
            lambda: self.runtime,
            self.configuring.read_again,
            self.set_default,
            self.decider.faults,
            recordings,
            Exporting(lambda: self.runtime),
        )
        self.addons = [commands]

    # -- coming

    def load(self, loader: addonmanager.Loader) -> None:
        """Declare the options. When the script's file was touched, the relay runs already and goes on."""
        plainlog.install()
        options.declare(loader)
        self.folding.install()
        views.install()
        marks.install()
        banner.show_at_once(sys.stdout)
        if self.closing is not None:
            self.closing.cancel()
            self.closing = None
        if self.starting is None:
            process.settle()
            accept_with_care(asyncio.get_running_loop())
            self.opening = Opening()
            self.resending.install()
            self.default_listener.install()
        if self.ending is None:
            self.ending = Ending(ctx.master, self.connections, self.patience_at_the_end, self.end_begins)
            if threading.current_thread() is threading.main_thread():  # the process is the relay's own
                self.ending.install()

    def configure(self, updated: set[str]) -> None:
        """Read the configuration when its place is (newly) known. Raises OptionsError for what the relay cannot run with."""
        if self.configuring.options.applying:
            return
        if "relay_config" in updated or (self.runtime is None and updated & REFUSED):
            self.read_config()
        if self.runtime is not None:
            self.configuring.options.check(updated)
        if updated & {"relay_keep_flows", "relay_keep_bodies"}:
            self.parts.view.keep_flows = max(1, ctx.options.relay_keep_flows)
            self.parts.view.keep_bodies = max(0, ctx.options.relay_keep_bodies)

    def read_config(self) -> None:
        """Another relay.yaml is followed, or the relay starts with its first."""
        if not self.configuring.read():
            return
        if self.starting is not None:
            self.configuring.watch()
        elif self.mitmproxy_runs:
            self.running()

    def running(self) -> None:
        """Everything is loaded: open the ledger, listen where the configuration says, watch the file."""
        self.mitmproxy_runs = True
        ends = ctx.master.should_exit.is_set() or (self.ending is not None and self.ending.begun)
        if self.runtime is None or self.starting is not None or ends:
            return
        config = self.runtime.config
        self.index = HookIndex(ctx.master.addons)
        self.index.install()
        shortcuts.install()
        confdir.ONLY_PERMITTED.install()
        self.books.closed = False
        ledger = Ledger(config.database, report=write_warning, durability=config.ledger.durability)
        self.parts.ledger = ledger
        self.parts.stored = self.stored = Stored(
            config.database, os.environ, self.running_runtime, self.configuring.issue, self.configuring.rename
        )
        self.parts.limiting = Limiting(config.database, lambda: ledger.whole)
        self.parts.renewals = Renewals(self.stored, self.running_runtime, self.notify)
        self.parts.reports = Reports(config.database, os.environ, self.running_runtime, self.notify)
        self.parts.windows = Windows(self.stored, self.running_runtime)
        health = Health(
            config.database, ledger, lambda: self.stored, lambda: self.ending is not None and self.ending.begun
        )
        self.parts.reporting = Reporting(self.running_runtime, ledger, os.environ, health.look)
        self.parts.clients = KnownClients(config.database, self.stop_clients)
        self.parts.pages = PageState()
        work = self.start(config, ledger, self.stored, self.parts.reporting, self.parts.clients)
        self.starting = asyncio.get_running_loop().create_task(work, name="relay start")
        self.configuring.watch()
        self.renewal.start()

    async def start(
        self, config: Config, ledger: Ledger, stored: Stored, reporting: Reporting, clients: KnownClients
    ) -> None:
        """Load what is stored, then listen."""
        await load(ledger, stored, reporting, clients)
        for part in (self.parts.limiting, self.parts.renewals, self.parts.windows, self.parts.reports):
            if part is not None:
                part.start()
        self.opening.finish()
        self.let_threads_write()
        if await self.default_listener.replace(modes(config)):
            self.panel_process = await panel_of(config, self.configuring.path, banner.say_how_to_enter)
            panel = lambda: self.panel_process.address if self.panel_process is not None else None  # noqa: E731
            path = lambda: self.configuring.path  # noqa: E731
            self.presence = Presence(config.database, self.running_runtime, path, reporting.servers, panel)
            self.presence.start()
            self.configuring.announced = True
            for line in banner.lines(
                self.runtime, self.configuring.path, self.decider.faults, panel=self.panel_process is not None
            ):
                logger.log(ALERT, line)
            banner.warn_of_plain(config)
            if self.panel_process is not None:
                self.panel_process.start()
            if threading.current_thread() is threading.main_thread():  # the process is the relay's own
                gc.freeze()  # what is loaded by now stays: no full collection walks over it, for 0.1 s in which nothing moves
        else:
            logger.error(
                "The relay cannot listen (see above). Change `listen` in relay.yaml or end the program that uses the port."
            )
            raise SystemExit(1)

    def let_threads_write(self) -> None:
        """From the first request on no output of the log is waited for. What went wrong before is told before mitmproxy ends for it."""
        loop = asyncio.get_running_loop()
        self.terminal = Terminal(ctx.master, lambda: loop.call_soon_threadsafe(sys.exit, 1))  # as mitmproxy does
        self.terminal.install()

    # -- meanwhile

    def config_changed(self) -> None:
        """An edit of relay.yaml applies: the panel reads it, too."""
        if self.panel_process is not None:
            self.panel_process.changed()

    def notify(self, found: Iterable[Notice]) -> None:
        """Something that an operator should hear of."""
        if self.parts.reporting is not None:
            self.parts.reporting.notify(found)

    def stop_clients(self, stops: Sequence[Stop]) -> None:
        """Clients were told to stop: what runs for them ends."""
        contact = self.running_runtime().config.clients.contact
        errand(lambda: stop_requests(self.connections, stops, contact), "stopping a client")

    def set_default(self, target: str | None) -> None:
        """The command `relay.default`."""
        self.decider.default = target

    # -- going

    def patience_at_the_end(self) -> float:
        """Seconds for which requests may still run when the relay is to end."""
        return self.runtime.config.shutdown if self.runtime is not None else 0.0

    def end_begins(self) -> None:
        """Requests that wait for the start need wait no longer, and nothing is opened any more."""
        if self.starting is not None:
            self.starting.cancel()
        self.opening.finish()

    def done(self) -> None:
        """mitmproxy ends, or it loads the script again: then `load` follows before anything else can happen."""
        if self.starting is not None and not ctx.master.should_exit.is_set():
            with suppress(RuntimeError):  # without a loop there is nothing to wait for
                self.closing = asyncio.get_running_loop().call_soon(self.close)
                return
        self.close()

    def close(self) -> None:
        """Leave nothing behind: rows are written, mitmproxy's manager gets its methods back. The ledger comes last, whatever fails."""
        self.closing = None
        self.default_listener.remove()
        self.resending.remove()
        with ExitStack() as stack:
            stack.callback(plainlog.remove)
            if self.panel_process is not None:
                self.panel_process.end()
                stack.callback(self.panel_process.wait)
            if self.terminal is not None:
                stack.callback(self.terminal.remove)
            if self.parts.reporting is not None:
                stack.callback(self.parts.reporting.fall_silent)
            stack.callback(self.folding.remove)
            stack.callback(views.remove)
            stack.callback(marks.remove)
            if self.parts.ledger is not None:
                stack.callback(self.parts.ledger.close)
            if self.parts.clients is not None:
                stack.callback(self.parts.clients.close)
            if self.stored is not None:
                stack.callback(self.stored.close)
            for part in (self.parts.windows, self.parts.renewals, self.parts.reports):
                if part is not None:
                    stack.callback(part.close)
            if self.parts.limiting is not None:
                stack.callback(self.parts.limiting.close)
            if self.parts.reporting is not None:
                stack.callback(self.parts.reporting.close)
            if self.parts.ledger is not None:
                stack.callback(self.books.close)
            stack.callback(self.parts.pages.close)
            if self.presence is not None:
                stack.callback(self.presence.close)
            self.let_go_of_mitmproxy()

    def let_go_of_mitmproxy(self) -> None:
        """Nothing begins any more."""
        starting, self.starting, self.configuring.announced = self.starting, None, False
        if starting is not None:
            starting.cancel()  # a relay that is ended while it starts
        self.opening.finish()
        self.renewal.stop()
        self.configuring.stop()
        if self.ending is not None:
            self.ending.remove()
            self.ending = None
        if self.index is not None:
            self.index.remove()
            self.index = None
            shortcuts.remove()
            confdir.ONLY_PERMITTED.remove()

    # -- connections

    def next_layer(self, next_layer: layer.NextLayer) -> None:
        """Every HTTP layer is one of the relay's, which remembers it."""
        super().next_layer(next_layer)
        self.connections.saw(next_layer.layer)

    def client_connected(self, client: Client) -> None:
        """mitmproxy opens at most five connections to one upstream for a client; over HTTP/2 a client may well want more at once."""
        super().client_connected(client)
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        if handler is not None:
            backpressure.attach(handler)
            handler.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(UPSTREAM_CONNECTIONS))
            watch_over(handler, lambda: list(RELAYED))

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """What an upstream sends is read in portions, too."""
        super().server_connected(data)
        handler = ctx.master.addons.get("proxyserver").connections.get(data.client.id)
        if handler is not None and isinstance(handler.layer, Watched):
            handler.layer.pace(data.server)

    def tls_failed_client(self, data: TlsData) -> None:
        """A client does not trust the relay's certificate: say what it needs."""
        banner.explain_tls_failure(data, own=self.own_tls.shows(data.context))


def write_warning(message: str) -> None:
    """The ledger's reports, for the log."""
    logger.warning("%s", message)


addons: Sequence[Any] = [ClaudeRelay()]
