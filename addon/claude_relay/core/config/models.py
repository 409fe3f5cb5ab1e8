"""The shape of relay.yaml: one frozen pydantic model a section.

Unknown keys are mistakes. Secrets are `SecretStr`, so that no repr and no message shows them. Nothing here reads files
or variables; `claude_relay.core.config.parse` does the whole way from text to `Config`. Durations are seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from claude_relay.core.exchange import API_KEY, OAUTH, Key
from claude_relay.core.faults import KINDS
from claude_relay.core.times import DAY, HOUR

from . import fault_checks, spending, values
from .doors import Bounds, Listen
from .oauth import OAuth
from .proxies import USUAL, OutboundProxy, Trust
from .section import SIZE, Duration, Host, Period, Section, empty, number
from .values import Auth
from .ways import Outbound, Proxy, ProxyName, UpstreamSettings, UpstreamTls

NATIVE = "anthropic"
FORMATS = (NATIVE, "openai-chat", "openai-responses", "gemini")
STRATEGIES = ("headroom", "round-robin", "random", "weighted", "least-used", "least-busy", "priority")
EMPTY_POOLS = ("passthrough", "reject")
OWN_CREDENTIALS = ("never", "first", "last")
LOGGED = ("all", "failures", "none")
DURABILITIES = ("strict", "relaxed")
PERIODS = ("day", "week", "month")

_AUTH: dict[str, Any] = {
    "anyOf": [
        {"enum": list(values.AUTHS)},
        {
            "type": "object",
            "required": ["header"],
            "properties": {"header": {"type": "string"}, "prefix": {"type": "string"}},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["cookie"],
            "properties": {"cookie": {"type": "string"}},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["query"],
            "properties": {"query": {"type": "string"}},
            "additionalProperties": False,
        },
    ]
}


def _word(known: tuple[str, ...]) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(values.one_of(known)), WithJsonSchema({"enum": list(known)})


_FORMAT = {"anyOf": [{"enum": list(FORMATS)}, {"type": "string", "pattern": r"\.py$"}]}
_HEADERS = {"type": "object", "additionalProperties": {"type": "string"}}
_TOKENS = {"type": "integer", "minimum": 0, "maximum": 100_000_000}
_FAULT = {"enum": [int(kind) if kind.isdigit() else kind for kind in KINDS]}
_PRICE = spending.amount("a price in USD such as 3 or 0.25")

type KeyPlace = Annotated[Auth, PlainValidator(values.auth), PlainSerializer(asdict), WithJsonSchema(_AUTH)]
type FormatName = Annotated[str, PlainValidator(values.format_of(FORMATS)), WithJsonSchema(_FORMAT)]
type Usd = Annotated[float, PlainValidator(_PRICE), WithJsonSchema({"type": "number", "minimum": 0})]
type ProviderName = Annotated[str, PlainValidator(values.provider_name), WithJsonSchema({"type": "string"})]


class Intercept(Section):
    """Which hosts are decrypted; all others are tunnelled, unread."""

    hosts: tuple[Host, ...] = Field(
        default=("api.anthropic.com",), min_length=1, description="hosts whose traffic the relay handles"
    )


class Provider(Section):
    """One upstream with its pool of keys. A custom format is the path of its module, as text."""

    format: FormatName = Field(
        default=NATIVE, description="the wire format it speaks; or your own module, a path that ends in .py"
    )
    base_url: Annotated[str, PlainValidator(values.base_url), WithJsonSchema({"type": "string"})] = Field(
        default="", description="what the provider's own SDK takes; the relay appends the path"
    )
    auth: KeyPlace = Field(
        default=values.AUTHS["x-api-key"], description="where the key goes; default: as the format has it"
    )
    keys: Annotated[tuple[SecretStr, ...], empty(tuple)] = Field(
        default=(), description="keys, or ${VARIABLES} that hold some, separated by commas"
    )
    empty_pool: Annotated[Literal["passthrough", "reject"], *_word(EMPTY_POOLS)] = Field(
        default="reject",
        description="without a key: let the client's own through (anthropic only), or refuse; default: only to the host it meant",
    )
    own_credential: Annotated[Literal["never", "first", "last"], *_word(OWN_CREDENTIALS)] = Field(
        default="never",
        description="with keys: the client's own login or key is used first, last, or never (anthropic only)",
    )
    strategy: Annotated[str, *_word(STRATEGIES)] = Field(default="headroom", description="which key is next")
    models: Annotated[dict[str, str], empty(dict)] = Field(
        default={},
        description="glob of the model asked for: its name here, or `first` that the provider lists; first glob that fits",
    )
    headers: Annotated[
        dict[str, str], PlainValidator(values.request_headers), empty(dict), WithJsonSchema(_HEADERS)
    ] = Field(default={}, description="further request headers: text; no credentials")
    body: Annotated[dict[str, Any], AfterValidator(values.body_parameters), empty(dict)] = Field(
        default={}, description="further parameters of the body, at its top level; not with format anthropic"
    )
    options: Annotated[dict[str, Any], empty(dict)] = Field(
        default={}, description="peculiarities of the provider, by the names its format knows; over those of the preset"
    )
    proxy: Outbound | None = Field(
        default=None,
        description="on the way out: a URL (http://, https://, socks5://), a name under proxies, or direct; default: by environment",
    )
    oauth: OAuth | None = Field(default=None, description="where accounts log in: scripts/accounts")
    tls: UpstreamTls | None = Field(default=None, description="whom TLS there trusts, and the relay's own certificate")
    preset: str | None = Field(default=None, description="fills in format, base_url, auth, options, headers and models")

    _ways: Mapping[str, OutboundProxy] = PrivateAttr(default_factory=dict)
    _trust: Trust = PrivateAttr(default=USUAL)

    @property
    def ways(self) -> Mapping[str, OutboundProxy]:
        """The proxies that have a name, which its keys may refer to."""
        return self._ways

    @property
    def trust(self) -> Trust:
        """Whom TLS with it trusts, and who the relay is there."""
        return self._trust

    def takes_own(self, *, has_keys: bool) -> bool:
        """Whether a client's own credential may go there, so that nothing should hide it."""
        return self.own_credential != "never" or (self.empty_pool == "passthrough" and not has_keys)

    @property
    def native(self) -> bool:
        """Whether it speaks Claude's own format, so that bodies pass as they are."""
        return self.format == NATIVE

    def auth_of(self, key: Key) -> Auth:
        """Where this key goes: a token of OAuth is a bearer, wherever other keys go."""
        return values.AUTHS["oauth"] if key.kind == OAUTH else self.auth

    def headers_of(self, key: Key) -> dict[str, str]:
        """The further headers of requests with this key."""
        return self.headers | self.oauth.headers if key.kind == OAUTH and self.oauth else self.headers

    def key_list(self, name: str) -> tuple[Key, ...]:
        """The pool's keys, called k1, k2, … by their place; `keys.naming` says what they are really called.

        `id` comes from the secret, so it survives a new order; never stored, for a short secret could be guessed from it.
        """
        secrets = (key.get_secret_value() for key in self.keys)
        kind = OAUTH if self.auth == values.AUTHS["oauth"] else API_KEY
        return tuple(
            Key(name, f"k{n}", secret, hashlib.sha256(secret.encode()).hexdigest()[:16], kind=kind)
            for n, secret in enumerate(secrets, 1)
        )


