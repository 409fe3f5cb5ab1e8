"""The first sign-in: by the password of RELAY_ADMIN_PASSWORD, or by a one-time link that the first start prints.

use_password_of_environment(parts)        the admin `admin` has it from now on
first_link(parts, url)                    the link; None: somebody can sign in already
new_link(parts, url, "admin")             `panel reset-password`
"""

from __future__ import annotations

import socket
from typing import Final

from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admins, Role

from .common.parts import Parts
from .security import passwords

NAME: Final = "admin"
VARIABLE: Final = "RELAY_ADMIN_PASSWORD"
VALID: Final = 24 * 3600.0
"""Seconds for which a link is good."""


def use_password_of_environment(parts: Parts) -> None:
    """Whoever sets the variable decides: also after the password was changed in the panel."""
    password = parts.environ.get(VARIABLE, "")
    if not password:
        return
    known = parts.admins.find(NAME)
    if known is not None and passwords.verify(known.password, password):
        return
    actor = Actor(VARIABLE, "panel", socket.gethostname())
    if known is None:
        parts.admins.add(actor, NAME, Role.ADMIN, passwords.hashed(password))
    else:
        parts.admins.set_password(actor, NAME, passwords.hashed(password))


def first_link(parts: Parts, url: str) -> str | None:
    """A new one at every start until somebody has a password."""
    if any(admin.password is not None for admin in parts.admins.all()):
        return None
    return new_link(parts.admins, url, NAME, parts.clock())


def new_link(admins: Admins, url: str, name: str, now: float) -> str:
    """Good for a day, once."""
    return f"{url}/welcome?link={admins.link(name, now + VALID)}"
