"""Keys as the API says them. It must not know where any of it comes from."""

from __future__ import annotations

from pydantic import BaseModel


class Limits(BaseModel):
    """The key's own; null: none."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None


class CooldownOut(BaseModel):
    """`scope`: a model or a kind of requests; empty: all. `until` null: until a check passes or it is lifted."""

    scope: str
    until: str | None
    reason: str


class CheckOut(BaseModel):
    """What the provider was last asked about it, and said."""

    status: str
    at: str | None
    until: str | None
    reason: str | None


class LiveOut(BaseModel):
    """What the relays that run say of it, together. `headroom`: the share that is left of its scarcest limit; `limits`: of each."""

    in_flight: int
    used: int
    headroom: float
    limits: dict[str, float]


class UseOut(BaseModel):
    """Since midnight, in your zone."""

    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class KeyOut(BaseModel):
    """A key, without its secret. `state`: the weightiest of what is true of it; `source`: `vault`, else it is changed elsewhere."""

    id: str
    provider: str
    alias: str
    name: str
    mask: str
    source: str
    label: str
    tier: str
    group: str
    weight: float
    limits: Limits
    enabled: bool
    proxy: str | None
    notes: str
    created_at: str | None
    removed_at: str | None
    chosen: bool
    state: str
    until: str | None
    reason: str
    cooldowns: list[CooldownOut]
    check: CheckOut | None
    live: LiveOut | None
    today: UseOut
    last_used_at: str | None
    attempts: int
    failures: int