class Match(Section):
    """What a request must be; everything that is given must fit."""

    model: str | None = Field(default=None, description="glob of the model, e.g. claude-haiku-*")
    client: str | None = Field(default=None, description="glob of the client's name, as its client key has it")
    program: str | None = Field(default=None, description="glob of the client's program, e.g. claude-cli")
    header: Annotated[dict[str, str], PlainValidator(values.header_globs), empty(dict)] = Field(
        default={}, description="header: glob"
    )
    stream: bool | None = Field(default=None, description="asks for a stream")
    tools: bool | None = Field(default=None, description="brings tools")
    thinking: bool | None = Field(default=None, description="asks for thinking")
    min_input_tokens: Annotated[int, PlainValidator(number(0, 100_000_000)), WithJsonSchema(_TOKENS)] | None = Field(
        default=None, description="at least so many input tokens, estimated from the size of the body"
    )
    background: bool | None = Field(default=None, description="a side query of a client, such as a title")
    subagent: bool | None = Field(default=None, description="sent by a sub-agent")


class Route(Section):
    """Requests that fit go to these providers, tried left to right."""

    match: Annotated[Match, empty(Match)] = Match()
    to: tuple[ProviderName, ...] = Field(min_length=1, description="names of providers")


class FaultRule(Section):
    """Attempts that fit fail on purpose: for trying what clients make of it."""

    fault: Annotated[str, PlainValidator(fault_checks.fault), WithJsonSchema(_FAULT)] = Field(
        description="a status to answer with, or what else goes wrong"
    )
    match: Annotated[Match, empty(Match)] = Field(default=Match(), description="as for routes")
    attempt: (
        Annotated[int, PlainValidator(number(1, 1000)), WithJsonSchema({"type": "integer", "minimum": 1})] | None
    ) = Field(default=None, description="only this attempt of a request; default: any")
    probability: Annotated[
        float,
        PlainValidator(spending.amount("a share above 0 and at most 1, such as 0.3", above=True, most=1.0)),
        WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
    ] = Field(default=1.0, description="share of the attempts that fit")
    seed: Annotated[int, PlainValidator(number(0, 2**32)), WithJsonSchema(_TOKENS)] | None = Field(
        default=None, description="makes that share the same attempts each time; default: others"
    )
    count: Annotated[int, PlainValidator(number(1, 10**9)), WithJsonSchema(_TOKENS)] | None = Field(
        default=None, description="at most so many faults; default: no end"
    )
    after: Annotated[int, PlainValidator(number(0, 10**9)), WithJsonSchema(_TOKENS)] | None = Field(
        default=None, description="bytes of the answer that come before"
    )
    lasts: Period | None = Field(default=None, description="how long it takes; what that means hangs on the fault")

    @model_validator(mode="after")
    def _fits(self) -> FaultRule:
        fault_checks.fits(self.fault, after=self.after is not None, lasts=self.lasts is not None)
        return self


