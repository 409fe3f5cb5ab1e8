"""What an answer cost, by the prices of genai-prices and of relay.yaml.

    prices = Prices()
    prices.warm()        # in a thread: the price lists take 0.2 s and 11 MB, once a process
    prices.cost("claude-sonnet-5", "anthropic", "https://api.anthropic.com", Usage(input_tokens=1000, output_tokens=500), at)
    -> Priced(usd=0.007, by="genai-prices 0.2.3 anthropic/claude-sonnet-5")

A price belongs to whoever is paid: the library's provider is found by the host of `base_url`, and its model by the name that the
model has there. An unknown host, such as a server of one's own, or an unknown model has no price: None, never 0. Only the
library's lists are used: its own sum takes 0.2 ms and leaves out what has no price. What the lists lack, such as the prices of fast speed
and of data residency, is in data/extra_prices.json. Nothing is ever fetched: the lists come with the package. Terms whose price nobody
knows cost what is usual, and `Priced.by` says so.

It must not know requests, attempts, tables or configuration files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from math import prod
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

from claude_relay.core.routing.routes import fits

from .terms import ORDINARY, Terms
from .tokens import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

MILLION = Decimal(1_000_000)
DIGITS = 9
"""Decimal places of a cost in USD."""
BATCH = {"processing": "batch"}
"""How genai-prices names the prices of a batch."""
UNBILLED = frozenset({"anthropic"})
"""Providers that take nothing for an answer that was refused before it began."""
OWN = "relay.yaml"
LONGEST_NAME = 255
"""Characters of a model's name that count: thousands are remembered, and clients choose them."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A cost in USD, and whose price list it is from."""

    usd: float
    by: str


class OwnPrice(Protocol):
    """A price of relay.yaml, in USD per million tokens. Of equal `model` and `provider` the latest `since` that has come counts."""

    @property
    def model(self) -> str:
        """A glob of the model's name at the provider; the first that fits."""

    @property
    def provider(self) -> str | None:
        """A name of relay.yaml; None: any."""

    @property
    def since(self) -> date | None:
        """A day in UTC; None: always."""

    @property
    def input(self) -> float:
        """Neither read from the cache nor written to it."""

    @property
    def output(self) -> float:
        """Thinking included."""

    @property
    def cache_read(self) -> float | None:
        """None: as `input`."""

    @property
    def cache_write_5m(self) -> float | None:
        """None: as `input`."""

    @property
    def cache_write_1h(self) -> float | None:
        """None: as `cache_write_5m`."""

    @property
    def request(self) -> float:
        """USD for each server tool request."""


type Steps = tuple[tuple[int, Decimal], ...]
"""USD per million, each for more tokens of input than its number; the highest number first, the last is -1."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The prices of one model at one time. None: there is none.

    tool   USD per server tool request
    fixed  USD per request, whatever is in it
    """

    input: Steps | None
    output: Steps | None
    cache_read: Steps | None
    cache_write_5m: Steps | None
    cache_write_1h: Steps | None
    reasoning: Steps | None = None
    tool: Decimal | None = None
    fixed: Decimal = Decimal(0)


class Prices:
    """The price lists. Safe in any thread; never waits for anything but the first loading of the library's lists."""

    def __init__(self, own: Sequence[OwnPrice] = ()) -> None:
        """`own`: in their order; they come before the library's."""
        self._own = _by_glob(own)

    def warm(self) -> None:
        """Load the library's lists, for 0.2 s, unless they are. Without it the first `cost` does."""
        library()

    def cost(
        self,
        model: str,
        provider: str | None,
        base_url: str,
        usage: Usage,
        at: datetime,
        *,
        batch: bool = False,
        terms: Terms = ORDINARY,
    ) -> Priced | None:
        """What `usage` cost at `at` (without a time zone: UTC). None when there is no price, or nothing is known of the usage.

        model     as it is called at the provider
        provider  its name in relay.yaml; only own prices look at it
        base_url  where the request went
        batch     in a batch of messages, at half the price; own prices too
        terms     at which it was served; an own price is taken as it is
        Never raises. Takes about 20 µs, a new name up to 3 ms.
        """
        try:
            when = at if at.tzinfo else at.replace(tzinfo=UTC)
            return self._cost(model, provider, base_url, usage, when, batch or terms.tier == "batch", terms)
        except Exception:  # no slip in a price list is worth an answer
            return None

    def _cost(
        self, model: str, provider: str | None, base_url: str, usage: Usage, at: datetime, batch: bool, terms: Terms
    ) -> Priced | None:
        if usage == Usage():
            return None
        if sheet := self._own_sheet(model, provider, at):
            return _priced(sheet, usage, extra().batch.share if batch else None, OWN)
        return library().cost(model, base_url, usage, at, batch, terms)

    def _own_sheet(self, model: str, provider: str | None, at: datetime) -> Sheet | None:
        if not self._own:
            return None
        today = at.astimezone(UTC).date()
        for glob, owner, dated in self._own:
            if owner in (None, provider) and fits(glob, model):
                for since, sheet in dated:
                    if since <= today:
                        return sheet
        return None


