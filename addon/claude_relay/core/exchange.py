"""The nouns of one request.

    Facts ── what the request is about ──► route ──► Attempt ──► Outcome ──► Verdict ──┬─► Attempt | Wait
                                                                                        └─► Conclusion

All of them are frozen values. `Facts` describes the client's request, `Attempt` one try with one key at one provider, `Outcome`
what became of that try, `Verdict` what it means, `Conclusion` how the request ends. Times are seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .errors import RelayError
from .estimate import estimate_tokens


class Endpoint(StrEnum):
    """What a path on an intercepted host is, after normalising it."""

    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    MODELS = "models"
    COMPLETE = "complete"
    RESOURCE = "resource"
    """Files, batches and any other `/v1/…`: the pool's credential."""
    SIDE = "side"
    """Everything else: the client's own credential, untouched."""


NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Facts:
    """What routing needs to know of a request. Header names are lower-case.

    prefix      stands for the conversation when the client names no session: a hash of what all its turns begin with
    client      the name of the client whose key it came with; empty: it came without one
    program     the client's program, from its user agent, e.g. `claude-cli`; empty when it names none
    background  a side query, such as a title or a summary
    subagent    sent by a sub-agent, not by the conversation that a person sees
    project     what the client works on: as a header says, or the name of Claude Code's working directory
    container   the id of the container that the request asks for; empty when it asks for none
    speed       `fast` when that is asked for; empty: the standard speed
    tier        the service tier that is asked for; empty: whatever there is
    long        whether the long context is asked for, by its beta
    most        tokens of output that it asks for at most; None: it does not say
    tagged      whether it has labels for its gateway (`tags`), which the API does not know
    unread      nothing is known of what the body says, as it cannot be read: the fields above that stand in it are empty
    stream_unknown  whether a stream is asked for is not known: the answer will tell by what it is
    body        uncompressed, where it holds messages
    messages    their list as it stands in the body, where that was found on the way; empty: it was not
    tokens      those in the body, as estimated by who read it; None: nobody has
    """

    endpoint: Endpoint
    model: str = ""
    stream: bool = False
    tools: bool = False
    thinking: bool = False
    session: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str | None = None
    client: str = ""
    program: str = ""
    background: bool = False
    subagent: bool = False
    project: str | None = None
    container: str = ""
    speed: str = ""
    tier: str = ""
    long: bool = False
    most: int | None = None
    tagged: bool = False
    unread: bool = False
    stream_unknown: bool = False
    body: bytes = field(default=b"", repr=False, compare=False)
    messages: memoryview = field(default=NOTHING, repr=False, compare=False)
    tokens: int | None = field(default=None, repr=False, compare=False)

    def let_go(self) -> None:
        """The request is over: what is large goes, also for others that know of it."""
        object.__setattr__(self, "body", b"")
        object.__setattr__(self, "messages", NOTHING)
        object.__setattr__(self, "tokens", 0)

    @property
    def may_stream(self) -> bool:
        """Whether the answer may be a stream."""
        return self.stream or self.stream_unknown

    @property
    def input_estimate(self) -> int:
        """Tokens, estimated from the size of the body: right to about a third for text, no more than a hint for images and PDFs."""
        if self.tokens is None:
            object.__setattr__(self, "tokens", estimate_tokens(self.body))
        return self.tokens or 0


API_KEY, OAUTH = "api_key", "oauth"
"""Kinds of keys: as a provider's console gives them, or tokens of an account."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What its owner lets a key take at most; None: as much as the provider allows."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One credential of a provider's pool. `id` is stable over restarts and edits and is what cooldowns hang on.

    proxy  the key's own outbound proxy: URL, which may hold a password; the name of one of relay.yaml; or one of the vault itself
    group  keys that are kept for certain clients; empty: for all
    kind   API_KEY or OAUTH
    renews its secret is a token that can be exchanged for the next one
    """

    provider: str
    alias: str
    secret: str = field(repr=False)
    id: str
    tier: str = ""
    weight: float = 1.0
    label: str = ""
    limits: KeyLimits | None = None
    proxy: object | None = field(default=None, repr=False)
    group: str = ""
    kind: str = API_KEY
    renews: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One provider of a route, with the name the model has there.

    kind  what the request is there for the health of keys: the model, and what has limits of its own (`kinds.kind_of`)
    """

    provider: str
    model: str
    kind: str = ""

    def __post_init__(self) -> None:
        """Without a kind, an ordinary request for the model."""
        object.__setattr__(self, "kind", self.kind or self.model)


class Failure(StrEnum):
    """How an attempt failed other than by the status of an answer."""

    CONNECT = "connect"
    """Refused, unreachable, DNS."""
    PROXY = "proxy"
    """There was no way through the outbound proxy."""
    TLS = "tls"
    RESET = "reset"
    """The connection broke before the answer was whole."""
    TIMEOUT = "timeout"
    """No first byte in time, or silence for too long."""
    EMPTY = "empty"
    """A 200 without content."""
    CUT = "cut"
    """A 200 whose body ended early."""
    GARBAGE = "garbage"
    """A 200 that is HTML or otherwise not what was asked for."""
    ERROR_EVENT = "error_event"
    """A 200 with an error in it: an SSE `error` event before content, or JSON of type error."""
    OVERSIZED = "oversized"
    """More of an answer came than can be kept."""
    UNSUITED = "unsuited"
    """Nothing was sent: the request cannot be said in this provider's format."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt, as far as it was read.

    status    HTTP status; None when no answer came
    headers   lower-case names
    body      at most 64 KiB, decompressed; for ERROR_EVENT the JSON of the error
    foreign   the answer is not of the API itself, but of something on the way to it, although the body does not look so
    failure   None: judge by the status alone; a 2xx without failure is a success
    message   for the log, one line, no secrets
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: Failure | None = None
    message: str = ""
    foreign: bool = False


