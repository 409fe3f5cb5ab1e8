"""The benchmark's browser leaves nothing open, whenever it is called off."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from benchmark import browser as module
from benchmark.browser import Browser
from waiting import PATIENCE


class Mitmweb:
    """As much of it as a page asks for. `gate`: who connects for updates waits for it; `asked`: somebody has; `open`: of them."""

    def __init__(self) -> None:
        self.gate, self.asked = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.open = self.connected = 0
        here = self

        class Updates(WebSocketHandler):
            async def prepare(self) -> None:
                here.asked.set()
                await here.gate.wait()

            def open(self, *_: str) -> None:
                here.open += 1
                here.connected += 1

            def on_close(self) -> None:
                here.open -= 1

        class Page(RequestHandler):
            def get(self) -> None:
                self.write("{}")

        self.server = HTTPServer(Application([("/updates", Updates), (".*", Page)]))
        listener, self.port = bind_unused_port()
        self.server.add_socket(listener)

    def browser(self) -> Browser:
        target: Any = SimpleNamespace(web_port=self.port, child=SimpleNamespace(last_words=lambda: ""))
        return Browser(target)

    async def left(self) -> None:
        """Until nobody is connected for updates."""
        async with asyncio.timeout(PATIENCE):
            while self.open:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.server.stop()
        await self.server.close_all_connections()


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """What is collected without having been closed complains then."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(one.message) for one in found if issubclass(one.category, ResourceWarning)] == []


async def look(browser: Browser) -> None:
    async with browser.looking():
        await asyncio.Event().wait()


async def cut(task: asyncio.Task[None]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)


def test_who_is_called_off_while_it_connects_closes_what_comes_of_it() -> None:
    async def main() -> None:
        mitmweb = Mitmweb()
        mitmweb.gate.clear()
        task = asyncio.create_task(look(mitmweb.browser()))
        await asyncio.wait_for(mitmweb.asked.wait(), PATIENCE)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, mitmweb.gate.set)
        await cut(task)
        assert mitmweb.connected == 1
        await mitmweb.left()
        await mitmweb.close()

    with nothing_left_open():
        asyncio.run(main())


def test_who_ends_while_the_page_is_loaded_anew_closes_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.0)
    monkeypatch.setattr(module, "LOADED_ANEW", 1)

    async def main() -> None:
        mitmweb = Mitmweb()
        async with asyncio.timeout(PATIENCE), mitmweb.browser().looking():
            mitmweb.gate.clear()
            mitmweb.asked.clear()
            await mitmweb.asked.wait()
            asyncio.get_running_loop().call_later(0.05, mitmweb.gate.set)
        assert mitmweb.connected > 1
        await mitmweb.left()
        await mitmweb.close()

    with nothing_left_open():
        asyncio.run(main())


def test_a_mitmweb_that_ends_meanwhile_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.0)

    async def while_it_looks(mitmweb: Mitmweb) -> None:
        async with asyncio.timeout(PATIENCE), mitmweb.browser().looking():
            await mitmweb.close()
            while any(task.get_name() == "browser" for task in asyncio.all_tasks()):  # noqa: ASYNC110 - nobody tells that it has noticed
                await asyncio.sleep(0.01)

    async def main() -> None:
        mitmweb = Mitmweb()
        with pytest.raises(OSError, match="refused"):
            await while_it_looks(mitmweb)
        await mitmweb.left()

    with nothing_left_open():
        asyncio.run(main())
