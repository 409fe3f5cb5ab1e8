"""What concerns the relay's whole process: its memory, and threads that compute.

settle()                            once: the memory of large bodies goes back to the system when they go
await in_thread(work, body)         computes beside the event loop, and gives way to it quickly
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

TURN: Final = 0.0005
"""Seconds for which a thread that computes keeps the interpreter. The event loop gives it up at every read and write of a socket, and
would wait as long for each of them (Python's default: 0.005). Only as long as one computes: it costs a busy relay without any a tenth."""
LARGE: Final = 1024 * 1024
"""Bytes from which on memory is a mapping of its own, in glibc's allocator. Left alone, it raises that to 32 MB with the first large
bodies, and what they leave behind between smaller things stays with the process."""
M_MMAP_THRESHOLD: Final = -3

USUAL: Final = sys.getswitchinterval()
_computing = 0


def settle() -> None:
    """Before the first request."""
    with suppress(OSError, AttributeError, TypeError):  # another C library has other rules
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


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