def together(every: Iterable[Priced | None]) -> Priced | None:
    """The sum of what several tries cost; None when one has no price, for a part of a sum would pass for the whole, or without any."""
    known: list[Priced] = []
    for priced in every:
        if priced is None:
            return None
        known.append(priced)
    if not known:
        return None
    return Priced(round(sum(one.usd for one in known), DIGITS), ", ".join(dict.fromkeys(one.by for one in known)))


# -- own prices

type Dated = list[tuple[date, Sheet]]


def _by_glob(own: Sequence[OwnPrice]) -> tuple[tuple[str, str | None, Dated], ...]:
    """In the order of the globs; of each the prices with the latest beginning first."""
    groups: dict[tuple[str, str | None], Dated] = {}
    for price in own:
        groups.setdefault((price.model, price.provider), []).append((price.since or date.min, _own_prices(price)))
    for dated in groups.values():
        dated.sort(key=lambda entry: entry[0], reverse=True)
    return tuple((glob, provider, dated) for (glob, provider), dated in groups.items())


def _own_prices(price: OwnPrice) -> Sheet:
    base = _flat(price.input)
    short = base if price.cache_write_5m is None else _flat(price.cache_write_5m)
    return Sheet(
        input=base,
        output=_flat(price.output),
        cache_read=base if price.cache_read is None else _flat(price.cache_read),
        cache_write_5m=short,
        cache_write_1h=short if price.cache_write_1h is None else _flat(price.cache_write_1h),
        tool=_exact(price.request),
    )


def _flat(price: float) -> Steps:
    return ((-1, _exact(price)),)


def _exact(price: float) -> Decimal:
    """The number as it was written: 0.1 is a tenth."""
    return Decimal(str(price))


# -- the sum


def _priced(sheet: Sheet, usage: Usage, share: Decimal | None, by: str) -> Priced | None:
    """`share`: of the token prices, which may be more than 1; None: just those."""
    tokens = _tokens(sheet, usage)
    if tokens is None or (sheet.input is None and sheet.output is None):
        return None
    tools = _known(usage.server_tool_requests)
    total = (tokens if share is None else tokens * share) + sheet.fixed
    if tools and sheet.tool is None:
        by += ", without server tools"
    elif sheet.tool is not None:
        total += tools * sheet.tool
    return Priced(float(round(total, DIGITS)), by)


def _tokens(sheet: Sheet, usage: Usage) -> Decimal | None:
    """USD for the tokens; None when there is no price for some of them."""
    fresh, read = _known(usage.input_tokens), _known(usage.cache_read_tokens)
    short, long = _known(usage.cache_write_5m_tokens), _known(usage.cache_write_1h_tokens)
    output = _known(usage.output_tokens)
    thought = min(_known(usage.reasoning_tokens), output) if sheet.reasoning else 0
    went_in = fresh + read + short + long  # tiers count all of it, cached or not
    total = Decimal(0)
    for count, steps in (
        (fresh, sheet.input),
        (read, sheet.cache_read),
        (short, sheet.cache_write_5m),
        (long, sheet.cache_write_1h),
        (output - thought, sheet.output),
        (thought, sheet.reasoning),
    ):
        if count:
            if steps is None:
                return None
            total += count * next(price for start, price in steps if went_in > start)
    return total / MILLION


def _known(count: int | None) -> int:
    return count if count and count > 0 else 0


# -- the library's lists


class _CacheWrites(msgspec.Struct, frozen=True):
    models: str
    short: Decimal = msgspec.field(name="5m")
    long: Decimal = msgspec.field(name="1h")


class _Tool(msgspec.Struct, frozen=True):
    usd: Decimal


class _Batch(msgspec.Struct, frozen=True):
    share: Decimal
    providers: frozenset[str]


class _Fast(msgspec.Struct, frozen=True):
    times: dict[str, Decimal]


class _Geographies(msgspec.Struct, frozen=True):
    times: dict[str, Decimal]
    older: tuple[str, ...] = msgspec.field(name="except")


class Extra(msgspec.Struct, frozen=True):
    """data/extra_prices.json."""

    cache_writes: _CacheWrites
    server_tools: dict[str, _Tool]
    batch: _Batch
    fast: dict[str, _Fast]
    geographies: dict[str, _Geographies]


@cache
def extra() -> Extra:
    """What the library lacks."""
    return msgspec.json.decode(files("claude_relay.core.data").joinpath("extra_prices.json").read_bytes(), type=Extra)


@cache
def library() -> Library:
    """The library's lists, loaded once a process."""
    return Library()


