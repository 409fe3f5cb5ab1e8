"""OAuth accounts: `/api/accounts`. What `scripts/accounts` does, by the same code; no token comes out.

An account is a key of the vault, so `/api/keys/{id}` and the operations on many keys hold for it, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Query, Response

from claude_relay.core.config import led, way_out
from claude_relay.core.oauth.own_files import read_credentials
from claude_relay.core.oauth.timing import ACTIVE
from claude_relay.core.times import iso
from claude_relay.panel.common.paging import Page, Paging
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.relay_yaml import usable
from claude_relay.panel.common.versions import IfMatch, etag, matched
from claude_relay.panel.security.visitors import Administrator, Confirmed, Operator, Reader, Visitor, confirm
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.shared.key_windows import KeyWindow, windows_by_key
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.records import StoredKey
from claude_relay.store.vault.renewing import Outcome, Renewal, renew_all
from claude_relay.store.vault.rows import moment
from claude_relay.store.vault.vault import Duplicate
from claude_relay.upstream.checking import TIMEOUT, check_one
from claude_relay.upstream.token_endpoint import fetching

from . import logins
from .account_models import (
    AccountFields,
    AccountOut,
    Authorized,
    AuthorizeIn,
    Imported,
    ImportIn,
    LoginIn,
    LoginOut,
    RenewedOut,
)
from .areas import area
from .key_models import CheckOut
from .keys import checked
from .proxies import named

router = area("accounts")


@dataclass(frozen=True, slots=True)
class Row:
    """An account, its windows, and what is known of it as a key."""

    account: Account
    windows: Sequence[KeyWindow] = ()
    key: StoredKey | None = None

    @property
    def version(self) -> str:
        """The ETag of what people may change."""
        way = None if self.key is None else self.key.proxy
        return etag([self.account.label, self.account.enabled, self.account.removed_at, way])


@router.get("/accounts", responses=documented())
def accounts(
    visitor: Reader,
    parts: Own,
    paging: Paging,
    provider: Annotated[str | None, Query(max_length=40)] = None,
    removed: Annotated[bool, Query(description="Removed ones, too.")] = False,
) -> Page[AccountOut]:
    """Accounts by provider and age, with how far their windows are used."""
    rows = [row for row in rows_of(parts) if provider in (None, row.account.provider)]
    known = [row for row in rows if removed or row.account.removed_at is None]
    places = [row.account.id for row in known]
    begin = places.index(paging.after) + 1 if paging.after in places else 0
    return paging.page(known[begin:], lambda row: row.account.id, lambda row: shown(row, parts.clock()))


@router.post("/accounts", status_code=201, responses=documented(404, 409, 502))
def login(said: LoginIn, visitor: Confirmed, parts: Own) -> LoginOut:
    """Begin a login with an account of one's own: a person opens `url` and says yes. /api/accounts/{id}/authorize finishes it."""
    label = checked({"label": said.label or ""})["label"]
    return login_out(logins.begin(parts, visitor, said.provider, None, label, device=said.device, proxy=said.proxy))


@router.post("/accounts/import", status_code=201, responses=documented(404, 409))
def import_(said: ImportIn, visitor: Confirmed, parts: Own) -> Imported:
    """Take over credentials of one's own. They must be of the same client as `oauth.client_id`, else they cannot be renewed here."""
    logins.provider_of(parts, said.provider)
    label = checked({"label": said.label or ""})["label"]
    try:
        found = read_credentials(said.credentials.get_secret_value().encode("utf-8", "replace"), parts.clock())
    except ValueError as error:
        text = f"Nothing was added: {error}."
        raise Problem(422, "invalid", text, errors=[FieldError(field="credentials", detail=text)]) from None
    book, fields = Accounts(parts.vault(visitor.actor)), {"label": label, "proxy": said.proxy or ""}
    fields = {name: value for name, value in fields.items() if value}
    named(parts, fields)
    done = [
        book.add(said.provider, one if said.renew else replace(one, refresh=None), parts.clock(), fields)
        for one in found
    ]
    known = [one.name for one in done if isinstance(one, Duplicate)]
    if len(known) == len(done):
        text = f"Nothing was added: {', '.join(known)} is there already; restore it if it was removed."
        raise Problem(409, "known", text)
    added = {one.id for one in done if not isinstance(one, Duplicate)}
    rows = [row for row in rows_of(parts) if row.account.id in added]
    return Imported(added=[shown(row, parts.clock()) for row in rows], known=known)


