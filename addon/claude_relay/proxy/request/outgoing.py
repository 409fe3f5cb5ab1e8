"""An answer as its client gets it: counted as it passes, and kept as far as somebody wants to look at it.

    outgoing = Outgoing.of(response, headers, …)      its head leaves
    final = outgoing.pass_on(data)                    a piece of its body does; where the final event begins in it
    if outgoing.end(): …                              no more comes: was that all?

It must not know where the answer comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from claude_relay.core.accounting.batches import BatchMeter
from claude_relay.core.accounting.meter import Meter
from claude_relay.core.bodies.resources import LONGEST_ANSWER
from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.errors import RelayError, error_object
from claude_relay.core.exchange import Endpoint

from .incoming import KEPT_BODY_LIMIT, MESSAGE_STREAMS


@dataclass(slots=True, eq=False)
class Outgoing:
    """`length`: of its body, where that is announced and waited for. `size`: what has passed, in bytes."""

    meter: Meter | None = None
    sse: bool = False
    can_append: bool = False
    length: int | None = None
    size: int = 0
    kept: list[bytes] | None = None
    brought: list[bytes] | None = None
    """The answer to a request that makes something (a file, a batch), for the id in it."""
    last_bytes: bytes = b""

    @classmethod
    def of(
        cls,
        status: int,
        headers: Mapping[str, str],
        endpoint: Endpoint,
        method: str,
        *,
        batch: bool,
        keep: bool,
    ) -> Outgoing:
        """Begin to count. `batch`: it is asked for the results of one; `keep`: somebody may want to look at it."""
        good = status < 400
        results = batch and method == "GET" and status == 200
        sse = good and endpoint in MESSAGE_STREAMS and is_stream(headers)
        length = headers.get("content-length", "")
        return cls(
            meter=BatchMeter(headers) if results else Meter(headers, endpoint=endpoint),
            sse=sse,
            can_append=sse and "content-length" not in headers and not encoded(headers),
            length=int(length) if length.isdecimal() and not sse else None,
            kept=[] if keep else None,
            brought=[] if good and method == "POST" and endpoint is Endpoint.RESOURCE else None,
        )

    @property
    def is_at_its_length(self) -> bool:
        """Whether the announced length is reached. Other bodies end with an event or with their framing, which wait by themselves."""
        return self.length is not None and self.size >= self.length

    def pass_on(self, data: bytes) -> int | None:
        """Count a piece; returns where in it the final event begins, if it does."""
        assert self.meter is not None
        self.size += len(data)
        if self.kept is not None and self.size <= KEPT_BODY_LIMIT:
            self.kept.append(data)
        if self.brought is not None and self.size <= LONGEST_ANSWER:
            self.brought.append(data)
        if self.can_append:
            self.last_bytes = (self.last_bytes + data)[-4:] if len(data) < 4 else data[-4:]
        return self.meter.feed(data)

    def pass_whole(self, body: bytes) -> None:
        """Count a body that leaves at once."""
        if self.meter is not None:
            self.size = len(body)
            self.meter.feed(body)
            self.meter.end()

    def end(self) -> bool:
        """The upstream ended the body; False when the stream was not complete."""
        assert self.meter is not None
        self.meter.end()
        return not self.sse or self.meter.complete or self.meter.error is not None

    def ending(self, why: str, request_id: str, instead: RelayError | None = None) -> bytes | None:
        """The bytes that end a stream as an error whose upstream broke after content, or None when nothing can be added.

        instead  what the client is given in the place of `why`
        """
        if not self.can_append:
            return None
        between = self.last_bytes.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        error = instead or RelayError(502, f"{why}; what arrived until then is incomplete. Send the request again.")
        data = msgspec.json.encode(error_object(error.status, error.message, request_id))
        return (b"" if between else b"\n\n") + b"event: error\ndata: " + data + b"\n\n"

    def let_go(self) -> None:
        """It is over and written down."""
        self.kept = self.brought = None
        if self.meter is not None:
            self.meter.let_go()


def encoded(headers: Mapping[str, str]) -> bool:
    """Whether a body is compressed."""
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
