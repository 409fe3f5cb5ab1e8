"""Tells a key of relay.yaml again without keeping anything from which it could be guessed.

    marks = Marks()
    marks.of([key], salt)          -> {Place("anthropic", key.id): b"…"}         16 bytes, another one for each provider and database

A secret that is long enough to be unguessable goes through HMAC-SHA256 with the database's salt. One that is shorter, such as that of
a server at home, goes through scrypt with it, so that each guess of somebody who holds the database costs 16 MiB and some 30 ms:
https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt
The work is done once a process for each secret.

What this module must not know: tables, and what the marks are for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Place, place_of

SHORT = 32
"""Characters below which a secret may be guessed: the keys of the big providers have 39 and more."""
MARK = 16


class Marks:
    """The marks of keys, each worked out once. For one thread at a time."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._salt = b""
        self._roots: dict[str, bytes] = {}

    def of(self, keys: Sequence[Key], salt: bytes) -> Mapping[Place, bytes]:
        """The mark of each key in the database with this salt. Takes its time, also without Python's lock."""
        if salt != self._salt:
            self._salt, self._roots = salt, {}
        new = {key.id: key.secret for key in keys if key.id not in self._roots}
        self._roots |= zip(new, _roots(list(new.values()), salt), strict=True)
        return {place_of(key): _mark(self._roots[key.id], key.provider) for key in keys}


def _roots(secrets: Sequence[str], salt: bytes) -> list[bytes]:
    if sum(len(secret) < SHORT for secret in secrets) < 2:
        return [_root(secret, salt) for secret in secrets]
    # hashlib lets go of Python's lock while scrypt works, so that several are done side by side.
    with ThreadPoolExecutor(thread_name_prefix="relay-fingerprints") as threads:
        return list(threads.map(_root, secrets, [salt] * len(secrets)))


def _root(secret: str, salt: bytes) -> bytes:
    """What stands for a secret in all of a database."""
    given = secret.encode("utf-8", "surrogateescape")
    if len(secret) >= SHORT:
        return hmac.digest(salt, given, hashlib.sha256)
    return hashlib.scrypt(given, salt=salt, n=1 << 14, r=8, p=1, dklen=32)  # 128 * n * r bytes: 16 MiB


def _mark(root: bytes, provider: str) -> bytes:
    """Another one at each provider, so that nobody sees that two of them have the same secret."""
    return hmac.digest(root, provider.encode(), hashlib.sha256)[:MARK]
