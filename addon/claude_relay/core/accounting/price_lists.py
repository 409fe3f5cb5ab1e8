"""The price lists of genai-prices, and of data/extra_prices.json for what these lack.

    library().price("claude-sonnet-5", "https://api.anthropic.com", at, batch=False)
    -> Listed(Sheet(input=((-1, Decimal("3")),), …), times=None, by="genai-prices 0.2.3 anthropic/claude-sonnet-5")

A price belongs to whoever is paid: the library's provider is found by the host of `base_url`, and its model by the name that the
model has there. Nothing is ever fetched: the lists come with the package. Terms whose price nobody knows cost what is usual, and
`Listed.by` says so.

It must not know what has been used, nor prices of relay.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from math import prod
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from claude_relay.core.routing.routes import fits

from .terms import ORDINARY, Terms

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

BATCH = {"processing": "batch"}
"""How genai-prices names the prices of a batch."""
UNBILLED = frozenset({"anthropic"})
"""Providers that take nothing for an answer that was refused before it began."""
LONGEST_NAME = 255
"""Characters of a model's name that count: thousands are remembered, and clients choose them."""

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


NOTHING: Steps = ((-1, Decimal(0)),)
FREE = Sheet(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, tool=Decimal(0))
"""Whatever is used."""


class Listed(NamedTuple):
    """What a list says of a model.

    times  how many times the prices of tokens count; None: once
    by     whose list it is, and at which terms
    """

    sheet: Sheet
    times: Decimal | None
    by: str


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

    def price(self, model: str, base_url: str, at: datetime, batch: bool, terms: Terms = ORDINARY) -> Listed | None:
        """The prices of a model on the host of `base_url`, at `at`, which has a time zone; None when it is on no list. May raise."""
        found = self._found(base_url, model[:LONGEST_NAME])
        if found is None:
            return None
        provider, known = found
        by = f"{self._by} {provider.id}/{known.id}"
        times: Decimal | None = None
        if terms is not ORDINARY:
            if terms.unbilled and provider.id in UNBILLED:
                return Listed(FREE, None, f"{by}, refused before any output")
            times, marks = _special(terms, provider.id, known.id)
            by += marks
        prices = known.get_prices(at)
        if not batch:
            sheet = self._sheets.get(id(prices)) or self._kept(prices, provider.id, known.id)
            return Listed(sheet, times, by)
        special = known.get_prices(at, BATCH) if any(known is model for model in provider.models) else prices
        sheet = _sheet(special, provider.id, known.id)
        discount = extra().batch
        if special == prices and provider.id in discount.providers:
            times = discount.share if times is None else times * discount.share
        return Listed(sheet, times, by)

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
