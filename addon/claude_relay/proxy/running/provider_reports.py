"""Providers' own reports of usage and cost, once a day, and a notice where they differ from the ledger by more than a little.

    reports = Reports(database, environ, runtime, notify)
    reports.start()                  looks every EVERY seconds what is due; without an admin key nothing ever is
    reports.close()

Of several relays over one database one fetches a report (`store/shared/daily_reports`). All of it happens in a thread of its own: neither
a request nor the end of the relay waits for it. It must not know requests.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from claude_relay.core.accounting.reconciling import drift
from claude_relay.core.notices import Notice, report_missing, usage_differs
from claude_relay.proxy.common.loops import Complaints
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.daily_reports import DAYS, Reconciliation
from claude_relay.store.vault.vault import Vault, VaultError
from claude_relay.upstream.report_endpoint import TIMEOUT, fetch

from .runtime import Runtime

logger = logging.getLogger(__name__)
FIRST: Final = 20.0
"""Seconds after the start of the first look; between two: EVERY."""
EVERY: Final = 60.0


class Reports:
    """The reports that one relay fetches.

    runtime  the relay as it is now
    notify   gets what an operator should hear; called in the thread
    """

    def __init__(
        self,
        database: Path,
        environ: Mapping[str, str],
        runtime: Callable[[], Runtime],
        notify: Callable[[Iterable[Notice]], None],
        *,
        first: float = FIRST,
        every: float = EVERY,
    ) -> None:
        self.runtime, self.notify = runtime, notify
        self.reconciliation = Reconciliation(Vault(database, environ=environ), environ)
        self.first, self.every = first, every
        self.complaint = ""
        self.said: dict[str, str] = {}
        """What is wrong with a provider's report, by provider, as the log has it."""
        self.complaints = Complaints("fetching a provider's report")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, name="relay-reports", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self.thread.start()

    def work(self) -> None:
        """In the thread."""
        pause = self.first
        while not self.ended.wait(pause):
            pause = self.every
            try:
                self.look(time.time())
            except (StoreError, VaultError) as error:
                self.complain(str(error))
            except Exception as error:  # whatever it is: requests do not depend on it
                self.complaints.say(error)
            else:
                self.complain("")

    def look(self, now: float) -> None:
        """Fetch what is due."""
        runtime = self.runtime()
        providers = runtime.config.providers
        for name in self.reconciliation.due(providers, now):
            if self.ended.is_set():
                return
            ran = self.reconciliation.run(name, providers, partial(fetch, way=runtime.way, timeout=TIMEOUT), now)
            if ran.problem and ran.notable:
                self.notify([report_missing(name, ran.problem, now)])
                if ran.problem != self.said.get(name):
                    logger.warning("the usage report of %s cannot be fetched: %s", name, ran.problem)
                self.said[name] = ran.problem
            if not ran.problem:
                logger.info("the usage report of %s was fetched", name)
                self.said.pop(name, None)
            if (found := drift(ran.rows)) is not None and found.usd is not None:
                self.notify([usage_differs(name, found.usd, found.share, DAYS, now)])

    def complain(self, text: str) -> None:
        """Say what is wrong once."""
        if text and text != self.complaint:
            logger.warning("providers' reports cannot be fetched: %s", text)
        self.complaint = text

    def close(self) -> None:
        """No more of it. What is under way is left to itself: nothing of it is written down until all of it came."""
        self.ended.set()
