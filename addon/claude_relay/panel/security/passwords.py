"""Passwords, as argon2id has them (OWASP, "Password Storage": 19 MiB, two passes, one lane). A call takes some 20 ms: off the event loop.

stored = hashed("correct horse battery")
verify(stored, "correct horse battery")        True
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from claude_relay.panel.common.problems import FieldError, Problem

LEAST, MOST = 10, 1024
"""Characters (NIST SP 800-63B wants at least eight, and no rules on which)."""
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
AT_ONCE, WAITING, PATIENCE = 4, 12, 3.0
"""How many are worked on at the same time, 19 MiB each, and how many may wait so many seconds: strangers must neither fill the memory nor
take all threads."""
_SLOTS, _ROOM = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE + WAITING)
_OWN_SLOTS, _OWN_ROOM = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE + WAITING)
"""Of those who are known: however many strangers come at once, they stand in another queue."""
_NOBODY = _HASHER.hash("nobody's")


def hashed(password: str) -> str:
    """What is stored."""
    return _HASHER.hash(password)


def verify(stored: str | None, password: str, *, known: bool = False) -> bool:
    """Whether it is the one. Takes as long for somebody who does not exist, or has none. Raises Problem where too many ask at once.

    known  somebody who is signed in, or whose browser was
    """
    with _slot(_OWN_ROOM if known else _ROOM, _OWN_SLOTS if known else _SLOTS):
        try:
            return _HASHER.verify(stored or _NOBODY, password[: MOST + 1]) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


@contextmanager
def _slot(room: threading.BoundedSemaphore, slots: threading.BoundedSemaphore) -> Iterator[None]:
    busy = Problem(503, "busy", "Too many sign in at this moment. Try again.", headers={"Retry-After": "5"})
    if not room.acquire(blocking=False):
        raise busy
    try:
        if not slots.acquire(timeout=PATIENCE):
            raise busy
        try:
            yield
        finally:
            slots.release()
    finally:
        room.release()


def check(password: str, name: str, field: str = "password") -> None:
    """Raises Problem for one that must not be chosen."""
    detail = ""
    if len(password) < LEAST:
        detail = f"A password has at least {LEAST} characters; a few words in a row are easy to remember."
    elif len(password) > MOST:
        detail = f"A password has at most {MOST} characters."
    elif (
        password.lower() in (name.lower(), "password12", "1234567890", "claude-relay", "clauderelay")
        or len(set(password)) < 4
    ):
        detail = "This one is among the first that somebody would try; choose another one."
    if detail:
        raise Problem(422, "password", detail, errors=[FieldError(field=field, detail=detail)])
