"""A browser with mitmweb's page open, as far as mitmweb can tell: it hears of every flow, and looks at one after the other.

    async with Browser(target).looking() as browser:
        …                                               browser.updates: messages of /updates; browser.pages: bodies as it got them

What the page does: it asks for the options, the flows and the log, then hears of what changes; of the flow that is open it gets request and
answer, each in the view that fits. It is loaded anew now and then. It must not know what the relay does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final, Self

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from .processes import BenchError
from .targets import PASSWORD, Target

LOOK: Final = 1.0
"""Seconds between two flows that are looked at: of somebody who goes through them one by one."""
LOADED_ANEW: Final = 20
"""Looks after which the page is."""
LINES: Final = 512
"""Of a body, as the page asks for it."""


class Browser:
    """See the module's text."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.updates = self.pages = 0
        self._whole = ""
        """The newest flow whose answer is whole."""
        self._page: WebSocketClientConnection | None = None
        self._client = AsyncHTTPClient(force_instance=True)

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[Self]:
        """It looks while this is open. Raises BenchError when mitmweb does not answer it."""
        task = None
        try:
            await self._load()
            task = asyncio.create_task(self._look(), name="browser")
            yield self
        finally:
            try:
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
            finally:
                await self._leave()
                self._client.close()

    async def _look(self) -> None:
        while True:
            hears = asyncio.create_task(self._hear(), name="browser: updates")
            try:
                for _ in range(LOADED_ANEW):
                    await asyncio.sleep(LOOK)
                    await self._open(self._whole)
            finally:
                hears.cancel()
            await self._leave()
            await self._load()

    async def _load(self) -> None:
        connecting = asyncio.ensure_future(websocket_connect(self._request("updates", scheme="ws")))
        try:
            self._page = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                self._page = await connecting  # tornado goes on with it, and nobody else would close it
            raise
        for what in ("options.json", "state.json", "flows.json", "events.json"):
            await self._get(what)

    async def _leave(self) -> None:
        page = self._page
        if page is not None:
            page.close()
            while await page.read_message() is not None:
                pass
            self._page = None  # not before: whoever is cancelled meanwhile has to come back

    async def _hear(self) -> None:
        page = self._page
        assert page is not None
        while (said := await page.read_message()) is not None:
            self.updates += 1
            found: dict[str, Any] = json.loads(said)
            flow = found.get("payload", {}).get("flow", {}) if found["type"] == "flows/update" else {}
            if (flow.get("response") or {}).get("timestamp_end"):
                self._whole = flow["id"]
        page.close()  # mitmweb has left; there is nothing more to read
        self._page = None

    async def _open(self, flow: str) -> None:
        """Request and answer of a flow; it may have left the list meanwhile."""
        for message in ("request", "response") if flow else ():
            with contextlib.suppress(HTTPClientError):
                await self._get(f"flows/{flow}/{message}/content/Auto.json?lines={LINES}")
                self.pages += 1

    async def _get(self, path: str) -> bytes:
        try:
            return (await self._client.fetch(self._request(path))).body
        except OSError as error:
            raise BenchError(f"mitmweb does not answer: {error}\n{self.target.child.last_words()}") from None

    def _request(self, path: str, *, scheme: str = "http") -> HTTPRequest:
        url = f"{scheme}://127.0.0.1:{self.target.web_port}/{path}"
        return HTTPRequest(url, headers={"Authorization": f"Bearer {PASSWORD}"}, request_timeout=60.0)
