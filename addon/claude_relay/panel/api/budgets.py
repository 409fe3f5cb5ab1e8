"""Budgets of relay.yaml, each with what is spent now; what models cost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, Field

from claude_relay.core.accounting.accounts import Span, span
from claude_relay.core.accounting.budgets import Sum
from claude_relay.core.accounting.pricing import Prices as PriceLists
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.config import Budget as Rule
from claude_relay.core.config.editing import edited
from claude_relay.core.config.spending import named
from claude_relay.core.routing.catalogue import known
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.common.relay_yaml import Change, DryRun, change, current, usable
from claude_relay.panel.common.versions import IfMatch
from claude_relay.panel.security.visitors import Administrator, Confirmed, Reader
from claude_relay.store.ledger.budget_sums import BudgetSums

router = area("budgets")
FEW, MILLION = 1_000, 1_000_000
"""Tokens: so few cost what the list begins with; many in one request may cost more each."""
Name = Annotated[str, Path(max_length=500)]


class NewBudget(Strict):
    """So much may be spent. `then`: stop, warn, or a provider to go to instead; what is null is as usual."""

    name: str | None = Field(None, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    provider: str | None = Field(None, max_length=40)
    model: str | None = Field(None, max_length=200)
    per: str = Field(examples=["day", "week", "month"], max_length=10)
    usd: float = Field(gt=0, le=1_000_000_000)
    warn: float | None = Field(None, ge=0, le=1)
    then: str | None = Field(None, max_length=40)


class Budget(BaseModel):
    """`spent`: USD in the present period, which is from `begins` to `ends`, seconds since the epoch. `state`: ok, warned or ended."""

    name: str
    provider: str | None
    model: str | None
    per: str
    usd: float
    warn: float
    then: str
    spent: float
    share: float
    begins: float
    ends: float
    state: str
    definition: dict[str, Any]


class Budgets(BaseModel):
    """In the order of the file."""

    data: list[Budget]


class Price(BaseModel):
    """USD for a million tokens. `by`: whose list it is from."""

    model: str
    provider: str | None = None
    since: str | None = None
    input: float | None
    output: float | None
    cache_read: float | None
    cache_write_5m: float | None
    cache_write_1h: float | None
    by: str


class Prices(BaseModel):
    """`own`: of relay.yaml, which come first; `data`: of Anthropic's models, as they count now."""

    own: list[Price]
    data: list[Price]


@router.get("/budgets", responses=documented())
def budgets(visitor: Reader, parts: Own, response: Response) -> Budgets:
    """All, with what is spent."""
    response.headers["ETag"] = current(parts).tag
    return Budgets(data=all_of(parts))