class Retry(Section):
    """How long a request is tried."""

    attempts: Annotated[
        int, PlainValidator(number(1, 50)), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 50})
    ] = Field(default=5, description="tries of one request that say nothing certain of a key, over all providers")
    keys: Annotated[
        int, PlainValidator(number(1, 1000)), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000})
    ] = Field(default=50, description="keys that one request may find out or at their limit")
    max_wait: Duration = Field(default=30.0, description="all waiting of one request together")
    first_byte: Period = Field(default=120.0, description="until the first byte of a stream")
    whole: Period = Field(default=600.0, description="until the first byte of an answer that is no stream")
    idle: Period = Field(default=300.0, description="silence within an answer")
    progress: Period = Field(default=300.0, description="nothing but pings within a stream")


class Sessions(Section):
    """Whether a conversation stays on its key, for the prompt cache."""

    sticky: bool = True
    ttl: Period = Field(default=HOUR, description="how long a silent session is remembered")
    short_wait: Duration = Field(
        default=5.0, description="how long a warm session waits for its key before it takes another"
    )


class Clients(Section):
    """Who needs a key of the relay's own. Programs on other machines always do."""

    required: bool = Field(default=False, description="programs on this machine need a client key, too")
    contact: Annotated[str, PlainValidator(values.contact), WithJsonSchema({"type": "string", "maxLength": 200})] = (
        Field(default="", description="whom clients are told to ask: a name, an address, a URL")
    )


class Price(Section):
    """What a model costs, over what the built-in list says; USD for a million tokens."""

    model: str = Field(min_length=1, description="glob of the model's name at the provider; the first that fits")
    provider: str | None = Field(default=None, description="at this provider only")
    since: (
        Annotated[date, PlainValidator(spending.day), WithJsonSchema({"type": "string", "format": "date"})] | None
    ) = Field(default=None, description="from this day on (UTC), as 2026-11-01; default: always")
    input: Usd = Field(description="input tokens that were neither read from the cache nor written to it")
    output: Usd = Field(description="output tokens, thinking included")
    cache_read: Usd | None = Field(default=None, description="input tokens read from the cache; default: as input")
    cache_write_5m: Usd | None = Field(default=None, description="written to the cache for 5 min; default: as input")
    cache_write_1h: Usd | None = Field(default=None, description="written to the cache for 1 h; default: as 5 min")
    request: Usd = Field(default=0.0, description="USD for each request of a server tool")


class Budget(Section):
    """So much may be spent, at a provider, on models, or in all. Days, weeks (from Monday) and months are this machine's."""

    name: str = Field(default="", description="how notices and errors call it; default: what it is for")
    provider: str | None = Field(default=None, description="what is spent there; default: anywhere")
    model: str | None = Field(default=None, description="glob of the model's name at the provider; default: any")
    per: Annotated[Literal["day", "week", "month"], *_word(PERIODS)] = Field(description="day, week or month")
    usd: Annotated[
        float,
        PlainValidator(spending.amount("an amount in USD above 0", above=True)),
        WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
    ] = Field(description="how much")
    warn: Annotated[
        float,
        PlainValidator(spending.amount("a share from 0 to 1, such as 0.8", most=1.0)),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
    ] = Field(default=0.8, description="share of it at which a notice is given; 0: none")
    then: Annotated[str, PlainValidator(spending.afterwards), WithJsonSchema({"type": "string"})] = Field(
        default=spending.STOP, description="at its end: stop, warn (a notice is all), or the provider to go to instead"
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: object) -> object:
        return spending.named(data)


