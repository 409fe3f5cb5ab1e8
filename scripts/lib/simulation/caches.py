"""Prompt caches: what a key has read of a session within the last five minutes it need not read again.

    caches = Caches()
    caches.write("key-a", "session", tokens=20_000, now=0.0)
    caches.read("key-a", "session", shared=18_000, now=60.0)       -> 18000
    caches.read("key-b", "session", shared=18_000, now=60.0)       -> 0: another key has not seen it

The cache lives 5 minutes, renewed by each use (https://docs.claude.com/en/docs/build-with-claude/prompt-caching). Times are seconds,
amounts tokens.
"""

from __future__ import annotations

LIFE = 300.0


class Caches:
    """What each key holds of each session."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, float]] = {}

    def read(self, key: str, session: str | None, shared: int, now: float) -> int:
        """How many of the prompt's first `shared` tokens, which it has in common with the turn before, this key still holds."""
        tokens, until = self._held.get((key, session), (0, 0.0)) if session else (0, 0.0)
        return min(tokens, shared) if now < until else 0

    def write(self, key: str, session: str | None, tokens: int, now: float) -> None:
        """The key has now read so many tokens of the session."""
        if session:
            self._held[key, session] = tokens, now + LIFE
