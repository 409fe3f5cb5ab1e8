"""What is kept of an alert; that requests hear of it: tests/wire/test_far_tls."""

import pytest
from mitmproxy.connection import Server

from claude_relay.proxy.mitm.alerts import MARK, alert_of


@pytest.mark.parametrize(("error", "alert"), [(None, ""), ("timed out", ""), (f"{MARK}it wants one", "it wants one")])
def test_what_is_kept(error: str | None, alert: str) -> None:
    server = Server(address=("127.0.0.1", 1))
    server.error = error
    assert alert_of(server) == alert
