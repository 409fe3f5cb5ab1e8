"""Clients in a relay's database, and what they send at its base URL.

team = Team(relay)
ann = team.add("ann", owner="ann@example.com")           her key
team.post("/oauth/token", grant_type=…)                  a form
team.get("/relay/me", ann)
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook

from .clients import Answer, Headers, RawClient
from .relay import Relay

ME = Actor("me", "cli", "here")
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
FORM = ("content-type", "application/x-www-form-urlencoded")


def bearer(secret: str) -> Headers:
    return [("authorization", f"Bearer {secret}")]


class Team:
    """Of one relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.book = ClientBook(relay.database)

    def add(self, name: str, *limits: str, **values: Any) -> str:
        """A client's key."""
        return self.book.add(ME, name, {"policy": Policy(limits=tuple(map(parse, limits)))} | values).key

    def ask(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Answer:  # type: ignore[assignment]
        with RawClient(self.relay.base_port) as client:
            client.host = f"127.0.0.1:{self.relay.base_port}"
            return client.ask(method, path, headers=list(headers), body=body, key=None)

    def get(self, path: str, secret: str | None = None, headers: Headers = ()) -> Answer:  # type: ignore[assignment]
        return self.ask("GET", path, headers=[*headers, *(bearer(secret) if secret else [])])

    def post(self, path: str, headers: Headers = (), **form: str) -> Answer:  # type: ignore[assignment]
        return self.ask("POST", path, headers=[FORM, *headers], body=urlencode(form).encode())

    # -- signing in

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.relay.base_port}"

    def begin(self) -> dict[str, Any]:
        """What the program gets."""
        answer = self.post("/oauth/device_authorization", surface="claude_code")
        assert answer.status == 200, answer.body
        return answer.json()

    def confirm(self, user_code: str, key: str, action: str = "approve") -> Answer:
        """What the person does, in a browser."""
        return self.post("/device", [("origin", self.origin)], user_code=user_code, key=key, action=action)

    def poll(self, device_code: str) -> Answer:
        return self.post("/oauth/token", grant_type=DEVICE_GRANT, device_code=device_code)

    def renew(self, refresh_token: object) -> Answer:
        return self.post("/oauth/token", grant_type="refresh_token", refresh_token=str(refresh_token))

    def sign_in(self, key: str) -> dict[str, Any]:
        """Tokens of somebody who has confirmed."""
        begun = self.begin()
        assert self.confirm(begun["user_code"], key).status == 200
        answer = self.poll(begun["device_code"])
        assert answer.status == 200, answer.body
        return answer.json()
