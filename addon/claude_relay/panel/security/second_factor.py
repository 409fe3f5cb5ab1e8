"""Codes of authenticator apps (TOTP, RFC 6238: SHA-1, six digits, 30 s), and those that replace them.

    secret = begun.begin(admin.id, now)             nothing is stored until a code has shown that the app has it
    step_of(begun.of(admin.id, now), "123456", now)           the step of time of a right code; None: it is wrong
    uri(secret, "ann", "relay.example.com"), picture(…)       for the app
    recovery_codes()

A code is right in its own step of time and in those beside it (clocks differ); that it is used once is up to whoever stores the step.
"""

from __future__ import annotations

import hmac
import io
import re
import secrets
import threading
from typing import Final

import pyotp
import segno

STEP: Final = 30
BEFORE_AND_AFTER: Final = (0, -1, 1)
CODES: Final = 10
PATIENCE: Final = 900.0
"""Seconds in which who has begun must give the first code."""
_DIGITS = re.compile(r"\d{6}", re.ASCII)
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without those that look like others."""


class Begun:
    """Secrets of those who have begun and not proved it yet: in memory. For any thread."""

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[float, str]] = {}
        self._guard = threading.Lock()

    def begin(self, admin: str, now: float) -> str:
        """A new secret, in the place of one before."""
        with self._guard:
            self._secrets = {id: it for id, it in self._secrets.items() if it[0] > now - PATIENCE}
            self._secrets[admin] = now, pyotp.random_base32()
            return self._secrets[admin][1]

    def of(self, admin: str, now: float) -> str | None:
        """Its secret, if it has begun."""
        at, secret = self._secrets.get(admin, (0.0, ""))
        return secret if secret and at > now - PATIENCE else None

    def end(self, admin: str) -> None:
        """It is stored."""
        with self._guard:
            self._secrets.pop(admin, None)


def is_of_app(code: str) -> bool:
    """Whether it looks like one that an app shows; else it is a recovery code."""
    return _DIGITS.fullmatch(_bare(code)) is not None


def step_of(secret: str, code: str, now: float) -> int | None:
    """The step of time that a code is for; None: it is wrong."""
    totp, said = pyotp.TOTP(secret, interval=STEP), _bare(code)
    current = int(now // STEP)
    right = [current + n for n in BEFORE_AND_AFTER if hmac.compare_digest(totp.generate_otp(current + n), said)]
    return right[0] if right and is_of_app(said) else None


def uri(secret: str, name: str, host: str) -> str:
    """What an app reads from a picture."""
    return pyotp.TOTP(secret, interval=STEP).provisioning_uri(name=name, issuer_name=f"Claude Relay {host}".strip())


def picture(uri: str) -> str:
    """As SVG: black on white in both themes, for cameras."""
    drawn = io.BytesIO()
    code = segno.make_qr(uri, error="m")
    code.save(drawn, kind="svg", xmldecl=False, nl=False, omitsize=True, border=4, light="#fff", dark="#000")
    return drawn.getvalue().decode()


def recovery_codes() -> list[str]:
    """Each of 80 bits, so that nobody need be slowed down who tries them."""
    return ["-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4)) for _ in range(CODES)]


def _bare(code: str) -> str:
    return re.sub(r"[\s-]", "", code).encode("ascii", "replace").decode()
