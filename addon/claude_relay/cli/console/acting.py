"""Who gives a command, for the audit log: the system's user, on this machine or from another one.

>>> acting({"SSH_CONNECTION": "192.0.2.7 50022 198.51.100.1 22"}).place.endswith("from 192.0.2.7")
True
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

from claude_relay.store.audit import Actor


def acting(environ: Mapping[str, str] = os.environ) -> Actor:
    """Whoever runs this process. With sudo: the user who called it, too."""
    try:
        who = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        who = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    caller = environ.get("SUDO_USER", "")
    connection = environ.get("SSH_CONNECTION", "").split()
    place = socket.gethostname() + (f" from {connection[0]}" if connection else "")
    return Actor(f"{caller} as {who}" if caller and caller != who else who, "cli", place)