@router.get("/accounts/{id}", responses=documented(404))
def account(id: str, visitor: Reader, parts: Own, response: Response) -> AccountOut:
    """One."""
    return _answered(parts, id, response)


@router.patch("/accounts/{id}", responses=documented(404, 409, 412, 428))
def edit(
    id: str, said: AccountFields, visitor: Administrator, parts: Own, response: Response, seen: IfMatch = None
) -> AccountOut:
    """Change its label or its way out (null: as its provider), or switch it off and on. All else is that of a key: PATCH /api/keys/{id}."""
    row = in_use(row_of(parts, id))
    matched(seen, row.version)
    fields = {name: v for name, v in said.model_dump(exclude_unset=True).items() if v is not None or name == "proxy"}
    fields |= {"proxy": fields["proxy"] or None} if "proxy" in fields else {}
    named(parts, fields)
    parts.vault(visitor.actor).edit([row.account.id], checked(fields), as_seen=row.key)
    return _answered(parts, id, response)


@router.delete("/accounts/{id}", status_code=204, responses=documented(404))
def remove(id: str, visitor: Administrator, parts: Own, forever: bool = False) -> Response:
    """Take it away. `restore` brings it back as long as its tokens last, for they are not renewed meanwhile; not if it is `forever`."""
    row, vault = row_of(parts, id), parts.vault(visitor.actor)
    vault.erase([row.account.id]) if forever else vault.remove([row.account.id])
    return Response(status_code=204)


@router.post("/accounts/{id}/restore", responses=documented(404))
def restore(id: str, visitor: Administrator, parts: Own, response: Response) -> AccountOut:
    """Bring one back that was removed."""
    parts.vault(visitor.actor).restore([row_of(parts, id).account.id])
    return _answered(parts, id, response)


@router.post("/accounts/{id}/toggle", responses=documented(404, 409))
def toggle(id: str, visitor: Operator, parts: Own, response: Response) -> AccountOut:
    """Switch it off, or on again. What is under way goes on, and it stays logged in."""
    row, vault = in_use(row_of(parts, id)), parts.vault(visitor.actor)
    (vault.disable if row.account.enabled else vault.enable)([row.account.id])
    return _answered(parts, id, response)


@router.post("/accounts/{id}/authorize", responses=documented(404, 409, 502))
def authorize(id: str, said: AuthorizeIn, visitor: Administrator, parts: Own) -> Authorized:
    """Begin a login for an account that is there, or finish one with `answer`: `id` is the login's or the account's."""
    if said.answer is not None:
        waiting = logins.logins_of(parts).find(visitor, id, parts.clock())
        if waiting is None:
            raise Problem(404, "not_found", "No login of yours waits for this: it was begun too long ago. Begin again.")
        found = logins.finish(parts, visitor, waiting, said.answer.get_secret_value())
        return Authorized(account=shown(row_of(parts, found), parts.clock()))
    confirm(visitor, parts)
    row = row_of(parts, id)
    known, way = row.account, row.key.proxy if row.key is not None else None
    own = way if way and "://" not in way else None  # what has a URL of its own is sealed
    begun = logins.begin(parts, visitor, known.provider, known.id, known.label, device=said.device, proxy=own)
    return Authorized(login=login_out(begun))


