"""The client of the demo: one request at a time, as any program sends it, through the base URL or through the proxy.

    answer = send(DemoRequest(Way.PROXY, "/v1/messages", "claude-haiku-4-5", "Hello?"), relay.base_port, relay.proxy_port, relay.ca)
    answer.good, answer.key, answer.text

It speaks plain HTTP/1.1 from the standard library, so that nothing but the relay's answers is at work.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path

from .cast import CREDENTIAL, HOST, DemoRequest, Way

PATIENCE = 60.0
"""Seconds without a byte."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` 0: nothing did; `problem` says what is wrong with it, if anything."""

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether it is a whole answer with status 200."""
        return self.status == 200 and not self.problem


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the relay is: two ports of this machine, and the CA that signs for the hosts it opens."""

    base_port: int
    proxy_port: int
    ca: Path


def send(request: DemoRequest, doors: Doors, agent: str, hear: Callable[[str], object] = lambda text: None) -> Answer:
    """Ask and read the whole answer. `hear` is given the text as it grows; `agent` is what the ledger will know it by."""
    started = time.monotonic()
    connection = connect(request.way, doors)
    try:
        connection.request("GET" if not request.question else "POST", request.path, body(request), headers(agent))
        response = connection.getresponse()
        text, problem = read(response, hear)
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, text, time.monotonic() - started, problem)
    except (OSError, HTTPException, ValueError) as error:
        return Answer(0, {}, "", time.monotonic() - started, f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def connect(way: Way, doors: Doors) -> HTTPConnection:
    """A connection: to the base URL, or to Claude's host through the proxy with TLS that the relay opens."""
    if way is Way.BASE_URL:
        return HTTPConnection("127.0.0.1", doors.base_port, timeout=PATIENCE)
    context = ssl.create_default_context(cafile=str(doors.ca))
    connection = HTTPSConnection("127.0.0.1", doors.proxy_port, timeout=PATIENCE, context=context)
    connection.set_tunnel(HOST, 443)
    return connection


def headers(agent: str) -> dict[str, str]:
    """What a client sends along."""
    return {
        "x-api-key": CREDENTIAL,
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "user-agent": agent,
    }


def body(request: DemoRequest) -> bytes | None:
    """The request's JSON; None for a GET."""
    if not request.question:
        return None
    content: dict[str, object] = {"model": request.model, "messages": [{"role": "user", "content": request.question}]}
    if not request.counts:
        content |= {"max_tokens": 1024, "stream": request.stream}
    return json.dumps(content).encode()


def read(response: HTTPResponse, hear: Callable[[str], object]) -> tuple[str, str]:
    """The answer's text, and what is wrong with it."""
    if response.headers.get_content_type() == "text/event-stream":
        return read_stream(response, hear)
    content = json.loads(response.read())
    match content:
        case {"type": "error", "error": {"message": str(message)}}:
            return "", message
        case {"content": [{"text": str(text)}, *_]}:
            hear(text)
            return text, ""
        case _:
            return "", ""


def read_stream(response: HTTPResponse, hear: Callable[[str], object]) -> tuple[str, str]:
    """The text of a stream, and what is wrong with it: an error event, or no end."""
    text = ""
    while line := response.readline():
        if not line.startswith(b"data:"):
            continue
        match json.loads(line[5:]):
            case {"type": "content_block_delta", "delta": {"text": str(more)}}:
                text += more
                hear(text)
            case {"type": "error", "error": {"message": str(message)}}:
                return text, message
            case {"type": "message_stop"}:
                response.read()
                return text, ""
    return text, "the stream has no end"
