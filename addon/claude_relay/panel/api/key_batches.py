"""Many keys at once: `/api/providers/{name}/keys/batch`, `…/batch-operation`, `…/maintenance`, `…/stats`.

What is posted as text is read as the command `keys import` reads a file: one a line, CSV, JSON, or another gateway's file. Checks go on
as a job (`/api/jobs/{id}`), eight keys at a time; what was found is written down as it comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from claude_relay.core.errors import clean
from claude_relay.core.imports.decoding import document
from claude_relay.core.imports.gateways import SOURCES
from claude_relay.core.keys.selection import TIERS
from claude_relay.panel.api.areas import area
from claude_relay.panel.api.key_checks import begin_check, checking
from claude_relay.panel.api.key_figures import STATUSES, Row, Sight, look
from claude_relay.panel.api.keys import KeyFields, Zone, checked, known_provider, out_of_hand
from claude_relay.panel.common.jobs import Begun, Report
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.security.visitors import Administrator, Level, Operator, Reader, confirm
from claude_relay.store.shared.all_keys import VAULT, Keyring
from claude_relay.store.vault.filtering import Filter
from claude_relay.store.vault.new_keys import Planned, foreign, planned
from claude_relay.store.vault.reading import FORMS, Entry, read, read_rows
from claude_relay.store.vault.records import NewKey, StoredKey, mask
from claude_relay.store.vault.vault import Duplicate, Vault

router = area("keys")
LARGEST, MOST = 4 * 1024 * 1024, 20_000
"""Characters of a text, and keys, at once."""


class BatchIn(Strict):
    """`text`, or `rows`. `fields`: for keys that do not say it themselves; `check`: ask about those that are added."""

    text: SecretStr | None = Field(None, max_length=LARGEST)
    rows: list[dict[str, SecretStr | float | bool | None]] | None = Field(None, max_length=MOST)
    format: Literal[tuple(FORMS)] | None = Field(None, description="Default: seen from the text.")  # type: ignore[valid-type]
    gateway: Literal[tuple(SOURCES)] | None = Field(None, description="Whose file the text is.")  # type: ignore[valid-type]
    fields: KeyFields | None = None
    dry_run: bool = False
    check: bool = False


class BatchRow(BaseModel):
    """What becomes of one entry. `known`: it is there already, as `name`; `twice`: it stands above already."""

    where: str
    status: Literal["new", "known", "twice", "invalid"]
    provider: str = ""
    mask: str = ""
    label: str = ""
    name: str = ""
    removed: bool = False
    detail: str = ""


class Batch(BaseModel):
    """What was done, or would be. `added`: ids; `job`: of their check."""

    dry_run: bool
    new: int
    known: int
    twice: int
    invalid: int
    rows: list[BatchRow]
    notes: list[str]
    added: list[str]
    job: str | None = None


class FilterIn(Strict):
    """As the list has it."""

    status: Literal[STATUSES] | None = None  # type: ignore[valid-type]
    tier: Literal[(*TIERS, "")] | None = None  # type: ignore[valid-type]
    group: str | None = Field(default=None, max_length=64)
    search: str | None = Field(default=None, max_length=200)


class OperationIn(Strict):
    """What to do with keys: those of `ids`, or all that the filter selects."""

    operation: Literal["enable", "disable", "delete", "restore", "check", "reset"]
    ids: list[Annotated[str, Field(max_length=200)]] | None = Field(None, max_length=MOST)
    filter: FilterIn | None = None


class LeftOut(BaseModel):
    """A key with which it cannot be done, and why."""

    id: str
    name: str
    detail: str


class Operation(BaseModel):
    """What was done. `changed`: ids; the others needed nothing, or are `left_out`. `job`: of a check."""

    changed: list[str]
    meant: int
    left_out: list[LeftOut]
    job: str | None = None


class MaintenanceIn(Strict):
    """`dry_run`: only check; `statuses`: what is removed."""

    dry_run: bool = False
    statuses: list[Literal["revoked", "no-credit"]] = Field(default=["revoked"], max_length=2)


class KeyStats(BaseModel):
    """Of one provider's keys, removed ones apart."""

    provider: str
    total: int
    removed: int
    states: dict[str, int]
    checks: dict[str, int]
    tiers: dict[str, int]
    groups: dict[str, int]
    chosen: str | None
    in_flight: int
    requests_today: int
    errors_today: int
    cost_today_usd: float


