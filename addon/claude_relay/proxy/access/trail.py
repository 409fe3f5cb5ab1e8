"""Through which relays a request has come, so that one that goes in a circle ends.

    came_round(client, header)        whether it was here before
    marked(fields, peer, way)         the fields as they leave: with this relay added where the next hop is near, without any elsewhere

A relay is a random word, a new one for each process, which tells nobody anything. It goes to loopback and private addresses only. For a
tunnel the way is told in its CONNECT, and holds for all that comes out of it.
"""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final

from mitmproxy.connection import Client

from claude_relay.core.addresses import ip_of
from claude_relay.proxy.messages.hop_by_hop import Fields

NAME: Final = "relay-via"
TOKEN = secrets.token_hex(8)
"""This process."""
_NAME: Final = NAME.encode()

_tunnels: MutableMapping[Client, str] = weakref.WeakKeyDictionary()
"""What was said at the beginning of a client's connection, or last."""


def heard(client: Client, said: str | None) -> str:
    """The relays that a client's request has come through."""
    if said:
        _tunnels[client] = said
        return said
    return _tunnels.get(client, "")


def came_round(client: Client, said: str | None) -> bool:
    """Whether this relay is among them."""
    return TOKEN in heard(client, said)


def marked(fields: Fields, peer: Any, way: str) -> Fields:
    """The fields for the next hop. `peer`: its address, as a socket has it; None: not known. `way`: the relays before this one."""
    if way:
        fields = tuple(field for field in fields if field[0].lower() != _NAME)
    if peer is None or not is_near(peer[0]):
        return fields
    return (*fields, (_NAME, (f"{way}, {TOKEN}" if way else TOKEN).encode("utf-8", "surrogateescape")))


@lru_cache(maxsize=256)
def is_near(host: str) -> bool:
    """Whether an address is of this machine or of a private network."""
    number = ip_of(host)
    return number is not None and not number.is_global


def renew() -> None:
    """A process that was forked is another relay."""
    global TOKEN
    TOKEN = secrets.token_hex(8)


os.register_at_fork(after_in_child=renew)