class Library:
    """genai-prices: https://github.com/pydantic/genai-prices."""

    def __init__(self) -> None:
        # Here, because it takes 0.2 s: the package imports an HTTP client, for a refreshing that nobody starts.
        from genai_prices import __version__
        from genai_prices.data import providers

        self._providers: list[Provider] = providers
        self._by = f"genai-prices {__version__}"
        self._found = lru_cache(maxsize=4096)(self._find)  # bounded: clients choose the names
        self._sheets: dict[int, Sheet] = {}

    def cost(
        self, model: str, base_url: str, usage: Usage, at: datetime, batch: bool, terms: Terms = ORDINARY
    ) -> Priced | None:
        """As `Prices.cost`, without own prices; may raise."""
        found = self._found(base_url, model[:LONGEST_NAME])
        if found is None:
            return None
        provider, known = found
        by = f"{self._by} {provider.id}/{known.id}"
        times: Decimal | None = None
        if terms is not ORDINARY:
            if terms.unbilled and provider.id in UNBILLED:
                return Priced(0.0, f"{by}, refused before any output")
            times, marks = _special(terms, provider.id, known.id)
            by += marks
        prices = known.get_prices(at)
        if not batch:
            sheet = self._sheets.get(id(prices)) or self._kept(prices, provider.id, known.id)
            return _priced(sheet, usage, times, by)
        special = known.get_prices(at, BATCH) if any(known is model for model in provider.models) else prices
        sheet = _sheet(special, provider.id, known.id)
        discount = extra().batch
        if special == prices and provider.id in discount.providers:
            times = discount.share if times is None else times * discount.share
        return _priced(sheet, usage, times, by)

    def _kept(self, prices: ModelPrice, provider: str, model: str) -> Sheet:
        # The lists are never let go of, so an id names the same prices for ever.
        sheet = self._sheets[id(prices)] = _sheet(prices, provider, model)
        return sheet

    def _find(self, base_url: str, model: str) -> tuple[Provider, ModelInfo] | None:
        provider = self._at(base_url)
        known = provider.find_model(model, all_providers=self._providers) if provider else None
        return (provider, known) if provider and known else None

    def _at(self, base_url: str) -> Provider | None:
        """The one whose pattern takes in the whole host: `api.anthropic.com.example` is somebody else's."""
        parts = urlsplit(base_url)
        site = f"https://{parts.hostname}"
        address = f"{site}{parts.path}/"
        for provider in self._providers:
            found = re.match(provider.api_pattern, address)
            if found and (found.end() >= len(site) or found.group().endswith(".")):
                return provider
        return None


def _special(terms: Terms, provider: str, model: str) -> tuple[Decimal | None, str]:
    """How many times the usual token prices the terms cost (None: once), and what there is to say of them."""
    fast, geographies = extra().fast.get(provider), extra().geographies.get(provider)
    known: list[tuple[str, Decimal | None]] = []
    if terms.speed:
        known.append((terms.speed, fast.times.get(model) if fast and terms.speed == "fast" else None))
    if terms.geo and not (geographies and any(fits(glob, model) for glob in geographies.older)):
        known.append((terms.geo, geographies.times.get(terms.geo) if geographies else None))
    if terms.tier and terms.tier != "batch":
        known.append((terms.tier, None))
    times = [factor for _, factor in known if factor is not None]
    marks = "".join(f", {word}{'' if factor is not None else ' at list price'}" for word, factor in known)
    return prod(times, start=Decimal(1)) if times else None, marks


def _sheet(prices: ModelPrice, provider: str, model: str) -> Sheet:
    """The library prices what is cached like other input where it has no price for it."""
    base = _steps(prices.input_mtok)
    write = _steps(prices.cache_write_mtok)
    factors = extra().cache_writes
    claude = base if fits(factors.models, model) else None
    searches, tool = prices.web_searches_kcount, extra().server_tools.get(provider)
    return Sheet(
        input=base,
        output=_steps(prices.output_mtok),
        cache_read=_steps(prices.cache_read_mtok) or base,
        cache_write_5m=_steps(prices.cache_write_5m_mtok) or write or _times(claude, factors.short) or base,
        cache_write_1h=_steps(prices.cache_write_1h_mtok) or _times(claude, factors.long) or write or base,
        reasoning=_steps(prices.output_reasoning_mtok),
        tool=searches / 1000 if isinstance(searches, Decimal) else tool.usd / 1000 if tool else None,
        fixed=fixed / 1000 if isinstance(fixed := prices.requests_kcount, Decimal) else Decimal(0),
    )


def _steps(price: Decimal | TieredPrices | None) -> Steps | None:
    if price is None or isinstance(price, Decimal):
        return None if price is None else ((-1, price),)
    return (*((tier.start, tier.price) for tier in reversed(price.tiers)), (-1, price.base))


def _times(steps: Steps | None, factor: Decimal) -> Steps | None:
    return steps and tuple((start, price * factor) for start, price in steps)