@router.post("/providers/{name}/keys/batch", responses=documented(404, 409))
def batch(name: str, said: BatchIn, visitor: Administrator, parts: Own) -> Batch:
    """Add many: those that are new and are keys; each entry is answered for. With `dry_run` nothing is done, and no password asked for."""
    if not said.dry_run:
        confirm(visitor, parts)
    keyring = parts.keyring(visitor.actor)
    provider = known_provider(keyring, name)
    entries, notes = _entries(said, keyring, provider)
    fields = checked(said.fields.given()) if said.fields is not None else {}
    plans = planned(entries, lambda own: keyring.provider_named(own or provider), fields)
    news = [plan.new for plan in plans if plan.new is not None]
    added: tuple[StoredKey, ...] = ()
    if said.dry_run or not news:
        duplicates = keyring.vault.known(news)
    else:
        done = keyring.vault.import_many(news)
        added, duplicates = done.added, done.duplicates
    rows = _rows(plans, duplicates)
    count = Counter(row.status for row in rows)
    job = begin_check(visitor, parts, keyring, added) if said.check and added else None
    return Batch(
        dry_run=said.dry_run,
        new=count["new"],
        known=count["known"],
        twice=count["twice"],
        invalid=count["invalid"],
        rows=rows,
        notes=notes,
        added=[key.id for key in added],
        job=job,
    )


@router.post("/providers/{name}/keys/batch-operation", responses=documented(404, 409))
def operation(name: str, said: OperationIn, visitor: Operator, parts: Own, zone: Zone) -> Operation:
    """Switch many on or off, remove or restore them (admins), check them, lift their cooldowns. `*` as the provider: of all."""
    if said.operation in ("delete", "restore") and not visitor.may(Level.ADMIN):
        raise Problem(403, "role", "This needs the role admin, or a token with that scope.")
    sight = look(parts, zone, visitor.actor)
    rows = _meant(sight, None if name == "*" else sight.known(name), said)
    left_out = [
        LeftOut(id=row.id, name=row.key.name, detail=why) for row in rows if (why := _objection(said.operation, row))
    ]
    without = {one.id for one in left_out}
    keys = [row.key for row in rows if row.id not in without]
    shown_as = {row.key.id: row.id for row in rows}
    vault, ids, job = sight.keyring.vault, [key.id for key in keys], None
    changed: Sequence[str] = ()
    if said.operation == "check":
        job = begin_check(visitor, parts, sight.keyring, keys, shown_as) if keys else None
    elif said.operation == "reset":
        changed = [key.id for key in keys if any(one.until > sight.now for one in key.cooldowns)]
        vault.reset(ids)
    else:
        changed = _switch(vault, said.operation, ids)
    return Operation(changed=[shown_as[id] for id in changed], meant=len(rows), left_out=left_out, job=job)


@router.post("/providers/{name}/keys/maintenance", status_code=202, responses=documented(404, 409))
def maintenance(name: str, said: MaintenanceIn, visitor: Administrator, parts: Own, zone: Zone) -> Begun:
    """Check all keys of the vault, then remove those that their provider has revoked. They can be restored."""
    sight = look(parts, zone, visitor.actor)
    rows = sight.meant(Filter(None if name == "*" else sight.known(name)))
    keys = [row.key for row in rows if row.key.source == VAULT]
    keyring, vault = sight.keyring, sight.keyring.vault
    work = checking(parts, keyring, keys, {})

    def maintain(report: Report) -> None:
        found = work(report)
        invalid = [id for id, result in found.items() if result.status in said.statuses]
        report(len(keys))  # the last moment to think better of it
        if invalid and not said.dry_run:
            removed = vault.prune(invalid, said.statuses)
            report(len(keys), *({"id": id, "removed": True} for id in removed))

    return Begun(id=parts.jobs.begin(visitor, len(keys), maintain))


@router.get("/providers/{name}/keys/stats", responses=documented(404))
def stats(name: str, visitor: Reader, parts: Own, zone: Zone) -> KeyStats:
    """How its keys are, in numbers."""
    sight = look(parts, zone)
    provider = sight.known(name)
    return counted(provider, [row for row in sight.rows if row.key.provider == provider])


