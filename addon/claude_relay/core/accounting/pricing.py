"""What an answer cost, by the prices of genai-prices and of relay.yaml.

    prices = Prices()
    prices.warm()        # in a thread: the price lists take 0.2 s and 11 MB, once a process
    prices.cost("claude-sonnet-5", "anthropic", "https://api.anthropic.com", Usage(input_tokens=1000, output_tokens=500), at)
    -> Priced(usd=0.007, by="genai-prices 0.2.3 anthropic/claude-sonnet-5")

A price of relay.yaml comes before those of the lists (`price_lists`). An unknown host, such as a server of one's own, or an unknown
model has no price: None, never 0. Only the library's lists are used: its own sum takes 0.2 ms and leaves out what has no price.

It must not know how the lists are made, nor requests, attempts, tables or configuration files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Protocol

from claude_relay.core.routing.routes import fits

from .price_lists import Sheet, Steps, extra, library
from .terms import ORDINARY, Terms
from .tokens import Usage

MILLION, NANO = Decimal(1_000_000), Decimal(1_000_000_000)
DIGITS = 9
"""Decimal places of a cost in USD."""
OWN = "relay.yaml"


@dataclass(frozen=True, slots=True)
class Priced:
    """A cost in USD, and whose price list it is from."""

    usd: float
    by: str


type Rates = tuple[tuple[int, float], ...] | None
"""Billionths of a USD per token, each for more tokens of input than its number, as `Steps`; None: there is no price."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What text costs of a model, none of it cached: to reckon with before anything was used. `fixed`: billionths of a USD per request."""

    input: Rates
    output: Rates
    fixed: float = 0.0

    def nano(self, fresh: int, output: int) -> int:
        """Billionths of a USD for so many tokens; 0 where there is no price for some of them."""
        total = self.fixed
        if fresh:
            if self.input is None:
                return 0
            for start, rate in self.input:
                if fresh > start:
                    total += fresh * rate
                    break
        if output:
            if self.output is None:
                return 0
            for start, rate in self.output:
                if fresh > start:
                    total += output * rate
                    break
        return round(total)


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
        listed = library().price(model, base_url, at, batch, terms)
        return listed and _priced(listed.sheet, usage, listed.times, listed.by)

    def tariff(
        self, model: str, provider: str | None, base_url: str, at: datetime, *, batch: bool = False
    ) -> Tariff | None:
        """What text costs at `at`, at the usual terms; None when there is no price. Never raises; see `cost`."""
        try:
            if sheet := self._own_sheet(model, provider, at):
                return _tariff(sheet, extra().batch.share if batch else None)
            listed = library().price(model, base_url, at, batch)
            return listed and _tariff(listed.sheet, listed.times)
        except Exception:
            return None

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


def _tariff(sheet: Sheet, share: Decimal | None) -> Tariff | None:
    if sheet.input is None and sheet.output is None:
        return None
    return Tariff(_rates(sheet.input, share), _rates(sheet.output, share), float(sheet.fixed * NANO))


def _rates(steps: Steps | None, share: Decimal | None) -> Rates:
    times = NANO / MILLION if share is None else NANO * share / MILLION
    return None if steps is None else tuple((start, float(price * times)) for start, price in steps)


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
