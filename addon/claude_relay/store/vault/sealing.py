"""Seals texts so that only who holds the secret can read them, and nobody can change or swap them unnoticed.

    lock, box = new_lock(secret, machine_made=False)        the lock is kept in the open, beside what is sealed
    box = unlock(lock, secret)                              None: it is another secret
    sealed = box.seal("sk-ant-…", "secret", id="4f1c…", provider="anthropic")
    box.open(sealed, "secret", id="4f1c…", provider="anthropic")     -> "sk-ant-…"; Damaged when anything was changed

A sealed text is version (1 byte), nonce (12), AES-256-GCM's ciphertext and tag (16); version, field, provider and id are
bound to it, so it opens in its own place only. The check value tells a wrong secret from damage.

What this module must not know: where the secret is kept (`secret`), and what is sealed (`vault`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

VERSION = b"\x01"
NONCE = 12
TAG = 16
SALT = 16
SIZE = 32

# 64 MiB and about half a second a guess: people choose this secret.
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt
SLOW = "scrypt:65536:8:2"
# What a machine drew has 256 bits; nobody guesses it however fast one guess is.
FAST = "hkdf"
_SCRYPT = re.compile(r"scrypt:(\d{1,7}):8:([1-9])", re.ASCII)
_COSTS = frozenset(1 << power for power in range(14, 21))
"""Read back from a file that somebody may have changed: nothing cheaper, and nothing that would eat the memory."""


class Damaged(Exception):
    """What was sealed is not what was found, or not in its place. Says which field, never what is in it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """How the texts of a vault are sealed. None of it is secret."""

    kdf: str
    salt: bytes
    check: bytes


@dataclass(frozen=True, slots=True)
class Box:
    """An open lock: seals and opens."""

    _cipher: AESGCM = field(repr=False)
    _marks: bytes = field(repr=False)

    def seal(self, text: str, name: str, *, id: str, provider: str) -> bytes:
        """Seal a text for one place: the field of that name of that key."""
        nonce = os.urandom(NONCE)
        return VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), _place(name, provider, id))

    def open(self, sealed: object, name: str, *, id: str, provider: str) -> str:
        """The text that was sealed for this place. Raises Damaged; `sealed` may be anything that a file can hold."""
        if not isinstance(sealed, bytes) or len(sealed) < 1 + NONCE + TAG or sealed[:1] != VERSION:
            raise Damaged(f"{name}: this was never sealed")
        nonce, ciphertext = sealed[1 : 1 + NONCE], sealed[1 + NONCE :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _place(name, provider, id)).decode()
        except InvalidTag:
            raise Damaged(f"{name}: it was changed, or belongs elsewhere") from None

    def fingerprint(self, text: str, *, provider: str) -> bytes:
        """The same for equal texts of a provider; says nothing of them to whoever has no secret, not even whether a guess is right."""
        return hmac.digest(self._marks, json.dumps([provider, text]).encode(), hashlib.sha256)[:16]


def new_lock(secret: str, *, machine_made: bool) -> tuple[Lock, Box]:
    """A lock that this secret opens, unlike any before it, and the open box. Takes its time for a secret that a person made."""
    kdf, salt = FAST if machine_made else SLOW, os.urandom(SALT)
    root = _root(secret, kdf, salt)
    return Lock(kdf, salt, _subkey(root, "check")), _box(root)


def unlock(lock: Lock, secret: str) -> Box | None:
    """The box, or None when the secret is another one. Raises Damaged when the lock is none."""
    if not isinstance(lock.salt, bytes) or not isinstance(lock.check, bytes) or len(lock.salt) != SALT:
        raise Damaged("the lock: it was changed")
    root = _root(secret, lock.kdf, lock.salt)
    if not hmac.compare_digest(_subkey(root, "check"), lock.check):
        return None
    return _box(root)


def _box(root: bytes) -> Box:
    return Box(AESGCM(_subkey(root, "seal")), _subkey(root, "fingerprint"))


def _root(secret: str, kdf: str, salt: bytes) -> bytes:
    given = secret.encode("utf-8", "surrogateescape")  # a variable may hold any bytes
    if kdf == FAST:
        return HKDF(hashes.SHA256(), SIZE, salt, b"claude-relay vault").derive(given)
    found = _SCRYPT.fullmatch(str(kdf))
    if found is None or int(found[1]) not in _COSTS:
        raise Damaged("the lock: it was changed")
    return Scrypt(salt=salt, length=SIZE, n=int(found[1]), r=8, p=int(found[2])).derive(given)


def _subkey(root: bytes, purpose: str) -> bytes:
    return HKDFExpand(hashes.SHA256(), SIZE, f"claude-relay vault: {purpose}".encode()).derive(root)


def _place(name: str, provider: str, id: str) -> bytes:
    return VERSION + json.dumps([name, provider, id]).encode()
