"""How long an attempt may still take, and which limit of relay.yaml says so.

    connect ──► sent ──► the body has left ──► first byte ──► every byte
    first_byte  first_byte: nothing moves      first_byte     idle, and progress (whole where a model may be silent)
                                               or whole

Times are seconds of a monotonic clock, given by the caller; so is what is known of the bytes. It must not know sockets nor mitmproxy.
"""

from __future__ import annotations

import math
from enum import Enum

from claude_relay.proxy.running.runtime import Limits

LOOK_SECONDS = 1.0
"""How often an upload is looked at; more often where the limit is short."""
LOOKS = 8


class Phase(Enum):
    """What an attempt is waiting for."""

    CONNECTING = "connecting"
    UPLOADING = "uploading"
    FIRST_BYTE = "first byte"
    ANSWER = "answer"


class Patience:
    """The limits of one attempt.

    due           when to look again: something may be over then
    silent_since  once a limit is over: nothing has been heard of this attempt since then; None when something has
    """

    __slots__ = (
        "_began",
        "_byte_at",
        "_first",
        "_first_due",
        "_left",
        "_limits",
        "_moved_at",
        "_named",
        "_phase",
        "_quiet",
        "_way",
        "due",
        "silent_since",
    )

    def __init__(self, limits: Limits, *, whole: bool = False, named: bool = True, way: float = math.inf) -> None:
        """`whole`: the answer comes when the model is done. `named`: the limits are those of relay.yaml, not the relay's own. `way`: for
        how long an outbound proxy is waited for."""
        self.due = math.inf
        self.silent_since: float | None = None
        self._limits, self._named, self._way = limits, named, way
        self._first = (limits.whole, "whole") if whole else (limits.first_byte, "first_byte")
        self._phase = Phase.CONNECTING
        self._began = self._byte_at = self._moved_at = 0.0
        self._first_due = math.inf
        self._left: int | None = None
        self._quiet = False

    def connect(self, now: float) -> None:
        """A connection is being looked for, or made."""
        self._phase, self._began = Phase.CONNECTING, now
        self.due = now + min(self._limits.first_byte, self._way)

    def go_directly(self) -> None:
        """No proxy is waited for any more."""
        self._way = math.inf

    def handed_over(self, now: float) -> None:
        """The request was handed over; its body may still be leaving."""
        self._phase, self._began, self._moved_at, self._left = Phase.UPLOADING, now, now, None
        self._first_due = math.inf
        self.due = now + self._step

    @property
    def uploading(self) -> bool:
        """Whether `look` must be told what has not left yet."""
        return self._phase is Phase.UPLOADING

    @property
    def _step(self) -> float:
        return min(LOOK_SECONDS, self._limits.first_byte / LOOKS, self._first[0] / LOOKS)

    def look(self, now: float, unsent: int = 0) -> str | None:
        """Why the attempt is to be given up now, if it is. `unsent`: bytes of the request that have not left, while it uploads."""
        return _LOOKS[self._phase](self, now, unsent)

    def whole(self, now: float) -> None:
        """The answer's head has come: what it announces comes when the model is done, which was not known before."""
        self._first = (self._limits.whole, "whole")
        if self._phase is Phase.FIRST_BYTE:
            self._byte_at, self._first_due = now, now + self._first[0]
            self.due = self._first_due

    def byte(self, now: float, *, moved: bool, quiet: bool = False) -> None:
        """Bytes of the answer's body came. `moved`: not only such that keep a connection alive. `quiet`: the model may be silent now."""
        if self._phase is not Phase.ANSWER:
            if self._first[1] == "whole" and not moved:  # blank lines until the model is done are no answer yet
                if self._first_due == math.inf:
                    self._phase, self._first_due = Phase.FIRST_BYTE, now + self._first[0]
                self._byte_at = now
                self.due = min(self._first_due, now + self._limits.idle)
                return
            self._phase, self._moved_at = Phase.ANSWER, now
        self._byte_at, self._quiet = now, quiet
        if moved:
            self._moved_at = now
        self.due = min(now + self._limits.idle, self._moved_at + self._progress[0])

    @property
    def _progress(self) -> tuple[float, str]:
        return (self._limits.whole, "whole") if self._quiet else (self._limits.progress, "progress")

    # -- what is over

    def _connecting(self, now: float, _: int) -> str | None:
        if now < self.due:
            return None
        if self._way < self._limits.first_byte:
            return f"no connection within {self._way:g} s"
        return self._over("no connection within", self._limits.first_byte, "first_byte", None)

    def _uploading(self, now: float, unsent: int) -> str | None:
        if unsent == 0:
            left_at = self._began if self._left is None else now
            self._phase, self._byte_at, self._first_due = Phase.FIRST_BYTE, left_at, left_at + self._first[0]
            self.due = self._first_due
            return self._first_byte(now, 0)
        if self._left is not None and unsent < self._left:
            self._moved_at = now
        self._left = unsent
        stuck = self._moved_at + self._limits.first_byte
        if now >= stuck:
            return self._over("nothing of the request left for", self._limits.first_byte, "first_byte", self._moved_at)
        self.due = min(now + self._step, stuck)
        return None

    def _first_byte(self, now: float, _: int) -> str | None:
        if now >= self._first_due:
            return self._over("no first byte within", *self._first, self._byte_at)
        if now >= self.due:
            return self._over("silent for", self._limits.idle, "idle", self._byte_at)
        return None

    def _answer(self, now: float, _: int) -> str | None:
        if now >= self._byte_at + self._limits.idle:
            return self._over("silent for", self._limits.idle, "idle", self._byte_at)
        if now >= self.due:
            return self._over("nothing but pings for", *self._progress, None)
        return None

    def _over(self, what: str, seconds: float, limit: str, silent_since: float | None) -> str:
        self.silent_since = silent_since
        return f"{what} {seconds:g} s" + (f" (retry.{limit})" if self._named else "")


_LOOKS = {
    Phase.CONNECTING: Patience._connecting,
    Phase.UPLOADING: Patience._uploading,
    Phase.FIRST_BYTE: Patience._first_byte,
    Phase.ANSWER: Patience._answer,
}
