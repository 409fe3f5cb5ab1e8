"""Why a turn of a conversation read less from the provider's prompt cache than the turn before had left there, and what that cost.

    conversations = Conversations()
    conversations.follow(place, turn, usage)       -> None: nothing was missed, or nothing is known of it
    conversations.follow(place, turn, usage)       -> Miss(cause="tools[3]", tokens=84_200)
    as_if_read(usage, miss.tokens)                 the usage that it would have been; what it would have cost tells what the miss did
    explained("tools[3]")                          -> 'tools[3] changed'

Of a turn only hashes are remembered (`bodies.prompts`), of a conversation the latest few turns: beside a conversation go side branches of
it, and one session has several conversations. It must not know clocks, prices, keys' secrets or where prompts come from.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from claude_relay.core.bodies.prompts import SETTINGS, Prompt

from .tokens import Usage

LEAST: Final = 1024
"""Tokens. No provider caches a shorter prefix: https://docs.claude.com/en/docs/build-with-claude/prompt-caching. Less is a rounding."""
SECONDS: Final = {"5m": 300.0, "1h": 3600.0}
"""How long a prefix stays in the cache after its last use."""
LOOKBACK: Final = 20
"""Blocks, the marked one counted, among which Claude looks for what it has cached already, from a mark back (same page)."""
TURNS: Final = 4
MOST_SESSIONS: Final = 5_000
MOST_BLOCKS: Final = 1_000_000
"""Hashes that are remembered, of 8 bytes each."""

PROVIDER, KEY, MODEL, BETA = "provider", "key", "model", "beta header"
TTL, MARKS, FAR, UNKNOWN = "ttl", "cache_control", "lookback", "unknown"
WORDS: Final = {
    PROVIDER: "another provider was asked",
    KEY: "another key was used",
    MODEL: "another model was asked",
    BETA: "anthropic-beta changed",
    "ttl 5m": "its 5 minutes were over",
    "ttl 1h": "its hour was over",
    MARKS: "no cache_control any more",
    FAR: f"{LOOKBACK} blocks without a mark",
    UNKNOWN: "nothing known changed",
} | {name: f"{name} changed" for name in SETTINGS}
"""Causes other than blocks, and what they mean."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A request that was answered. `at`: when it was sent, seconds; `key`: by which id its key is known; `betas`: of its header."""

    prompt: Prompt
    provider: str
    key: str
    model: str
    betas: frozenset[str]
    at: float
    cached: int = 0
    """Tokens that were in the cache after it."""


@dataclass(frozen=True, slots=True)
class Miss:
    """So many tokens of what the turn before had in the cache were not read from there. `cause`: a block, such as `tools[3]`, or one of
    WORDS.
    """

    cause: str
    tokens: int


class Conversations:
    """The latest turns of each conversation, those of longest ago forgotten first."""

    def __init__(self, sessions: int = MOST_SESSIONS, blocks: int = MOST_BLOCKS) -> None:
        """`sessions`, `blocks`: how many are remembered at most."""
        self.most_sessions, self.most_blocks = sessions, blocks
        self.blocks = 0
        self._turns: OrderedDict[Hashable, deque[Turn]] = OrderedDict()

    def __len__(self) -> int:
        """How many sessions are remembered."""
        return len(self._turns)

    def __contains__(self, session: Hashable) -> bool:
        """Whether there is something to compare a session's next turn with."""
        return session in self._turns

    def latest(self, session: Hashable) -> float:
        """When the newest turn that is remembered began; -inf: none is."""
        turns = self._turns.get(session)
        return turns[-1].at if turns else -math.inf

    def confirmed(self, session: Hashable, provider: str, key: str, model: str, usage: Usage) -> Prompt | None:
        """The prompt of a turn of which all that was cached was read, neither more nor less: the next turn begins as it does."""
        return next(
            (
                turn.prompt
                for turn in reversed(self._turns.get(session, ()))
                if (turn.cached, turn.provider, turn.key, turn.model) == (usage.cache_read_tokens, provider, key, model)
            ),
            None,
        )

    def follow(self, session: Hashable, turn: Turn, usage: Usage) -> Miss | None:
        """The next turn of a session was answered, with this usage: what it missed, by the turn that it goes on from."""
        turns = self._turns.get(session, ())
        before = next((known for known in reversed(turns) if goes_on(known.prompt, turn.prompt)), None)
        missed = tokens_missed(before.cached, usage) if before is not None else 0
        miss = Miss(cause_of(before, turn), missed) if before is not None and missed >= LEAST else None
        self.remember(session, turn, usage)
        return miss

    def remember(self, session: Hashable, turn: Turn, usage: Usage) -> None:
        """The next turn of a session was answered, and is known to have missed nothing."""
        if not (cached := tokens_cached(usage)):
            return
        turn = replace(turn, cached=cached)
        turns = self._turns.setdefault(session, deque())
        self._turns.move_to_end(session)
        turns.append(turn)
        self.blocks += len(turn.prompt.hashes)
        if len(turns) > TURNS:
            self.blocks -= len(turns.popleft().prompt.hashes)
        while len(self._turns) > self.most_sessions or (self.blocks > self.most_blocks and len(self._turns) > 1):
            _, forgotten = self._turns.popitem(last=False)
            self.blocks -= sum(len(old.prompt.hashes) for old in forgotten)


