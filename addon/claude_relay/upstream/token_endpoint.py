"""Requests to a provider's OAuth endpoints: a code, a refresh token or a device's code for tokens. Never raises.

    tokens_for_code(provider, code, begun, way, timeout=15.0)       -> Granted | Refused | Failed
    tokens_for_refresh(provider, token, way, timeout=15.0)    -> the same
    device_code(provider, way, timeout=15.0)                        -> DeviceCode | Failed
    tokens_for_device(provider, code, way, timeout=15.0)            -> Granted | Refused | Failed | Pending
    wait_for_device(provider, code, way, timeout=15.0)              asks until a person has answered
    fetching(providers, way, timeout=15.0)                          how `store.vault.renewing` asks

https://www.rfc-editor.org/rfc/rfc6749, https://www.rfc-editor.org/rfc/rfc7636, https://www.rfc-editor.org/rfc/rfc8628. They leave the
machine as requests with the account do: through its own proxy, else the provider's, else the environment's. No redirect is followed. A
client secret goes into the body (`client_secret_post`), or where `secret_in` says so the header (`client_secret_basic`). It must not know
where tokens are kept.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.config import OAuth, OutboundProxy, Provider, WayOut, way_to
from claude_relay.core.errors import clean
from claude_relay.core.oauth.authorizing import Begun, DeviceCode
from claude_relay.core.oauth.grants import FORM, Answer, Failed, Pending, Refused, answer_of, life
from claude_relay.core.secrets import Matcher

from .connection import FAILURES, Connection, ProxyRefused, said

LONGEST_ANSWER = 1 << 16
USUAL_INTERVAL = 5.0
LONGEST_INTERVAL = 60.0
USUAL_LIFE = 900.0
"""Seconds a device's code is good for, where the server does not say."""
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER = 5.0
"""Seconds more between two looks, when a server wants that: https://www.rfc-editor.org/rfc/rfc8628#section-3.5"""
HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "claude-relay"}
NO_CLIENT = Failed(
    "there is no client id: set CLAUDE_CLIENT_ID, or oauth.client_id in relay.yaml, to that of your own client",
    undone=True,
)
NO_OAUTH = Failed("relay.yaml has no `oauth` for this provider: say there where its accounts log in", undone=True)


class AccountLike(Protocol):
    """As much of an account as this needs."""

    @property
    def provider(self) -> str:
        """Its name in relay.yaml."""


class TakenLike(Protocol):
    """What is to be renewed."""

    @property
    def account(self) -> AccountLike:
        """Whose."""

    @property
    def refresh(self) -> str:
        """The refresh token."""

    @property
    def proxy(self) -> object | None:
        """The account's own."""


class _Device(msgspec.Struct):
    device_code: str
    user_code: str
    verification_uri: str | None = None
    verification_url: str | None = None
    verification_uri_complete: str | None = None
    expires_in: object = None
    interval: object = None


