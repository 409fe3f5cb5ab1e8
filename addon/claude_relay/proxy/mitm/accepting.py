"""Listeners when the process is out of files: they pause, and come back by themselves.

    accept_with_care(loop)                  before anything listens
    listen(listener, taken)                 for servers that take their connections themselves, as tornado's

asyncio tries a hundred times in a row and then a hundred times a second for each of these; tornado tries again at once, for ever. Each
failure is a traceback in the log. Here it is one line, and one try a second. Other connections go on meanwhile. It must not know who asks.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import weakref
from collections.abc import Callable
from typing import Any, Final

from claude_relay.proxy.common.rejections import Reason, rejected

PAUSE: Final = 1.0
"""Seconds until the next try."""
OUT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
OUT_OF_RESOURCE: Final = "socket.accept() out of system resource"
"""What asyncio calls it."""
LISTENING: Final[weakref.WeakSet[socket.socket]] = weakref.WeakSet()
"""Listeners of `listen` that are open."""


def accept_with_care(loop: Any) -> None:
    """asyncio's listeners fail once at a time instead of a hundred times. Twice does no harm."""
    accept, handle_exception = getattr(loop, "_accept_connection", None), loop.call_exception_handler
    if accept is None or "_accept_connection" in vars(loop):
        return
    failed = False

    def accept_each(
        factory: Any, sock: Any, sslcontext: Any = None, server: Any = None, backlog: int = 1, *more: Any
    ) -> None:
        # All that wait are taken at once, as asyncio does: clients that come together go on together, and share commits.
        nonlocal failed
        failed = False
        waiting = select.poll()
        waiting.register(sock, select.POLLIN)
        for _ in range(backlog):
            accept(factory, sock, sslcontext, server, 1, *more)
            if failed or not waiting.poll(0):
                return

    def report(context: dict[str, Any]) -> None:
        nonlocal failed
        if context.get("message") == OUT_OF_RESOURCE:
            failed = True
            out_of(context["exception"])
        else:
            handle_exception(context)

    loop._accept_connection, loop.call_exception_handler = accept_each, report


def listen(listener: socket.socket, taken: Callable[[socket.socket, Any], object]) -> Callable[[], None]:
    """Call `taken` with each connection and its peer's address. Returns what ends it; needs a running loop."""
    loop = asyncio.get_running_loop()
    later: list[asyncio.TimerHandle] = []

    def begin() -> None:
        later.clear()
        loop.add_reader(listener, accept)

    def accept() -> None:
        try:
            connection, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in OUT:
                raise
            out_of(error)
            loop.remove_reader(listener)
            later.append(loop.call_later(PAUSE, begin))
        else:
            taken(connection, peer)

    def end() -> None:
        loop.remove_reader(listener)
        for timer in later:
            timer.cancel()
        listener.close()

    begin()
    LISTENING.add(listener)
    return end


def out_of(error: OSError) -> None:
    """Count it and say so."""
    rejected(Reason.RESOURCES, "no further connection can be taken (%s); those that are open go on", error.strerror)
