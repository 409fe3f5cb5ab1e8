"""Ports of 127.0.0.1 for a relay that is to be started: free_ports(2) -> [24817, 30211].

A program that is started later takes them, and meanwhile others ask the system for a port: so these are below those that systems give out.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from typing import Final

LOWEST, HIGHEST = 24_000, 32_000
TRIES: Final = 1_000


def free_ports(count: int) -> list[int]:
    """So many that nobody listens on now. Raises OSError when there are none."""
    with ExitStack() as stack:
        found: list[int] = []
        for _ in range(TRIES):
            if len(found) == count:
                return found
            port = random.randrange(LOWEST, HIGHEST)
            with suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    raise OSError(f"no port between {LOWEST} and {HIGHEST} is free")
