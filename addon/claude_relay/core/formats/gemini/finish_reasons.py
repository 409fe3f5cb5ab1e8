"""What it means that Gemini has stopped, by its `finishReason`.

    >>> ending_of("SAFETY").stop, ending_of("TOMORROWS").error
    ('refusal', 'api_error')

Only STOP is an end of the turn. What a filter withheld is a `refusal`. An answer that would go on is a `pause_turn`: clients send such
an answer back as it is, and the model goes on with it, as Google's own SDK has it go on with its `continuationToken`, which belongs to a
request and not to a conversation (https://ai.google.dev/gemini-api/docs/generate-content/long-decode). All else is an error, what is not
known too: it would look like a finished answer otherwise. A call that the model got wrong is one that another try may get right.

Values: `FinishReason` of google-genai 3.6.1 (2026-11), https://ai.google.dev/api/generate-content#FinishReason. It must not know events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Ending(NamedTuple):
    """Either of two: Claude's reason to stop; or its type of error, and why it is one."""

    stop: str = ""
    error: str = ""
    why: str = ""


_REFUSAL = Ending("refusal")
ENDINGS: Mapping[str, Ending] = {
    "STOP": Ending("end_turn"),
    "MAX_TOKENS": Ending("max_tokens"),
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), _REFUSAL),
    "MODEL_ARMOR": _REFUSAL,
    "ESCALATION": _REFUSAL,  # filtered by an escalation rule
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), _REFUSAL),
    "CONTINUATION": Ending("pause_turn"),  # the request's limit of tokens is reached, not the client's
    "TOO_MANY_TOOL_CALLS": Ending("pause_turn"),  # Google's own tools were stopped before there was an answer
    "PUP_LIMITED_DISABLED": Ending(error="permission_error", why="the account is limited over its use of the models"),
    "MISSING_THOUGHT_SIGNATURE": Ending(
        error="invalid_request_error", why="a signature of the model's thoughts is missing in the conversation"
    ),
    "MALFORMED_FUNCTION_CALL": Ending(error="api_error", why="the model wrote a call that cannot be read"),
    "UNEXPECTED_TOOL_CALL": Ending(error="api_error", why="the model called a tool that it was not given"),
    "MALFORMED_RESPONSE": Ending(error="api_error", why="the model wrote an answer that cannot be read"),
    "OTHER": Ending(error="api_error", why="it does not say why"),
    "IMAGE_OTHER": Ending(error="api_error", why="it made no picture and does not say why"),
    "NO_IMAGE": Ending(error="api_error", why="it was to make a picture and made none"),
}
UNKNOWN = Ending(error="api_error", why="a reason that is not known")
NONE = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})
"""In the place of a reason, for none. Google's reference has the second name for a blocked prompt, its SDK the third."""


def ending_of(reason: str) -> Ending | None:
    """For a `finishReason` in upper case; None: it has not stopped."""
    return None if reason in NONE else ENDINGS.get(reason, UNKNOWN)
