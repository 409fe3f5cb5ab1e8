r"""Decides when an answer may reach the client, or that it never should.

    >>> gate = Gate(200, {"content-type": "text/event-stream"}, endpoint=Endpoint.MESSAGES, stream=True)
    >>> gate.feed(b'event: message_start\ndata: {"type": "message_start"}\n\n')
    <Decision.HOLD: 'hold'>
    >>> gate.feed(b'event: content_block_start\ndata: {"type": "content_block_start"}\n\n')
    <Decision.PASS: 'pass'>

Until PASS nothing has reached the client and another attempt may take this one's place. A decision is final. The gate
looks at a decompressed copy; the caller holds the bytes themselves, and the clock. Never raises. Knows nothing of keys
and verdicts: it tells what came, not what it means.
"""

from __future__ import annotations

from collections.abc import Mapping

from claude_relay.core.exchange import Endpoint, Failure, Outcome

from .decode import Decoder
from .lenient import error_name, parse_object
from .readers import PASSED, Decision, ErrorBody, Finding, Reader, answer_reader

__all__ = ["Decision", "Gate"]

_STREAMS = frozenset({Endpoint.MESSAGES, Endpoint.COMPLETE})
_UNREAD = frozenset({Endpoint.RESOURCE, Endpoint.SIDE})
_BODILESS = frozenset({204, 205})

# Errors whose meaning is in the body (a 400 may speak of the key's credit): cut off, they tell nothing.
_BODY_MATTERS = frozenset({400, 403, 404, 409, 413, 422})

_NO_ANSWER = Finding(Decision.FAIL, Failure.GARBAGE, message="an interim status in place of an answer")
_NO_BODY = Finding(Decision.FAIL)
_UNDECODABLE = Finding(Decision.FAIL, Failure.GARBAGE, message="the answer cannot be decompressed")


class Gate:
    """Judges one answer. `headers` in lower case; `head`: the answer to a HEAD request, which has no body."""

    def __init__(
        self, status: int, headers: Mapping[str, str], *, endpoint: Endpoint, stream: bool, head: bool = False
    ) -> None:
        self._status = status
        self._headers = headers
        self._decoder = Decoder(headers.get("content-encoding", ""))
        self._finding = _from_head(status, endpoint, head)
        self._reader: Reader = (
            ErrorBody() if status >= 400 else answer_reader(headers, stream=stream and endpoint in _STREAMS)
        )
        if self._decoder.dead:
            self._give_up_reading()

    @property
    def decision(self) -> Decision:
        """The decision by now."""
        return Decision.HOLD if self._finding is None else self._finding.decision

    @property
    def started(self) -> bool:
        """True once `message_start` was seen: from there the caller's clock runs, and then says `expire`."""
        return self._reader.started

    @property
    def moves(self) -> int:
        """How often the answer has moved on: grows with everything but pings, comments and blank lines."""
        return self._reader.moves

    def feed(self, data: bytes) -> Decision:
        """The next bytes of the body, as they came."""
        if self._finding is not None:
            return self._finding.decision
        for piece in self._decoder.pieces(data):
            self._finding = self._reader.feed(piece)
            if self._finding is not None:
                break
        if self._decoder.dead:
            self._give_up_reading()
        return self.decision

    def end(self) -> Decision:
        """The body is whole."""
        return self._settle(self._reader.end())

    def cut(self, failure: Failure, message: str) -> Decision:
        """The connection broke, or took too long, before the body was whole."""
        if self._status >= 400 and self._status not in _BODY_MATTERS:
            return self._settle(self._reader.end())
        return self._settle(Finding(Decision.FAIL, failure, message=message))

    def expire(self) -> Decision:
        """The time to hold a started stream is over."""
        return self._settle(PASSED) if self.started else self.decision

    def let_go(self) -> Decision:
        """There is no room to hold it any longer: an answer that says it is good passes unread."""
        if self._finding is None and self._status < 400:
            self._settle(PASSED)
            self._reader = ErrorBody()  # what the other has kept goes
        return self.decision

    def outcome(self) -> Outcome:
        """What became of the attempt; a success has no failure and a status below 400. Valid once the decision is not HOLD."""
        finding = self._finding or PASSED
        return Outcome(
            self._status, self._headers, finding.body, finding.failure, finding.message or self._error_name(finding)
        )

    def _settle(self, finding: Finding) -> Decision:
        if self._finding is None:
            self._finding = finding
        return self.decision

    def _give_up_reading(self) -> None:
        """Nothing more can be seen of the body. What cannot be judged passes; what is broken does not."""
        if self._status >= 400:
            self._settle(self._reader.end())
        else:
            self._settle(PASSED if self._decoder.blind else _UNDECODABLE)

    def _error_name(self, finding: Finding) -> str:
        if finding.decision is Decision.PASS:
            return ""
        return f"{self._status} {error_name(parse_object(finding.body).get('error'))}"


def _from_head(status: int, endpoint: Endpoint, head: bool) -> Finding | None:
    """What the head alone decides."""
    if endpoint is Endpoint.SIDE:
        return PASSED
    if status < 200:
        return _NO_ANSWER
    if status >= 400:
        return _NO_BODY if head else None
    if head or status >= 300 or status in _BODILESS or endpoint in _UNREAD:
        return PASSED
    return None
