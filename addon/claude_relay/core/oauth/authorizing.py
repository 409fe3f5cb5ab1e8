"""The page on which a person allows the relay to use an account, and what comes back from it.

    begun = begin(settings, "http://127.0.0.1:41025/callback", chance=os.urandom)
    begun.url                             for the person's browser
    begin_for_pasting(settings, chance=os.urandom)        the same, where a person brings the answer
    code_of("http://127.0.0.1:41025/callback?code=…&state=…", begun)       -> the code, once the state is the same
    code_of("CODE#STATE", begun)            -> the same, as a page shows it for copying

PKCE with S256: https://www.rfc-editor.org/rfc/rfc7636. The state ties the answer to who asked: without it no code is taken. It must not
know who listens.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from claude_relay.core.errors import clean

RANDOM = 32
"""Bytes of chance in a verifier and in a state."""
LONGEST_PASTED = 8192
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LISTENING = "http://127.0.0.1/callback"
"""Where a browser on this machine is sent back to when relay.yaml says nothing: https://www.rfc-editor.org/rfc/rfc8252#section-7.3"""


FIRST_FREE, FREE = 49152, 16384
"""Ports that programs take as they come: https://www.rfc-editor.org/rfc/rfc6335#section-6"""


class SettingsLike(Protocol):
    """As much of `oauth` in relay.yaml as this needs."""

    @property
    def authorize_url(self) -> str | None:
        """The provider's page."""

    @property
    def client_id(self) -> str:
        """Who asks."""

    @property
    def redirect(self) -> str | None:
        """Where a browser is sent back to; None: to this machine."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """What for."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An authorisation that a person is asked for. `redirect`: where the answer goes."""

    url: str
    redirect: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def begin(settings: SettingsLike, redirect: str, chance: Callable[[int], bytes]) -> Begun:
    """A new one, unlike any before it. `chance`: so many random bytes."""
    verifier, state = _text(chance(RANDOM)), _text(chance(RANDOM))
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": redirect,
        "scope": " ".join(settings.scopes),
        "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
        "state": state,
    }
    url = settings.authorize_url or ""
    given = urlencode({name: value for name, value in query.items() if value})
    return Begun(f"{url}{'&' if urlsplit(url).query else '?'}{given}", redirect, state, verifier)


def code_of(pasted: str, begun: Begun) -> str:
    """The code in what a person pasted, or in the target of the request that a browser made. Raises ValueError."""
    text = pasted.strip()
    if not text or len(text) > LONGEST_PASTED or any(c.isspace() for c in text):
        raise ValueError("nothing that could be a code; copy all of it, or the whole address that the browser shows")
    code, state, error = _parts(text)
    if error:
        raise ValueError(f"the provider's page said no: {clean(error)}")
    if not hmac.compare_digest(state.encode("utf-8", "replace"), begun.state.encode()):
        raise ValueError(
            "this code is of another login (its state is another one, or missing); paste CODE#STATE or the whole "
            "address, from the page that this login opened"
        )
    if not code or not code.isascii() or not code.isprintable():
        raise ValueError("there is no code in it; copy all of it, or the whole address that the browser shows")
    return code


def _parts(text: str) -> tuple[str, str, str]:
    """Code, state, error."""
    if "?" in text or "://" in text:
        parts = urlsplit(text)
        said = parse_qs(parts.query or parts.fragment, keep_blank_values=True)
        code, state, error = (said.get(name, [""])[0] for name in ("code", "state", "error"))
        described = said.get("error_description", [""])[0]
        return code, state, f"{error}: {described}" if error and described else error
    code, _, state = text.partition("#")
    return code, state, ""


def begin_for_pasting(settings: SettingsLike, chance: Callable[[int], bytes]) -> Begun:
    """One whose answer a person brings. It leads to a port where nobody listens: the browser then shows the whole address."""
    place, redirect = place_of(settings.redirect), settings.redirect or LISTENING
    if place is not None:
        redirect = place.at(place.port or FIRST_FREE + int.from_bytes(chance(2)) % FREE)
    return begin(settings, redirect, chance)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a browser's answer can be caught. `port` 0: any free one."""

    host: str
    port: int
    path: str

    def at(self, port: int) -> str:
        """The URL, with the port that was found."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}{self.path}"


def place_of(redirect: str | None) -> Place | None:
    """Where to listen; None: the redirect leads to a page that shows the code for copying."""
    parts = urlsplit(redirect or LISTENING)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        return None
    return Place(parts.hostname, parts.port or 0, parts.path or "/")


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a device is told to show: https://www.rfc-editor.org/rfc/rfc8628#section-3.2. Lengths in seconds."""

    user_code: str
    url: str
    complete_url: str
    expires_in: float
    interval: float
    device_code: str = field(repr=False)