class Cause(StrEnum):
    """Who an outcome speaks about."""

    NOBODY = "nobody"
    KEY = "key"
    KEY_MODEL = "key×model"
    KEY_FAMILY = "key×family"
    PROVIDER = "provider"
    ROUTE = "route"
    REQUEST = "request"
    ENDPOINT = "endpoint"


class Length(StrEnum):
    """How long a cooldown is."""

    NONE = "none"
    STATED = "stated"
    """As the provider said; growing when it did not."""
    GROWING = "growing"
    """From 1 s, doubling, to 30 min."""
    SLOW = "slow"
    """From 1 h, doubling, to 24 h."""
    CHECK = "check"
    """No end; one request every 6 h looks whether the key is back."""
    OUT = "out"
    """No end; lifted by hand."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an outcome means: a name from the verdict table, and what caused it. `cooldown_until` is None when nobody has a cooldown.

    cooldown  how long it is, where nobody has said it
    """

    name: str
    cause: Cause
    cooldown_until: float | None = None
    reason: str = ""
    cooldown: Length = Length.GROWING


class Origin(StrEnum):
    """Where a request comes from, and what its row in the ledger is to be taken for."""

    CLIENT = "client"
    REPLAY = "replay"
    """A recorded one that was sent again by hand."""
    DUEL = "duel"
    """A recorded one that several targets were compared by."""
    FAULT = "fault"
    """Of whichever origin, it met a fault that was made on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to go wrong with an attempt, on purpose (`faults`).

    kind        a status that is answered, or a word of `faults.KINDS`
    after       bytes of the answer's body that come before; None: as `faults` has it
    lasts       seconds; what they measure hangs on the kind; None: as `faults` has it
    dispatched  the attempt's request leaves, and it is the provider's answer that suffers; else nothing leaves
    """

    kind: str
    after: int | None = None
    lasts: float | None = None
    dispatched: bool = False

    def __str__(self) -> str:
        """As people read it, e.g. `cut after 200 bytes`."""
        after = "" if self.after is None else f" after {self.after} byte{'' if self.after == 1 else 's'}"
        return self.kind + after + ("" if self.lasts is None else f" for {self.lasts:g} s")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. `key` None: the client's own credential passes through. `because`: the verdict on the try before.

    repaired  the request goes without the thoughts of earlier turns, which were refused
    fault     what is to go wrong with it, on purpose
    """

    n: int
    provider: str
    key: Key | None
    model: str
    because: Verdict | None = None
    probe: bool = False
    repaired: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so many seconds; then ask again by sending None."""

    seconds: float
    reason: str
    because: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Renew:
    """The token of this key was refused: exchange it for the next one, if that can be done; then ask again by sending None.

    others  whether another key of the provider could take the request: then it need not wait for long
    """

    key: Key
    because: Verdict | None = None
    others: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last outcome is the answer."""

    because: Verdict


@dataclass(frozen=True, slots=True)
class PassedOn:
    """The last outcome is an error that the client should see as it is; `recast`: in Claude's form, as the upstream has another."""

    because: Verdict
    recast: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The relay answers with an error of its own."""

    error: RelayError
    because: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The relay answers with something of its own: a page, an estimate, a list of models."""


type Conclusion = Accepted | PassedOn | Refused
"""How a policy ends."""
type Step = Attempt | Conclusion | Answered
"""What is decided of a request: the attempt that runs or is about to, or how it ends."""


def is_own(step: Step | None) -> bool:
    """Whether the client gets an answer of the relay's own making."""
    return isinstance(step, Refused | Answered) or (isinstance(step, PassedOn) and step.recast)


def status_class(status: int | None) -> str:
    """`4xx` and so on; `other` for what is no HTTP status; empty when no answer came."""
    if status is None:
        return ""
    return f"{status // 100}xx" if 100 <= status < 600 else "other"
