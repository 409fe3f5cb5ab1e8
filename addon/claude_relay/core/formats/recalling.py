"""Under which keys something is kept for the turns after an answer: the ids of its calls; without a call, what was said to what.

    >>> list(keys(conversation))     what may have been kept for the turns of this conversation
    ['call_1', 'call_2', 'said_5f0c…']
    >>> said_key(anchor(conversation.turns), "Done.")     the key of an answer that is being read
    'said_81b2…'

Clients send texts back without any id, so a text is known by itself and by the turn before it: two conversations in which the same was said
to the same results of calls, whose ids are unique, are one. It must not know what is kept, nor providers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from .conversation import Call, Conversation, Result, Text, Turn

SAID = "said_"
"""How the keys of answers without calls begin."""
_ENDS = 1000
"""Characters of a text that count at its beginning and at its end, so that long ones cost no more."""


def keys(conversation: Conversation) -> Iterator[str]:
    """All keys under which something may have been kept for a conversation's turns."""
    before: list[Turn] = []
    for turn in conversation.turns:
        if turn.role == "user":
            before = [turn]
        elif turn.role == "assistant":
            calls = [part.id for part in turn.parts if isinstance(part, Call)]
            yield from calls
            if not calls and isinstance(last := turn.parts[-1], Text):
                yield said_key(anchor(before), last.text)


def anchor(turns: Sequence[Turn]) -> str:
    """What an answer is given to: the last of the user's turns, in few characters."""
    last = next((turn for turn in reversed(turns) if turn.role == "user"), None)
    pieces = []
    for part in last.parts if last is not None else ():
        if isinstance(part, Result):
            pieces.append(part.id)
        elif isinstance(part, Text):
            pieces.append(_ends(part.text))
    return _hash("\n".join(pieces))


def said_key(anchor: str, text: str) -> str:
    """The key of an answer without calls that ends with this text."""
    return f"{SAID}{_hash(f'{anchor}\n{_ends(text.strip())}')}"


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _ENDS else f"{len(text)} {text[:_ENDS]}{text[-_ENDS:]}"


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
