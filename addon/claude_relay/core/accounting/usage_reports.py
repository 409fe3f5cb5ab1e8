"""What providers themselves say was used and what it cost, by day and model, read from the pages of their reports.

    page = usage_page("anthropic", body)        Page((Reported("2026-11-26", "claude-opus-4-8", Used(…), "apikey_01…"),), next="…")
    costs = cost_page("anthropic", body)        the same, of money
    entries(usage, costs, known=("apikey_01…",))    one Entry for each day, model and side

Days are those of UTC. Raises ValueError for a body that is no such page. It must not know how pages are fetched, or what the ledger says.

Anthropic: https://platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages (tokens),
https://platform.claude.com/docs/en/api/admin/cost_report/retrieve (amounts are cents as decimal text),
https://platform.claude.com/docs/en/api/admin/api_keys/list (which keys there are).
OpenAI: https://platform.openai.com/docs/api-reference/usage/completions, https://platform.openai.com/docs/api-reference/usage/costs.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.errors import clean

LONGEST_NAME: Final = 200
LARGEST: Final = 1 << 53
"""Tokens in one number of a report at most: no more is exact in all that reads them."""
_DATED = re.compile(r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest|\[[a-z0-9]{1,8}\])$")


class Side(StrEnum):
    """Who says it.

    PROVIDER   all that its report has
    ELSEWHERE  the part of it that keys used which no pool here has; nothing is said where the provider does not tell keys apart
    RELAY      the ledger, of requests with keys of the pool
    OWN        the ledger, of requests with clients' own credentials
    ACCOUNT    the ledger, of requests with OAuth accounts, which a subscription pays for
    """

    PROVIDER = "provider"
    ELSEWHERE = "elsewhere"
    RELAY = "relay"
    OWN = "own"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Used:
    """Sums of one side. `cost_usd` None: not known. Of a provider's report the fields from `requests` on are 0.

    input_tokens  without those that were read from the cache or written to it
    estimated     requests of which some tokens were not told by the provider, and how many output tokens all of theirs are
    unpriced      requests without a price
    batch_…       what of it were results of batches; priority_usd: what was served at the priority tier
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    searches: int = 0
    cost_usd: float | None = None
    requests: int = 0
    estimated: int = 0
    estimated_tokens: int = 0
    unpriced: int = 0
    batch_tokens: int = 0
    batch_usd: float = 0.0
    priority_usd: float = 0.0

    @property
    def tokens(self) -> int:
        """All of them."""
        written = self.cache_write_5m_tokens + self.cache_write_1h_tokens
        return self.input_tokens + self.cache_read_tokens + written + self.output_tokens

    def __add__(self, other: Used) -> Used:
        """Both together; a cost that is known of one only is that."""
        costs = [one.cost_usd for one in (self, other) if one.cost_usd is not None]
        sums = {name: getattr(self, name) + getattr(other, name) for name in NAMES if name != "cost_usd"}
        return Used(**sums, cost_usd=sum(costs) if costs else None)


NAMES: Final = tuple(field.name for field in fields(Used))
NOTHING: Final = Used()


@dataclass(frozen=True, slots=True)
class Entry:
    """What one side says of a day (UTC) and a model, by the name that `canonical` gives."""

    day: str
    model: str
    side: Side
    used: Used


