"""Which keys are meant: filters that all have to fit.

    Filter(provider="glm", status="revoked").fits(key, now)
    Filter(search="team").fits(key, now)                    in its label, alias, mask, notes, group

What this module must not know: who asks, and for what.
"""

from __future__ import annotations

from dataclasses import dataclass

from .records import StoredKey


@dataclass(frozen=True, slots=True)
class Filter:
    """None: it does not matter. `group`, `tier`: empty for keys without one; `status`: one of STATES."""

    provider: str | None = None
    status: str | None = None
    group: str | None = None
    tier: str | None = None
    search: str | None = None

    def fits(self, key: StoredKey, now: float) -> bool:
        """Whether a key is meant."""
        wanted = ((self.provider, key.provider), (self.group, key.group), (self.tier, key.tier))
        if any(word not in (None, own) for word, own in wanted):
            return False
        if self.status is not None and self.status not in key.states(now):
            return False
        return not self.search or self.search.casefold() in _words(key)


def _words(key: StoredKey) -> str:
    return "\n".join((key.name, key.id, key.label, key.mask, key.group, key.notes)).casefold()
