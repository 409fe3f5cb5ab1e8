"""Which pages there are, and how each may be asked; what they say is seen on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_relay.core.config import parse
from claude_relay.core.endpoints import Page
from claude_relay.proxy.pages.dispatch import PAGES, refusal

OFF = parse("", environ={}, folder=Path("/nowhere"))
ON = parse("listen: {sign_in: true}", environ={}, folder=Path("/nowhere"))


@pytest.mark.parametrize("page", Page)
def test_a_page(page: Page) -> None:
    entry = PAGES.get(page)
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
        off, on = refusal(page, method, OFF), refusal(page, method, ON)
        if entry is None:
            assert on is not None
            assert (on.status, on.final) == (404, True)
        elif method in entry.methods:
            assert on is None
        else:
            assert on is not None
            assert (on.status, on.headers["allow"]) == (405, ", ".join(entry.methods))
        if entry is not None and entry.signs_in:
            assert off is not None
            assert off.status == 404
        else:
            assert off == on


def test_signing_in_is_off_unless_it_is_on() -> None:
    signs_in = {page for page, entry in PAGES.items() if entry.signs_in}
    assert signs_in == {
        Page.OAUTH_METADATA,
        Page.DEVICE_AUTHORIZATION,
        Page.TOKEN,
        Page.REVOKE,
        Page.DEVICE,
        Page.DEVICE_STYLE,
    }
