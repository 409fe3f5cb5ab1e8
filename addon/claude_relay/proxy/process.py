"""What the relay sets for its whole process, once.

settle()     threads that compute give way quickly; the memory of large bodies goes back to the system when they go
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Final

TURN: Final = 0.0005
"""Seconds for which a thread that computes keeps the interpreter. The event loop gives it up at every read and write of a socket, and
would wait as long for each of them (Python's default: 0.005)."""
LARGE: Final = 1024 * 1024
"""Bytes from which on memory is a mapping of its own, in glibc's allocator. Left alone, it raises that to 32 MB with the first large
bodies, and what they leave behind between smaller things stays with the process."""
M_MMAP_THRESHOLD: Final = -3


def settle() -> None:
    """Before the first request."""
    sys.setswitchinterval(TURN)
    with suppress(OSError, AttributeError, TypeError):  # another C library has other rules
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
