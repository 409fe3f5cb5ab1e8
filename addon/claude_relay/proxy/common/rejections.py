"""What the relay refuses for its own protection: counted, for /metrics, and told in the log.

    rejected(Reason.STRANGER, "a tunnel to %s was refused: …", place)
    counted()                          {"stranger": 1, "web_page": 0, …}

Whoever refuses says so here, once for each refusal; lines that are alike are folded by the log. The counts are those of the process. It
must not know what an answer looks like.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Final

logger = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why."""

    STRANGER = "stranger"
    """Somebody without a client key wants a key, a tunnel or a forward, and is on another machine, or a key is required."""
    CLIENT_KEY = "client_key"
    """A client key that is unknown, disabled or over, or not that of who brings it."""
    OWN_LISTENER = "own_listener"
    """A tunnel or a request to the relay itself, through the relay."""
    LOOP = "loop"
    WEB_PAGE = "web_page"
    """A browser sends it for a page that was not let in, or calls the relay by a name that is not its own."""
    PLAIN = "plain"
    """A peer on another machine speaks no TLS to a listener that has a certificate."""
    HEAD = "head"
    """A head that is too long, has too many fields, takes too long or cannot be read."""
    BODY = "body"
    """A request's body that is too large."""
    ANSWER = "answer"
    """An answer that is too large to be kept."""
    FLOOD = "flood"
    """A connection that keeps the relay busy with next to nothing."""
    RESOURCES = "resources"
    """Out of files, memory or disk."""


_counts: Final = dict.fromkeys(Reason, 0)


def rejected(reason: Reason, message: str, *details: object) -> None:
    """Count it, and log the message; `message` is the same text for all that are alike, `details` are its arguments."""
    _counts[reason] += 1
    logger.warning(message, *details)


def counted() -> dict[str, int]:
    """How many, by reason."""
    return {str(reason): count for reason, count in _counts.items()}