@router.post("/accounts/{id}/refresh", responses=documented(404, 409, 502))
def refresh(id: str, visitor: Operator, parts: Own) -> RenewedOut:
    """Exchange its tokens for the next ones, now; takes up to 15 seconds. A running relay does so by itself."""
    row = in_use(row_of(parts, id))
    done = renewed(parts, visitor, row.account)
    if not done.fresh:
        status = 502 if done.outcome is Outcome.FAILED else 409
        raise Problem(status, str(done.outcome), f"It has no new tokens: {done.reason}.")
    mine = done.outcome is Outcome.RENEWED
    return RenewedOut(outcome="renewed" if mine else "others", account=shown(row_of(parts, id), parts.clock()))


@router.post("/accounts/{id}/check", responses=documented(404, 409))
def check(id: str, visitor: Operator, parts: Own) -> CheckOut:
    """Ask the provider about it with one cheap request; tokens that are over are exchanged first."""
    account, now = in_use(row_of(parts, id)).account, parts.clock()
    if account.renews and account.state(now) != ACTIVE:
        renewed(parts, visitor, account)
    config, vault = usable(parts), parts.vault(visitor.actor)
    provider = config.providers.get(account.provider)
    issued = next((key for keys in vault.issue({account.id}).values() for key in keys), None)
    found = check_one(
        issued and replace(issued, renews=False),  # it was renewed: what is refused now is no good
        provider and led(provider, way_out(config, parts.environ)),
        timeout=TIMEOUT,
        clock=parts.clock,
    )
    vault.record({account.id: found})
    return CheckOut(status=found.status, at=iso(now), until=moment(found.until), reason=found.reason or None)


# --- what the page shares ---


def rows_of(parts: Parts) -> list[Row]:
    """All accounts, removed ones too, by provider and age."""
    vault = parts.vault(None)
    found = Accounts(vault).list()
    if not found:
        return []
    keys, windows = {key.id: key for key in vault.list()}, _windows(parts)
    return [Row(one, windows.get(one.id, ()), keys.get(one.id)) for one in found]


def row_of(parts: Parts, id: str) -> Row:
    """One. Raises Problem."""
    for row in rows_of(parts):
        if row.account.id == id:
            return row
    raise Problem(404, "not_found", "There is no such account.")


def in_use(row: Row) -> Row:
    """Raises Problem for one that was removed."""
    if row.account.removed_at is not None:
        raise Problem(409, "conflict", "It was removed; restore it first.")
    return row


def renewed(parts: Parts, visitor: Visitor, account: Account) -> Renewal:
    """Its tokens, exchanged for the next ones."""
    config = usable(parts)
    fetch = fetching(config.providers, way_out(config, parts.environ), timeout=logins.TIMEOUT)
    return renew_all(Accounts(parts.vault(visitor.actor)), [account], fetch)[0]


def shown(row: Row, now: float) -> AccountOut:
    """As the API says it."""
    key = row.key
    check = None
    if key is not None and key.check_status is not None:
        check = CheckOut(
            status=key.check_status, at=key.checked_at, until=key.check_until, reason=key.check_reason or None
        )
    said = row.account.plain(now) | {"windows": [one.plain(now) for one in row.windows], "check": check}
    return AccountOut.model_validate(said)


def login_out(one: logins.Waiting) -> LoginOut:
    """As the API says it."""
    return LoginOut(
        id=one.id,
        provider=one.provider,
        account=one.account,
        url=one.url,
        user_code=one.code.user_code if one.code is not None else None,
        job=one.job,
        expires_at=iso(one.until),
    )


def _windows(parts: Parts) -> Mapping[str, Sequence[KeyWindow]]:
    try:
        with parts.ledger() as connection:
            return windows_by_key(connection)
    except (MissingDatabase, sqlite3.OperationalError):  # no relay has written any yet
        return {}


def _answered(parts: Parts, id: str, response: Response) -> AccountOut:
    row = row_of(parts, id)
    response.headers["etag"] = row.version
    return shown(row, parts.clock())
