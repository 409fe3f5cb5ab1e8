"""The configuration in force: relay.yaml is read, at the start and at every edit, and takes the place of what was before, whole or not
at all.

    configuring = Configuring(hooks, renewal, changed)
    configuring.read()          the place of relay.yaml is (newly) known; raises OptionsError while another one is in force
    configuring.watch()         from now on edits of the file apply
    configuring.issue(…)        the vault's keys changed: they are part of what is in force

Requests read `hooks.runtime` and nothing here. It must not know what else the relay starts and ends (`script`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.log import ALERT

from claude_relay.core.config import Config, ConfigError, WayOut, default, needs_restart, running
from claude_relay.core.config.locate import base, locate, usual_file
from claude_relay.core.config.mistaken import mistaken
from claude_relay.core.exchange import OAUTH, Key
from claude_relay.core.keys.aliases import NO_NAMES, Names

from . import banner, confdir
from .common.loops import errand
from .flow.hooks import RelayHooks
from .lifecycle import reload
from .lifecycle.renewal import Renewal
from .log import plain as plainlog
from .log.folding import EACH
from .mitm.heads import BOUNDS
from .running.options import Options
from .running.runtime import Draft, Runtime
from .running.stored import Issued

logger = logging.getLogger(__name__)


class Configuring:
    """Of one relay.

    hooks    whose `runtime` it is
    renewal  of the listeners' certificate, which has to be there before anything is in force
    changed  called after an edit applies
    """

    def __init__(self, hooks: RelayHooks, renewal: Renewal, changed: Callable[[], None]) -> None:
        """Nothing is read before `read`."""
        self.path: Path | None = None
        self.options = Options()
        self.announced = False
        """Whether it was said what the relay issues: changes are said, too."""
        self._hooks, self._renewal, self._changed = hooks, renewal, changed
        self._version = reload.Version()
        self._watcher: reload.Watcher | None = None
        self._problem = ""
        """Why the relay does not run, as it was said last."""
        self._issued: Issued = {}
        self._names: Names = NO_NAMES

    # -- reading

    def read(self) -> bool:
        """Read relay.yaml, or do without; whether that is in force now. The file that is so already is looked after by its watcher."""
        path, before = locate(ctx.options.relay_config or None, os.environ, Path.cwd()), self._hooks.runtime
        if before is not None and path == self.path:
            return False
        try:
            if path is not None:
                version, config = reload.read(path)
            else:
                version, config = reload.Version(), default(os.environ, folder=base(None, os.environ))
            if before is not None:
                config = running(before.config, config)
            elif problem := confdir.settle(config.intercept.hosts) or self._renewal.settle(config.listen):
                raise exceptions.OptionsError(problem)
            self._put(Draft.of(config))
        except (ConfigError, exceptions.OptionsError) as e:
            if before is not None:
                raise exceptions.OptionsError(str(e)) from None
            # mitmproxy ends at an error during its start; loaded later, an addon without runtime refuses every request.
            if str(e) != self._problem:
                logger.error("The relay cannot start:\n%s", e)
            self._problem = str(e)
            return False
        self.path, self._version, self._problem = path, version, ""
        return True

    def watch(self) -> None:
        """Look at the file that counts now, and at no other; where there is none, for one that comes."""
        self.stop()
        path = self.path or usual_file(os.environ)
        self._watcher = reload.Watcher(path, self._version, self._edited, lambda: self._hooks.running_runtime().config)
        self._watcher.start()

    def stop(self) -> None:
        """Look no more. Twice does no harm."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def read_again(self) -> None:
        """The command `relay.reload`."""
        if self._watcher is not None and self.path is not None:
            errand(self._watcher.reload, "relay.reload")

    async def _edited(self, config: Config) -> None:
        """An edit of relay.yaml applies to the requests that come from now on. Raises ConfigError, OptionsError: nothing has changed."""
        before, stored = self._hooks.running_runtime().config, self._hooks.parts.stored
        draft = await asyncio.to_thread(Draft.of, running(before, config))
        for what in needs_restart(before, config):
            logger.warning("%s changes when the relay is started again", what, extra=EACH)
        if stored is not None:
            self._names = await stored.name(draft.own)
        self._put(draft)
        if self._watcher is not None:
            self.path = self._watcher.path  # perhaps there was none before
        self._changed()

    # -- putting into force

    def _put(self, draft: Draft) -> None:
        """All of a configuration or nothing: what can be refused comes first, then what cannot."""
        hooks = self._hooks
        before, reporting, decider = hooks.runtime, hooks.parts.reporting, hooks.decider
        self.options.apply(draft.config)
        if before is not None and reporting is not None:
            try:
                reporting.change(draft.config)
            except Exception:
                self.options.apply(before.config)
                with suppress(Exception):
                    reporting.change(before.config)
                raise
        warn(draft, before)
        hooks.runtime = Runtime.from_draft(draft, before, self._issued, self._names)
        if draft.config.faults != (() if before is None else before.config.faults):
            decider.faults.arm(draft.config.faults)
            banner.say_what_fails(decider.faults)
        plainlog.learn(tuple(plainlog.secrets_of(hooks.runtime, os.environ)))
        BOUNDS.set(draft.config.limits)
        if hooks.parts.stored is not None:
            hooks.parts.stored.refresh_all()
        if decider.default is not None and decider.default.partition("/")[0] not in draft.config.providers:
            logger.warning(
                "relay.default %s: there is no such provider any more; relay.yaml says what comes first",
                decider.default,
            )
            decider.default = None

    def issue(self, issued: Issued) -> None:
        """The vault's keys changed."""
        runtime = self._hooks.running_runtime()
        runtime.issue(issued, self._names)
        count, before = (sum(map(len, found.values())) for found in (issued, self._issued))
        only_tokens = without_tokens(issued) == without_tokens(self._issued)
        self._issued = issued
        plainlog.learn(tuple(plainlog.secrets_of(runtime, os.environ)))
        if self.announced and (count or before) and not only_tokens:  # whoever keeps no key there need not hear of it
            logger.log(ALERT, "keys that the vault issues: %d", count)

    def rename(self, names: Names) -> None:
        """It is known what the configuration's keys are called."""
        self._hooks.running_runtime().issue(self._issued, names)
        self._names = names


def warn(draft: Draft, before: Runtime | None) -> None:
    """What is hardly meant so, what is not followed of what the environment says of the way out, and hosts that the CA is not for; each
    once.
    """
    hosts = draft.config.intercept.hosts
    if (before is None or before.config.intercept.hosts != hosts) and (why := confdir.misfit(hosts)):
        logger.warning("%s", why)
    known = () if before is None else tuple(mistaken(before.config))
    for mistake in mistaken(draft.config):
        if mistake not in known:
            logger.warning("%s: %s", mistake.found, mistake.remedy)
    way, way_before = draft.way, WayOut() if before is None else before.way
    for warning in (*way.warnings, *way.circles):
        if warning not in (*way_before.warnings, *way_before.circles):
            logger.warning("%s", warning)


def without_tokens(issued: Issued) -> list[Key]:
    """The keys, but for what changes when an account is renewed."""
    return [
        replace(key, secret="", renews=False) if key.kind == OAUTH else key for keys in issued.values() for key in keys
    ]
