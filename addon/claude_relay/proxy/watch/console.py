"""What a person at the terminal reads: a line for each request that is over, why failed ones failed, and how keys and providers fare.

    console = Console(lambda: "all")
    console.settled(request, attempts, Ending(reason="…"))
    console.cooled_down("anthropic/k2", "", 40.0, "429: …")

    [08:00:25.123] claude-cli  claude-sonnet-5      anthropic/k2    ×2   12.3k→481  $0.0123   2.1s 200
    [08:00:26.001] claude-cli  claude-opus-5        anthropic/k1                             30ms 429
      rate_limited: all 3 keys have a cooldown; the first is back in 40 s → wait, or add keys with `scripts/keys add`

A line has 85 columns, 100 with the time that mitmproxy writes before it. Those of good requests are no warnings, so nothing folds them;
failures are, by their kind. It must not know flows; it gets the ledger's rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from claude_relay.core.installation import command
from claude_relay.core.printable import harmless
from claude_relay.core.retry.table import TABLE
from claude_relay.core.times import shown
from claude_relay.proxy.log.folding import about, without_numbers
from claude_relay.proxy.log.terminal import CONSOLE
from claude_relay.store.ledger.ledger import AttemptRow, RequestRow

from .inspection import short_count

logger = logging.getLogger(CONSOLE)
NEAR, FAR = 0.1, 0.3
"""Shares of a key's limits: with less left than the first a line says so, once until there is more than the second."""
MOST: Final = 10_000
"""Keys and providers whose state is remembered."""
_WIDTHS: Final = (11, 20, 15)


class Console:
    """One relay's lines. `wanted`: which requests have a line: `all`, `failures` or `none`.

    say  writes a line about a good request: there are thousands of them, and each in the log would go through all of mitmproxy's addons
    """

    def __init__(self, wanted: Callable[[], str], say: Callable[[str], object] | None = None) -> None:
        self._wanted = wanted
        self._say = say or (lambda text: logger.info("%s", text))
        self._cooling: set[str] = set()
        self._down: set[str] = set()
        self._near: set[str] = set()

    def settled(self, request: RequestRow, attempts: Sequence[AttemptRow], reason: str = "") -> None:
        """A request is over. `reason`: what the client was told, where it got an error of the relay's own."""
        wanted = self._wanted()
        if wanted == "none" or (wanted == "failures" and not failed(request)):
            return
        if failed(request):
            kind = harmless(request.error_type or request.finished, keep="").replace("%", "%%")
            text = f"%s\n  {kind}: %s"  # each kind folds by itself
            cause = about(without_numbers(reason or last_error(attempts)))
            logger.warning(text, line(request), why(request, attempts, reason), extra=cause)
        else:
            self._say(line(request))

    # -- keys and providers

    def cooled_down(self, key: str, scope: str, seconds: float, reason: str) -> None:
        """A key must not be used for so long; without an end: until it is accepted again. `scope`: for which requests; "": for all."""
        if len(self._cooling) < MOST:
            self._cooling.add(key)
        what = f"{key} for {scope}" if scope else key
        until = "until it is accepted again" if math.isinf(seconds) else f"of {shown(max(0.0, seconds))}"
        logger.warning(
            "%s has a cooldown %s: %s", harmless(what, keep=""), until, harmless(reason, keep=""), extra=about(key)
        )

    def near(self, text: str) -> None:
        """A budget or a client's limit is nearly used up, or is; the text names it."""
        logger.warning("%s", harmless(text, keep=""))

    def unusable(self, provider: str, *, answers: bool) -> None:
        """None of a provider's keys can be used, or it does not answer."""
        if provider not in self._down:
            if len(self._down) < MOST:
                self._down.add(provider)
            why = "none of its keys can be used" if answers else "it does not answer"
            logger.warning("%s is down: %s", provider, why, extra=about(provider))

    def accepted(self, provider: str, key: str | None, left: float | None) -> None:
        """A provider answered well. `left`: the share of the key's limits that is left; None: nobody has looked."""
        if provider in self._down:
            self._down.discard(provider)
            logger.info("%s is up again", provider)
        if key is None:
            return
        name = f"{provider}/{key}"
        if name in self._cooling:
            self._cooling.discard(name)
            logger.info("%s is back", name)
        if left is None:
            return
        if left < NEAR and name not in self._near and len(self._near) < MOST:
            self._near.add(name)
            logger.warning("%s is near its limit: %d %% left", name, max(0, round(100 * left)), extra=about(name))
        elif left > FAR:
            self._near.discard(name)


def failed(request: RequestRow) -> bool:
    """Whether the client got an error, or less than all; that it left is no failure."""
    return request.finished in ("error", "upstream_closed") or (request.status or 0) >= 400


def line(request: RequestRow) -> str:
    """Client, model, key, tries, tokens, cost, time and status, each at its place."""
    key = "" if request.provider is None else f"{request.provider}/{request.key or 'client'}"
    texts = (program_of(request), what_of(request), key)
    cells = map(cell, texts, _WIDTHS)
    tries = f"×{request.attempts}" if request.attempts > 1 else ""
    status = "left" if request.finished == "client_closed" else str(request.status or "")
    took = "" if request.duration_ms is None else shown(request.duration_ms / 1000)
    return f"{' '.join(cells)} {tries:>3} {tokens_of(request):>12} {cost_of(request):>8} {took:>5} {status:>4}"


def why(request: RequestRow, attempts: Sequence[AttemptRow], reason: str) -> str:
    """The reason of a failure, and what can be done about it."""
    # An error of the relay's own says what to do.
    meaning = None if reason or not attempts else TABLE.meanings.get(attempts[-1].verdict or "")
    remedy = meaning.remedy if meaning else ""
    for name in ("keys", "accounts", "doctor"):
        remedy = remedy.replace(f"{{{name}}}", command(name))
    said = harmless(reason or last_error(attempts) or "no reason given", keep="")
    return " → ".join(part for part in (said, remedy, f"{command('usage')} show {request.id}") if part)


def last_error(attempts: Sequence[AttemptRow]) -> str:
    """What the last attempt met."""
    return (attempts[-1].error or "") if attempts else ""


def program_of(request: RequestRow) -> str:
    """Who asked: the client's name, else its program's."""
    return request.client or (request.user_agent or "").split("/", 1)[0].split(" ", 1)[0] or "-"


def what_of(request: RequestRow) -> str:
    """The model of a message, else the endpoint."""
    path = request.path.partition("?")[0].rstrip("/")
    if path.endswith("/v1/messages") and request.requested_model:
        return request.requested_model
    return path.rpartition("/v1/")[2].removeprefix("messages/") or path


def tokens_of(request: RequestRow) -> str:
    """What went in, cached tokens included, and what came out."""
    if request.input_tokens is None and request.output_tokens is None:
        return ""
    cached = (request.cache_read_tokens, request.cache_write_5m_tokens, request.cache_write_1h_tokens)
    total = None if request.input_tokens is None else request.input_tokens + sum(filter(None, cached))
    return f"{short_count(total)}→{'~' if request.estimated else ''}{short_count(request.output_tokens)}"


def cost_of(request: RequestRow) -> str:
    """Dollars, in at most eight characters below 10,000."""
    cost = request.cost_usd
    return "" if cost is None else f"${cost:.4f}" if cost < 10 else f"${cost:.2f}"


@lru_cache(maxsize=4096)
def cell(text: str, width: int) -> str:
    """A text of that width; where it is longer its end counts, which tells names apart. The same names come again and again."""
    text = harmless(text, keep="")
    return f"{text if len(text) <= width else '…' + text[-(width - 1) :]:<{width}}"