class Notices(Section):
    """Who gets notices of budgets, lost keys and providers that are down."""

    webhook: (
        Annotated[SecretStr, AfterValidator(spending.webhook), WithJsonSchema({"type": "string", "format": "uri"})]
        | None
    ) = Field(default=None, description="URL that each notice is posted to as JSON; https, or http on this machine")
    secret: Annotated[SecretStr, AfterValidator(spending.secret), WithJsonSchema({"type": "string"})] | None = Field(
        default=None, description="signs what is posted: HMAC-SHA256 of the body in x-relay-signature"
    )
    command: (
        Annotated[
            tuple[str, ...],
            PlainValidator(spending.command),
            WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 1}),
        ]
        | None
    ) = Field(default=None, description="program and arguments, without a shell; each notice is its input, as JSON")
    at_most: Annotated[
        int, PlainValidator(number(1, 1000)), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000})
    ] = Field(default=10, description="notices of one kind in an hour")
    cache_miss: Usd | None = Field(
        default=None, description="also of turns that miss the prompt cache, if that costs so many USD; default: none"
    )

    @model_validator(mode="after")
    def _signs_something(self) -> Notices:
        if self.secret and not self.webhook:
            raise ValueError("a secret signs what goes to a webhook; give 'webhook' too, or leave 'secret' out")
        return self


class Log(Section):
    """How the relay's own lines in the log look."""

    requests: Annotated[Literal["all", "failures", "none"], *_word(LOGGED)] = Field(
        default="all", description="which requests have a line in the terminal: all, failures or none"
    )
    as_json: bool = Field(default=False, alias="json", description="one JSON object a line, for each request")


class Bodies(Section):
    """Bodies that are kept beside the ledger's rows, for looking into what went wrong. They hold prompts and answers."""

    keep: Period = Field(default=7 * DAY, description="how long")
    limit: Annotated[int, PlainValidator(spending.size(64)), WithJsonSchema(SIZE)] = Field(
        default=256 * 1024, description="so much of each, at most"
    )


class LedgerSettings(Section):
    """How usage is written down."""

    durability: Annotated[Literal["strict", "relaxed"], *_word(DURABILITIES)] = Field(
        default="strict", description="strict: an answer ends only after its row is on disk"
    )
    keep: Period | None = Field(default=400 * DAY, description="how long rows are kept; null: for ever")
    bodies: Bodies | None = Field(
        default=None, description="keep bodies too, such as {keep: 7d, limit: 256KiB}; default: none are stored"
    )


class Config(Section):
    """A complete relay.yaml. `database` is absolute or relative to the working directory."""

    listen: Annotated[Listen, empty(Listen)] = Listen()
    database: Annotated[Path, WithJsonSchema({"type": "string"})] = Field(
        default=Path("relay.db"), description="SQLite file, relative to this file"
    )
    intercept: Annotated[Intercept, empty(Intercept)] = Intercept()
    providers: dict[ProviderName, Annotated[Provider, empty(dict)]] = Field(default={}, description="name: provider")
    proxies: Annotated[dict[ProxyName, Proxy], empty(dict)] = Field(
        default={}, description="name: outbound proxy that providers and keys refer to"
    )
    upstream: Annotated[UpstreamSettings, empty(UpstreamSettings)] = UpstreamSettings()
    default: str | None = Field(
        default=None,
        description="PROVIDER or PROVIDER/MODEL that comes first for every request, whatever the routes say",
    )
    routes: tuple[Route, ...] = Field(default=(), description="first match wins")
    retry: Annotated[Retry, empty(Retry)] = Retry()
    shutdown: Duration = Field(
        default=30.0, description="how long running requests may take to end when the relay ends"
    )
    sessions: Annotated[Sessions, empty(Sessions)] = Sessions()
    clients: Annotated[Clients, empty(Clients)] = Clients()
    limits: Annotated[Bounds, empty(Bounds)] = Bounds()
    ledger: Annotated[LedgerSettings, empty(LedgerSettings)] = LedgerSettings()
    prices: tuple[Price, ...] = Field(default=(), description="prices of your own, over the built-in list")
    budgets: tuple[Budget, ...] = Field(default=(), description="how much may be spent")
    notices: Annotated[Notices, empty(Notices)] = Notices()
    log: Annotated[Log, empty(Log)] = Log()
    faults: Annotated[tuple[FaultRule, ...], empty(tuple)] = Field(
        default=(), description="what fails on purpose; first match wins; for trying clients, never for work"
    )
