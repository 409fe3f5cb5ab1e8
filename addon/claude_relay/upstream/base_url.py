"""Requests through a relay on this machine, by its base URL: as any client sends them, over a connection of their own.

    door = Door("http://127.0.0.1:8082")
    with door.post("/v1/messages", {"x-api-key": "rk-…"}, body, timeout=600.0) as answer: answer.status, answer.read1()
    answer, request = send(door, recorded, "glm/glm-4.6", Origin.DUEL, key, timeout=600.0)

Everything waits, and is for threads. It must not know the database, nor what is done with an answer.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from claude_relay.core.duels.answers import Answer
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.recorded import ORIGIN, TARGET, Recorded

REFUSED = (OSError, HTTPException, ValueError)
"""What may go wrong on the way."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a relay listens. `certificate`: the file of its own, which is trusted in the place of authorities; for https only."""

    url: str
    certificate: Path | None = None

    def connection(self, timeout: float) -> HTTPConnection:
        """Nothing is dialled yet. `timeout`: seconds without a byte."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return HTTPConnection(host, parts.port, timeout=timeout)
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False  # it is this very certificate, whatever name the listener is called by here
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return HTTPSConnection(host, parts.port, timeout=timeout, context=context)

    @contextmanager
    def post(self, path: str, fields: Mapping[str, str], body: bytes, timeout: float) -> Iterator[HTTPResponse]:
        """The answer, of which the body is still to be read. Raises what is in REFUSED."""
        with closing(self.connection(timeout)) as connection:
            connection.request("POST", path, body, {"accept-encoding": "identity", **fields})
            yield connection.getresponse()


def send(
    door: Door, recorded: Recorded, target: str | None, origin: Origin, credential: str, timeout: float
) -> tuple[Answer, str]:
    """The whole answer to a recorded request, and the request's id in the ledger. Never raises: what fails is an answer, too.

    target      None: where routes lead
    credential  a client key, or a placeholder
    """
    fields = {**dict(recorded.fields), "x-api-key": credential, ORIGIN: str(origin)}
    fields |= {TARGET: target} if target is not None else {}
    request = ""
    try:
        with door.post(recorded.path, fields, recorded.body, timeout) as answer:
            request, kind = answer.getheader("x-relay-request", ""), answer.getheader("content-type", "")
            return Answer.of(answer.status, kind, answer.read()), request
    except REFUSED as error:
        return Answer(0, error="broken", message=f"{type(error).__name__}: {error}"), request
