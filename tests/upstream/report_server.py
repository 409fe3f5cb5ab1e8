"""Providers' reports of usage and cost on this machine, over real sockets, with pages, keys, late figures, and everything that goes wrong.

with serving(ReportServer()) as server:
    server.used("2026-11-26", "claude-opus-4-8-20260801", key="apikey_1", uncached_input_tokens=900)
    server.cost("2026-11-26", "claude-opus-4-8", "123.45")        cents
    server.keys["apikey_1"] = "sk-ant-api03-R2D...igAA"

plan   what the next requests meet instead: a status, a status with headers and a body, bytes of a 200, or seconds of silence,
       at most until the server ends
"""

from __future__ import annotations

import json
import threading
from collections import deque
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ADMIN = "sk-ant-admin01-0123456789abcdef"
OPENAI_ADMIN = "sk-admin-0123456789abcdef0123"

type Planned = int | float | bytes | tuple[int, dict[str, str], bytes]


class ReportServer(ThreadingHTTPServer):
    """See the module's text. `page`: days of a page."""

    daemon_threads = True

    def __init__(self, *, page: int = 31) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.page = page
        self.usage: list[tuple[str, dict[str, Any]]] = []
        self.costs: list[tuple[str, dict[str, Any]]] = []
        self.keys: dict[str, str] = {}
        self.plan: deque[Planned] = deque()
        self.requests: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.circles = False
        """Whether the last page names the first one."""
        self.over = threading.Event()

    def server_close(self) -> None:
        """No silence outlasts the server."""
        self.over.set()
        super().server_close()

    def used(self, day: str, model: str | None, *, key: str | None = None, **counts: Any) -> None:
        """A line of the report of usage, in the provider's own names."""
        self.usage.append((day, {"model": model, "api_key_id": key, **counts}))

    def cost(self, day: str, model: str | None, amount: str, kind: str = "tokens", currency: str = "USD") -> None:
        """A line of Anthropic's report of cost."""
        line = {"model": model, "amount": amount, "cost_type": kind, "currency": currency, "description": "as it is"}
        self.costs.append((day, line))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that waits no longer."""


class _Answering(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((parts.path, query, headers))
        if self.server.plan:
            self.planned(self.server.plan.popleft())
        elif headers.get("x-api-key") != ADMIN and f"Bearer {OPENAI_ADMIN}" != headers.get("authorization"):
            said = {"error": {"type": "authentication_error", "message": f"invalid {headers.get('x-api-key')}"}}
            self.answer(401, json.dumps(said).encode())
        else:
            self.answer(200, json.dumps(self.found(parts.path, query)).encode())

    def planned(self, what: Planned) -> None:
        match what:
            case float():
                self.server.over.wait(what)
            case bytes():
                self.answer(200, what)
            case int():
                self.answer(what, json.dumps({"error": {"message": "as it was planned"}}).encode())
            case (status, more, body):
                self.answer(status, body, more)

    def found(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        if path.endswith("/api_keys"):
            rows = [{"id": id, "partial_key_hint": hint} for id, hint in self.server.keys.items()]
            after = query.get("after_id", [""])[0]
            at = next((n + 1 for n, row in enumerate(rows) if row["id"] == after), 0)
            return {
                "data": rows[at : at + 1],
                "has_more": at + 1 < len(rows),
                "last_id": rows[at]["id"] if rows else None,
            }
        openai = "/organization/" in path
        lines = self.server.costs if "cost" in path else self.server.usage
        first, end = (
            _day(query[name][0]) for name in (("start_time", "end_time") if openai else ("starting_at", "ending_at"))
        )
        days = [first + timedelta(days=n) for n in range((end - first).days)]
        at = int(query.get("page", ["0"])[0])
        buckets = [
            _bucket(day, [line for of, line in lines if of == day.isoformat()], openai)
            for day in days[at : at + self.server.page]
        ]
        more = at + self.server.page < len(days)
        after = str(at + self.server.page) if more else "0"
        return {
            "data": buckets,
            "has_more": more or self.server.circles,
            "next_page": after if more or self.server.circles else None,
        }

    def answer(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (
            {"content-type": "application/json", "content-length": str(len(body))} | (more or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silence."""


def _bucket(day: date, results: list[dict[str, Any]], openai: bool) -> dict[str, Any]:
    if openai:
        at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        return {"object": "bucket", "start_time": at, "end_time": at + 86400, "results": results}
    return {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{day + timedelta(days=1)}T00:00:00Z", "results": results}


def _day(text: str) -> date:
    return datetime.fromtimestamp(int(text), UTC).date() if text.isdigit() else datetime.fromisoformat(text).date()
