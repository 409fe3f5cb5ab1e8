"""Signing in with a device code: the code that people compare, and how long everything is valid.

    code = new_user_code(os.urandom)             'WDJB-MJHT'
    read_user_code(" wdjbmjht ")                 'WDJB-MJHT'; None: it cannot be one
    email_of("ann@example.com")                  what Claude Code shows as the account; None: an owner's id is no address

The letters are those of RFC 8628, section 6.1: no vowels, so that no words come up, and none that looks like another. It must not know
who signs in, nor where codes are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from claude_relay.core.times import DAY, HOUR, MINUTE

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8
"""20^8 codes: 34 bits. Whoever guesses one needs a client key, too."""
CODE_LASTS = 10 * MINUTE
"""Seconds in which a code may be approved."""
INTERVAL, SLOWER = 5.0, 5.0
"""Seconds between two looks of a program whether it is approved, and by how many they grow each time that it looks sooner."""
ACCESS_LASTS, REFRESH_LASTS = HOUR, 30 * DAY
GRACE = MINUTE
"""Seconds for which a refresh token that was used is taken once more: its answer may have been lost on the way."""
LONGEST_CODE = 64
"""Characters of what a person types."""
_FAIR = 256 - 256 % len(LETTERS)
_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}", re.ASCII)


def new_user_code(random: Callable[[int], bytes]) -> str:
    """A new one; each letter is as likely as any other. `random`: gives so many random bytes."""
    found = ""
    while len(found) < LENGTH:
        found += "".join(LETTERS[byte % len(LETTERS)] for byte in random(2 * LENGTH) if byte < _FAIR)
    return _written(found[:LENGTH])


def read_user_code(text: str) -> str | None:
    """The code that a person means, whatever the case and whatever stands between; None: it is none."""
    if len(text) > LONGEST_CODE:
        return None
    letters = "".join(letter for letter in text if letter.isalnum())
    known = letters.isascii() and len(letters) == LENGTH and not set(letters.upper()) - set(LETTERS)
    return _written(letters.upper()) if known else None


def email_of(owner: str) -> str | None:
    """The e-mail address that an outside id is, if it is one."""
    return owner if _EMAIL.fullmatch(owner) else None


def _written(letters: str) -> str:
    return f"{letters[: LENGTH // 2]}-{letters[LENGTH // 2 :]}"