def tokens_for_code(provider: Provider, code: str, begun: Begun, way: WayOut, *, timeout: float) -> Answer:
    """The tokens of an authorisation that a person has given. `timeout`: seconds for all of it."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": begun.redirect,
        "code_verifier": begun.verifier,
        "state": begun.state,  # a field too much by the standard, which every server passes over; some want it
    }
    return _answer(_posted(provider, None, fields, (code, begun.verifier), way, timeout), provider)


def tokens_for_refresh(
    provider: Provider, token: str, way: WayOut, *, timeout: float, proxy: object | None = None
) -> Answer:
    """The next tokens of an account. `proxy`: its own."""
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    return _answer(_posted(provider, None, fields, (token,), way, timeout, proxy))


def device_code(provider: Provider, way: WayOut, *, timeout: float) -> DeviceCode | Failed:
    """What a person is to type in, and where."""
    oauth = provider.oauth
    if oauth is None or oauth.device_url is None:
        return Failed("relay.yaml has no oauth.device_url for this provider: log in without --device", undone=True)
    answer = _posted(provider, oauth.device_url, {"scope": " ".join(oauth.scopes)}, (), way, timeout)
    if isinstance(answer, Failed):
        return answer
    status, headers, body = answer
    if not 200 <= status < 300:
        found = answer_of(status, headers, body)
        return found if isinstance(found, Failed) else Failed(f"the device endpoint answered {status}")
    try:
        found_code = msgspec.json.decode(body, type=_Device)
    except BAD_JSON:
        return Failed("the device endpoint's answer holds no code")
    url = found_code.verification_uri or found_code.verification_url or ""
    if urlsplit(url).scheme not in ("http", "https"):
        return Failed("the device endpoint's answer does not say where to type the code in")
    interval = life(found_code.interval) or USUAL_INTERVAL
    complete = found_code.verification_uri_complete or ""
    return DeviceCode(
        clean(found_code.user_code),
        url,
        complete if urlsplit(complete).scheme in ("http", "https") else "",
        life(found_code.expires_in) or USUAL_LIFE,
        min(interval, LONGEST_INTERVAL),
        found_code.device_code,
    )


def tokens_for_device(provider: Provider, code: DeviceCode, way: WayOut, *, timeout: float) -> Answer | Pending:
    """The tokens, once a person has confirmed the code."""
    fields = {"grant_type": DEVICE_GRANT, "device_code": code.device_code}
    answer = _posted(provider, None, fields, (code.device_code,), way, timeout)
    return answer if isinstance(answer, Failed) else answer_of(*answer, provider.oauth.scopes if provider.oauth else ())


def wait_for_device(
    provider: Provider,
    code: DeviceCode,
    way: WayOut,
    *,
    timeout: float,
    wait: Callable[[float], object] = time.sleep,
    ticks: Callable[[], float] = time.monotonic,
) -> Answer:
    """The same, when a person has answered. Waits for as long as the code is good."""
    until, pause, failures = ticks() + code.expires_in, code.interval, 0
    while ticks() < until:
        wait(pause)
        answer = tokens_for_device(provider, code, way, timeout=timeout)
        if isinstance(answer, Pending):
            pause += SLOWER if answer.slower else 0.0
        elif isinstance(answer, Failed) and not answer.undone and failures < 5:
            failures, pause = failures + 1, pause * 2  # as the standard has it for a connection that timed out
        else:
            return answer
    return Refused("nobody has confirmed the code in time; begin again")


def fetching(providers: Mapping[str, Provider], way: WayOut, *, timeout: float) -> Callable[[TakenLike], Answer]:
    """Asks for the next tokens of whichever account."""

    def fetch(taken: TakenLike) -> Answer:
        provider = providers.get(taken.account.provider)
        if provider is None:
            return Failed("relay.yaml has no provider of this name", undone=True)
        return tokens_for_refresh(provider, taken.refresh, way, timeout=timeout, proxy=taken.proxy)

    return fetch


type _Raw = tuple[int, Mapping[str, str], bytes]


def _answer(answer: _Raw | Failed, provider: Provider | None = None) -> Answer:
    """`provider`: whose scopes were asked for; a server that gives all of them need not repeat them."""
    if isinstance(answer, Failed):
        return answer
    found = answer_of(*answer, provider.oauth.scopes if provider is not None and provider.oauth is not None else ())
    return Failed("the token endpoint's answer makes no sense here") if isinstance(found, Pending) else found


def _posted(
    provider: Provider,
    url: str | None,
    fields: dict[str, str],
    secrets: tuple[str, ...],
    way: WayOut,
    timeout: float,
    own: object | None = None,
) -> _Raw | Failed:
    """The answer, in which nothing repeats what was sent, but for the tokens themselves."""
    oauth = provider.oauth
    if oauth is None:
        return NO_OAUTH
    if not oauth.client_id:
        return NO_CLIENT
    target, proxy = url or oauth.token_url, None
    try:
        proxy = _way(target, own, provider, way)
        with Connection(target, proxy, timeout, provider.trust) as connection:
            response = connection.request("POST", _path(target), *_written(oauth, fields))
            body = response.read(LONGEST_ANSWER + 1)
            headers = {name.lower(): value for name, value in response.getheaders()}
    except FAILURES as error:
        # Before a connection stands nothing was sent.
        return Failed(
            f"the token endpoint gave no answer: {said(error, proxy)}",
            undone=isinstance(error, ProxyRefused | ConnectionRefusedError),
        )
    if len(body) > LONGEST_ANSWER:
        return Failed("the token endpoint's answer is too long to be one")
    return response.status, headers, body if 200 <= response.status < 300 else _cleaned(body, oauth, secrets)


def _written(oauth: OAuth, fields: dict[str, str]) -> tuple[dict[str, str], bytes]:
    """Headers and body."""
    headers, client = HEADERS, {"client_id": oauth.client_id}
    if (basic := _basic(oauth)) is not None:
        headers, client = (
            HEADERS | {"authorization": f"Basic {basic}"},
            {},
        )  # both would be refused: RFC 6749, section 2.3
    elif oauth.client_secret is not None:
        client["client_secret"] = oauth.client_secret.get_secret_value()
    values = {name: value for name, value in (fields | client).items() if value}
    if oauth.body == "json":
        return headers | {"content-type": "application/json"}, msgspec.json.encode(values)
    return headers | {"content-type": FORM}, urlencode(values).encode()


def _basic(oauth: OAuth) -> str | None:
    """Id and secret as the header has them, each encoded as in a form first: RFC 6749, section 2.3.1."""
    if oauth.client_secret is None or oauth.secret_in != "header":
        return None
    parts = (quote_plus(part) for part in (oauth.client_id, oauth.client_secret.get_secret_value()))
    return b64encode(":".join(parts).encode()).decode()


def _cleaned(body: bytes, oauth: OAuth, secrets: tuple[str, ...]) -> bytes:
    own = [oauth.client_secret.get_secret_value()] if oauth.client_secret is not None else []
    known = [*secrets, *own, *([basic] if (basic := _basic(oauth)) is not None else [])]
    return Matcher([(secret.encode("utf-8", "replace"), "…".encode()) for secret in known]).clean(body)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _way(url: str, own: object | None, provider: Provider, way: WayOut) -> OutboundProxy | None:
    try:
        return way_to(url, way, own, provider.proxy, named=provider.ways, authorities=provider.trust.ca)
    except ValueError:
        raise ProxyRefused("the account's own proxy cannot be used") from None
