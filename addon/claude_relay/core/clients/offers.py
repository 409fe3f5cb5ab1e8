"""The credentials by which a request says whose it is: found in its head, before anything else is known of it.

    of_request(headers)                  keys of the relay's own in x-api-key, Authorization and the like
    of_proxy("Basic YWxpY2U6cmstLi4u")   what a client says to a proxy: Offer("rk-…", "alice")

Others' keys are none of its business. It must not know who has a key.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass, field

from .credentials import PREFIX, SECRET, is_own

FIELDS = ("x-api-key", "authorization", "api-key", "x-goog-api-key")
"""Header fields in which clients send their key, in lower case."""
ALIAS = "relay:client"
"""What stands in the place of a key that was where none belongs."""
_OF_BYTES = re.compile(SECRET.pattern.encode(), re.ASCII)
_START = PREFIX.encode()


@dataclass(frozen=True, slots=True)
class Offer:
    """A credential. `name`: what was said beside it, as `Basic` has a user; None: there was no place for one."""

    secret: str = field(repr=False)
    name: str | None = None


def of_request(headers: Mapping[str, str]) -> tuple[Offer, ...]:
    """Keys of the relay's own in a request's head; names in lower case."""
    found: tuple[Offer, ...] = ()
    for name in FIELDS:
        value = headers.get(name)
        # As nearly always there is nothing but a key.
        if value and value[:3] == PREFIX and " " not in value and value.isprintable():
            found += (Offer(value),)
        elif value and (PREFIX in value or value[:6].lower() == "basic ") and (offer := _offer(value)):
            found += (offer,) if is_own(offer.secret) else ()
    return found


def of_proxy(value: str | None) -> Offer | None:
    """What a `Proxy-Authorization` says, whoever gave out the password; None: there is none, or it is of no known form."""
    return _offer(value) if value else None


def holds_own(value: bytes) -> bool:
    """Whether the value of a header field that carries a credential is one of the relay's own, or meant to be: it must not leave."""
    if _START in value:
        return value.rpartition(b" ")[2].startswith(_START) or _OF_BYTES.search(value) is not None
    if value[:6].lower() != b"basic ":
        return False
    offer = _offer(value.decode("latin-1"))
    return offer is not None and is_own(offer.secret)


def has_own(value: bytes) -> bool:
    """Whether there is a key of the relay's own in a text, wherever."""
    return _START in value and _OF_BYTES.search(value) is not None


def without_own(text: str) -> str:
    """A text with aliases in the place of the relay's own keys."""
    return SECRET.sub(ALIAS, text) if PREFIX in text else text


def _offer(value: str) -> Offer | None:
    scheme, _, credential = value.strip().rpartition(" ")
    if scheme.strip().lower() != "basic":
        return Offer(credential) if credential else None
    try:
        name, colon, secret = b64decode(credential, validate=True).decode("utf-8", "replace").partition(":")
    except (NotBase64, ValueError):
        return None
    return Offer(secret, name) if colon and secret else None
