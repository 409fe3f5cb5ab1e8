"""Where the relay listens, who is meant by that, and how much it takes from anybody."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from . import values
from .section import Host, Period, Section, Size, empty, number
from .values import Address

_HOST_PORT = {"type": "string", "examples": ["127.0.0.1:8080"]}
_NETWORK = {"type": "string", "examples": ["10.0.0.5", "10.0.0.0/24"]}
_COUNT = {"type": "integer", "minimum": 10, "maximum": 10_000}
KB, MB = 1000, 1000**2

type Listener = Annotated[Address, PlainValidator(Address.parse), PlainSerializer(str), WithJsonSchema(_HOST_PORT)]
type Origin = Annotated[str, PlainValidator(values.origin), WithJsonSchema({"type": "string"})]
type File = Annotated[Path, WithJsonSchema({"type": "string"})]
type Network = Annotated[str, PlainValidator(values.network), WithJsonSchema(_NETWORK)]


class Tls(Section):
    """The certificate that the listeners show, instead of one of the relay's CA. Paths are relative to relay.yaml."""

    cert: File = Field(description="PEM file: the listeners' own certificate, then those between it and its authority")
    key: File = Field(description="PEM file: its key, without a password; may be the same file")


class Listen(Section):
    """The addresses to listen on; null switches one off."""

    proxy: Listener | None = Field(default=Address("127.0.0.1", 8080), description="for HTTPS_PROXY")
    base_url: Listener | None = Field(
        default=Address("127.0.0.1", 8082), description="for ANTHROPIC_BASE_URL; needs no CA"
    )
    panel: Listener | None = Field(default=Address("127.0.0.1", 8083), description="for the admin panel")
    status: Listener | None = Field(default=Address("127.0.0.1", 8084), description="/metrics and /healthz")
    tls: Tls | None = Field(
        default=None,
        description="certificate of proxy, base_url and panel, read again when it is renewed; default: none",
    )
    cors: Annotated[tuple[Origin, ...], empty(tuple)] = Field(
        default=(), description="web origins that may call base_url; default none"
    )
    hosts: Annotated[tuple[Host, ...], empty(tuple)] = Field(
        default=(),
        description="further host names by which the listeners may be called; default: localhost and IP addresses",
    )
    trusted_proxies: Annotated[tuple[Network, ...], empty(tuple)] = Field(
        default=(), description="addresses of reverse proxies whose forwarding headers say who asks; default none"
    )

    sign_in: bool = Field(default=False, description="people may sign in to base_url with `/login` of Claude Code")

    @model_validator(mode="after")
    def _one_place_each(self) -> Listen:
        used = [address for address in (self.proxy, self.base_url, self.panel, self.status) if address]
        if any(one.clashes(other) for one, other in combinations(used, 2)):
            raise ValueError("two listeners share a port; give each its own")
        if self.proxy is None and self.base_url is None:
            raise ValueError("proxy and base_url are both off, so no request could come in; set one of them")
        if self.sign_in and self.base_url is None:
            raise ValueError("people sign in at base_url, which is off; set it, or leave 'sign_in' out")
        return self


class Bounds(Section):
    """How much the relay takes of a message before it refuses it. Sizes are bytes on the wire."""

    request_body: Size = Field(default=40 * MB, description="of a request; the API itself takes 32 MB")
    file: Size = Field(default=512 * MB, description="of a file that is uploaded")
    answer: Size = Field(default=64 * MB, description="of an answer that has to be kept before it can go on")
    head: Size = Field(default=64 * KB, description="of a head, a client's or an upstream's")
    fields: Annotated[int, PlainValidator(number(10, 10_000)), WithJsonSchema(_COUNT)] = Field(
        default=200, description="header fields of a head"
    )
    head_time: Period = Field(default=60.0, description="until a client's head is complete")
