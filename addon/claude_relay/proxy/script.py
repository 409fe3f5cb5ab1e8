"""What mitmproxy loads: one addon that sets the relay up, tears it down, and carries the hooks of its requests.

    load, configure   options; relay.yaml is read
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from mitmproxy import addonmanager, ctx, exceptions
from mitmproxy.connection import Client
from mitmproxy.log import ALERT
from mitmproxy.proxy import layer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from claude_relay.core.clients.directory import Stop
from claude_relay.core.config import Config, ConfigError, WayOut, default, needs_restart, running
from claude_relay.core.config.listening import modes
from claude_relay.core.config.locate import base, locate, usual_file
from claude_relay.core.config.mistaken import mistaken
from claude_relay.core.exchange import OAUTH, Key
from claude_relay.core.installation import installing_panel, missing_for_panel
from claude_relay.core.keys.aliases import NO_NAMES, Names
from claude_relay.core.notices import Notice
from claude_relay.store.ledger.ledger import Ledger

from . import banner, confdir
from .commands import RelayCommands
from .common import process
from .common.loops import errand
from .exporting import Exporting
from .flow.hooks import RelayHooks
from .flow.parts import Parts
from .lifecycle import reload
from .lifecycle.ending import Ending
from .lifecycle.opening import Opening, load
from .lifecycle.panel_process import PanelProcess
from .lifecycle.presence import Presence
from .lifecycle.renewal import Renewal
from .lifecycle.stopping import stop_requests
from .log import plain as plainlog
from .log.folding import EACH, Folding
from .log.terminal import Terminal
from .mitm import backpressure, marks, shortcuts
from .mitm.accepting import accept_with_care
from .mitm.default_listener import DefaultListenerFilter
from .mitm.heads import BOUNDS
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
from .running.runtime import Draft, Runtime
from .running.stored import Issued, Stored
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
        self.path: Path | None = None
        self.version = reload.Version()
        self.watcher: reload.Watcher | None = None
        self.renewal = Renewal(self.own_tls)
        self.options = options.Options()
        self.problem = ""
        """Why it does not run, as it was said last."""
        self.index: HookIndex | None = None
        self.issued: Issued = {}
        self.names: Names = NO_NAMES
        self.announced = False
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
            self.read_again,
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
        if self.options.applying:
            return
        if "relay_config" in updated or (self.runtime is None and updated & REFUSED):
            self.read_config()
        if self.runtime is not None:
            self.options.check(updated)
        if updated & {"relay_keep_flows", "relay_keep_bodies"}:
            self.parts.view.keep_flows = max(1, ctx.options.relay_keep_flows)
            self.parts.view.keep_bodies = max(0, ctx.options.relay_keep_bodies)

    def read_config(self) -> None:
        """Read relay.yaml, or do without. The file that is in force already is looked after by its watcher."""
        path = locate(ctx.options.relay_config or None, os.environ, Path.cwd())
        if self.runtime is not None and path == self.path:
            return
        try:
            if path is not None:
                version, config = reload.read(path)
            else:
                version, config = reload.Version(), default(os.environ, folder=base(None, os.environ))
            if self.runtime is not None:
                config = running(self.runtime.config, config)
            elif problem := confdir.settle(config.intercept.hosts) or self.renewal.settle(config.listen):
                raise exceptions.OptionsError(problem)
            self.put_into_force(Draft.of(config))
        except (ConfigError, exceptions.OptionsError) as e:
            if self.runtime is not None:
                raise exceptions.OptionsError(str(e)) from None
            # mitmproxy ends at an error during its start; loaded later, an addon without runtime refuses every request.
            if str(e) != self.problem:
                logger.error("The relay cannot start:\n%s", e)
            self.problem = str(e)
            return
        self.path, self.version, self.problem = path, version, ""
        if self.starting is not None:
            self.watch()
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
            config.database, os.environ, self.running_runtime, self.issue, self.rename
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
        self.watch()
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
            self.panel_process = await self.panel_of(config)
            panel = lambda: self.panel_process.address if self.panel_process is not None else None  # noqa: E731
            path = lambda: self.path  # noqa: E731
            self.presence = Presence(config.database, self.running_runtime, path, reporting.servers, panel)
            self.presence.start()
            self.announced = True
            for line in banner.lines(
                self.runtime, self.path, self.decider.faults, panel=self.panel_process is not None
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

    async def panel_of(self, config: Config) -> PanelProcess | None:
        """The panel, not started yet; None where there is none, or mitmproxy is a part of another program."""
        if config.listen.panel is None or threading.current_thread() is not threading.main_thread():
            return None
        if name := await asyncio.to_thread(missing_for_panel):
            logger.log(ALERT, "no panel: the package %s is missing; this installs it: %s", name, installing_panel())
            return None
        loop = asyncio.get_running_loop()

        def show(url: str, link: str | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(banner.say_how_to_enter, url, link)

        return PanelProcess(self.path, os.environ, show)

    def let_threads_write(self) -> None:
        """From the first request on no output of the log is waited for. What went wrong before is told before mitmproxy ends for it."""
        loop = asyncio.get_running_loop()
        self.terminal = Terminal(ctx.master, lambda: loop.call_soon_threadsafe(sys.exit, 1))  # as mitmproxy does
        self.terminal.install()

    # -- changes

    def watch(self) -> None:
        """Look at the file that counts now, and at no other; where there is none, for one that comes."""
        if self.watcher is not None:
            self.watcher.stop()
        path = self.path or usual_file(os.environ)
        self.watcher = reload.Watcher(path, self.version, self.reconfigure, lambda: self.running_runtime().config)
        self.watcher.start()

    async def reconfigure(self, config: Config) -> None:
        """An edit of relay.yaml applies to the requests that come from now on. Raises ConfigError, OptionsError: nothing has changed."""
        before = self.running_runtime().config
        draft = await asyncio.to_thread(Draft.of, running(before, config))
        for what in needs_restart(before, config):
            logger.warning("%s changes when the relay is started again", what, extra=EACH)
        if self.stored is not None:
            self.names = await self.stored.name(draft.own)
        self.put_into_force(draft)
        if self.watcher is not None:
            self.path = self.watcher.path  # perhaps there was none before
        if self.panel_process is not None:
            self.panel_process.changed()

    def put_into_force(self, draft: Draft) -> None:
        """All of a configuration or nothing: what can be refused comes first, then what cannot."""
        before, reporting = self.runtime, self.parts.reporting
        self.options.apply(draft.config)
        if before is not None and reporting is not None:
            try:
                reporting.change(draft.config)
            except Exception:
                self.options.apply(before.config)
                with suppress(Exception):
                    reporting.change(before.config)
                raise
        self.warn(draft)
        self.runtime = Runtime.from_draft(draft, before, self.issued, self.names)
        if draft.config.faults != (() if before is None else before.config.faults):
            self.decider.faults.arm(draft.config.faults)
            banner.say_what_fails(self.decider.faults)
        plainlog.learn(tuple(plainlog.secrets_of(self.runtime, os.environ)))
        BOUNDS.set(draft.config.limits)
        if self.stored is not None:
            self.stored.refresh_all()
        if self.decider.default is not None and self.decider.default.partition("/")[0] not in draft.config.providers:
            logger.warning(
                "relay.default %s: there is no such provider any more; relay.yaml says what comes first",
                self.decider.default,
            )
            self.decider.default = None

    def warn(self, draft: Draft) -> None:
        """What is hardly meant so, what is not followed of what the environment says of the way out, and hosts that the CA is not for; each
        once.
        """
        hosts = draft.config.intercept.hosts
        if (self.runtime is None or self.runtime.config.intercept.hosts != hosts) and (why := confdir.misfit(hosts)):
            logger.warning("%s", why)
        known = () if self.runtime is None else tuple(mistaken(self.runtime.config))
        for mistake in mistaken(draft.config):
            if mistake not in known:
                logger.warning("%s: %s", mistake.found, mistake.remedy)
        way, before = draft.way, WayOut() if self.runtime is None else self.runtime.way
        for warning in (*way.warnings, *way.circles):
            if warning not in (*before.warnings, *before.circles):
                logger.warning("%s", warning)

    def issue(self, issued: Issued) -> None:
        """The vault's keys changed."""
        self.running_runtime().issue(issued, self.names)
        count, before = (sum(map(len, found.values())) for found in (issued, self.issued))
        only_tokens = without_tokens(issued) == without_tokens(self.issued)
        self.issued = issued
        plainlog.learn(tuple(plainlog.secrets_of(self.running_runtime(), os.environ)))
        if self.announced and (count or before) and not only_tokens:  # whoever keeps no key there need not hear of it
            logger.log(ALERT, "keys that the vault issues: %d", count)

    def notify(self, found: Iterable[Notice]) -> None:
        """Something that an operator should hear of."""
        if self.parts.reporting is not None:
            self.parts.reporting.notify(found)

    def stop_clients(self, stops: Sequence[Stop]) -> None:
        """Clients were told to stop: what runs for them ends."""
        contact = self.running_runtime().config.clients.contact
        errand(lambda: stop_requests(self.connections, stops, contact), "stopping a client")

    def rename(self, names: Names) -> None:
        """It is known what the configuration's keys are called."""
        self.running_runtime().issue(self.issued, names)
        self.names = names

    def running_runtime(self) -> Runtime:
        """The relay as it is now."""
        assert self.runtime is not None
        return self.runtime

    def read_again(self) -> None:
        """The command `relay.reload`."""
        if self.watcher is not None and self.path is not None:
            errand(self.watcher.reload, "relay.reload")

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
        starting, self.starting, self.announced = self.starting, None, False
        if starting is not None:
            starting.cancel()  # a relay that is ended while it starts
        self.opening.finish()
        self.renewal.stop()
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher = None
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


def without_tokens(issued: Issued) -> list[Key]:
    """The keys, but for what changes when an account is renewed."""
    return [
        replace(key, secret="", renews=False) if key.kind == OAUTH else key for keys in issued.values() for key in keys
    ]


def write_warning(message: str) -> None:
    """The ledger's reports, for the log."""
    logger.warning("%s", message)


addons: Sequence[Any] = [ClaudeRelay()]
