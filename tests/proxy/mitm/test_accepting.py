"""Listeners of a process that is out of files pause, are told of once a try, and come back."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack

import pytest

from claude_relay.proxy.common.rejections import counted
from claude_relay.proxy.mitm import accepting
from claude_relay.proxy.mitm.accepting import LISTENING, OUT_OF_RESOURCE, accept_with_care, listen
from waiting import PATIENCE


class Poor(socket.socket):
    """A listener that cannot take so many connections."""

    failures = 0

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_a_pause_and_then_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE", 0.05)

    async def main() -> None:
        listener = Poor()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        listener.failures = 3
        before = counted()["resources"]
        taken: asyncio.Queue[socket.socket] = asyncio.Queue()
        end = listen(listener, lambda connection, peer: taken.put_nowait(connection))
        assert listener in LISTENING
        with socket.create_connection(listener.getsockname()):
            (await asyncio.wait_for(taken.get(), PATIENCE)).close()
        assert counted()["resources"] - before == 3
        end()
        assert listener.fileno() < 0

    asyncio.run(main())


class Loop:
    """As much of asyncio's as is changed. It takes so many connections, and then none."""

    def __init__(self, taken: int) -> None:
        self.left = taken
        self.tries = 0
        self.told: list[object] = []

    def _accept_connection(
        self, factory: object, sock: socket.socket, ssl: object, server: object, backlog: int
    ) -> None:
        assert backlog == 1
        self.tries += 1
        self.left -= 1
        if self.left < 0:
            error = OSError(errno.EMFILE, "Too many open files")
            self.call_exception_handler({"message": OUT_OF_RESOURCE, "exception": error})
        else:
            sock.accept()[0].close()

    def call_exception_handler(self, context: object) -> None:
        self.told.append(context)


@pytest.mark.parametrize(("clients", "room", "tries"), [(3, 100, 3), (3, 0, 1), (3, 2, 3)])
def test_asyncios_listeners_fail_once_at_a_time(clients: int, room: int, tries: int) -> None:
    """All that wait are taken at once; a failure is told in one line, and no traceback."""
    loop, before = Loop(room), counted()["resources"]
    accept_with_care(loop)
    accept_with_care(loop)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        loop._accept_connection(None, listener, None, None, 100)
    assert loop.tries == tries
    assert counted()["resources"] - before == (room < clients)
    assert loop.told == []
    loop.call_exception_handler({"message": "another"})
    assert loop.told == [{"message": "another"}]
