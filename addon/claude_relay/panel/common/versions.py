"""Whom an edit would overwrite: ETags, and keys by which a POST that is sent twice is done once.

    tag = etag(model)                                     '"5f0c…"'
    matched(request.headers.get("if-match"), tag)         raises Problem 412, or 428 without the header
    once = Once(); once.known(…), once.keep(…)

Answers to POSTs are kept in memory only, since some hold a key that is shown once.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header
from fastapi.encoders import jsonable_encoder

from .problems import Problem, changed

KEPT, MOST = 24 * 3600.0, 1000
"""Seconds for which an answer is kept, and how many are."""
LONGEST = 200

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The ETag that you have seen; `*`: whatever it is.")
]
"""A parameter of a handler."""


def etag(value: Any) -> str:
    """Of anything that can be JSON."""
    text = json.dumps(jsonable_encoder(value), sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


def matched(said: str | None, current: str) -> None:
    """Raises Problem when somebody has seen another version than the current one."""
    if said is None:
        raise Problem(
            428, "if_match", "Send If-Match with the ETag of the version that you change, or * for whichever."
        )
    seen = [part.strip().removeprefix("W/") for part in said.split(",")]
    if "*" not in seen and current not in seen:
        raise changed()


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was given. `request`: digest of what was asked."""

    at: float
    request: bytes
    status: int
    body: bytes
    media: str
    headers: tuple[tuple[str, str], ...] = ()


class Once:
    """Answers by whose they are and their Idempotency-Key. For any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._running: set[tuple[str, str]] = set()
        self._guard = threading.Lock()

    def begin(self, who: str, key: str, request: bytes, now: float) -> Kept | None:
        """The answer that was given to it already; None: it is to be done now. Raises Problem."""
        if not 0 < len(key) <= LONGEST:
            raise Problem(400, "idempotency_key", f"An Idempotency-Key has 1 to {LONGEST} characters.")
        place = who, key
        with self._guard:
            while self._kept and next(iter(self._kept.values())).at < now - KEPT:
                self._kept.popitem(last=False)
            known = self._kept.get(place)
            if known is not None and known.request != request:
                text = "This Idempotency-Key came with another request before; take a new one."
                raise Problem(422, "idempotency_key", text)
            if known is None and place in self._running:
                raise Problem(409, "idempotency_key", "The first request with this Idempotency-Key is still under way.")
            if known is None:
                self._running.add(place)
            return known

    def end(self, who: str, key: str, kept: Kept | None) -> None:
        """It is done; None: it failed, and may be tried again."""
        with self._guard:
            self._running.discard((who, key))
            if kept is not None:
                self._kept[who, key] = kept
                if len(self._kept) > MOST:
                    self._kept.popitem(last=False)
