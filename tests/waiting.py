"""How tests wait for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds until what has not come is taken to come no more.

A test that passes waits no longer than it must, so this is for the slowest machine with other tests beside this one.
"""
BRIEF = "1500ms"
"""A limit of relay.yaml that is to run out in a test, and not for what has to come in time under it."""


def eventually[T](look: Callable[[], T], instead: Callable[[], object] = lambda: None, patience: float = PATIENCE) -> T:
    """What `look` finds, as soon as that is true; `instead` tells what is there when it never came."""
    until = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < until, f"not within {patience} s: {instead()}"
        time.sleep(0.02)
    return found
