"""How many tokens an answer has used that did not come to say so: a stream that was broken off or left, an old text completion.

    output_tokens(passed, "claude-opus-5-5")       counted, for a thread: see formats/counting
    roughly(passed)                                at once, by the characters
    filled(Usage(25, 1), 480, prompt=30)            -> Usage(25, 480)

What was told stays: an estimate only adds what is missing. It must not know why the answer ended.
"""

from __future__ import annotations

import math
from dataclasses import replace

from claude_relay.core.estimate import BYTES_PER_TOKEN
from claude_relay.core.formats import counting

from .passed import Passed
from .tokens import Usage

CLAUDES = "claude"
CLAUDES_SHARE = 7 / 6
"""Claude's vocabularies need at least so many times the tokens of the one that counts here."""


def output_tokens(passed: Passed, model: str) -> int:
    """Tokens of what has passed, by the share of them in its beginning. The first call of a process takes 0.3 s."""
    tokens = counting.count_text(passed.sample()) * passed.share
    if CLAUDES in model.lower():
        tokens *= CLAUDES_SHARE
    return math.ceil(round(tokens, 6)) + passed.calls * counting.BLOCK  # 6 * 7/6 is a little more than 7


def roughly(passed: Passed) -> int:
    """The same without counting, for where nothing can be waited for."""
    characters = len(passed.sample()) * passed.share
    return math.ceil(characters / BYTES_PER_TOKEN) + passed.calls * counting.BLOCK


def filled(usage: Usage, output: int, prompt: int) -> Usage:
    """The usage with an estimated output, and where it tells nothing of the input, with that of the request."""
    inputs = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)
    whole = replace(usage, output_tokens=max(output, usage.output_tokens or 0))
    return whole if any(inputs) else replace(whole, input_tokens=prompt)
