"""mitmproxy around what is tested: its `ctx` with a master, some addons, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mitmproxy.test import taddons


@contextmanager
def mitmproxy_with(*addons: Any) -> Iterator[Any]:
    """mitmproxy's context for tests. Its master would hear of the log for ever, by an event loop that has ended."""
    with taddons.context(*addons) as context:
        try:
            yield context
        finally:
            context.master._legacy_log_events.uninstall()
