"""Which page is answered by what, what is off, and how each may be asked.

    refusal(page, method, config)                    what the head alone decides: 404 for what is not there, 405 for a method
    answer = await answer_page(relayed, flow, parts)

A page that is off looks like one that is not built. It must not know what is in a page.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mitmproxy import http

from claude_relay.core.config import Config
from claude_relay.core.endpoints import Page
from claude_relay.core.errors import RelayError
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.store.db.database import StoreError

from .authority import ca
from .device import device, style
from .otlp import telemetry
from .page_parts import PageParts, json_answer
from .settings import settings
from .sign_in import device_authorization, metadata, revoke, token
from .standing import me, usage

logger = logging.getLogger(__name__)

type Handler = Callable[[Relayed, http.HTTPFlow, PageParts], Awaitable[http.Response]]

READ: Final = ("GET", "HEAD")
NOT_THERE: Final = "This path is the relay's own, and there is nothing at it; it is not sent on."
UNREAD: Final = (
    "The relay cannot use its database, which this page needs; its log says why. Send the request again in a moment."
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A page. `signs_in`: it is there only where people may sign in."""

    handler: Handler
    methods: tuple[str, ...] = READ
    signs_in: bool = False


async def health(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """The relay answers."""
    return json_answer({"ok": True}, relayed)


PAGES: Final[Mapping[Page, Entry]] = {
    Page.HEALTH: Entry(health),
    Page.OAUTH_METADATA: Entry(metadata, signs_in=True),
    Page.DEVICE_AUTHORIZATION: Entry(device_authorization, ("POST",), signs_in=True),
    Page.TOKEN: Entry(token, ("POST",), signs_in=True),
    Page.REVOKE: Entry(revoke, ("POST",), signs_in=True),
    Page.DEVICE: Entry(device, (*READ, "POST"), signs_in=True),
    Page.DEVICE_STYLE: Entry(style, signs_in=True),
    Page.USAGE: Entry(usage),
    Page.ME: Entry(me),
    Page.CA_PEM: Entry(ca),
    Page.SETTINGS: Entry(settings),
    Page.OTLP: Entry(telemetry, ("POST",)),
}


def refusal(page: Page, method: str, config: Config) -> RelayError | None:
    """Why a page is not asked at all."""
    entry = PAGES.get(page)
    if entry is None or (entry.signs_in and not config.listen.sign_in):
        return RelayError(404, NOT_THERE, final=True)
    if method not in entry.methods:
        allowed = ", ".join(entry.methods)
        return RelayError(
            405, f"This path answers {allowed.replace(', ', ' and ')} only.", final=True, headers={"allow": allowed}
        )
    return None


async def answer_page(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """What a page says. Raises RelayError."""
    assert relayed.page is not None
    if (error := refusal(relayed.page, relayed.method, relayed.runtime.config)) is not None:
        raise error
    try:
        return await PAGES[relayed.page].handler(relayed, flow, parts)
    except StoreError as error:
        logger.warning("the page %s has no answer: %s", relayed.page.value, error)
        raise RelayError(503, UNREAD, retry_after=2.0) from None
