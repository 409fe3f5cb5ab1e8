"""One real, cheap request with a key: the provider's list of models (`GET <base_url>/v1/models?limit=1` at Claude's own).

    outcome = query(provider, key, timeout=15.0)        an Outcome, as the verdict table reads it; never raises
    names = listed(provider, key, timeout=3.0)          ("qwen3-coder:30b", …); never raises
    names = every(provider, key, timeout=10.0)          as `listed`, and all of them
    body = fetched(provider, key, "/v1/models?limit=9", timeout=3.0)    b'{"data": …', or b""; never raises

On the way out the key's own proxy comes before the provider's, and that before the environment's. Who knows the relay's listeners has
filled in the last (`core.config.led`), for a variable may name one of them. No redirect is followed: it would carry the key elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPResponse
from urllib.parse import quote, urlsplit

import msgspec

from claude_relay.core.bodies.gate import Decision, Gate
from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.config import OutboundProxy, Provider, WayOut, way_to
from claude_relay.core.exchange import Endpoint, Key, Outcome
from claude_relay.core.formats import FORMATS
from claude_relay.core.secrets import Matcher
from claude_relay.upstream.connection import FAILURES, PIECE, Connection, ProxyRefused, context, failure, said

__all__ = ["context", "every", "fetched", "listed", "query"]

PATHS = {"anthropic": "/v1/models?limit=1", "gemini": "/models?pageSize=1"}
"""By format; https://ai.google.dev/api/models#method:-models.list for Gemini."""
ALL = {"anthropic": "/v1/models?limit=1000", "gemini": "/models?pageSize=1000"}
OTHERS = "/models"
"""Where OpenAI's API, and what is like it, lists its models: https://platform.openai.com/docs/api-reference/models/list"""
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "anthropic-version": "2023-06-01",  # https://docs.claude.com/en/api/versioning
    "user-agent": "claude-relay",
}
LONGEST_LIST = 4 << 20


class _Model(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _List(msgspec.Struct):
    """OpenAI's and Claude's lists are in `data`, Gemini's is in `models`."""

    data: tuple[_Model, ...] = ()
    models: tuple[_Model, ...] = ()


def query(provider: Provider, key: Key, *, timeout: float) -> Outcome:
    """What became of one request with the key. `timeout`: seconds for all of it."""
    proxy = None
    try:
        proxy = _way(provider, key)
        with Connection(provider.base_url, proxy, timeout, provider.trust) as connection:
            outcome = _without(_outcome(connection.request("GET", *_request(provider, key))), _credentials(key, proxy))
    except FAILURES as error:
        return Outcome(failure=failure(error), message=said(error, proxy))
    form = FORMATS.get(provider.format)
    return outcome if form is None else form.as_claude(outcome, "")


def listed(provider: Provider, key: Key, *, timeout: float) -> tuple[str, ...]:
    """The models that the provider lists, in its order; none when it does not say. `timeout`: seconds for all of it."""
    return _names(fetched(provider, key, "", timeout=timeout))


def every(provider: Provider, key: Key, *, timeout: float) -> tuple[str, ...]:
    """As many as the provider lists at once: a thousand, or all."""
    return _names(fetched(provider, key, ALL.get(provider.format, OTHERS), timeout=timeout))


def _names(body: bytes) -> tuple[str, ...]:
    try:
        page = msgspec.json.decode(body or b"{}", type=_List)
    except BAD_JSON:
        return ()
    names = (model.id or model.name for model in (*page.data, *page.models))
    return tuple(name.removeprefix("models/") for name in names if name)


def fetched(provider: Provider, key: Key, path: str, *, timeout: float, own: Mapping[str, str] | None = None) -> bytes:
    """The body that the provider answers a GET with; empty when there is none in time, when it is no 200 or longer than LONGEST_LIST.

    path     after the base URL, with its query; "": its list of models
    timeout  seconds for all of it
    own      header fields of a client's with its own credential, by lower-case names, which go in the place of the key
    """
    target, headers = _request(provider, key, path)
    if own is not None:
        target, headers = _prefix(provider) + path, HEADERS | dict(own) | _own_fields(provider)
    try:
        proxy = _way(provider, key)
        with Connection(provider.base_url, proxy, timeout, provider.trust) as connection:
            answer = connection.request("GET", target, headers)
            body = answer.read(LONGEST_LIST + 1) if answer.status == 200 else b""
    except (*FAILURES, ValueError):  # a client's header field may be none
        return b""
    if len(body) > LONGEST_LIST or _credentials(key, proxy).clean(body) is not body:
        return b""  # what repeats a key goes nowhere
    return body


def _credentials(key: Key, proxy: OutboundProxy | None) -> Matcher:
    """Knows the credentials that such a request carries."""
    secrets = (key.secret, *(proxy.secrets if proxy is not None else ()))
    return Matcher([(secret.encode("utf-8", "replace"), "…".encode()) for secret in secrets])


def _without(outcome: Outcome, credentials: Matcher) -> Outcome:
    """An outcome in which nothing repeats a credential."""
    headers = {credentials.clean_text(name): credentials.clean_text(value) for name, value in outcome.headers.items()}
    return replace(
        outcome,
        headers=headers,
        body=credentials.clean_end(outcome.body),
        message=credentials.clean_text(outcome.message),
    )


def _way(provider: Provider, key: Key) -> OutboundProxy | None:
    try:
        way, ways, ca = WayOut.of(os.environ), provider.ways, provider.trust.ca
        return way_to(provider.base_url, way, key.proxy, provider.proxy, named=ways, authorities=ca)
    except ValueError:
        raise ProxyRefused("the key's own proxy cannot be used") from None


def _prefix(provider: Provider) -> str:
    return urlsplit(provider.base_url).path.rstrip("/")


def _own_fields(provider: Provider) -> dict[str, str]:
    return {name.lower(): value for name, value in provider.headers.items()}


def _request(provider: Provider, key: Key, path: str = "") -> tuple[str, dict[str, str]]:
    """Target and headers, with the key where the provider wants it. `path`: after the base URL; default: its list of models."""
    target, headers = (
        _prefix(provider) + (path or PATHS.get(provider.format, OTHERS)),
        HEADERS | provider.headers_of(key),
    )
    auth, secret = provider.auth_of(key), key.secret
    match auth.kind:
        case "query":
            sign = "&" if "?" in target else "?"
            return f"{target}{sign}{quote(auth.name, safe='')}={quote(secret, safe='')}", headers
        case "cookie":
            return target, headers | {"cookie": f"{auth.name}={secret}"}
    return target, headers | {auth.name: auth.prefix + secret}


def _outcome(answer: HTTPResponse) -> Outcome:
    """What a response comes to, read until that is known."""
    lower = {name.lower(): value for name, value in answer.getheaders()}
    gate = Gate(answer.status, lower, endpoint=Endpoint.MODELS, stream=False)
    while gate.decision is Decision.HOLD:
        if piece := answer.read1(PIECE):
            gate.feed(piece)
        else:
            gate.end()
    return gate.outcome()
