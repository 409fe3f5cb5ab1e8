"""The verdict table as it is on disk, checked once on import.

`data/verdicts.json` holds every wording, status, header name and error type that a verdict hangs on, each rule with its source
and date, so that a reader can hold it against the documentation line by line; the first rule that fits wins. This module only
knows its shape. A wrong table is a programming error: the import fails.

    TABLE.meanings["rate_limited"].cooldown  -> Length.STATED
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from importlib import resources

import msgspec

from claude_relay.core.exchange import Cause, Endpoint, Length


class Then(StrEnum):
    """What the retry policy does next."""

    ACCEPT = "accept"
    NEXT_KEY = "next_key"
    FRESH_KEY = "fresh_key"
    OTHER_KEY = "other_key"
    SAME_KEY = "same_key"
    ANY_KEY = "any_key"
    OTHER_WAY = "other_way"
    NEXT_ROUTE = "next_route"
    NEXT_PROVIDER = "next_provider"
    REPAIR = "repair"
    """One more try on the same key, without what the provider took offence at."""
    RENEW = "renew"
    """The same key with its next token, if it gets one."""
    PASS_ON = "pass_on"


class AtEnd(StrEnum):
    """What the client gets when this was the last try."""

    PASS_ON = "pass_on"
    COOLDOWN = "cooldown"
    """429 with the soonest true retry-after, or 503 when no key comes back by itself."""
    DOWN = "down"
    """The upstream's own error if it gave one; else 529 when one said overloaded, 504 when all were silent, 502 otherwise."""


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table of verdicts. `remedy`: what a person can do; in it `{keys}`, `{accounts}`, `{doctor}` are commands."""

    name: str
    cause: Cause
    cooldown: Length
    then: Then
    at_end: AtEnd
    means: str
    remedy: str = ""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an outcome must look like for a verdict. Every column that is filled must fit; within a column one value is enough."""

    verdict: str
    source: str
    date: date
    endpoint: tuple[Endpoint, ...] = ()
    status: tuple[int | str, ...] = ()
    failure: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    names_model: bool = False
    foreign: bool = False


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    verdicts: tuple[Meaning, ...]
    rules: tuple[Rule, ...]
    status_of_type: dict[str, int]

    @property
    def meanings(self) -> dict[str, Meaning]:
        """The verdicts by name."""
        return {meaning.name: meaning for meaning in self.verdicts}


STATUS_CLASSES = frozenset({"1xx", "2xx", "3xx", "4xx", "5xx", "other"})


def load(text: bytes) -> Table:
    """Read and check a table. Raises ValueError (msgspec's is one) naming the rule that is wrong."""
    table = msgspec.json.decode(text, type=Table)
    for rule in table.rules:
        if rule.verdict not in table.meanings:
            raise ValueError(f"a rule names the unknown verdict {rule.verdict!r}")
        if not rule.source:
            raise ValueError(f"a rule for {rule.verdict!r} has no source")
        strange = [status for status in rule.status if isinstance(status, str) and status not in STATUS_CLASSES]
        if strange or any(phrase != phrase.lower() for phrase in rule.says):
            raise ValueError(f"a rule for {rule.verdict!r} has a status class {strange} or wording that can never fit")
    return table


TABLE = load((resources.files("claude_relay.core.data") / "verdicts.json").read_bytes())
