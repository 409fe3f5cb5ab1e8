"""Keys of providers, one by one: `/api/keys`, `/api/providers/{name}/keys`, `/api/keys/{id}`.

A key goes in once and never comes out: answers have its mask. Keys of relay.yaml are listed, too; they are changed there, but can be
checked, chosen, and their cooldowns lifted.
"""

from __future__ import annotations

import time
from datetime import tzinfo
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import Field, SecretStr

from claude_relay.core.config import Provider, led, way_out
from claude_relay.core.keys.selection import TIERS
from claude_relay.core.times import iso
from claude_relay.panel.api.areas import area
from claude_relay.panel.api.key_figures import ORDERS, STATUSES, Row, Sight, after, in_order, look, shown
from claude_relay.panel.api.key_models import CheckOut, KeyOut
from claude_relay.panel.api.proxies import named
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.paging import Page, Paging, Wanted
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.texts import zone
from claude_relay.panel.common.versions import IfMatch, etag, matched
from claude_relay.panel.security.visitors import Administrator, Confirmed, Level, Operator, Reader, needs
from claude_relay.store.shared.all_keys import RUNNING, VAULT, Keyring
from claude_relay.store.vault.filtering import Filter
from claude_relay.store.vault.records import FIELDS, LIMITS, NewKey
from claude_relay.store.vault.rows import moment
from claude_relay.upstream.checking import TIMEOUT, check_one

router = area("keys")
ELSEWHERE = "It comes from relay.yaml; change it there, in the settings."

Zone = Annotated[tzinfo, Depends(zone)]
"""A parameter of a handler: where the day of whoever asks begins."""


class KeyFields(Strict):
    """What people say of a key; what is left out stays as it is. An empty text, or null for a limit or proxy: none."""

    label: str | None = Field(None, max_length=200)
    tier: Literal["admin", "public", ""] | None = None
    group: str | None = Field(None, max_length=64)
    weight: float | None = Field(None, gt=0, le=1_000_000)
    requests_per_minute: int | None = Field(None, ge=1, le=999_999_999_999)
    tokens_per_minute: int | None = Field(None, ge=1, le=999_999_999_999)
    concurrent: int | None = Field(None, ge=1, le=999_999_999_999)
    enabled: bool | None = None
    proxy: str | None = Field(
        None, max_length=2000, description="Its own outbound proxy: URL, the name of one, or `direct`."
    )
    notes: str | None = Field(None, max_length=2000)

    def given(self) -> dict[str, Any]:
        """The fields that were sent, as the vault takes them."""
        dumped = self.model_dump(include=set(FIELDS), exclude_unset=True)
        return {n: v for n, v in dumped.items() if v is not None or n in LIMITS or n == "proxy"}


class NewKeyIn(KeyFields):
    """A key to add."""

    key: SecretStr = Field(max_length=4096)


class ChosenIn(Strict):
    """`id` null: no key goes before the others."""

    id: str | None


class Sought:
    """Which keys of a list."""

    def __init__(
        self,
        status: Annotated[Literal[STATUSES] | None, Query(description="A state, or what the last check found.")] = None,  # type: ignore[valid-type]
        tier: Annotated[Literal[(*TIERS, "")] | None, Query(description="Empty: those without one.")] = None,  # type: ignore[valid-type]
        group: Annotated[str | None, Query(max_length=64, description="Empty: those without one.")] = None,
        search: Annotated[str | None, Query(max_length=200, description="In name, label, mask, group, notes.")] = None,
        sort: Annotated[Literal[ORDERS], Query(description="With `-` the greatest first.")] = "name",  # type: ignore[valid-type]
    ) -> None:
        """From the query."""
        self.status, self.tier, self.group, self.search, self.sort = status, tier, group, search, sort

    def rows(self, sight: Sight, provider: str | None) -> list[Row]:
        """Those that are meant, in no order."""
        return sight.meant(Filter(provider, group=self.group, tier=self.tier, search=self.search), self.status)

    def page(self, sight: Sight, provider: str | None, paging: Wanted) -> Page[KeyOut]:
        """A part of them."""
        placed = after(in_order(self.rows(sight, provider), self.sort), paging.after, self.sort)
        return paging.page(placed, lambda one: one[0], lambda one: shown(one[1], sight.now))


