from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from claude_relay.cli.fake import messages, server
from claude_relay.cli.fake.answers import Answer, whole
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.recorded import Recorded
from claude_relay.upstream.base_url import Door, send
from wire.certs import Authority

BODY = b'{"model": "claude-haiku-4-5", "max_tokens": 5, "messages": []}'
SAID = messages.message(model="claude-haiku-4-5", content=[{"type": "text", "text": "Hello."}], stop_reason="end_turn")


class Connection(server.Connection):
    """Answers with what `reply` is, and remembers what came."""

    heads: list[str] = []  # noqa: RUF012 - of all of them
    reply = whole(SAID)

    def request_received(self, head: bytes, body: bytes) -> None:
        self.heads.append(head.decode())
        assert body == BODY
        self.say(Answer(self.reply.status, {**self.reply.headers, "x-relay-request": "req_relay_1"}, self.reply.pieces))


@pytest.fixture
def recorded() -> Recorded:
    return Recorded.of("one", "POST", "/v1/messages", (), BODY)


def test_a_recorded_request_says_where_it_goes_and_what_it_is(recorded: Recorded) -> None:
    with server.Serving(Connection) as relay:
        answer, request = send(Door(relay.url), recorded, "glm/glm-4.6", Origin.DUEL, "rk-1", 5.0)
    assert (answer.status, answer.text, request) == (200, "Hello.", "req_relay_1")
    head = Connection.heads[-1].lower()
    for line in ("x-relay-target: glm/glm-4.6", "x-relay-origin: duel", "x-api-key: rk-1"):
        assert line in head


def test_nobody_there_is_an_answer_too(recorded: Recorded) -> None:
    with server.Serving(Connection) as relay:
        url = relay.url
    answer, request = send(Door(url), recorded, None, Origin.REPLAY, "rk-1", 5.0)
    assert (answer.status, answer.error, request) == (0, "broken", "")


def test_a_listener_with_a_certificate_of_its_own_is_known_by_it(tmp_path: Path, recorded: Recorded) -> None:
    for name in ("known", "other"):
        (tmp_path / name).mkdir()
    known, other = Authority(tmp_path / "known"), Authority(tmp_path / "other")
    certificate, stranger = tmp_path / "cert.pem", tmp_path / "other.pem"
    with server.Serving(Connection, known.server_context()) as relay:
        port = relay.url.rpartition(":")[2]
        certificate.write_text(ssl.get_server_certificate(("127.0.0.1", int(port))))
        stranger.write_bytes(other.ca_file.read_bytes())
        door = Door(f"https://127.0.0.1:{port}", certificate)
        assert send(door, recorded, None, Origin.REPLAY, "rk-1", 5.0)[0].status == 200
        answer, _ = send(Door(door.url, stranger), recorded, None, Origin.REPLAY, "rk-1", 5.0)
        assert "CERTIFICATE_VERIFY_FAILED" in answer.message
