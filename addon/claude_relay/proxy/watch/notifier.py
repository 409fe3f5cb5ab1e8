"""Takes notices to a webhook, to a command and into the database, from a thread of its own.

    notifier = Notifier(config.notices, report=logging.warning, book=NoticeBook(database).put)
    notifier.start()
    notifier.tell(notice)           # never waits, never raises
    notifier.close()                # what is still waiting has 2 s

Posted is JSON (`core.notices.Notice.body`), signed in `x-relay-signature: sha256=…` with the HMAC-SHA256 of the body, as
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries does. Where that fails for now (no answer, 408, 429,
5xx), it is tried again after 1, 3, 9, 27 and 60 s; any other answer is final, redirects too. The command gets the same JSON as its
input, once, and `book` is given it once, before them. What goes wrong is reported without the address, which may be a credential.

What this module must not know: flows, keys, and why something is worth telling.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

from pydantic import SecretStr

from claude_relay.core.config import Notices, WayOut
from claude_relay.core.notices import Notice, Throttle
from claude_relay.store.db.database import StoreError
from claude_relay.upstream.connection import FAILURES, Connection, ProxyRefused, said

MOST = 100
"""Notices that may wait."""
PAUSES = (1.0, 3.0, 9.0, 27.0, 60.0)
PATIENCE = 10.0
"""Seconds for the webhook to answer, and for the command to end."""
LAST_WORDS = 2.0
DIRECTLY = WayOut()
TRY_AGAIN = frozenset({408, 429})


class PostError(Exception):
    """A delivery failed; the text is safe to show. `final`: it would fail again."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


@dataclass(slots=True, order=True)
class _Delivery:
    """A notice on its way, ordered by when it is due (monotonic seconds). `tries`: posts that failed."""

    due: float
    n: int
    notice: Notice = field(compare=False)
    held_back: int = field(compare=False)
    tries: int = field(default=0, compare=False)


class Notifier:
    """The way out of notices. `report` hears, from the thread, of what could not be told; `book` writes it down, or raises StoreError."""

    def __init__(
        self,
        settings: Notices,
        report: Callable[[str], object],
        *,
        pauses: tuple[float, ...] = PAUSES,
        patience: float = PATIENCE,
        way: WayOut = DIRECTLY,
        book: Callable[[Notice, float], object] | None = None,
    ) -> None:
        self._settings = settings
        self._book = book
        self._report = report
        self._pauses = pauses
        self._patience = patience
        self._way = way
        self._throttle = Throttle(settings.at_most)
        self._waiting: list[_Delivery] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to deliver; without anybody to tell there is nothing to do."""
        if self._thread is None and self._is_heard:
            self._thread = threading.Thread(target=self._work, name="relay-notices", daemon=True)
            self._thread.start()

    def notify(self, notice: Notice) -> None:
        """Have it delivered, unless it is one too many or known already. Called from any thread."""
        with self._changed:
            if not self._is_heard or len(self._waiting) >= MOST:
                return
            if self._throttle.admits(notice):
                self._put(
                    _Delivery(time.monotonic(), next(self._numbers), notice, self._throttle.held_back(notice.kind))
                )

    def change(self, settings: Notices) -> None:
        """Deliver by these settings from now on; what was told stays told."""
        with self._changed:
            self._settings = settings
            self._throttle.at_most = settings.at_most
        self.start()

    def close(self) -> None:
        """Stop, after at most 2 s for what waits; nothing is tried again. May be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join(LAST_WORDS)

    @property
    def _is_heard(self) -> bool:
        return bool(self._book or self._settings.webhook or self._settings.command)

    def _put(self, delivery: _Delivery) -> None:
        heapq.heappush(self._waiting, delivery)
        self._changed.notify()

    def _work(self) -> None:
        while delivery := self._next():
            try:
                self._deliver(delivery)
            except Exception as error:  # whatever it is: the next notice must still be told
                self._report(f"notice {delivery.notice.kind} was not sent: {type(error).__name__}")

    def _next(self) -> _Delivery | None:
        """The next that is due; None when all is done."""
        with self._changed:
            while True:
                due = self._waiting[0].due - time.monotonic() if self._waiting else None
                if self._waiting and (self._closing or (due is not None and due <= 0)):
                    return heapq.heappop(self._waiting)
                if self._closing:
                    return None
                self._changed.wait(due)

    def _deliver(self, delivery: _Delivery) -> None:
        settings, notice = self._settings, delivery.notice
        if self._book is not None and not delivery.tries:
            try:
                self._book(notice, time.time())
            except StoreError as error:
                self._report(f"notice {notice.kind} is not written down: {error}")
        body = notice.body(time.time(), delivery.held_back)
        if settings.command and not delivery.tries and (trouble := run(settings.command, body, self._patience)):
            self._report(f"notice {notice.kind}: the command {trouble}")
        if settings.webhook:
            try:
                post(settings.webhook, settings.secret, body, self._patience, self._way)
            except PostError as error:
                self._again(delivery, error)

    def _again(self, delivery: _Delivery, error: PostError) -> None:
        with self._changed:
            if not (error.final or self._closing or delivery.tries >= len(self._pauses)):
                delivery.due = time.monotonic() + self._pauses[delivery.tries]
                delivery.tries += 1
                self._put(delivery)
                return
        self._report(f"notice {delivery.notice.kind}: the webhook {error}")


def signature(secret: SecretStr, body: bytes) -> str:
    """The value of `x-relay-signature`."""
    return "sha256=" + hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()


def post(
    url: SecretStr, secret: SecretStr | None, body: bytes, patience: float = PATIENCE, way: WayOut = DIRECTLY
) -> None:
    """Post a body. Raises PostError."""
    headers = {"content-type": "application/json", "user-agent": "claude-relay"}
    if secret:
        headers["x-relay-signature"] = signature(secret, body)
    parts = urlsplit(url.get_secret_value())
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = way.to_url(url.get_secret_value())
    try:
        with Connection(url.get_secret_value(), proxy, patience, way.trust) as connection:
            status = connection.request("POST", target, headers, body).status
    except ProxyRefused as error:
        raise PostError(f"gave no answer ({said(error, proxy)})") from None
    except FAILURES as error:
        raise PostError(f"gave no answer ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise PostError(f"answered {status}", final=status < 500 and status not in TRY_AGAIN)


def run(command: tuple[str, ...], body: bytes, patience: float = PATIENCE) -> str | None:
    """Start a program with a body as its input and wait for its end; what went wrong, or None."""
    try:
        # A session of its own: at the end of patience all that it started goes with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"cannot be started ({type(error).__name__})"
    with process:
        try:
            process.communicate(body, timeout=patience)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return f"took longer than {patience:.0f} s"
    return f"ended with {process.returncode}" if process.returncode else None
