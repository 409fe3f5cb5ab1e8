"""What one running relay has beside its configuration: what all requests share.

    parts = Parts(View(2000, 200))
    parts.ledger, parts.stored, parts.reporting = …     when it runs

It must not know what they are used for.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field

from mitmproxy import http

from claude_relay.core.accounting.cache_misses import Conversations
from claude_relay.core.bodies.resources import Owner, named
from claude_relay.core.clients.admission import Standing
from claude_relay.core.clients.directory import Client
from claude_relay.proxy.pages.page_parts import PageState
from claude_relay.proxy.request.bodies import at_leisure
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.request.translating import Translator
from claude_relay.proxy.running.clients import KnownClients
from claude_relay.proxy.running.discovery import Discovery
from claude_relay.proxy.running.limiting import Limiting
from claude_relay.proxy.running.provider_reports import Reports
from claude_relay.proxy.running.renewals import Renewals
from claude_relay.proxy.running.stored import Stored
from claude_relay.proxy.running.windows import Windows
from claude_relay.proxy.watch.inspection import View
from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.ledger.ledger import Ledger, RequestRow


@dataclass(slots=True, eq=False)
class Parts:
    """Of one relay. `ledger`, `reporting`, `stored` and `clients` are None before it runs."""

    view: View
    ledger: Ledger | None = None
    reporting: Reporting | None = None
    clients: KnownClients | None = None
    pages: PageState = field(default_factory=PageState)
    translator: Translator = field(default_factory=Translator)
    discovery: Discovery = field(default_factory=Discovery)
    replayed: MutableMapping[http.HTTPFlow, RequestRow] = field(default_factory=weakref.WeakKeyDictionary)
    """What the ledger got of recorded requests that were sent again, for who wants to compare."""
    conversations: Conversations = field(default_factory=Conversations)
    limiting: Limiting | None = None
    """The limits of clients."""
    renewals: Renewals | None = None
    reports: Reports | None = None
    """The next tokens of OAuth accounts."""
    windows: Windows | None = None
    """How far the windows of keys are used."""

    @property
    def stored(self) -> Stored | None:
        """What is shared with other relays."""
        return self.translator.stored

    @stored.setter
    def stored(self, stored: Stored | None) -> None:
        self.translator.stored = stored

    @property
    def keeps_bodies(self) -> bool:
        """Whether streamed answers are kept for somebody to look at."""
        return self.view.view is not None or (self.reporting is not None and self.reporting.bodies is not None)

    @property
    def keys_unread(self) -> str | None:
        """Why the stored keys cannot be read, if they cannot."""
        return self.stored.keys_unread if self.stored is not None else None

    @property
    def salt(self) -> bytes:
        """For marks of clients' own credentials."""
        return self.stored.salt if self.stored is not None else b""

    async def owner_of(self, relayed: Relayed) -> Owner | None:
        """The key that made what the request is about: a file, a batch, a container."""
        if self.stored is None or not self.stored.has_resources or relayed.pristine is None:
            return None
        path = relayed.pristine.path.decode("utf-8", "replace")
        names = await at_leisure(relayed.body or b"", lambda body: named(path, body, relayed.facts.container))
        return await self.stored.owner(names) if names else None

    async def standings_of(
        self, client: Client, session: str | None = None, agent: str | None = None, parent: str | None = None
    ) -> Sequence[Standing]:
        """How far the limits of a client and of its group are used; those of a session and of an agent only where the session is named.
        Without an agent in it: its main one.
        """
        limiting = self.limiting
        if limiting is None:
            return ()
        tree = None
        if session is not None:
            tree = limiting.trees.root(client.name, session, agent, parent) if agent else ""
        return await limiting.standing(client, time.time(), session, tree)