def counted(provider: str, rows: Sequence[Row]) -> KeyStats:
    """In numbers."""
    there = [row for row in rows if row.key.removed_at is None]
    keys = [row.key for row in there]
    return KeyStats(
        provider=provider,
        total=len(there),
        removed=len(rows) - len(there),
        states=Counter(row.state for row in there),
        checks=Counter(key.check_status or "unchecked" for key in keys if key.source == VAULT),
        tiers=Counter(key.tier for key in keys),
        groups=Counter(key.group for key in keys),
        chosen=next((row.id for row in there if row.key.chosen), None),
        in_flight=sum(row.live["in_flight"] for row in there if row.live is not None),
        requests_today=sum(row.today.requests for row in there),
        errors_today=sum(row.today.errors for row in there),
        cost_today_usd=sum(row.today.cost_usd for row in there),
    )


# --- import ---


def _entries(said: BatchIn, keyring: Keyring, provider: str) -> tuple[list[Entry], list[str]]:
    """What was sent, and what is to be said of it. Raises Problem, which repeats nothing of it."""
    if (said.text is None) is (said.rows is None):
        text = "Send text, or rows."
        raise Problem(422, "invalid", text, errors=[FieldError(field="text", detail=text)])
    try:
        if said.rows is not None:
            rows = [
                {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in row.items()}
                for row in said.rows
            ]
            return read_rows(rows), []
        assert said.text is not None
        text = said.text.get_secret_value()
        if said.gateway is None:
            return read(text, said.format), []
        # Without this machine's variables: a file that was sent from elsewhere may name any of them.
        found = SOURCES[said.gateway].credentials(document(text.encode()), {})
        entries, left_out = foreign(found.credentials, keyring.config.providers, provider)
        return entries, [*(f"{note[:1].upper()}{note[1:]}." for note in found.notes), *left_out]
    except ValueError as error:
        text, field = f"Nothing was added: {clean(str(error))}.", "rows" if said.text is None else "text"
        raise Problem(422, "invalid", text, errors=[FieldError(field=field, detail=text)]) from None


def _rows(plans: Sequence[Planned], duplicates: Sequence[Duplicate]) -> list[BatchRow]:
    known, rows, index = {one.index: one for one in duplicates}, [], 0
    for plan in plans:
        if plan.new is None:
            rows.append(BatchRow(where=plan.entry.where, status="invalid", detail=clean(plan.problem)))
            continue
        rows.append(_row(plan.entry, plan.new, known.get(index)))
        index += 1
    return rows


def _row(entry: Entry, new: NewKey, known: Duplicate | None) -> BatchRow:
    row = BatchRow(where=entry.where, status="new", provider=new.provider, mask=mask(new.secret), label=new.label)
    if known is None:
        return row
    if known.first is not None:
        return row.model_copy(update={"status": "twice"})
    return row.model_copy(update={"status": "known", "name": known.name, "removed": known.removed})


# --- operations ---


def _meant(sight: Sight, provider: str | None, said: OperationIn) -> list[Row]:
    if (said.ids is None) is (said.filter is None):
        text = "Send ids, or a filter ({} for all)."
        raise Problem(422, "invalid", text, errors=[FieldError(field="ids", detail=text)])
    if said.ids is not None:
        by_id = {row.id: row for row in sight.rows if provider in (None, row.key.provider)}
        if missing := [id for id in said.ids if id not in by_id]:
            raise Problem(404, "not_found", f"{len(missing)} of these keys are not there.")
        return [by_id[id] for id in dict.fromkeys(said.ids)]
    wanted = said.filter or FilterIn()
    status = wanted.status or ("removed" if said.operation == "restore" else None)
    return sight.meant(Filter(provider, group=wanted.group, tier=wanted.tier, search=wanted.search), status)


def _objection(operation: str, row: Row) -> str:
    """Why it cannot be done with a key."""
    if operation == "restore":
        return "" if row.key.source == VAULT else "It comes from relay.yaml."
    if row.key.source != VAULT and operation in ("enable", "disable", "delete"):
        return "It comes from relay.yaml; change it there, in the settings."
    return out_of_hand(row)


def _switch(vault: Vault, operation: str, ids: Sequence[str]) -> Sequence[str]:
    acts = {"enable": vault.enable, "disable": vault.disable, "delete": vault.remove, "restore": vault.restore}
    return acts[operation](ids)