def tokens_cached(usage: Usage) -> int:
    """Those that are in the cache after an answer with this usage; 0 where that is not known: server tools make a model run several
    times, and what each run has read is added up.
    """
    if usage.server_tool_requests:
        return 0
    return (usage.cache_read_tokens or 0) + _written(usage)


def tokens_missed(cached: int, usage: Usage) -> int:
    """Those of the cached ones that were not read but taken in anew. A prompt may have become shorter."""
    return max(min(cached - (usage.cache_read_tokens or 0), (usage.input_tokens or 0) + _written(usage)), 0)


def as_if_read(usage: Usage, missed: int) -> Usage:
    """The same, had the missed tokens been read from the cache. What lives longer stands before what lives for a shorter time, and what
    is not cached comes last.
    """
    counts = {name: getattr(usage, name) for name in ("cache_write_1h_tokens", "cache_write_5m_tokens", "input_tokens")}
    left = missed
    for name, count in counts.items():
        taken = min(count or 0, left)
        counts[name] = count - taken if taken else count
        left -= taken
    return replace(usage, cache_read_tokens=(usage.cache_read_tokens or 0) + missed - left, **counts)


def _written(usage: Usage) -> int:
    return (usage.cache_write_5m_tokens or 0) + (usage.cache_write_1h_tokens or 0)


# -- which turn it goes on from


def goes_on(before: Prompt, now: Prompt) -> bool:
    """Whether it is the same conversation, later: a retry, or more messages after mostly the same ones.

    Side branches are as long as what they branched off from; other conversations of a session share no messages.
    """
    messages, more = len(before.starts), len(now.starts) - len(before.starts)
    if more < 0 or not messages:
        return False
    if more == 0:
        return before.begins(now)
    return before.begins(now) or (bool(before.head) and before.head == now.head) or _mostly_in(before, now)


def _mostly_in(before: Prompt, now: Prompt) -> bool:
    known = frozenset(now.contents)
    contents = before.contents
    return 2 * sum(content in known for content in contents) >= max(len(contents), 1)


# -- why


def cause_of(before: Turn, now: Turn) -> str:
    """What the cache was lost by: what takes all of it comes first, what is only possible last."""
    then, prompt = before.prompt, now.prompt
    over = [name for name in then.lifetimes if now.at - before.at >= SECONDS[name]]
    if over and len(over) == len(then.lifetimes):
        return f"{TTL} {over[-1]}"
    for cause in (PROVIDER, KEY, MODEL):
        if getattr(before, cause) != getattr(now, cause):
            return cause
    if changed := then.first_change(prompt, then.cacheable):
        return changed
    if before.betas != now.betas:
        return BETA
    if then.marks and not prompt.marks:
        return MARKS
    if over:
        return f"{TTL} {over[-1]}"
    last = then.cacheable - 1
    if then.marks and not any(0 <= mark - last < LOOKBACK for mark in prompt.marks):
        return FAR
    return UNKNOWN


def explained(cause: str, *, fully: bool = False) -> str:
    """A cause in a few words, for people; `fully`: with what it comes to."""
    words = WORDS.get(cause)
    if words is None:
        return f"{cause} changed" + "; all that follows it is lost with it" * fully
    return words + "; all messages are lost with it" * (fully and cause in SETTINGS)


def kind_of(cause: str) -> str:
    """What causes of a kind have in common.

    >>> kind_of("messages[12].content[0]"), kind_of("ttl 5m")
    ('messages', 'ttl 5m')
    """
    return cause.partition("[")[0]
