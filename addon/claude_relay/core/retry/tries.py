"""What a try of a request is made of, and what became of one."""

from __future__ import annotations

from dataclasses import dataclass

from claude_relay.core.exchange import Key, Outcome, Target, Verdict
from claude_relay.core.keys.own_credentials import OwnCredential
from claude_relay.core.keys.pool import Pool

CLIENTS_OWN = ""
"""In the place of a key's id: the client's own credential."""
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """What an attempt is made of. `key` None: the client's own credential."""

    target: Target
    pool: Pool
    key: Key | None
    own: OwnCredential | None = None
    """Of the client's own credential what is known of it, where it takes part beside the pool."""

    @property
    def key_id(self) -> str:
        """Of the key, or what stands for the client's own credential."""
        return self.key.id if self.key else CLIENTS_OWN


@dataclass(frozen=True, slots=True)
class Last:
    """A try and what became of it."""

    step: Candidate
    outcome: Outcome
    verdict: Verdict
    real: bool = True
    """Whether it says something of its key: a fault that was made on purpose does not."""

    @property
    def status(self) -> int:
        """The status of an error answer that could be handed on; 0 when there is none."""
        status = self.outcome.status or 0
        return status if self.outcome.failure is None and status >= 400 else 0


type Table = dict[str, frozenset[str]]
"""Ids of keys by provider."""


def add(table: Table, step: Candidate) -> None:
    """Note a try's key, or the client's own credential, in a table."""
    table[step.target.provider] = table.get(step.target.provider, NOBODY) | {step.key_id}
