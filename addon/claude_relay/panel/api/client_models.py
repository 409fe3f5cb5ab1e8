"""What the API says of clients and groups, and what it is given: the models of `clients` and `groups`.

    policy = said.policy(parts)                what may be done, and the limits; raises Problem 422, naming the field
    limits = limits_of(parts, [("client", "alice", policy)], now)         how far each is used

Limits are texts, as `scripts/clients` takes them: `60 requests/minute`, `$20/day per session`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from claude_relay.core.clients import spelling
from claude_relay.core.clients.demand import Bound, Owner, bounds_of
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import ENDPOINTS, LISTS, Policy
from claude_relay.core.config.problems import suggest
from claude_relay.core.keys.selection import TIERS
from claude_relay.core.times import duration, iso
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.problems import FieldError, Problem
from claude_relay.store.clients.book import NAME
from claude_relay.store.clients.limit_use import LimitUse
from claude_relay.store.clients.managed_settings import checked
from claude_relay.store.ledger.lines import Line

type Text = Annotated[str, StringConstraints(max_length=500)]
type Texts = Annotated[list[Text], Field(max_length=200)]
type Name = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$", max_length=64)]
type Span = Annotated[str | float, Field(union_mode="left_to_right")]


class PolicyFields(Strict):
    """What a client or a group may do. A list that is empty forbids nothing."""

    providers: Texts = Field([])
    models: Texts = Field([], description="Globs of the models that may be requested.")
    key_tiers: Texts = Field([])
    key_groups: Texts = Field([])
    endpoints: Texts = Field([], description=f"Of {', '.join(ENDPOINTS)}.")
    addresses: Texts = Field([], description="Networks that requests may come from.")
    programs: Texts = Field([], description="Globs of the client's program.")
    tunnel: bool = False
    limits: Texts = Field([], examples=[["$20/day", "60 requests/minute", "4 concurrent per session"]])

    def policy(self, parts: Parts) -> Policy:
        """Raises Problem 422."""
        reading = Reading()
        known = list(parts.in_force().providers)
        readers: dict[str, Callable[[str], Any]] = {
            "providers": lambda text: _one_of(text, known),
            "key_tiers": lambda text: spelling.tier(text, TIERS),
            "endpoints": lambda text: _one_of(text, ENDPOINTS),
            "addresses": spelling.network,
        }
        lists = {name: reading.many(name, getattr(self, name), readers.get(name, spelling.line)) for name in LISTS}
        limits = reading.many("limits", self.limits, parse)
        places = [limit.place for limit in limits]
        for n, limit in enumerate(limits):
            if limit.place in places[:n]:
                reading.wrong("limits", f"There are two limits of the same: {limit}. Leave one of them out.")
        reading.end()
        return Policy(**lists, tunnel=self.tunnel, limits=limits)


class ClientFields(PolicyFields):
    """All that can be said of a client."""

    group: Name | None = None
    note: Text = ""
    tags: Texts = Field([])
    owner: Text = Field("", description="The id that another system has for it.")
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    enabled: bool = True
    expires_at: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="A point in time, or a length of time from now: `2026-12-31`, `30d`."
    )
    expires_after: Span | None = Field(None, description="So long after its first use: `8h`, or seconds.")

    def values(self, parts: Parts, before: str | None = None) -> dict[str, Any]:
        """As the client book takes them. `before`: when it expired until now, which may be said again. Raises Problem 422."""
        reading = Reading()
        found: dict[str, Any] = {"enabled": self.enabled, "priority": self.priority, "group": self.group or None}
        if self.group and not any(one.name == self.group and one.removed_at is None for one in parts.clients.groups()):
            reading.wrong("group", f"There is no group '{self.group}'.")
        for name in ("note", "owner"):
            found[name] = reading.one(name, getattr(self, name), spelling.line)
        found["tags"] = reading.many("tags", self.tags, spelling.line)
        at = self.expires_at or None
        if at is not None and at != before:
            at = reading.one("expires_at", at, lambda text: spelling.moment(text, parts.clock()))
        found["expires_at"] = at
        after = self.expires_after
        found["expires_after"] = None if after in (None, "") else reading.one("expires_after", str(after), length)
        try:
            found["policy"] = self.policy(parts)
        except Problem as problem:
            reading.errors += problem.errors
        reading.end()
        return found


class NewClient(ClientFields):
    """A client that is not there yet."""

    name: Name


class GroupFields(PolicyFields):
    """All that can be said of a group."""

    note: Text = ""
    enabled: bool = True
    settings: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="A JSON file on the relay's machine: managed settings for Claude Code of clients who sign in."
    )

    def values(self, parts: Parts, before: str | None = None) -> dict[str, Any]:
        """As the client book takes them. `before`: the file until now, which may be said again. Raises Problem 422."""
        reading = Reading()
        note = reading.one("note", self.note, spelling.line)
        settings = self.settings or None
        if settings is not None and settings != before:
            settings = reading.one("settings", settings, checked)
        found = {"enabled": self.enabled, "note": note, "settings": settings}
        try:
            found["policy"] = self.policy(parts)
        except Problem as problem:
            reading.errors += problem.errors
        reading.end()
        return found


class NewGroup(GroupFields):
    """A group that is not there yet."""

    name: Name


class Key(BaseModel):
    """A client key, as far as it may be told. `valid_until` null: no end."""

    mask: str
    created_at: str
    valid_until: str | None


class Use(BaseModel):
    """What was used."""

    requests: int = 0
    errors: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cache_read_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    cost_usd: float | None = 0

    @classmethod
    def of(cls, line: Line | None) -> Use:
        """Of a line of a report."""
        return cls() if line is None else cls(**{name: getattr(line, name) for name in cls.model_fields})


class LimitState(BaseModel):
    """A limit and how far it is used. Of those for each session or agent it is not known: `used` is null.

    share      0 to 1, and more where it was passed
    resets_at  null: never, or nothing is used
    """

    limit: str
    of: Literal["client", "group"]
    owner: str
    measure: Literal["requests", "tokens", "concurrent", "usd"]
    per: str
    scope: Literal["all", "session", "agent"]
    amount: float
    used: float | None
    share: float | None
    resets_at: str | None


class Described(PolicyFields):
    """What is said of a client or a group alike."""

    name: str
    state: str
    note: str
    enabled: bool
    created_at: str
    removed_at: str | None


class Client(Described):
    """A client."""

    group: str | None
    tags: list[str]
    owner: str
    priority: int
    expires_at: str | None
    expires_after: float | None
    keys: list[Key]
    first_used_at: str | None
    last_used_at: str | None


class ClientLine(Client):
    """A client in a list: with what it used today, and how far its limits are used."""

    today: Use
    limit_states: list[LimitState]


class Group(Described):
    """A group, with the names of its clients."""

    settings: str | None
    clients: list[str]


class GroupLine(Group):
    """A group in a list."""

    today: Use
    limit_states: list[LimitState]


class Reading:
    """Reads fields one after the other, so that all that is wrong is said at once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def wrong(self, field: str, detail: str) -> None:
        """One more."""
        self.errors.append(FieldError(field=field, detail=detail))

    def one(self, field: str, text: str, read: Callable[[str], Any]) -> Any:
        """A single value; None where it is wrong."""
        try:
            return read(text)
        except ValueError as error:
            said = str(error)
            self.wrong(field, said if said[:1] in "'\"" else f"This {said}" if _is_a_part(said) else said)
            return None

    def many(self, field: str, texts: Iterable[str], read: Callable[[str], Any]) -> tuple[Any, ...]:
        """Several, each once."""
        wanted = [text for text in texts if text.strip()]
        before = len(self.errors)
        found = [self.one(f"{field}.{n}", text, read) for n, text in enumerate(wanted)]
        if len(self.errors) > before:  # also where a form shows what is wrong: at the field as a whole
            self.wrong(field, self.errors[before].detail)
        return tuple(dict.fromkeys(value for value in found if value is not None))

    def end(self) -> None:
        """Raises Problem 422 when something was wrong."""
        if self.errors:
            text = "; ".join(dict.fromkeys(error.detail.rstrip(".") for error in self.errors))
            raise Problem(422, "invalid", f"{text}.", errors=self.errors)


