"""The errors a client may see from the relay itself.

    RelayError                   carries the HTTP status, Claude's error type and what the reader should do
      ├─ ConfigError             relay.yaml cannot be used (never sent to a client in full; the log has the lines)
      ├─ BudgetError             429: a budget has ended, or has no room beside the requests that run
      ├─ ClientLimitError        429: a limit of a client or its group (core/clients/exceeded)
      └─ raised or built where a decision ends a request: see `RelayError.claude_body`

Claude's error types by status: https://docs.claude.com/en/api/errors
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    407: "authentication_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


LONGEST_MESSAGE = 200
SECRET = re.compile(r"\b(?:sk-|rk-|AIza|gsk_|xai-|eyJ)[\w.*-]+|[\w-]{32,}", re.ASCII)


def error_type(status: int) -> str:
    """Claude's error type for an HTTP status; unknown ones fall to the nearest family."""
    return ERROR_TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def error_object(status: int, message: str, request_id: str, kind: str | None = None) -> dict[str, object]:
    """The error in Claude's shape, as the body of an answer and as the data of an SSE `error` event. `kind`: None: by the status."""
    sayable = message.encode("utf-8", "replace").decode()  # it may tell of a header's bytes that are no text
    return {
        "type": "error",
        "error": {"type": kind or error_type(status), "message": sayable},
        "request_id": request_id,
    }


@dataclass
class RelayError(Exception):
    """An error of the relay's own.

    status       HTTP status of the answer
    message      what happened and what to do about it; never contains a secret
    retry_after  seconds until a new try makes sense; sent as `retry-after`, rounded up
    final        True: sends `x-should-retry: false`, so that SDKs do not try again by themselves
    type         Claude's error type where the status has another one by itself
    """

    status: int
    message: str
    retry_after: float | None = None
    final: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    type: str | None = None

    def __str__(self) -> str:
        """The message."""
        return self.message

    def claude_body(self, request_id: str) -> bytes:
        """The answer's body in Claude's error shape."""
        return json.dumps(error_object(self.status, self.message, request_id, self.type), ensure_ascii=False).encode()


class BudgetError(RelayError):
    """Nobody may be paid for the request. `final`: the budget is spent; else what is in the way ends with the requests that run."""


def clean(text: str) -> str:
    """One line without anything that looks like a credential, at most 200 characters."""
    line = SECRET.sub("…", " ".join(text[: 10 * LONGEST_MESSAGE].split()))
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"
