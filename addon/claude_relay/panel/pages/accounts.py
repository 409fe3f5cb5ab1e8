"""/accounts: OAuth accounts, logins that wait, and how long the windows last."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from claude_relay.core.oauth.timing import ACTIVE, EXPIRED, EXPIRING, REVOKED
from claude_relay.panel.api.accounts import Row, rows_of
from claude_relay.panel.api.capacity import known_now
from claude_relay.panel.api.logins import logins_of
from claude_relay.panel.api.proxies import choices
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.relay_yaml import usable

from .keys import FOUND, Look
from .shell import N_, PageReader, pages, render

router = pages()
STATES: Final = {
    ACTIVE: Look("good", N_("active")),
    EXPIRING: Look("wait", N_("expiring")),
    EXPIRED: Look("bad", N_("expired")),
    REVOKED: Look("bad", N_("revoked")),
    "disabled": Look("off", N_("disabled")),
    "removed": Look("off", N_("removed")),
}


@router.get("/accounts")
def accounts(request: Request, visitor: PageReader, parts: Own, login: str = "", removed: bool = False) -> Response:
    """The table. `login`: which of those that wait is shown."""
    rows, now = rows_of(parts), parts.clock()
    there = [row for row in rows if row.account.removed_at is None]
    windows, forecasts = known_now(parts)
    providers = {name: one.oauth for name, one in usable(parts).providers.items() if one.oauth is not None}
    context: dict[str, Any] = {
        "rows": rows if removed else there,
        "removed": len(rows) - len(there),
        "with_removed": removed,
        "names": {row.account.id: row.account.name for row in rows},
        "waiting": logins_of(parts).find(visitor, login, now) if login else None,
        "providers": list(providers),
        "choices": [(name, name) for name in providers],
        "devices": any(one.device_url for one in providers.values()),
        "forecasts": forecasts,
        "ends": {(one.provider, one.key, one.window): one.ends_at for one in windows},
        "states": STATES,
        "found": FOUND,
        "look": look,
        "ways": choices(parts),
    }
    return render(request, visitor, "accounts.html", title=N_("Accounts"), **context)


def look(row: Row, now: float) -> Look:
    """How its state is drawn."""
    account = row.account
    if account.removed_at is not None:
        return STATES["removed"]
    return STATES[account.state(now)] if account.enabled or account.state(now) == REVOKED else STATES["disabled"]