def length(text: str) -> float:
    """Seconds of `8h` or `3600`. Raises ValueError."""
    try:
        found = duration(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} {error}") from None
    if not 0 < found < 1e9:
        raise ValueError(f"{text[:60]!r} is no length of time above 0")
    return found


def limits_of(
    parts: Parts, owners: Iterable[tuple[Owner, str, Policy]], now: float
) -> dict[tuple[Owner, str], list[LimitState]]:
    """How far the limits of clients and groups are used, each by itself."""
    bounds = {(kind, name): [*bounds_of(kind, name, policy)] for kind, name, policy in owners}
    used = LimitUse(parts.database).of((bound for every in bounds.values() for bound in every), now)
    return {owner: [*_states(every, used)] for owner, every in bounds.items()}


def _states(bounds: Iterable[Bound], used: dict[str, Any]) -> Iterator[LimitState]:
    for bound in bounds:
        limit, found = bound.limit, used.get(bound.key)
        yield LimitState(
            limit=str(limit),
            of=bound.kind,
            owner=bound.owner,
            measure=limit.measure,
            per=limit.per,
            scope=limit.scope,
            amount=limit.amount,
            used=None if found is None else round(found.used, 6),
            share=None if found is None else round(found.used / limit.amount, 4),
            resets_at=None if found is None or found.resets_at is None else iso(found.resets_at),
        )


def _one_of(text: str, known: Iterable[str]) -> str:
    names = list(known)
    if text not in names:
        raise ValueError(f"{text[:60]!r} is not known here; {suggest(text, names)}")
    return text


def _is_a_part(text: str) -> bool:
    return text.startswith(("is ", "looks "))
