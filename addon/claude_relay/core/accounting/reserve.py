"""What one request has reserved under the budgets and the limits of its client, from its first attempt to its end.

    reserve = Reserve(whose, holds, need, terms, at=started_at, clock=time.time, spendings=spendings)
    reserve.costs("anthropic", "claude-opus-4-5")           # what it may cost there, model by model
    reserve.move("anthropic", "claude-opus-4-5")            # an attempt begins there; raises RelayError when there is no room any more
    reserve.passed(size, events, usage)                     # its answer runs: topped up when it turns out longer or dearer than expected
    reserve.counted()                                       # what it cost is about to be counted under the limits of its client
    reserve.release()                                       # however it ends; a second time does nothing

It belongs to one request. It must not know flows, keys or how prices are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import msgspec

from .accounts import NANO, Account
from .budgets import Budgets, Cost
from .holds import Hold, Holds, Reserved
from .needs import UNKNOWN, Need, Outputs, Part
from .pricing import Tariff
from .tokens import Usage

LOOK = 16 * 1024
"""Bytes of an answer between two looks at what it has come to."""
FRAME = 115
"""Bytes of a stream's event around its text."""
BYTES_PER_TOKEN = 4
AHEAD = LOOK // BYTES_PER_TOKEN
"""Tokens that an answer may grow by until the next look."""
CLEAR = 1e-6
"""USD that have to be left under a limit beside all that is spent, reserved and wanted for it to be seen without rounding."""

MOST = 512
"""Models whose prices are remembered; clients choose the names."""

type Price = Callable[[str, str, Usage, bool], float | None]
"""USD for what is used of a model (the second) at a provider (the first), True: in a batch; None: there is no price."""
type Quote = Callable[[str, str, bool], Tariff | None]
"""What text costs of a model (the second) at a provider (the first), True: in a batch; None: there is no price."""


class Terms:
    """What the worth of a need is found by. Prices are asked for once for each model: it is for a minute, and for many requests."""

    __slots__ = ("_quotes", "outputs", "price", "quote")

    def __init__(self, price: Price, quote: Quote, outputs: Outputs) -> None:
        self.price, self.quote, self.outputs = price, quote, outputs
        self._quotes: dict[tuple[str, str, bool], Tariff | None] = {}

    def nano(self, provider: str, model: str, part: Part, batch: bool) -> int:
        """What a part of a need may cost, in billionths of a USD; 0: there is no price."""
        place = provider, model, batch
        if place not in self._quotes:
            if len(self._quotes) >= MOST:
                self._quotes.clear()
            self._quotes[place] = self.quote(provider, model, batch)
        if (tariff := self._quotes[place]) is None:
            return 0
        output, most = self.outputs.high.get((provider, model), UNKNOWN), part.most
        return part.requests * tariff.nano(part.input_tokens, output if most is None or output < most else most)


class HasBudgets(Protocol):
    """Who has the budgets that are in force, which may be exchanged."""

    @property
    def budgets(self) -> Budgets:
        """Those of now."""


class HasRoom(Protocol):
    """A limit of money that a request is under beside the budgets: `account` what was spent, `reserved` what others may cost.

    start  from when on requests begin in its present period; what those before have reserved belongs to another one
    """

    account: Account
    start: float
    reserved: Reserved

    def check(self, at: float, nano: int, contact: str, holds: Holds | None = None) -> None:
        """Begins a new period if it is time. Raises RelayError when a request that may cost so much has no room."""


