"""Keys as people look at them: what is stored of them, joined with what relays say of them now, and what they were used for today.

    sight = look(parts, zone)
    rows = sight.chosen_by(Filter(provider="anthropic"), sort="-used")
    shown(row)                  -> KeyOut

One list of the vault, one row of each relay, one sum of the ledger, however many keys there are. No secret is in any of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import chain
from typing import Any, Final

from claude_relay.core.keys.check_results import NO_CREDIT, REVOKED
from claude_relay.core.times import seconds_of
from claude_relay.panel.api.key_models import CheckOut, CooldownOut, KeyOut, Limits, LiveOut, UseOut
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.problems import FieldError, Problem
from claude_relay.store.audit import Actor
from claude_relay.store.ledger.key_sums import KeyUse, used
from claude_relay.store.shared.all_keys import VAULT, Keyring
from claude_relay.store.shared.relays import RelayRow
from claude_relay.store.vault.filtering import Filter
from claude_relay.store.vault.records import STATES, StoredKey
from claude_relay.store.vault.rows import moment

LIVE: Final = ("ready", "cooldown", "probing", "full", "out")
"""What a relay says of a key; what is further on says more."""
STATUSES: Final = tuple(dict.fromkeys(("ready", "full", "probing", *STATES)))
"""By which keys can be filtered."""
UNUSED: Final = KeyUse()


@dataclass(frozen=True, slots=True)
class Row:
    """One key. `live`: what the relays say, joined; None: none has it."""

    key: StoredKey
    state: str
    until: float | None
    reason: str
    live: Mapping[str, Any] | None
    today: KeyUse

    @property
    def id(self) -> str:
        """For addresses. That of a key outside the vault says nothing of its secret."""
        key = self.key
        return key.id if key.source == VAULT else f"{key.provider}:{key.alias}"

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it stands among others, when nothing else decides: v2 before v10."""
        letters = self.key.alias.rstrip("0123456789")
        return self.key.provider, letters, int(self.key.alias[len(letters) :] or 0)


SORTS: Final[Mapping[str, Callable[[Row], str | float]]] = {
    "name": lambda row: 0.0,
    "label": lambda row: row.key.label.casefold(),
    "state": lambda row: row.state,
    "headroom": lambda row: row.live["headroom"] if row.live else 1.0,
    "used": lambda row: row.today.requests,
    "cost": lambda row: row.today.cost_usd,
    "last": lambda row: seconds_of(row.key.last_used_at) or 0.0,
}
"""What `sort` may be; with a `-` before it the greatest first."""
ORDERS: Final = (*SORTS, *(f"-{name}" for name in SORTS))


@dataclass(frozen=True)
class Sight:
    """All keys at one moment."""

    keyring: Keyring
    rows: Sequence[Row]
    now: float

    @property
    def providers(self) -> list[str]:
        """Those of relay.yaml in its order, then others that have keys or a relay knows."""
        relays = chain.from_iterable(relay.keys() for relay in self.keyring.rows)
        return list(dict.fromkeys((*self.keyring.config.providers, *relays, *(row.key.provider for row in self.rows))))

    def of(self, id: str) -> Row:
        """The key of that id. Raises Problem."""
        found = next((row for row in self.rows if row.id == id), None)
        if found is None:
            raise Problem(404, "not_found", "There is no such key.")
        return found

    def known(self, provider: str) -> str:
        """A provider's name. Raises Problem for one that nobody knows."""
        if provider not in self.providers:
            raise Problem(404, "not_found", "There is no provider of this name.")
        return provider

    def meant(self, wanted: Filter, status: str | None = None) -> list[Row]:
        """Those that fit; removed ones only when they are asked for. `status`: one of STATUSES."""
        return [
            row
            for row in self.rows
            if wanted.fits(row.key, self.now)
            and (status is None or status == row.state or status in row.key.states(self.now))
            and (row.key.removed_at is None or status == "removed")
        ]


def look(parts: Parts, zone: tzinfo, actor: Actor | None = None) -> Sight:
    """All keys as they are now. `zone`: where the day of whoever looks begins."""
    now, keyring = parts.clock(), parts.keyring(actor)
    live = joined(keyring.rows)
    today = used_today(parts, midnight(now, zone))
    rows = (_row(key, live.get((key.provider, key.alias)), today, now) for key in keyring.every())
    return Sight(keyring, sorted(rows, key=lambda row: row.place), now)


def used_today(parts: Parts, since: str) -> Mapping[tuple[str, str], KeyUse]:
    """What keys were used for since that hour; added up anew only when a request came."""
    with parts.ledger() as connection:
        known, kept = (
            (since, connection.execute("SELECT max(rowid) FROM requests").fetchone()[0]),
            parts.last.get("keys"),
        )
        if kept is None or kept[0] != known:
            kept = parts.last["keys"] = known, used(connection, since)
    found: Mapping[tuple[str, str], KeyUse] = kept[1]
    return found


