"""What concerns the relay's whole process: its memory, and threads that compute.

settle()                            once: the memory of large bodies goes back to the system when they go
large_went(bytes)                   so much has gone: what it leaves behind goes back soon, too
await in_thread(work, body)         computes beside the event loop, and gives way to it quickly
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from .loops import errand

TURN: Final = 0.0005
"""Seconds for which a thread that computes keeps the interpreter. The event loop gives it up at every read and write of a socket, and
would wait as long for each of them (Python's default: 0.005). Only as long as one computes: it costs a busy relay without any a tenth."""
LARGE: Final = 1024 * 1024
"""Bytes from which on memory is a mapping of its own, in glibc's allocator. Left alone, it raises that to 32 MB with the first large
bodies, and what they leave behind between smaller things stays with the process."""
M_MMAP_THRESHOLD: Final = -3

USUAL: Final = sys.getswitchinterval()
_computing = 0
_trim_at = 0.0
SOON: Final = 2.0
"""Seconds, in which more may go."""
LIBRARY: Final = ctypes.CDLL(None) if os.name == "posix" else None


def settle() -> None:
    """Before the first request."""
    with suppress(AttributeError):  # another C library has other rules
        LIBRARY.mallopt(M_MMAP_THRESHOLD, LARGE)  # type: ignore[union-attr]


def large_went(size: int) -> None:
    """So many bytes of a request are not needed any more. From the event loop only."""
    global _trim_at
    if size >= LARGE and (now := time.monotonic()) >= _trim_at:
        _trim_at = now + SOON
        asyncio.get_running_loop().call_later(SOON, _trim)


def _trim() -> None:
    """A body comes in pieces, between which other things lie: the allocator keeps their places unless it is told."""
    trim = getattr(LIBRARY, "malloc_trim", None)
    if trim is not None:
        errand(partial(asyncio.to_thread, trim, 0), "giving memory back")


async def in_thread[*Ts, T](work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """What the work gives. From the event loop only."""
    global _computing
    _computing += 1
    if _computing == 1:
        sys.setswitchinterval(TURN)
    try:
        return await asyncio.to_thread(work, *arguments)
    finally:
        _computing -= 1
        if not _computing:
            sys.setswitchinterval(USUAL)
