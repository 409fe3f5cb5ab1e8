"""The made-up Claude: what it says is what its names promise, and its server sends it."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from claude_relay.cli.fake import messages
from claude_relay.cli.fake.answers import FAULTS, Answer, End, streamed, whole
from claude_relay.cli.fake.free_ports import free_ports
from claude_relay.cli.fake.server import LAST_CHUNK, Connection, Serving, chunk, head
from claude_relay.core.accounting.meter import Meter
from claude_relay.core.exchange import Endpoint, Facts, Outcome
from claude_relay.core.retry.verdicts import judge
from waiting import PATIENCE

VERDICTS = {"api_error": "upstream_error", "bad_gateway": "upstream_error"}
"""Those that are not called as the fault is."""
PLAYED = FAULTS | {
    "good": whole(messages.message()),
    "slow": replace(streamed(messages.events()), after=0.001, pause=0.001),
}


@pytest.mark.parametrize("name", [name for name, answer in FAULTS.items() if answer.status >= 400])
def test_a_failure_is_judged_by_its_name(name: str) -> None:
    answer = FAULTS[name]
    headers = {name.lower(): value for name, value in answer.headers.items()}
    outcome = Outcome(answer.status, headers, answer.pieces[0])
    assert judge(outcome, Facts(Endpoint.MESSAGES), now=1_800_000_000.0).name == VERDICTS.get(name, name)


def test_a_stream_says_what_its_message_says() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"path": "/"}}
    thought = {"type": "thinking", "thinking": "Let me look.", "signature": "c2ln"}
    said = messages.message(content=[thought, {"type": "text", "text": "Hello there!"}, call])
    data = [json.loads(event.split(b"data: ")[1]) for event in messages.streamed(said, piece=5)]
    parts = [event["delta"] for event in data if event["type"] == "content_block_delta"]
    for kind, told in (("thinking", "Let me look."), ("text", "Hello there!"), ("partial_json", '{"path": "/"}')):
        assert "".join(part.get(kind, "") for part in parts) == told
    meter = Meter({"content-type": "text/event-stream"}, endpoint=Endpoint.MESSAGES)
    meter.feed(b"".join(messages.streamed(said)))
    meter.end()
    assert meter.complete
    assert meter.usage.output_tokens == said["usage"]["output_tokens"]


class Played(Connection):
    """The path names the answer."""

    def request_received(self, head: bytes, body: bytes) -> None:
        self.say(PLAYED[head.split(b" ")[1].decode()])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with Serving(Played) as serving:
        yield serving.port


class Client:
    """Somebody who asks; `read` waits for so many bytes, or the connection's end. Raises ConnectionResetError."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, name: str) -> None:
        self.socket.sendall(b"POST %b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" % name.encode())

    def read(self, much: int = 1) -> bytes:
        found = b""
        while len(found) < much and (data := self.socket.recv(much - len(found))):
            found += data
        return found


def bytes_of(answer: Answer) -> bytes:
    framing = ("Transfer-Encoding", "chunked") if answer.stream else ("Content-Length", str(len(answer.pieces[0])))
    body = b"".join(map(chunk, answer.pieces)) if answer.stream else answer.pieces[0]
    end = LAST_CHUNK if answer.stream and answer.end is End.WHOLE else b""
    return head(answer.status, [*answer.headers.items(), framing]) + body + end


@pytest.mark.parametrize("name", [name for name, answer in PLAYED.items() if answer.status])
def test_what_is_sent(port: int, name: str) -> None:
    """Twice on a connection, where it stays; nothing else comes."""
    expected = bytes_of(PLAYED[name])
    with Client(port) as client:
        for _ in range(1 if PLAYED[name].end is End.CLOSE else 2):
            client.ask(name)
            assert client.read(len(expected)) == expected
        if PLAYED[name].end is not End.CLOSE:
            client.ask("close")
        assert client.read() == b""


def test_ends_without_an_answer(port: int) -> None:
    with Client(port) as client:
        client.ask("silence")
        client.ask("good")
        assert client.read(12) == b"HTTP/1.1 200"
    with Client(port) as client:
        client.ask("reset")
        with pytest.raises(ConnectionResetError):
            client.read()


def test_a_server_ends_with_what_is_under_way() -> None:
    with Serving(Played) as serving, socket.create_connection(("127.0.0.1", serving.port), PATIENCE) as client:
        client.sendall(b"GET silence HTTP/1.1\r\n\r\nGET good HTTP/1.1\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        assert len(serving.open) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", serving.port), PATIENCE)


@pytest.mark.parametrize("turns", range(4))
def test_who_connects_as_it_ends_is_hung_up_on(turns: int) -> None:
    """Between accepting a connection and knowing of it the event loop turns several times."""
    serving = Serving(Played).__enter__()
    clients: list[socket.socket] = []

    def end(turns: int) -> None:
        serving._loop.call_soon(end, turns - 1) if turns else serving._stop.set()

    def connect() -> None:
        clients.append(socket.create_connection(("127.0.0.1", serving.port), PATIENCE))
        end(turns)

    serving._loop.call_soon_threadsafe(connect)
    serving._thread.join(PATIENCE)
    [client] = clients
    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""
    gc.collect()  # what was left open is said now, and not in a later test


def test_ports_are_below_those_that_systems_give_out() -> None:
    found = free_ports(3)
    assert len(set(found)) == 3
    with socket.create_server(("127.0.0.1", found[0])), socket.create_server(("127.0.0.1", 0)) as given:
        assert max(found) < given.getsockname()[1]