@router.post("/budgets", status_code=201, responses=documented(409, 412, 428))
def add(
    said: NewBudget, visitor: Administrator, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """Another budget."""
    listed = _listed(parts)
    return _change(parts, visitor.actor, if_match, [*listed, _written(said)], dry_run, len(listed))


@router.put("/budgets/{name:path}", responses=documented(404, 409, 412, 428))
def put(
    name: Name, said: NewBudget, visitor: Confirmed, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """Define one anew."""
    listed, at = _listed(parts), _place(parts, name)
    return _change(parts, visitor.actor, if_match, [*listed[:at], _written(said), *listed[at + 1 :]], dry_run, at)


@router.delete("/budgets/{name:path}", responses=documented(404, 409, 412, 428))
def remove(name: Name, visitor: Confirmed, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False) -> Change:
    """Take one away."""
    listed, at = _listed(parts), _place(parts, name)
    return _change(parts, visitor.actor, if_match, [*listed[:at], *listed[at + 1 :]], dry_run, at)


@router.get("/prices", responses=documented())
def prices(visitor: Reader, parts: Own) -> Prices:
    """What models cost."""
    config = usable(parts)
    fields = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    own = [
        Price(
            model=price.model,
            provider=price.provider,
            since=price.since.isoformat() if price.since else None,
            by="relay.yaml",
            **{field: getattr(price, field) for field in fields},
        )
        for price in config.prices
    ]
    lists = PriceLists(config.prices)
    provider = next((name for name, found in config.providers.items() if found.preset == "anthropic"), "anthropic")
    return Prices(own=own, data=[found for model in known() if (found := _price(lists, provider, model, parts))])


# --- what pages use too ---


def all_of(parts: Parts, sums: list[Sum] | None = None) -> list[Budget]:
    """As the API shows them. `sums`: what is spent, where it was read already."""
    config, now = usable(parts), parts.clock()
    written = [one for one in current(parts).data.get("budgets") or [] if isinstance(one, dict)]
    spent = {one.rule: one for one in (spent_of(parts) or [] if sums is None else sums)}
    return [
        _shown(rule, span(rule.per, now), spent.get(rule.name), written[at] if at < len(written) else {})
        for at, rule in enumerate(config.budgets)
    ]


def spent_of(parts: Parts, patience: float | None = None) -> list[Sum] | None:
    """What is spent under each; None: a month is read, which takes longer than `patience` seconds (None: until it is there); ask again."""
    rules = usable(parts).budgets
    key = ("budgets", *((rule.name, rule.per, rule.provider, rule.model) for rule in rules))
    return parts.recent.get(key, lambda: _read(parts, rules), patience)


def _read(parts: Parts, rules: tuple[Rule, ...]) -> list[Sum]:
    guard: threading.Lock = parts.kept.setdefault("budgets guard", threading.Lock())
    with guard:
        reader: BudgetSums = parts.kept.setdefault("budget sums", BudgetSums(parts.database))
        return list(reader.read(rules, parts.clock()))


def _shown(rule: Rule, period: Span, found: Sum | None, definition: dict[str, Any]) -> Budget:
    usd = found.usd if found is not None and found.start == period.start else 0.0
    share = usd / rule.usd
    state = "ended" if share >= 1 else "warned" if rule.warn and share >= rule.warn else "ok"
    return Budget(
        **{field: getattr(rule, field) for field in ("name", "provider", "model", "per", "usd", "warn", "then")},
        spent=usd,
        share=share,
        begins=period.start,
        ends=period.end,
        state=state,
        definition=definition,
    )


def _price(lists: PriceLists, provider: str, model: str, parts: Parts) -> Price | None:
    at = datetime.fromtimestamp(parts.clock(), UTC)

    def cost(column: str) -> float | None:
        found = lists.cost(model, provider, "https://api.anthropic.com", Usage(**{column: FEW}), at)
        return round(found.usd * MILLION / FEW, 6) if found else None

    base = lists.cost(model, provider, "https://api.anthropic.com", Usage(input_tokens=1), at)
    if base is None:
        return None
    return Price(
        model=model,
        by=base.by,
        input=cost("input_tokens"),
        output=cost("output_tokens"),
        cache_read=cost("cache_read_tokens"),
        cache_write_5m=cost("cache_write_5m_tokens"),
        cache_write_1h=cost("cache_write_1h_tokens"),
    )


def _listed(parts: Parts) -> list[dict[str, Any]]:
    return list(current(parts).data.get("budgets") or [])


def _place(parts: Parts, name: str) -> int:
    found = [at for at, one in enumerate(_listed(parts)) if named(one)["name"] == name]  # type: ignore[index]
    if not found:
        raise Problem(404, "not_found", f"There is no budget {name[:100]!r} in relay.yaml.")
    return found[0]


def _change(
    parts: Parts, actor: Any, if_match: str | None, budgets: list[dict[str, Any]], dry_run: bool, at: int
) -> Change:
    return change(
        parts,
        actor,
        if_match,
        lambda text: edited(text, ("budgets",), budgets),
        dry_run=dry_run,
        about="budgets",
        within=f"budgets[{at}]",
    )


def _written(said: NewBudget) -> dict[str, Any]:
    found = {name: value for name, value in said.model_dump(exclude_none=True).items() if value != ""}
    return found | {"usd": int(said.usd) if said.usd == int(said.usd) else said.usd}