WhichKeys = Annotated[Sought, Depends()]


@router.get("/keys", responses=documented())
def all_keys(visitor: Reader, parts: Own, paging: Paging, which: WhichKeys, zone: Zone) -> Page[KeyOut]:
    """Keys of all providers."""
    return which.page(look(parts, zone), None, paging)


@router.get("/providers/{name}/keys", responses=documented(404))
def keys(name: str, visitor: Reader, parts: Own, paging: Paging, which: WhichKeys, zone: Zone) -> Page[KeyOut]:
    """Keys of one provider."""
    sight = look(parts, zone)
    return which.page(sight, sight.known(name), paging)


@router.post("/providers/{name}/keys", status_code=201, responses=documented(404, 409))
def add(name: str, said: NewKeyIn, visitor: Confirmed, parts: Own, zone: Zone, response: Response) -> KeyOut:
    """Add one. It cannot be read again."""
    keyring = parts.keyring(visitor.actor)
    provider = known_provider(keyring, name)
    fields = said.given()
    named(parts, fields)
    new = made(provider, said.key.get_secret_value(), fields)
    done = keyring.vault.add(new)
    if done.duplicates:
        known = done.duplicates[0]
        text = f"This key is there already, as {known.name}" + (
            ", which was removed; restore it." if known.removed else "."
        )
        raise Problem(409, "known", text, errors=[FieldError(field="key", detail=text)])
    return _answered(look(parts, zone), done.added[0].id, response)


@router.put("/providers/{name}/keys/chosen", status_code=204, responses=documented(404, 409))
def choose(name: str, said: ChosenIn, visitor: Operator, parts: Own, zone: Zone) -> Response:
    """Let a key go before the others of its provider, while it may be used; the others stand behind it."""
    sight = look(parts, zone, visitor.actor)
    provider = sight.known(name)
    key = sight.of(said.id).key if said.id is not None else None
    if key is not None and key.provider != provider:
        raise Problem(409, "conflict", f"{key.name} is none of {provider}'s.")
    try:
        sight.keyring.choose(provider, key)
    except ValueError as error:
        raise Problem(409, "conflict", f"{error}.") from None
    return Response(status_code=204)


@router.get("/keys/{id}", responses=documented(404))
def key(id: str, visitor: Reader, parts: Own, zone: Zone, response: Response) -> KeyOut:
    """One key."""
    return _answered(look(parts, zone), id, response)


@router.patch("/keys/{id}", responses=documented(404, 409, 412, 428))
def edit(
    id: str,
    said: KeyFields,
    visitor: Administrator,
    parts: Own,
    zone: Zone,
    request: Request,
    response: Response,
    seen: IfMatch = None,
) -> KeyOut:
    """Change what is said of it. To take a limit away needs a password that was given a moment ago."""
    sight = look(parts, zone, visitor.actor)
    row = in_vault(sight.of(id))
    matched(seen, version(row))
    fields = said.given()
    if any(name in LIMITS and fields[name] is None and getattr(row.key.limits, name) is not None for name in fields):
        needs(Level.ADMIN, confirmed=True)(request, parts)
    checked(fields)
    if fields.get("proxy") != row.key.proxy:
        named(parts, fields)
    sight.keyring.vault.edit([row.key.id], fields, as_seen=row.key)
    return _answered(look(parts, zone), id, response)


@router.delete("/keys/{id}", status_code=204, responses=documented(404, 409))
def remove(id: str, visitor: Administrator, parts: Own, zone: Zone, forever: bool = False) -> Response:
    """Take it away; `restore` brings it back, unless it is `forever`."""
    sight = look(parts, zone, visitor.actor)
    row = in_vault(sight.of(id))
    vault = sight.keyring.vault
    vault.erase([row.key.id]) if forever else vault.remove([row.key.id])
    return Response(status_code=204)


@router.post("/keys/{id}/restore", responses=documented(404, 409))
def restore(id: str, visitor: Administrator, parts: Own, zone: Zone, response: Response) -> KeyOut:
    """Bring one back that was removed."""
    sight = look(parts, zone, visitor.actor)
    sight.keyring.vault.restore([in_vault(sight.of(id)).key.id])
    return _answered(look(parts, zone), id, response)


