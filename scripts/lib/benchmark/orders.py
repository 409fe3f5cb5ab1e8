"""What the load process is told to do and what it answers: one JSON line each way.

>>> decode_order(encode(Hammer(port=8080, pid=1, connections=1, size=2048, seconds=1.0))).seconds
1.0
"""

from __future__ import annotations

import msgspec


class Hammer(msgspec.Struct, frozen=True, tag=True):
    """Keep-alive connections that each send the next request when the answer to the last is whole.

    seconds  how long new requests are begun
    count    how many requests are sent at most, over all connections; 0: no limit
    size     bytes of a request's body
    stream   what is asked of the upstream when streams are wanted (`upstream`); empty: whole answers
    pid      the process whose processor time is wanted
    keys     what the requests come with in turn, in the place of the usual key
    """

    port: int
    pid: int
    connections: int
    size: int
    seconds: float
    count: int = 0
    stream: str = ""
    keys: list[str] = []


class Listen(msgspec.Struct, frozen=True, tag=True):
    """Streams side by side, each on a connection of its own, begun evenly spread over `spread` seconds.

    events, rate  events of a stream, and how many of them come in a second
    pid           the process whose processor time is wanted
    """

    port: int
    pid: int
    streams: int
    events: int
    rate: float
    spread: float


class Mix(msgspec.Struct, frozen=True, tag=True):
    """Whole answers, streams, count_tokens and clients that leave, at an upstream that fails now and then.

    patience  seconds after which a request without a whole answer counts as hung
    """

    port: int
    connections: int
    seconds: float
    patience: float


type Order = Hammer | Listen | Mix


class Hammered(msgspec.Struct, frozen=True, tag=True):
    """Microseconds from sending a request to the last byte of its answer.

    cpu  processor time that the target used meanwhile, in seconds
    bad  what else happened, and how often
    """

    seconds: float
    cpu: float
    latencies: list[int]
    bad: dict[str, int]


class Listened(msgspec.Struct, frozen=True, tag=True):
    """Microseconds: from an event's sending to its arrival, and from a request to its first event of content. The rest as in `Hammered`."""

    cpu: float
    delays: list[int]
    firsts: list[int]
    bad: dict[str, int]


class Mixed(msgspec.Struct, frozen=True, tag=True):
    """How the requests ended.

    statuses  whole answers by status
    left      requests that the client itself gave up in mid-stream
    errored   of the streams with status 200, how many ended with an `error` event
    broken    connections that ended before the answer was whole
    hung      requests without a whole answer in time
    """

    sent: int
    seconds: float
    statuses: dict[str, int]
    left: int
    errored: int
    broken: int
    hung: int
    slowest: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The order could not be carried out."""

    why: str


type Report = Hammered | Listened | Mixed | Failed

encode = msgspec.json.encode
_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Hammer | Listen | Mix)
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Hammered | Listened | Mixed | Failed)


def decode_order(line: bytes) -> Order:
    """Raises msgspec.DecodeError."""
    return _orders.decode(line)


def decode_report(line: bytes) -> Report:
    """Raises msgspec.DecodeError."""
    return _reports.decode(line)
