"""A provider's OAuth endpoints on this machine, over real sockets: codes, rotating refresh tokens, devices, and everything that goes wrong.

with serving(OAuthServer()) as server:
    server.code(begun.url)                the code that a person would be given on the page
    server.login()                        a pair of tokens of a new account

rotate   every renewal gives another refresh token; the one before is taken back
grace    so many times the one before is still taken, and gives what it gave then
plan     what the next requests for tokens meet instead: a status, "cut", or seconds of silence, at most until the server ends
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

from claude_relay.core.config import Provider, parse
from waiting import PATIENCE

CLIENT = {"client_id": "a-client-of-our-own", "client_secret": "client:secret+0123456789/="}


@dataclass
class Account:
    """One at the provider."""

    access: set[str] = field(default_factory=set)
    refresh: str = ""
    before: str = ""
    grace: int = 0
    revoked: bool = False
    renewals: int = 0


class OAuthServer(ThreadingHTTPServer):
    """See the module's text."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, rotate: bool = True, grace: int = 0, expires_in: float | None = 28800) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.rotate, self.grace, self.expires_in = rotate, grace, expires_in
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.plan: deque[int | float | str] = deque()
        self.requests: list[dict[str, str]] = []
        self.accounts: list[Account] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.devices: dict[str, str] = {}
        """Device code → pending, confirmed, denied, expired."""
        self.guard = threading.RLock()
        self.came = threading.Semaphore(0)
        """Once for each request for tokens, before it is answered."""
        self.go_on = threading.Event()
        """What `wait` in the plan waits for."""
        self.over = threading.Event()
        self.under_way = self.most_under_way = 0

    def server_close(self) -> None:
        """No silence outlasts the server."""
        self.over.set()
        super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed."""

    def provider(self, base_url: str = "https://api.anthropic.com", **more: object) -> Provider:
        """A provider of relay.yaml whose accounts log in here."""
        text = json.dumps({"providers": {"anthropic": {"base_url": base_url, "oauth": self.section(**more)}}})
        return parse(text, environ={}).providers["anthropic"]

    def section(self, **more: object) -> dict[str, object]:
        """`oauth` of relay.yaml."""
        usual: dict[str, object] = {
            "authorize_url": f"{self.url}/authorize?code=true",
            "token_url": f"{self.url}/token",
            "device_url": f"{self.url}/device",
            "scopes": ["user:inference"],
            "headers": {"anthropic-beta": "oauth-of-a-test"},
        }
        return usual | CLIENT | more

    # -- what happens at the provider

    def code(self, url: str) -> str:
        """A person says yes on the page."""
        said = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (said["response_type"], said["code_challenge_method"]) == ("code", "S256")
        code = f"code-{secrets.token_urlsafe(8)}"
        self.codes[code] = said
        return code

    def login(self) -> dict[str, Any]:
        """A new account's first tokens."""
        with self.guard:
            self.accounts.append(Account())
            return self._issue(self.accounts[-1])

    def _issue(self, account: Account) -> dict[str, Any]:
        access = f"oat-{secrets.token_hex(12)}"
        account.access.add(access)
        if self.rotate or not account.refresh:
            account.before, account.refresh = account.refresh, f"ort-{secrets.token_hex(12)}"
            account.grace = self.grace
        found = {"token_type": "Bearer", "access_token": access, "refresh_token": account.refresh}
        if self.expires_in is not None:
            found["expires_in"] = self.expires_in
        return found | {"account": {"email_address": "me@example.com"}}

    def knows(self, access: str) -> bool:
        """Whether an access token is good."""
        return any(access in account.access and not account.revoked for account in self.accounts)

    def expire(self) -> None:
        """All access tokens are over."""
        with self.guard:
            for account in self.accounts:
                account.access.clear()

    # -- requests

    def answer(self, path: str, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        with self.guard:
            self.requests.append({"path": path, **fields})
            if (fields.get("client_id"), fields.get("client_secret")) != tuple(CLIENT.values()):
                return 401, {"error": "invalid_client"}
            if path == "/device":
                code = f"device-{secrets.token_hex(16)}"
                self.devices[code] = "pending"
                where = f"{self.url}/activate"
                return 200, {
                    "device_code": code,
                    "user_code": "WDJB-MJHT",
                    "verification_uri": where,
                    "expires_in": 60,
                    "interval": 0.01,
                }
            match fields.get("grant_type"):
                case "authorization_code":
                    return self._of_code(fields)
                case "refresh_token":
                    return self._of_refresh(fields.get("refresh_token", ""))
                case "urn:ietf:params:oauth:grant-type:device_code":
                    return self._of_device(fields.get("device_code", ""))
            return 400, {"error": "unsupported_grant_type"}

    def _of_code(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        said = self.codes.pop(fields["code"], None)  # a code is good once
        verifier = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if said is None or said["code_challenge"] != challenge or said["redirect_uri"] != fields["redirect_uri"]:
            return 400, {"error": "invalid_grant", "error_description": f"no such code: {fields['code']}"}
        return 200, self.login()

    def _of_refresh(self, token: str) -> tuple[int, dict[str, Any]]:
        for account in self.accounts:
            if not account.revoked and token == account.refresh:
                account.renewals += 1
                return 200, self._issue(account)
            if not account.revoked and token == account.before and account.grace > 0:
                account.grace -= 1
                access = f"oat-{secrets.token_hex(12)}"
                account.access.add(access)
                return 200, {"access_token": access, "refresh_token": account.refresh, "expires_in": self.expires_in}
        return 400, {"error": "invalid_grant", "error_description": f"Refresh token not found: {token}"}

    def _of_device(self, code: str) -> tuple[int, dict[str, Any]]:
        match self.devices.get(code):
            case "pending":
                return 400, {"error": "authorization_pending"}
            case "slow":
                self.devices[code] = "pending"
                return 400, {"error": "slow_down"}
            case "confirmed":
                return 200, self.login()
            case "denied":
                return 400, {"error": "access_denied"}
        return 400, {"error": "expired_token"}


class _Answering(BaseHTTPRequestHandler):
    server: OAuthServer

    def do_POST(self) -> None:
        server = self.server
        data = self.rfile.read(int(self.headers["content-length"])).decode()
        is_json = self.headers["content-type"] == "application/json"
        fields = json.loads(data) if is_json else dict(parse_qsl(data))
        kind, _, basic = self.headers.get("authorization", "").partition(" ")
        if kind == "Basic" and not fields.keys() & CLIENT.keys():  # a client that says who it is twice is refused
            fields |= zip(CLIENT, map(unquote_plus, base64.b64decode(basic).decode().split(":")), strict=True)
        with server.guard:
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            meets = server.plan.popleft() if server.plan and self.path == "/token" else None
        server.came.release()
        try:
            self._meet(meets, fields)
        finally:
            with server.guard:
                server.under_way -= 1

    def _meet(self, meets: int | float | str | None, fields: dict[str, str]) -> None:
        if isinstance(meets, float):
            self.server.over.wait(meets)
        if isinstance(meets, int):
            self._send(meets, {"error": "server_error", "error_description": f"sorry, {fields.get('refresh_token')}"})
            return
        status, answer = self.server.answer(self.path, fields)
        if meets == "wait":  # it has been done, and nobody knows yet
            self.server.go_on.wait(PATIENCE)
        if meets == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(status, answer)

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silence."""
