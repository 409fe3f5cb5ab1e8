"""Accounts as a table and one by one, with the windows in which their provider counts what they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claude_relay.cli.console import grid
from claude_relay.cli.console.terminal import echo
from claude_relay.core.oauth.timing import ACTIVE, EXPIRED, EXPIRING, REVOKED
from claude_relay.core.times import DAY, HOUR, MINUTE, ago, iso
from claude_relay.store.shared.key_windows import KeyWindow
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.rows import moment

STYLES = {ACTIVE: "green", EXPIRING: "yellow", EXPIRED: "red", REVOKED: "red", "disabled": "dim", "removed": "dim"}

type ByAccount = Mapping[str, Sequence[KeyWindow]]
"""Windows by the id of their key."""


def table(accounts: Sequence[Account], windows: ByAccount, now: float) -> None:
    """A line for each."""
    cells = {
        "account": [one.name for one in accounts],
        "who": [one.account for one in accounts],
        "label": [one.label if one.label != one.account else "" for one in accounts],
        "state": [states(one, now) for one in accounts],
        "ends": [ends(one, now) for one in accounts],
        "used": [scarcest(windows.get(one.id, ()), now) for one in accounts],
        "why": [one.reason for one in accounts],
    }
    grid.show(
        cells,
        always=("account", "state"),
        expendable=("label", "ends", "used", "who", "why"),
        wraps={"account": 20, "who": 16, "label": 12, "state": 10, "used": 12, "why": 20},
        style=lambda title, cell: STYLES.get(cell.split(",")[0], "") if title == "state" else "",
    )


def details(account: Account, windows: Sequence[KeyWindow], now: float) -> None:
    """All that is known of one."""
    renewed = f"{iso(account.renewed_at)} ({ago(max(0.0, now - account.renewed_at))})"
    lines = {
        "account": account.name,
        "id": account.id,
        "who": account.account,
        "label": account.label,
        "state": states(account, now),
        "reason": account.reason,
        "scopes": " ".join(account.scopes),
        "renewed at": renewed,
        "ends": f"{moment(account.expires_at)} ({ends(account, now)})" if account.expires_at else "not said",
        "goes on": _goes_on(account),
        "failed": f"{account.failures} in a row, next at {moment(account.retry_at) or '-'}" if account.failures else "",
    }
    for title, text in lines.items():
        if text:
            echo(f"{title:10} {text}")
    for row in windows:
        reset = f", new {moment(row.window.reset)}" if row.window.reset and row.window.reset > now else ""
        echo(f"{'window':10} {used(row, now)}{reset} (as of {ago(max(0.0, now - row.seen))})")


def _goes_on(account: Account) -> str:
    if account.revoked_at is not None:
        return "no: log in again"
    return "renewed by the relay" if account.renews else "no: there is no refresh token"


def states(account: Account, now: float) -> str:
    """Its state, and what people did to it."""
    words = [account.state(now)]
    if account.removed_at:
        words.insert(0, "removed")
    elif not account.enabled:
        words.insert(0, "disabled")
    return ", ".join(words)


def ends(account: Account, now: float) -> str:
    """In how long its access token ends; empty where that is not known."""
    if account.expires_at is None:
        return ""
    left = account.expires_at - now
    return f"in {length(left)}" if left > 0 else "over"


def length(seconds: float) -> str:
    """`3d`, `2h`, `15m`, in the largest unit of which there are two, so that it says enough."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= 2 * unit or unit == MINUTE:
            return f"{seconds / unit:.0f}{name}"
    return ""


def used(row: KeyWindow, now: float) -> str:
    """`5h 25%`; a window that began anew since is empty."""
    return f"{row.window.name} {percent(row.used(now))}"


def scarcest(windows: Sequence[KeyWindow], now: float) -> str:
    """Of the window of which the most is used."""
    return used(max(windows, key=lambda row: row.used(now) or 0.0), now) if windows else ""


def percent(share: float | None) -> str:
    """`25%`."""
    return "?" if share is None else f"{100 * share:.0f}%"
