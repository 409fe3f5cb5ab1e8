"""An upstream's answer as it comes, to one attempt.

    incoming = Incoming.of(response, relayed.facts, adaptation, issued, head=False)     its head is there
    data = incoming.read(data)                                                          of its body, in Claude's form

Each attempt has one of its own; before its head there is one that knows nothing. It must not know what becomes of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mitmproxy import http

from claude_relay.core.bodies.facts import stream_is_ambiguous
from claude_relay.core.bodies.gate import Gate
from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.core.secrets import Matcher
from claude_relay.proxy.messages.hop_by_hop import onward
from claude_relay.proxy.messages.wire import lower_headers
from claude_relay.proxy.provider.adapting import Adaptation, Bytes, Translated
from claude_relay.proxy.provider.cover import Cover

MESSAGE_STREAMS = (Endpoint.MESSAGES, Endpoint.COMPLETE)
KEPT_BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a streamed answer that are kept for mitmweb to show."""


@dataclass(slots=True, eq=False)
class Incoming:
    """`good`: its status is, whatever follows."""

    upstream_headers: Mapping[str, str] = field(default_factory=dict)
    """As they came."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """As the client gets them."""
    good: bool = False
    stream_unknown: bool = False
    """Whether a stream was asked for is not known, also by what was seen of the answer."""
    gate: Gate | None = None
    translation: Bytes | None = None
    """What brings it into Claude's form."""
    cover: Cover = field(default_factory=Cover)
    """Takes what was issued for the attempt out of its body."""
    size: int = 0
    """Bytes that have come, as long as none of them has left."""
    passed: int = 0
    """Bytes of `original`."""
    original: list[bytes] | None = None
    """The body as it came, where the client gets another one and somebody may want to look at it."""

    @classmethod
    def of(
        cls,
        response: http.Response,
        facts: Facts,
        adaptation: Adaptation | None,
        issued: Matcher,
        *,
        head: bool,
        keep: bool = False,
    ) -> Incoming:
        """Its head has arrived. Takes out of it what is for this hop only. `keep`: somebody may want to look at its body."""
        fields, upstream_headers = response.data.headers.fields, lower_headers(response)
        response.data.headers.fields = onward(fields)
        good, messages = 200 <= response.status_code < 300, facts.endpoint in MESSAGE_STREAMS
        unpacked = good and isinstance(adaptation, Translated)
        cover = Cover.of(issued, response, upstream_headers, unpacked=unpacked, messages=messages)
        translation = adaptation.open(response) if adaptation is not None and good else None
        headers = upstream_headers if response.data.headers.fields is fields else lower_headers(response)
        stream_unknown = facts.stream_unknown or (good and contradicts(facts, headers))
        stream = facts.stream or stream_unknown
        gate = Gate(response.status_code, headers, endpoint=facts.endpoint, stream=stream, head=head)
        cover.opened(headers)
        original: list[bytes] | None = [] if keep and translation is not None else None
        return cls(upstream_headers, headers, good, stream_unknown, gate, translation, cover, original=original)

    @property
    def served_model(self) -> str | None:
        """The model that answers, as its provider calls it, where the client gets another name."""
        return self.translation.served_model if self.translation is not None else None

    @property
    def encoding(self) -> str:
        """How the body is compressed, as the client gets it."""
        return self.headers.get("content-encoding", "")

    def takes(self, size: int, most: int) -> bool:
        """Count what comes while nothing has left. False: it is more than may be kept."""
        self.size += size
        return self.size <= most

    def read(self, data: bytes) -> bytes:
        """The upstream's bytes in Claude's form, as far as they can leave."""
        if self.original is not None and self.passed < KEPT_BODY_LIMIT:
            self.original.append(data)
            self.passed += len(data)
        return self.cover.read(data, self.translation)

    def read_end(self) -> bytes:
        """What is left, when the upstream's answer is complete."""
        return self.cover.read_end(self.translation)

    def let_go(self) -> None:
        """It is over."""
        self.gate = self.translation = self.original = None


def contradicts(facts: Facts, headers: Mapping[str, str]) -> bool:
    """Whether an answer is of the other kind than was understood, and the request can be understood so, too."""
    if facts.endpoint not in MESSAGE_STREAMS or is_stream(headers) is facts.stream:
        return False
    return stream_is_ambiguous(facts.body)