@dataclass(frozen=True, slots=True)
class Reported:
    """A line of a report. `key`: the id of the provider's for the key that was used; `kind`: of a cost that no model has."""

    day: str
    model: str
    used: Used
    key: str | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """`next`: what to ask for as `page`; None: this is the last one."""

    entries: tuple[Reported, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A report. `by_key`: whether the provider tells keys apart."""

    entries: tuple[Entry, ...]
    by_key: bool = False


@dataclass(frozen=True, slots=True)
class NotFetched:
    """None came. `final`: a person has to do something; `pause`: seconds to wait, as the provider says it."""

    reason: str
    final: bool = False
    pause: float | None = None


def canonical(model: str | None) -> str:
    """One name for a model's alias, its dated name and what was asked for with a suffix: `claude-haiku-4-5`."""
    name = clean(model or "").strip().lower()[:LONGEST_NAME].removeprefix("anthropic/").removeprefix("models/")
    while (shorter := _DATED.sub("", name)) != name and shorter:
        name = shorter
    return name


# --- pages ---


class _Creation(msgspec.Struct):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Tools(msgspec.Struct):
    web_search_requests: int = 0


class _ClaudeUsage(msgspec.Struct):
    model: str | None = None
    api_key_id: str | None = None
    uncached_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    cache_creation: _Creation | None = None
    server_tool_use: _Tools | None = None


class _ClaudeCost(msgspec.Struct):
    amount: str
    currency: str = "USD"
    model: str | None = None
    cost_type: str | None = None


class _OpenAIUsage(msgspec.Struct):
    model: str | None = None
    input_tokens: int = 0
    input_cached_tokens: int = 0
    output_tokens: int = 0


class _Amount(msgspec.Struct):
    value: float | str = 0.0
    currency: str = "usd"


class _OpenAICost(msgspec.Struct):
    amount: _Amount
    line_item: str | None = None


class _Bucket[R](msgspec.Struct):
    results: tuple[R, ...]
    starting_at: str | None = None
    start_time: int | None = None


class _Buckets[R](msgspec.Struct):
    data: tuple[_Bucket[R], ...]
    has_more: bool = False
    next_page: str | None = None


class _Key(msgspec.Struct):
    id: str
    partial_key_hint: str | None = None


class _Keys(msgspec.Struct):
    data: tuple[_Key, ...]
    has_more: bool = False
    last_id: str | None = None


def usage_page(form: str, body: bytes) -> Page:
    """Tokens."""
    if form == "anthropic":
        page = _decoded(body, _Buckets[_ClaudeUsage])
        return Page(tuple(_of_claude(_day(bucket), one) for bucket in page.data for one in bucket.results), _next(page))
    other = _decoded(body, _Buckets[_OpenAIUsage])
    return Page(tuple(_of_openai(_day(bucket), one) for bucket in other.data for one in bucket.results), _next(other))


def cost_page(form: str, body: bytes) -> Page:
    """Money; other currencies than USD are left out, for nothing here knows what they are worth."""
    if form == "anthropic":
        page = _decoded(body, _Buckets[_ClaudeCost])
        return Page(
            tuple(
                Reported(
                    _day(bucket), canonical(one.model), Used(cost_usd=_usd(one.amount) / 100), kind=one.cost_type or ""
                )
                for bucket in page.data
                for one in bucket.results
                if one.currency.upper() == "USD"
            ),
            _next(page),
        )
    other = _decoded(body, _Buckets[_OpenAICost])
    return Page(
        tuple(
            Reported(
                _day(bucket),
                canonical((one.line_item or "").partition(",")[0].strip().replace(" ", "-")),
                Used(cost_usd=_usd(one.amount.value)),
            )
            for bucket in other.data
            for one in bucket.results
            if one.amount.currency.upper() == "USD"
        ),
        _next(other),
    )


def known_keys(body: bytes, secrets: Collection[str]) -> tuple[frozenset[str], str | None]:
    """Of a page of Anthropic's list of keys: the ids of those that are among `secrets`, and what comes after; None: nothing.

    The list shows of a key how it begins and ends: `sk-ant-api03-R2D...igAA`.
    """
    page = _decoded(body, _Keys)
    found = {one.id for one in page.data if any(_hints(one.partial_key_hint or "", secret) for secret in secrets)}
    return frozenset(found), page.last_id if page.has_more else None


def _hints(hint: str, secret: str) -> bool:
    begin, dots, end = hint.partition("...")
    return bool(dots and begin and end) and secret.startswith(begin) and secret.endswith(end)


def entries(
    usage: Iterable[Reported], costs: Iterable[Reported], *, known: Collection[str] | None = None
) -> tuple[Entry, ...]:
    """One for each day and model, and one more for what unknown keys used. `known`: ids of keys; None: they are not told apart.

    What searches cost has no model in Anthropic's report; it goes to the models that searched, by how often they did.
    """
    whole: dict[tuple[str, str], Used] = defaultdict(Used)
    elsewhere: dict[tuple[str, str], Used] = defaultdict(Used)
    for one in usage:
        place = one.day, one.model
        whole[place] += one.used
        if known is not None and one.key not in known:
            elsewhere[place] += one.used
    searches: dict[str, float] = defaultdict(float)
    for one in costs:
        if one.kind == "web_search" and not one.model:
            searches[one.day] += one.used.cost_usd or 0.0
        else:
            whole[one.day, one.model] += one.used
    for day, usd in searches.items():
        for place, part in _by_searches(whole, day).items():
            whole[place] += Used(cost_usd=usd * part)
    found = [Entry(*place, Side.PROVIDER, used) for place, used in whole.items()]
    return (*found, *(Entry(*place, Side.ELSEWHERE, used) for place, used in elsewhere.items()))


def _by_searches(whole: Mapping[tuple[str, str], Used], day: str) -> dict[tuple[str, str], float]:
    """Which part of a day's searches is whose; where nobody is known to have searched, that of no model."""
    counts = {place: used.searches for place, used in whole.items() if place[0] == day and used.searches}
    total = sum(counts.values())
    return {place: count / total for place, count in counts.items()} if total else {(day, ""): 1.0}


def _of_claude(day: str, one: _ClaudeUsage) -> Reported:
    written = one.cache_creation or _Creation()
    used = Used(
        input_tokens=_count(one.uncached_input_tokens),
        cache_read_tokens=_count(one.cache_read_input_tokens),
        cache_write_5m_tokens=_count(written.ephemeral_5m_input_tokens),
        cache_write_1h_tokens=_count(written.ephemeral_1h_input_tokens),
        output_tokens=_count(one.output_tokens),
        searches=_count((one.server_tool_use or _Tools()).web_search_requests),
    )
    return Reported(day, canonical(one.model), used, one.api_key_id)


def _of_openai(day: str, one: _OpenAIUsage) -> Reported:
    read = min(_count(one.input_cached_tokens), _count(one.input_tokens))
    used = Used(input_tokens=one.input_tokens - read, cache_read_tokens=read, output_tokens=_count(one.output_tokens))
    return Reported(day, canonical(one.model), used)


def _decoded[T](body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except BAD_JSON:
        raise ValueError("the answer is no report") from None


def _day[R](bucket: _Bucket[R]) -> str:
    try:
        if bucket.starting_at is not None:
            return f"{datetime.fromisoformat(bucket.starting_at).astimezone(UTC):%Y-%m-%d}"
        return f"{datetime.fromtimestamp(bucket.start_time or 0, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        raise ValueError("the report has a day that is none") from None


def _next[R](page: _Buckets[R]) -> str | None:
    return page.next_page if page.has_more else None


def _count(number: int) -> int:
    if not 0 <= number <= LARGEST:
        raise ValueError("the report has a number of tokens that is none")
    return number


def _usd(amount: float | str) -> float:
    try:
        found = float(amount)
    except ValueError:
        raise ValueError("the report has an amount that is none") from None
    if not math.isfinite(found):
        raise ValueError("the report has an amount that is none")
    return found
