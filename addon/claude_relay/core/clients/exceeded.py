"""The refusal of a request that is over a limit: which limit, of whom, until when, and whom to ask.

    raise exceeded(bound, now, until=now + 12.0, contact="ops@example.com")

It must not know how what was used is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from claude_relay.core.errors import RelayError
from claude_relay.core.times import iso

from .demand import Bound
from .limits import Limit

SOONEST = 1.0
"""Seconds that are said at least."""


@dataclass
class ClientLimitError(RelayError):
    """429: a limit of a client or of its group lets the request not through.

    limit      as people wrote it
    subject    whose it is: `client` or `group`
    owner      the client's or group's name
    spent      what is used of it, in its unit
    resets_at  when it lets something through again, seconds since the epoch; None: never by itself
    readable   whether it is known what was spent
    """

    limit: Limit | None = None
    subject: str = "client"
    owner: str = ""
    spent: float = 0.0
    resets_at: float | None = None
    readable: bool = True

    @property
    def scope(self) -> str:
        """`all`, `session` or `agent`."""
        return self.limit.scope if self.limit is not None else "all"


SCOPES = {"all": "", "session": " in this session", "agent": " for this agent and its sub-agents"}


def of_rate(bound: Bound, now: float, wait: float, contact: str) -> ClientLimitError:
    """So many requests or tokens a minute were used. `wait`: seconds until the request has room."""
    until = now + max(SOONEST, wait)
    what = f"{_said(bound)} is reached until {_moment(until)}. Send the request again then{_or_contact(contact)}"
    return _error(bound, what, now, until, bound.limit.amount)


def of_concurrency(bound: Bound, now: float, wait: float, contact: str, *, why: str) -> ClientLimitError:
    """So many requests run, and the place in the queue did not come in time. `why`: e.g. `30 s in the queue were not enough`."""
    until = now + max(SOONEST, wait)
    what = f"{_said(bound)} is reached ({why}), probably until {_moment(until)}. Send the request again then{_or_contact(contact)}"
    return _error(bound, what, now, until, bound.limit.amount)


def of_money(bound: Bound, now: float, spent: float, until: float | None, contact: str) -> ClientLimitError:
    """So much was spent. `until`: when the period is over; None: never."""
    when = "; it has no end" if until is None else f" until {_moment(until)}"
    whom = f"ask {contact}" if contact else "ask who runs this relay"
    what = f"{_said(bound)} is used up (${spent:,.2f}){when}. To go on sooner, {whom}."
    found = _error(bound, what, now, until, spent)
    found.type, found.final = "billing_error", True
    return found


def of_reservations(
    bound: Bound, now: float, spent: float, reserved: float, wait: float, contact: str
) -> ClientLimitError:
    """There is money left, but it is reserved for requests that run."""
    until = now + max(SOONEST, wait)
    what = (
        f"{_said(bound)} has no room for this request now: ${reserved:,.2f} of it are reserved for requests that run. "
        f"Send it again at {_moment(until)}{_or_contact(contact)}"
    )
    return _error(bound, what, now, until, spent)


def unread(bound: Bound, contact: str) -> ClientLimitError:
    """What was spent cannot be read, so that nobody knows whether the request may be paid for."""
    what = (
        f"{_said(bound)}: what was spent cannot be read now. Send the request again in a moment{_or_contact(contact)}"
    )
    found = _error(bound, what, 0.0, 5.0, 0.0)
    found.type, found.final, found.resets_at, found.readable = "billing_error", True, None, False
    return found


def _error(bound: Bound, what: str, now: float, until: float | None, spent: float) -> ClientLimitError:
    return ClientLimitError(
        429,
        what,
        retry_after=None if until is None else max(SOONEST, until - now),
        limit=bound.limit,
        subject=bound.kind,
        owner=bound.owner,
        spent=spent,
        resets_at=until,
    )


def _said(bound: Bound) -> str:
    return f"The limit '{bound.limit}' of the {bound.kind} '{bound.owner}'{SCOPES[bound.limit.scope]}"


def _or_contact(contact: str) -> str:
    return f", or ask {contact}." if contact else ", or ask who runs this relay."


def _moment(at: float) -> str:
    return iso(at)[:19].replace("T", " ") + " UTC"
