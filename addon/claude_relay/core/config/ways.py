"""What relay.yaml says of the ways out: proxies with a name, and whom TLS with providers trusts.

    proxies:
      office: {url: "socks5://me:${OFFICE_PASSWORD}@proxy.example:1080", direct: true, timeout: 5s}
    upstream: {ca: company-ca.pem}
    providers:
      anthropic: {preset: anthropic, proxy: office, tls: {cert: me.pem, key: me-key.pem}}

It must not know who goes which way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from .doors import File
from .proxies import NAME, TIMEOUT, OutboundProxy, Trust
from .section import Period, Section


def proxy_name(value: object) -> str:
    """What a proxy may be called."""
    if not isinstance(value, str) or not NAME.fullmatch(value) or value.lower() == "direct":
        raise ValueError("a proxy's name has at most 40 letters, digits, '_' and '-', and is not 'direct'")
    return value


type ProxyName = Annotated[str, PlainValidator(proxy_name), WithJsonSchema({"type": "string"})]
type ProxyUrl = Annotated[
    OutboundProxy,
    PlainValidator(OutboundProxy.parse_url),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["socks5://user:password@host:1080", "http://host:3128"]}),
]
type Outbound = Annotated[
    OutboundProxy, PlainValidator(OutboundProxy.parse), PlainSerializer(str), WithJsonSchema({"type": "string"})
]


class Proxy(Section):
    """An outbound proxy with a name, which providers and keys refer to."""

    url: ProxyUrl = Field(description="http://, https:// or socks5://user:password@host:port; the proxy looks names up")
    direct: bool = Field(default=False, description="connections go directly while it fails; default: they fail")
    ca: File | None = Field(default=None, description="PEM file: authorities that an https:// proxy is trusted by, too")
    timeout: Period = Field(default=TIMEOUT, description="until the way through it stands, else it is down")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ca is not None and self.url.scheme != "https":
            raise ValueError("only with an https:// proxy is there TLS; leave 'ca' out")
        return self


class UpstreamTls(Section):
    """TLS with a provider."""

    ca: File | None = Field(default=None, description="PEM file: authorities that it is trusted by, beside the usual")
    cert: File | None = Field(default=None, description="PEM file: the relay's own certificate there, with its chain")
    key: File | None = Field(default=None, description="PEM file: its key, without a password; default: as cert")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.key is not None and self.cert is None:
            raise ValueError("a key needs its certificate; give 'cert' too")
        return self

    def trust(self, placed: Callable[[Path], Path]) -> Trust:
        """As values; `placed`: where a path of the file is."""
        cert, key = (None if file is None else placed(file) for file in (self.cert, self.key or self.cert))
        return Trust(() if self.ca is None else (placed(self.ca),), cert, key)


class UpstreamSettings(Section):
    """All connections to providers, their proxies, and hooks."""

    ca: File | None = Field(
        default=None, description="PEM file: authorities that are trusted beside the usual, such as a company's"
    )
