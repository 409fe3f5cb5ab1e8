"""Telemetry of clients on its way to a collector.

    forwarder = Forwarder(os.environ)
    forwarder.put(Export("metrics", body, headers, way))        never waits; what is too much is dropped
    forwarder.close()

The collector is that of the standard variables (OTEL_EXPORTER_OTLP_ENDPOINT, …_HEADERS, and for each signal …_METRICS_ENDPOINT and so on):
https://opentelemetry.io/docs/specs/otel/protocol/exporter/. It gets bodies as they came, and nothing that a client is known by. It must
not know what is in them.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from claude_relay.core.config import WayOut
from claude_relay.proxy.access import trail
from claude_relay.upstream.connection import FAILURES, Connection

logger = logging.getLogger(__name__)
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
MOST_WAITING: Final = 16 * 1024 * 1024
"""Bytes that wait for the collector; more is dropped."""
PATIENCE: Final = 10.0
"""Seconds for the collector to answer."""


@dataclass(frozen=True, slots=True)
class Export:
    """A body on its way to the collector."""

    signal: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    way: WayOut


class Forwarder:
    """Forwards in a thread of its own, which begins with the first body."""

    def __init__(self, environ: Mapping[str, str] = os.environ, *, patience: float = PATIENCE) -> None:
        self._environ, self._patience = environ, patience
        self._waiting: queue.SimpleQueue[Export | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._size = 0
        self._thread: threading.Thread | None = None
        self._trouble = ""
        self._full = False

    def put(self, export: Export) -> bool:
        """Have it forwarded. False: nobody wants it, or too much waits. Never waits."""
        if address_of(export.signal, self._environ) is None:
            return False
        with self._guard:
            full = self._size + len(export.body) > MOST_WAITING
            if not full:
                self._size += len(export.body)
        if full and not self._full:
            logger.warning("the collector does not keep up: telemetry of clients is dropped")
        self._full = full
        if full:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="relay-otlp", daemon=True)
            self._thread.start()
        self._waiting.put(export)
        return True

    def close(self) -> None:
        """Nothing more is forwarded than what waits; the process need not wait for that."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(2.0)

    def _work(self) -> None:
        while (export := self._waiting.get()) is not None:
            trouble = self._forward(export)
            with self._guard:
                self._size -= len(export.body)
            if trouble and trouble != self._trouble:
                logger.warning("telemetry of clients is not taken: %s", trouble)
            self._trouble = trouble

    def _forward(self, export: Export) -> str:
        """What went wrong, without the address, which may hold a credential."""
        url = address_of(export.signal, self._environ)
        if url is None:
            return ""
        # It names this relay, lest a collector that is one sends it back and forth.
        own = {"user-agent": "claude-relay", trail.NAME: trail.TOKEN}
        headers = headers_of(self._environ) | dict(export.headers) | own
        try:
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            with Connection(url, export.way.to_url(url), self._patience, export.way.trust) as connection:
                status = connection.request("POST", target, headers, export.body).status
        except FAILURES as error:
            return f"no answer ({type(error).__name__})"
        except Exception as error:  # a variable that is no address: the thread goes on
            return type(error).__name__
        return "" if 200 <= status < 300 else f"the collector answered {status}"


def address_of(signal: str, environ: Mapping[str, str]) -> str | None:
    """Where the collector takes a signal: `metrics`, `logs` or `traces`."""
    if own := environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
        return own
    base = environ.get(ENDPOINT, "")
    return f"{base.rstrip('/')}/v1/{signal}" if base else None


def headers_of(environ: Mapping[str, str]) -> dict[str, str]:
    """What the collector wants besides: `name=value,name=value`, with escapes."""
    pairs = (pair.partition("=") for pair in environ.get(HEADERS, "").split(","))
    return {name.strip().lower(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}
