"""What `doctor` says of the panel: does it answer where relay.yaml says, and can somebody sign in?"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress

from claude_relay.core.config import Address, Config
from claude_relay.core.config.listening import panel_url
from claude_relay.core.installation import command, installing_panel, missing_for_panel
from claude_relay.store.db.database import StoreError
from claude_relay.store.panel.admins import Admins

from .checks import OK, WARN, Check
from .console.running import Found

PATIENCE = 3.0


def panel(config: Config, relay: Found) -> Iterator[Check]:
    """Nothing is wrong with a panel that is switched off, or whose relay does not run."""
    address = config.listen.panel
    if address is None:
        return
    if answers(address, tls=config.listen.tls is not None):
        yield Check("panel", OK, f"answers at {panel_url(config.listen, address)}")
        with suppress(StoreError):
            if not any(admin.password for admin in Admins(config.database).all()):
                remedy = f"choose a password: {command('panel')} reset-password"
                yield Check("panel", WARN, "nobody can sign in yet", remedy)
    elif name := missing_for_panel():
        yield Check("panel", WARN, f"does not run, for the package {name} is missing", installing_panel())
    elif relay.row is not None and relay.is_here:
        remedy = f"see the log of the relay; or what this says: {command('panel')}"
        yield Check("panel", WARN, f"does not answer at {address}", remedy)


def answers(address: Address, *, tls: bool) -> bool:
    """Whether a panel is there. It is on this machine, so whose certificate it shows does not matter."""
    place = address.reachable
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        http.client.HTTPSConnection(place.host, place.port, timeout=PATIENCE, context=context)
        if tls
        else http.client.HTTPConnection(place.host, place.port, timeout=PATIENCE)
    )
    with closing(connection):
        try:
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            return bool(json.loads(connection.getresponse().read(1000)) == {"ok": True})
        except (OSError, http.client.HTTPException, ValueError):
            return False
