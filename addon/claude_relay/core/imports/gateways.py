"""Name of a gateway → what reads its exports. It must not know what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import claude_relay_service, cliproxyapi, litellm, new_api
from .found import Found


@dataclass(frozen=True, slots=True)
class Source:
    """A gateway: its clients, and its credentials, of a document. `tables`: those of its SQLite file, if it has one."""

    clients: Callable[[object], Found]
    credentials: Callable[[object, Mapping[str, str]], Found]
    tables: tuple[str, ...] = ()


SOURCES = {
    "claude-relay-service": Source(claude_relay_service.clients, claude_relay_service.credentials),
    "litellm": Source(litellm.clients, litellm.credentials),
    "cliproxyapi": Source(cliproxyapi.clients, cliproxyapi.credentials),
    "new-api": Source(new_api.clients, new_api.credentials, new_api.TABLES),
}
