"""The first sign-in: by the password of RELAY_ADMIN_PASSWORD, or by a one-time link that the first start prints.

use_password_of_environment(parts)        the admin `admin` has it from now on
first_link(parts, url)                    the link; None: somebody can sign in already
"""

from __future__ import annotations

import socket
from typing import Final

from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import FIRST, Role, new_link

from .common.parts import Parts
from .security import passwords

VARIABLE: Final = "RELAY_ADMIN_PASSWORD"


def use_password_of_environment(parts: Parts) -> None:
    """Whoever sets the variable decides: also after the password was changed in the panel."""
    password = parts.environ.get(VARIABLE, "")
    if not password:
        return
    known = parts.admins.find(FIRST)
    if known is not None and passwords.verify(known.password, password):
        return
    actor = Actor(VARIABLE, "panel", socket.gethostname())
    if known is None:
        parts.admins.add(actor, FIRST, Role.ADMIN, passwords.hashed(password))
    else:
        parts.admins.set_password(actor, FIRST, passwords.hashed(password))


def first_link(parts: Parts, url: str) -> str | None:
    """A new one at every start until somebody has a password."""
    if any(admin.password is not None for admin in parts.admins.all()):
        return None
    return new_link(parts.admins, url, FIRST, parts.clock())