class Reserve(msgspec.Struct, eq=False):
    """The reservation of one request; nothing of it is reserved before `move`.

    Every request of a client with a limit of money comes by here: what is done for each limit stands in the loops, not in calls.

    whose      has the budgets
    holds      all that is reserved under them
    at         when the request began, seconds since the epoch
    spendings  what it is reserved under besides: the limits of its client; `contact`: whom that may ask
    look_at    bytes of the answer from which `passed` wants to be asked again
    over       nothing is reserved any more, now or later
    """

    whose: HasBudgets
    holds: Holds
    need: Need
    terms: Terms
    at: float
    clock: Callable[[], float]
    spendings: Sequence[HasRoom] = ()
    contact: str = ""
    look_at: int = 0
    over: bool = False
    _kept: bool = False
    _place: tuple[str, str] | None = None
    _running: Sequence[Hold] = ()
    _spent: Sequence[Hold] = ()
    _output: int = 0
    """Tokens that the answer is expected to have."""
    _known: int = 0
    """Tokens of input that are known of it."""

    def costs(self, provider: str, model: str) -> tuple[Cost, ...]:
        """What it may cost at a provider where the model is called so."""
        parts, batch, nano = self.need.parts, self.need.batch, self.terms.nano
        if len(parts) == 1:  # as nearly always
            name = parts[0].model or model
            return (Cost(name, nano(provider, name, parts[0], batch)),)
        cost_of: dict[str, int] = {}
        for part in parts:
            name = part.model or model
            cost_of[name] = cost_of.get(name, 0) + nano(provider, name, part, batch)
        return tuple([Cost(name, cost_of[name]) for name in cost_of])

    def move(self, provider: str, model: str, spent: float = 0.0) -> None:
        """An attempt begins: what it may cost is reserved where it goes, and no longer where the one before went.

        spent  USD that the attempt before has used for an answer that nobody gets; stays reserved there

        Raises RelayError when what covers it has no room; then nothing but what was spent stays reserved.
        """
        if self.over:
            return
        now = self.clock()
        if spent > 0 and self._place is not None:
            self._spent = (*self._spent, self._hold(*self._place, round(spent * NANO), now))
        self.look_at = self._output = self._known = 0
        if (provider, model) == self._place:
            return
        if self._place is not None:
            self._drop(self._running, now)
            self._running, self._place = (), None
        costs, nano = self.costs(provider, model), 0
        for cost in costs:
            nano += cost.nano
        for spending in self.spendings:
            account = spending.account
            if (
                account.usd + (nano + spending.reserved.nano) / NANO >= account.rule.usd - CLEAR
                or now >= account.now.end
                or spending.start != account.now.start
            ):
                spending.check(now, nano, self.contact, self.holds)
        self.whose.budgets.check(now, provider, costs)
        self._running = [self._hold(provider, cost.model, cost.nano, now) for cost in costs]
        self._place = provider, model

    def passed(self, size: int, events: int, usage: Usage) -> None:
        """So many bytes and events of the answer have passed, and `usage` is known: reserve more if that comes to more.

        What is known of the input takes the place of its estimate, and output that exceeds what was expected is counted by its size.
        """
        self.look_at = size + LOOK
        if len(self._running) != 1 or self._place is None or self.need.batch:
            return
        part, hold = self.need.parts[0], self._running[0]
        so_far = max(usage.output_tokens or 0, (size - FRAME * events) // BYTES_PER_TOKEN)
        self._output = self._output or self.terms.outputs.expected(*self._place, part.most)
        before, fresh, read = self._known, usage.input_tokens or 0, usage.cache_read_tokens or 0
        self._known = fresh + read + (usage.cache_write_5m_tokens or 0) + (usage.cache_write_1h_tokens or 0)
        if so_far > self._output:
            self._output = so_far + AHEAD if part.most is None else max(so_far, min(so_far + AHEAD, part.most))
        elif (
            self._known == before and not usage.server_tool_requests
        ):  # as nearly always: nothing is known that was not reserved
            return
        known = usage if self._known else replace(usage, input_tokens=part.input_tokens)
        nano = self._nano(hold.provider, hold.model, replace(known, output_tokens=self._output))
        if nano > hold.nano:
            for reserved in hold.counted:
                reserved.nano += nano - hold.nano
            self.holds.change(hold, nano)

    def counted(self) -> None:
        """What it cost is about to be counted under the limits of its client: nothing of it is reserved there any more. The budgets
        count it later; until then it stays reserved under them.
        """
        self._free((*self._running, *self._spent))

    def keep(self) -> None:
        """The request is over, but what it cost is known later: all stays reserved until `settle`."""
        self._kept = True

    def release(self) -> None:
        """The request is over, and what it cost is counted: nothing of it is reserved any more, now or later."""
        if self._kept or self.over:
            return
        self.over = True
        holds = (*self._running, *self._spent)
        self._running, self._spent, self._place = (), (), None
        self._drop(holds, self.clock())

    def settle(self) -> None:
        """As `release`, for one that was kept."""
        self._kept = False
        self.release()

    def _hold(self, provider: str, model: str, nano: int, now: float) -> Hold:
        """Reserve everywhere, whether there is room or not."""
        hold = Hold(provider, model, self.at, nano)
        self.holds.add(hold, now)
        if self.spendings:
            hold.counted = counted = [spending.reserved for spending in self.spendings if self.at >= spending.start]
            for reserved in counted:
                reserved.nano += nano
                reserved.holds += 1
        return hold

    def _drop(self, holds: Sequence[Hold], now: float) -> None:
        """Let go of them everywhere."""
        for hold in holds:
            self.holds.drop(hold, now)
            if hold.counted:
                self._free((hold,))

    def _free(self, holds: Sequence[Hold]) -> None:
        """Let go of them under the limits of the client."""
        for hold in holds:
            for reserved in hold.counted:
                reserved.nano -= hold.nano
                reserved.holds -= 1
            hold.counted = ()

    def _nano(self, provider: str, model: str, usage: Usage) -> int:
        return round((self.terms.price(provider, model, usage, self.need.batch) or 0.0) * NANO)