@router.post("/keys/{id}/toggle", responses=documented(404, 409))
def toggle(id: str, visitor: Operator, parts: Own, zone: Zone, response: Response) -> KeyOut:
    """Switch it off, or on again. What is under way with it goes on."""
    sight = look(parts, zone, visitor.actor)
    row = in_use(sight.of(id))
    vault = sight.keyring.vault
    (vault.disable if row.key.enabled else vault.enable)([row.key.id])
    return _answered(look(parts, zone), id, response)


@router.post("/keys/{id}/reset-cooldown", responses=documented(404, 409))
def reset(id: str, visitor: Operator, parts: Own, zone: Zone, response: Response) -> KeyOut:
    """Lift its cooldowns, so that it is used at once."""
    sight = look(parts, zone, visitor.actor)
    sight.keyring.vault.reset([in_hand(sight.of(id)).key.id])
    return _answered(look(parts, zone), id, response)


@router.post("/keys/{id}/check", responses=documented(404, 409))
def check(id: str, visitor: Operator, parts: Own, zone: Zone) -> CheckOut:
    """Ask its provider about it, with one cheap request; takes up to 15 seconds. A key that is found valid and was out is used again."""
    sight = look(parts, zone, visitor.actor)
    row = in_hand(sight.of(id))
    secret = sight.keyring.secrets([row.key]).get(row.key.id)
    provider = reachable_providers(sight.keyring, parts).get(row.key.provider)
    found = check_one(secret, provider, timeout=TIMEOUT, clock=time.time)
    sight.keyring.vault.record({row.key.id: found})
    return CheckOut(status=found.status, at=iso(time.time()), until=moment(found.until), reason=found.reason or None)


# --- what modules of keys share ---


def known_provider(keyring: Keyring, name: str) -> str:
    """A provider to which keys can be added. Raises Problem."""
    try:
        return keyring.provider_named(name)
    except ValueError as error:
        raise Problem(404, "not_found", f"{error}.") from None


def reachable_providers(keyring: Keyring, parts: Parts) -> dict[str, Provider]:
    """The providers, with the way out that the environment says."""
    way = way_out(keyring.config, parts.environ)
    return {name: led(provider, way) for name, provider in keyring.config.providers.items()}


def made(provider: str, secret: str, fields: dict[str, Any]) -> NewKey:
    """A new key. Raises Problem, which never repeats it."""
    checked(fields)
    try:
        return NewKey.of(provider, secret.strip(), fields)
    except ValueError as error:
        raise Problem(422, "invalid", f"{error}.", errors=[FieldError(field="key", detail=str(error))]) from None


def checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises Problem with what is wrong with each."""
    wrong = []
    for name, value in fields.items():
        try:
            FIELDS[name](value)
        except ValueError as error:
            wrong.append(FieldError(field=name, detail=str(error)))
    if wrong:
        raise Problem(422, "invalid", "; ".join(one.detail for one in wrong) + ".", errors=wrong)
    return fields


def version(row: Row) -> str:
    """The ETag of what people may change."""
    return etag(row.key.said)


def in_vault(row: Row) -> Row:
    """Raises Problem for a key that cannot be changed here."""
    if row.key.source != VAULT:
        raise Problem(409, "elsewhere", ELSEWHERE)
    return row


def in_use(row: Row) -> Row:
    """Raises Problem for one that cannot be changed here, or was removed."""
    return in_hand(in_vault(row))


def in_hand(row: Row) -> Row:
    """Raises Problem for one whose secret is not here, or that was removed."""
    if why := out_of_hand(row):
        raise Problem(409, "conflict", why)
    return row


def out_of_hand(row: Row) -> str:
    """Why nothing can be done with a key; empty: it can."""
    if row.key.source == RUNNING:
        return "The running relay alone has this key, from variables of its own; the panel does not know it."
    return "It was removed; restore it first." if row.key.removed_at is not None else ""


def _answered(sight: Sight, id: str, response: Response) -> KeyOut:
    row = sight.of(id)
    response.headers["etag"] = version(row)
    return shown(row, sight.now)
