"""`oauth` of a provider: where its accounts log in, and as which client.

Nobody's client id is built in: it is the user's own, here or in CLAUDE_CLIENT_ID and CLAUDE_CLIENT_SECRET.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, SecretStr, WithJsonSchema, model_validator

from . import values
from .section import Section, empty

CLIENT_ID, CLIENT_SECRET = "CLAUDE_CLIENT_ID", "CLAUDE_CLIENT_SECRET"
"""Variables that fill in what relay.yaml leaves out."""
BODIES = ("form", "json")
PLACES = ("body", "header")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)
"""https://www.rfc-editor.org/rfc/rfc6749#section-3.3"""
_VISIBLE = re.compile(r"[\x21-\x7e]+", re.ASCII)


def endpoint(value: object) -> str:
    """A URL that tokens and codes may go to: TLS, or this machine."""
    example = "https://example.com/oauth/token"
    try:
        parts = urlsplit(value.strip()) if isinstance(value, str) else urlsplit("")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or parts.fragment or re.search(r"[\s\x00-\x1f\x7f\\]", parts.geturl()):
        raise ValueError(f"must be a URL such as {example}, without user name and '#'")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("must begin with https://, for tokens pass there; http:// only for this machine")
    return parts.geturl()


def back_to(value: object) -> str:
    """Where a browser goes afterwards: an address of this machine, or a page of the provider's."""
    return endpoint(value)


def scope_words(value: object) -> tuple[str, ...]:
    """A list, or one text with blanks between."""
    words = value.split() if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(word, str) and _SCOPE.fullmatch(word) for word in words):
        raise ValueError("must be a list of scopes such as [user:inference], or one text with blanks between them")
    return tuple(words)


def client_word(value: object) -> str:
    """One word."""
    text = "" if value is None else str(value).strip() if isinstance(value, str | int) else "?!"
    if (text and not _VISIBLE.fullmatch(text)) or text == "?!":
        raise ValueError("must be a client id as the provider gave it, in one word")
    return text


def _client_secret(value: SecretStr) -> SecretStr:
    if not _VISIBLE.fullmatch(value.get_secret_value()):
        raise ValueError("must be a client secret as the provider gave it, in one word")
    return value


_URL = WithJsonSchema({"type": "string", "format": "uri"})
_HEADERS = {"type": "object", "additionalProperties": {"type": "string"}}
_SCOPES = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}


class OAuth(Section):
    """Where accounts of a provider log in, and what goes with their tokens."""

    authorize_url: Annotated[str, PlainValidator(endpoint), _URL] | None = Field(
        default=None, description="the page on which a person allows it"
    )
    token_url: Annotated[str, PlainValidator(endpoint), _URL] = Field(description="where tokens are given and renewed")
    device_url: Annotated[str, PlainValidator(endpoint), _URL] | None = Field(
        default=None, description="where a device without a browser begins; default: the provider has no such way"
    )
    client_id: Annotated[str, PlainValidator(client_word), WithJsonSchema({"type": "string"})] = Field(
        default="", description=f"your own client at the provider; default: {CLIENT_ID}"
    )
    client_secret: Annotated[SecretStr, AfterValidator(_client_secret), WithJsonSchema({"type": "string"})] | None = (
        Field(default=None, description=f"its secret, where it has one; default: {CLIENT_SECRET}")
    )
    secret_in: Annotated[
        Literal["body", "header"], PlainValidator(values.one_of(PLACES)), WithJsonSchema({"enum": list(PLACES)})
    ] = Field(default="body", description="where the secret goes: body, or header (HTTP Basic)")
    scopes: Annotated[tuple[str, ...], PlainValidator(scope_words), WithJsonSchema(_SCOPES)] = Field(
        default=(), description="what the relay may do with an account"
    )
    redirect: Annotated[str, PlainValidator(back_to), _URL] | None = Field(
        default=None,
        description="where the browser goes afterwards: an address of this machine, without a port any free one, or a page that "
        "shows the code; default: http://127.0.0.1/callback",
    )
    body: Annotated[
        Literal["form", "json"], PlainValidator(values.one_of(BODIES)), WithJsonSchema({"enum": list(BODIES)})
    ] = Field(default="form", description="how requests for tokens are written: form, as the standard has it, or json")
    headers: Annotated[
        dict[str, str], PlainValidator(values.request_headers), empty(dict), WithJsonSchema(_HEADERS)
    ] = Field(
        default={}, description="further headers of requests with such a token; anthropic-beta joins the client's own"
    )

    @model_validator(mode="after")
    def _leads_somewhere(self) -> OAuth:
        if not self.authorize_url and not self.device_url:
            raise ValueError("gives nobody a way to log in; give 'authorize_url', or 'device_url'")
        return self


def with_client(section: object, environ: Mapping[str, str]) -> object:
    """The section with the client of the environment where it names none of its own."""
    if not isinstance(section, dict):
        return section
    filled: dict[str, Any] = dict(section)
    if not filled.get("client_id") and environ.get(CLIENT_ID, "").strip():
        filled["client_id"] = environ[CLIENT_ID].strip()
        if not filled.get("client_secret") and environ.get(CLIENT_SECRET, "").strip():
            filled["client_secret"] = environ[CLIENT_SECRET].strip()
    return filled