def midnight(now: float, zone: tzinfo) -> str:
    """The hour (UTC) in which a day began, as the ledger's sums name it."""
    day = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return day.astimezone(UTC).strftime("%Y-%m-%dT%H")


def joined(rows: Sequence[RelayRow]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What relays say of their keys: what is under way and was used together, of the others the worst."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        for provider, keys in row.keys().items():
            for key in keys:
                place = provider, str(key["alias"])
                found[place] = _together(found[place], key) if place in found else key
    return found


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    worse = max(one, other, key=lambda said: LIVE.index(said["state"]) if said["state"] in LIVE else 0)
    limits = {
        name: min(each["limits"].get(name, 1.0) for each in (one, other)) for name in one["limits"] | other["limits"]
    }
    sums = {name: one[name] + other[name] for name in ("in_flight", "used")}
    return {**worse, **sums, "limits": limits, "headroom": min(one["headroom"], other["headroom"])}


def _row(key: StoredKey, live: Mapping[str, Any] | None, today: Mapping[tuple[str, str], KeyUse], now: float) -> Row:
    state, until, reason = state_of(key, live, now)
    return Row(key, state, until, reason, live, today.get((key.provider, key.alias), UNUSED))


def state_of(key: StoredKey, live: Mapping[str, Any] | None, now: float) -> tuple[str, float | None, str]:
    """The weightiest of what is true of it, until when (None: not known, or nothing ends), and why."""
    if key.removed_at is not None:
        return "removed", None, ""
    if not key.enabled:
        return "disabled", None, ""
    own = [cooldown for cooldown in key.cooldowns if not cooldown.scope and cooldown.until > now]
    if own:
        longest = max(own, key=lambda cooldown: cooldown.until)
        if longest.until == math.inf:
            return "out", None, longest.reason
        return "cooldown", longest.until, longest.reason
    if key.check_status in (REVOKED, NO_CREDIT):
        return key.check_status, None, key.check_reason or ""
    if live is not None and live["state"] in ("full", "probing"):
        return str(live["state"]), None, str(live["reason"])
    return "ready", None, ""


def shown(row: Row, now: float) -> KeyOut:
    """As the API says it."""
    key = row.key
    check = (
        CheckOut(status=key.check_status, at=key.checked_at, until=key.check_until, reason=key.check_reason)
        if key.check_status
        else None
    )
    live = row.live
    return KeyOut(
        id=row.id,
        provider=key.provider,
        alias=key.alias,
        name=key.name,
        mask=key.mask,
        source=key.source,
        label=key.label,
        tier=key.tier,
        group=key.group,
        weight=key.weight,
        limits=Limits(
            requests_per_minute=key.limits.requests_per_minute,
            tokens_per_minute=key.limits.tokens_per_minute,
            concurrent=key.limits.concurrent,
        ),
        enabled=key.enabled,
        proxy=key.proxy,
        notes=key.notes,
        created_at=key.created_at,
        removed_at=key.removed_at,
        chosen=key.chosen,
        state=row.state,
        until=moment(row.until),
        reason=row.reason,
        cooldowns=[
            CooldownOut(scope=one.scope, until=moment(one.until), reason=one.reason)
            for one in key.cooldowns
            if one.until > now
        ],
        check=check,
        live=None
        if live is None
        else LiveOut(in_flight=live["in_flight"], used=live["used"], headroom=live["headroom"], limits=live["limits"]),
        today=UseOut(
            requests=row.today.requests,
            errors=row.today.errors,
            input_tokens=row.today.input_tokens,
            output_tokens=row.today.output_tokens,
            cost_usd=row.today.cost_usd,
        ),
        last_used_at=key.last_used_at,
        attempts=key.attempts,
        failures=key.failures,
    )


def in_order(rows: Sequence[Row], sort: str) -> list[tuple[list[Any], Row]]:
    """Rows with their places, by which a list goes on. Raises Problem."""
    name, backwards = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTS:
        text = f"sort is one of {', '.join(SORTS)}, with - before it for the greatest first."
        raise Problem(422, "sort", text, errors=[FieldError(field="sort", detail=text)])
    value = SORTS[name]
    placed = sorted(([value(row), *row.place], row.id, row) for row in rows)
    return [(place, row) for place, _, row in (reversed(placed) if backwards else placed)]


def after(placed: Sequence[tuple[list[Any], Row]], place: Any, sort: str) -> list[tuple[list[Any], Row]]:
    """Those behind a place. Raises Problem for one that is none."""
    if place is None:
        return list(placed)
    try:
        backwards = sort.startswith("-")
        return [one for one in placed if (one[0] < place if backwards else one[0] > place)]
    except TypeError:
        raise Problem(400, "cursor", "`after` is none that this list has given as `next`.") from None
