"""The demo: its made-up Claude, its client, and the whole of it with the real relay."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
import pytest
from rich.console import Console

from claude_relay.cli.demo import Ending, play, send_all, tidy_endings
from claude_relay.cli.demonstration import cast
from claude_relay.cli.demonstration.cast import COUNT, LIST, MESSAGES, REQUESTS, ROLES, Treatment, Way
from claude_relay.cli.demonstration.claude import ANSWERS, CACHED_TOKENS, Claude, FakeClaude, Request, tokens
from claude_relay.cli.demonstration.client import Answer, Doors, read, send
from claude_relay.cli.demonstration.presenter import Presenter, headline
from claude_relay.cli.demonstration.relaying import Relaying, configuration, listening
from claude_relay.cli.fake import messages
from claude_relay.cli.fake.answers import Answer as Reply
from claude_relay.cli.fake.free_ports import free_ports
from claude_relay.core.accounting.meter import Meter
from claude_relay.core.endpoints import classify
from claude_relay.core.exchange import Endpoint, Facts, Outcome
from claude_relay.core.retry.verdicts import judge
from claude_relay.store.ledger.ledger import AttemptRow, Ledger, RequestRow
from waiting import PATIENCE

ROOT = Path(__file__).parents[2]
KEY = {role.treatment: role.key for role in ROLES}
NOW = 1_800_000_000.0


def request(key: str, path: str = MESSAGES, **body: object) -> Request:
    return Request(path, {"x-api-key": key}, json.dumps({"model": cast.SONNET, **body}).encode())


def verdict(reply: Reply, now: float = NOW) -> str:
    return judge(Outcome(reply.status, reply.headers, reply.pieces[0]), Facts(Endpoint.MESSAGES), now=now).name


class TestUpstream:
    @pytest.mark.parametrize("key", [KEY[Treatment.REFUSED], "somebody-elses", cast.CREDENTIAL, ""])
    def test_refuses_what_it_does_not_know(self, key: str) -> None:
        reply = Claude().reply(request(key), NOW)
        assert (reply.status, verdict(reply)) == (401, "unauthorized")

    def test_good_keys_are_always_good(self) -> None:
        claude = Claude()
        assert [claude.reply(request(KEY[Treatment.GOOD]), NOW).status for _ in range(9)] == [200] * 9

    def test_limited_key_keeps_its_word(self) -> None:
        claude, asked = Claude(), request(KEY[Treatment.LIMITED])
        first = claude.reply(asked, NOW)
        assert (first.status, verdict(first)) == (429, "rate_limited")
        later = NOW + int(first.headers["retry-after"])
        assert [claude.reply(asked, later).status for _ in range(3)] == [200, 429, 429]
        assert claude.reply(asked, later + 10).status == 200

    def test_overloaded_key_fails_every_other_time_in_the_way_it_was_asked(self) -> None:
        claude = Claude()
        plain = [claude.reply(request(KEY[Treatment.OVERLOADED]), NOW) for _ in range(2)]
        assert [reply.status for reply in plain] == [529, 200]
        assert verdict(plain[0]) == "overloaded"
        streams = [claude.reply(request(KEY[Treatment.OVERLOADED], stream=True), NOW) for _ in range(2)]
        assert [reply.pieces[0].split(b"\n")[0] for reply in streams] == [b"event: error", b"event: message_start"]
        assert {reply.status for reply in streams} == {200}

    def test_other_paths(self) -> None:
        claude, good = Claude(), KEY[Treatment.GOOD]
        assert json.loads(claude.reply(request(good, LIST), NOW).pieces[0])["data"][0]["id"] == cast.SONNET
        assert json.loads(claude.reply(request(good, COUNT), NOW).pieces[0])["input_tokens"] > 0
        assert claude.reply(request(good, "/v1/elsewhere"), NOW).status == 404

    def test_body_that_is_no_object_is_taken_for_an_empty_one(self) -> None:
        for raw in (b"", b"{", b"[1]", b"\xff"):
            assert Request(MESSAGES, {}, raw).body == {}

    def test_second_request_with_a_key_reads_from_the_cache(self) -> None:
        claude, good = Claude(), request(KEY[Treatment.GOOD])
        spent = [json.loads(claude.reply(good, NOW).pieces[0])["usage"] for _ in range(2)]
        assert [(u["cache_creation_input_tokens"] > 0, u["cache_read_input_tokens"] > 0) for u in spent] == [
            (True, False),
            (False, True),
        ]

    @pytest.mark.parametrize("stream", [True, False])
    def test_relay_reads_its_usage(self, stream: bool) -> None:
        reply = Claude().reply(request(KEY[Treatment.GOOD], stream=stream), NOW)
        meter = Meter(reply.headers, endpoint=Endpoint.MESSAGES)
        for piece in reply.pieces:
            meter.feed(piece)
        meter.end()
        assert meter.complete
        assert meter.usage.cache_write_5m_tokens == CACHED_TOKENS
        assert meter.usage.output_tokens == tokens(len(ANSWERS[0]))

    def test_keeps_a_connection_alive_and_chunks_its_streams(self) -> None:
        with FakeClaude(pace=0) as claude, closing(http.client.HTTPConnection("127.0.0.1", claude.port, 3)) as client:
            for stream in (True, False, True):
                asked = request(KEY[Treatment.GOOD], stream=stream)
                client.request("POST", asked.path + "?beta=true", asked.raw, dict(asked.headers))
                response = client.getresponse()
                assert response.getheader("request-id", "").startswith("req_demo_")
                assert response.chunked is stream
                assert response.read().endswith(messages.STOP if stream else b"}")

    def test_ends_with_its_block_though_somebody_is_connected(self) -> None:
        with FakeClaude() as claude, closing(socket.create_connection(("127.0.0.1", claude.port))) as client:
            client.sendall(b"GET /v1/models HTTP/1.1\r\n\r\nPOST /v1/messages HTTP/1.1\r\n")
            assert client.recv(12) == b"HTTP/1.1 401"
        assert not listening(claude.port)


class TestCast:
    def test_no_key_looks_like_a_real_one(self) -> None:
        assert all(role.key.startswith("demo-key-") for role in ROLES)
        assert "placeholder" in cast.CREDENTIAL

    def test_requests_come_both_ways_streamed_and_not(self) -> None:
        assert len(REQUESTS) == 12
        assert {(request.way, request.stream) for request in REQUESTS if request.path == MESSAGES} == {
            (w, s) for w in Way for s in (0, 1)
        }
        assert {classify(request.path) for request in REQUESTS} == {
            Endpoint.MESSAGES,
            Endpoint.COUNT_TOKENS,
            Endpoint.MODELS,
        }


@contextmanager
def response(body: bytes, kind: str, status: int = 200) -> Iterator[http.client.HTTPResponse]:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"HTTP/1.1 %d X\r\ncontent-type: %s\r\n\r\n%s" % (status, kind.encode(), body))
        far.shutdown(socket.SHUT_WR)
        with closing(http.client.HTTPResponse(near)) as found:
            found.begin()
            yield found


class TestClient:
    EVENTS = messages.events("Hello ", "there ")
    ERROR = messages.error("overloaded_error", "Overloaded")

    def read(self, body: bytes, kind: str = "text/event-stream; charset=utf-8") -> tuple[str, str, list[str]]:
        heard: list[str] = []
        with response(body, kind) as found:
            return *read(found, heard.append), heard

    def test_hears_a_stream_word_by_word(self) -> None:
        heard = ["Hello ", "Hello there "]
        assert self.read(b"".join(self.EVENTS)) == ("Hello there ", "", heard)

    def test_a_stream_without_an_end_is_no_answer(self) -> None:
        assert self.read(b"".join(self.EVENTS[:-1]))[1] == "the stream has no end"

    def test_an_error_in_a_stream_is_no_answer(self) -> None:
        error = messages.event("error", self.ERROR)
        assert self.read(b"".join(self.EVENTS[:5]) + error)[:2] == ("Hello there ", "Overloaded")

    def test_reads_json(self) -> None:
        whole = messages.message("Hello there")
        assert self.read(messages.dump(whole), "application/json")[:2] == ("Hello there", "")
        assert self.read(messages.dump(self.ERROR), "application/json")[:2] == ("", "Overloaded")

    def test_nobody_there(self, tmp_path: Path) -> None:
        answer = send(REQUESTS[0], Doors(*free_ports(2), tmp_path), "test")
        assert not answer.good
        assert (answer.status, answer.problem[:22]) == (0, "ConnectionRefusedError")

    @pytest.mark.parametrize(
        ("answer", "good"),
        [
            (Answer(200, {}, "", 0.1), True),
            (Answer(200, {}, "", 0.1, "the stream has no end"), False),
            (Answer(529, {}, "", 0.1), False),
        ],
    )
    def test_good_is_a_whole_200(self, answer: Answer, good: bool) -> None:
        assert answer.good is good


def test_a_ledger_that_disagrees_is_shown() -> None:
    answer = Answer(200, {"x-relay-key": "k3", "x-relay-provider": "anthropic", "x-relay-attempts": "4"}, "", 0.5)
    assert "anthropic/k3 4 tries" in headline(1, REQUESTS[0], answer, 4).plain
    assert "(3 in the ledger)" in headline(1, REQUESTS[0], answer, 3).plain


def test_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Five requests instead of twelve, without the pauses for the eye."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = io.StringIO()
    assert play(Console(file=shown, width=100, highlight=False), REQUESTS[:5], pace=0)
    tries = re.findall(r"^ {6}\d  anthropic/(k\d)  (\d{3})  (\w+)", shown.getvalue(), re.MULTILINE)
    assert tries[:4] == [
        ("k1", "401", "unauthorized"),
        ("k2", "429", "rate_limited"),
        ("k3", "529", "overloaded"),
        ("k3", "200", "ok"),
    ]
    assert len(re.findall(r"^ {1}\d  200  ", shown.getvalue(), re.MULTILINE)) == 5
    assert "ledger)" not in shown.getvalue()
    table = capsys.readouterr().out
    assert re.search(r"total +5 .*\$0\.\d", table)
    assert "Without a price" not in table
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_fails_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "relay.db", report=pytest.fail)
    ledger.open()
    row = RequestRow(
        id="r1",
        started_at=NOW,
        method="POST",
        path=MESSAGES,
        finished="error",
        attempts=1,
        user_agent="claude-relay-demo/1",
    )
    ledger.put(row, [AttemptRow(request="r1", n=1, provider="anthropic", key="k4", status=529, started_at=NOW)])
    ledger.close()
    shown = io.StringIO()
    nowhere = Doors(*free_ports(2), tmp_path)
    assert not send_all(
        REQUESTS[:1], Presenter(Console(file=shown, width=100), tmp_path / "relay.db"), nowhere, Ending()
    )
    assert re.search(r"---.*\n +ConnectionRefusedError.*\n +1  anthropic/k4  529  ", shown.getvalue())


def test_a_relay_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(click.ClickException, match=r"base_url.*must be a URL"),
        Relaying(tmp_path, configuration("nowhere")),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_it_leaves_nothing_behind(tmp_path: Path) -> None:
    environ = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "scripts" / "lib" / "run.py"), "demo"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        lines = list(_until_it_listens(demo.stdout))
        demo.send_signal(signal.SIGINT)
        assert demo.wait(PATIENCE) == 128 + signal.SIGINT
    ports = [int(port) for line in lines for port in re.findall(r"127\.0\.0\.1:(\d+)", line)]
    assert len(ports) == 3
    assert not any(listening(port) for port in ports)
    assert list(tmp_path.iterdir()) == []


def _until_it_listens(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if "proxy    http" in line:
            return


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_ends_and_later_ones_do_not_disturb(number: signal.Signals) -> None:
    before, disturbed = signal.getsignal(number), True

    def be_ended() -> None:
        nonlocal disturbed
        with tidy_endings():
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
                disturbed = False

    with pytest.raises(SystemExit) as ending:
        be_ended()
    assert ending.value.code == 128 + number
    assert not disturbed
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with tidy_endings():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_signal_inside_a_destructor_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Last:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def drop_it() -> None:
        with tidy_endings():
            Last()  # Python prints what is raised in here and goes on

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with pytest.raises(SystemExit, match="130"):
        drop_it()
