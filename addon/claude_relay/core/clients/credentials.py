"""Keys and tokens of the relay's own: made, recognised, hashed, masked.

    key = new_key(os.urandom)                 'rk-9f0c…': 192 random bits
    digest(key)                               what is stored of it, and by what it is found
    is_own(key), mask(key)                    True, 'rk-…91ab'

They are random, so that one SHA-256 without salt is all it takes to store them, and an index finds them: there is nothing to guess
(OWASP asks for slow hashes of what people choose). All of them begin with `rk-`, by which logs and flows know them, too.
It must not know whose they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from enum import StrEnum

BYTES = 24
"""Random bytes of a secret: 192 bits."""
PREFIX = "rk-"
PLACEHOLDER = "sk-ant-placeholder-relay"
"""Never leaves the relay, for it contains the word placeholder; a program merely needs something to send."""
SECRET = re.compile(r"rk-(?:[ar]t-|api-)?[0-9a-f]{48}", re.ASCII)
"""A key or token of the relay's own, wherever it stands."""


class Kind(StrEnum):
    """What a secret is for."""

    KEY = "key"
    """A client's key."""
    ACCESS = "access"
    """A token of somebody who has signed in; it lives for an hour."""
    REFRESH = "refresh"
    """The token that gets the next one."""
    API = "api"
    """A program's token for the admin API."""


PREFIXES = {Kind.KEY: PREFIX, Kind.ACCESS: f"{PREFIX}at-", Kind.REFRESH: f"{PREFIX}rt-", Kind.API: f"{PREFIX}api-"}


def new_key(random: Callable[[int], bytes], kind: Kind = Kind.KEY) -> str:
    """A new one. `random`: gives so many random bytes."""
    return PREFIXES[kind] + random(BYTES).hex()


def is_own(text: str) -> bool:
    """Whether a credential is meant to be one of the relay's: also one that was cut or mistyped, so that it goes nowhere else."""
    return text.startswith(PREFIX)


def digest(secret: str) -> bytes:
    """What is stored of a secret: its SHA-256, 32 bytes."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def mask(secret: str) -> str:
    """What may be shown of a secret."""
    return f"{PREFIX}…{secret[-4:]}"
