"""Budgets at a price that is easy to reckon with, and requests that reserve under them."""

from __future__ import annotations

from collections.abc import Sequence

from claude_relay.core.accounting.accounts import NANO
from claude_relay.core.accounting.budgets import Budgets
from claude_relay.core.accounting.holds import Holds
from claude_relay.core.accounting.needs import UNKNOWN, Need, Outputs, Part
from claude_relay.core.accounting.pricing import Tariff
from claude_relay.core.accounting.reserve import HasRoom, Reserve, Terms
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.config import Budget

NOON = 1_795_000_000.0
OPUS, HAIKU = "claude-opus-4-5", "claude-haiku-4-5"


def budget(**fields: object) -> Budget:
    return Budget.model_validate({"per": "day", "usd": 1} | fields)


def price(provider: str, model: str, usage: Usage, batch: bool) -> float | None:
    """1 USD for a thousand tokens, half of it in a batch, and for a search; `free` has no price."""
    tokens = sum(number or 0 for number in (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens))
    searches = usage.server_tool_requests or 0
    return None if model == "free" else tokens / 1000 * (0.5 if batch else 1) + searches


def quote(provider: str, model: str, batch: bool) -> Tariff | None:
    """The same, in billionths for a token."""
    rates = ((-1, NANO / 1000 * (0.5 if batch else 1)),)
    return None if model == "free" else Tariff(rates, rates)


class Desk:
    """Budgets, and requests that reserve under them."""

    def __init__(self, *rules: Budget) -> None:
        self.now = NOON
        self.holds, self.outputs = Holds(), Outputs()
        self.budgets = Budgets(rules, holds=self.holds)

    def request(
        self, usd: float = 0.4, *, most: int | None = 100, at: float | None = None, spendings: Sequence[HasRoom] = ()
    ) -> Reserve:
        """One of a message that may cost so much: 100 tokens of output, the rest of input."""
        need = Need((Part("", round(usd * 1000) - (UNKNOWN if most is None else most), most),))
        return self.of(need, at, spendings)

    def of(self, need: Need, at: float | None = None, spendings: Sequence[HasRoom] = ()) -> Reserve:
        begun = self.now if at is None else at
        terms = Terms(price, quote, self.outputs)
        return Reserve(self, self.holds, need, terms, at=begun, clock=lambda: self.now, spendings=spendings)

    def reserved(self, which: int = 0) -> float:
        rule, _, span = self.budgets.state(self.now)[which]
        return self.holds.under(rule, span.start) / NANO
