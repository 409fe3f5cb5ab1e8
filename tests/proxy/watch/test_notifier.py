"""Notices reach a real HTTP server and a real program on this machine."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from claude_relay.core.config import Notices
from claude_relay.core.notices import Kind, Notice
from claude_relay.proxy.watch import notifier as module
from claude_relay.proxy.watch.notifier import MOST, Notifier, PostError, post, run
from claude_relay.store.db.database import StoreError
from waiting import PATIENCE
from wire.certs import Authority

SECRET = "hook-secret-value"


@pytest.fixture(autouse=True)
def time_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits when a notifier is closed is still delivered, however slow the machine is."""
    monkeypatch.setattr(module, "LAST_WORDS", PATIENCE)


class Hook(ThreadingHTTPServer):
    """Answers with the statuses it was given, then 204; what was posted is in `posts`."""

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.statuses = list(statuses)
        self.posts: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()
        self.gate = threading.Event()
        self.gate.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no error here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook/T123?x=1"


class Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.put((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.server.gate.wait()
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def hook(*statuses: int) -> Iterator[Hook]:
    with Hook(*statuses) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            server.shutdown()
            thread.join()


@contextmanager
def notifier(settings: dict[str, object], **options: object) -> Iterator[tuple[Notifier, queue.Queue[str]]]:
    reports: queue.Queue[str] = queue.Queue()
    usual: dict[str, object] = {"pauses": (0.01, 0.01), "patience": 10 * PATIENCE}
    made = Notifier(Notices.model_validate(settings), reports.put, **usual | options)  # type: ignore[arg-type]
    made.start()
    try:
        yield made, reports
    finally:
        made.close()


def notice(key: str = "anthropic/k2", kind: Kind = Kind.KEY_OUT) -> Notice:
    return Notice(kind, key, f"The key {key} has no credit left.", time.time())


def test_a_post_that_fails_twice_arrives_at_the_third_time_signed_anew() -> None:
    with hook(500, 429) as server, notifier({"webhook": server.url, "secret": SECRET}) as (made, reports):
        made.notify(notice())
        posts = [server.posts.get(timeout=PATIENCE) for _ in range(3)]
    for path, headers, body in posts:
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert (path, headers["x-relay-signature"]) == ("/hook/T123?x=1", f"sha256={digest}")
        assert headers["content-type"] == "application/json"
    told = [json.loads(body) for *_, body in posts]
    assert {one["id"] for one in told} == {told[0]["id"]}
    assert (told[2]["kind"], told[2]["key"], told[2]["held_back"]) == ("key_out", "anthropic/k2", 0)
    assert 0 <= time.time() - told[2]["sent_at"] < 2 * PATIENCE
    assert reports.empty()


def test_the_command_is_started_once_however_often_the_webhook_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", f"open({str(out)!r}, 'a').write('x')"]
    with hook(500, 500) as server, notifier({"webhook": server.url, "command": command}) as (made, _):
        made.notify(notice())
        for _post in range(3):
            server.posts.get(timeout=PATIENCE)
    assert out.read_text() == "x"


def test_without_a_secret_nothing_is_signed() -> None:
    with hook() as server, notifier({"webhook": server.url}) as (made, _):
        made.notify(notice())
        assert "x-relay-signature" not in server.posts.get(timeout=PATIENCE)[1]


@pytest.mark.parametrize(
    ("statuses", "posts", "said"), [([404] * 9, 1, "answered 404"), ([302], 1, "302"), ([503] * 9, 3, "503")]
)
def test_what_cannot_be_delivered_is_reported_without_the_address(statuses: list[int], posts: int, said: str) -> None:
    with hook(*statuses) as server, notifier({"webhook": server.url, "secret": SECRET}) as (made, reports):
        made.notify(notice())
        report = reports.get(timeout=PATIENCE)
        assert server.posts.qsize() == posts
    assert said in report
    assert "T123" not in report
    assert SECRET not in report


def test_an_upstream_that_is_not_there_does_not_keep_the_next_notice_from_the_command(tmp_path: Path) -> None:
    with hook() as server:
        url = server.url
    out = tmp_path / "out"
    command = [sys.executable, "-c", f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read() + '\\n')"]
    with notifier({"webhook": url, "command": command}, pauses=(9.0,)) as (made, reports):
        made.notify(notice("a"))
        made.notify(notice("b; echo $HOME"))
    assert [json.loads(line)["key"] for line in out.read_text().splitlines()] == ["a", "b; echo $HOME"]
    assert "ConnectionRefusedError" in reports.get(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(600)", "took longer than"),
        ("import sys; sys.exit(3)", "ended with 3"),
        ("import sys; sys.stdin.close(); print('x' * 10**6)", None),
    ],
)
def test_what_becomes_of_a_command(code: str, said: str | None) -> None:
    began = time.monotonic()
    trouble = run((sys.executable, "-c", code), b"{}", 0.2 if said and "longer" in said else PATIENCE)
    assert time.monotonic() - began < 2 * PATIENCE
    assert (trouble is None) if said is None else (trouble is not None and said in trouble)


def test_a_program_that_is_not_there_is_reported() -> None:
    with notifier({"command": ["/no/such/program"]}) as (made, reports):
        made.notify(notice())
        assert "cannot be started (FileNotFoundError)" in reports.get(timeout=PATIENCE)


def test_the_same_is_told_once_and_a_changed_file_does_not_make_it_news() -> None:
    with hook() as server, notifier({"webhook": server.url, "at_most": 2}) as (made, _):
        for key in ("a", "a", "b", "c", "d"):
            made.notify(notice(key))
        made.change(Notices.model_validate({"webhook": server.url, "at_most": 3}))
        for key in ("a", "e"):
            made.notify(notice(key))
        told = [json.loads(server.posts.get(timeout=PATIENCE)[2]) for _ in range(3)]
    assert [(one["key"], one["held_back"]) for one in told] == [("a", 0), ("b", 0), ("e", 2)]
    assert server.posts.empty()


def test_telling_never_waits_and_what_waits_is_bounded() -> None:
    with hook() as server, notifier({"webhook": server.url, "at_most": 1000}) as (made, _):
        server.gate.clear()
        made.notify(notice("first"))
        server.posts.get(timeout=PATIENCE)
        for n in range(3 * MOST):
            made.notify(notice(str(n)))  # whoever waited for the webhook would wait for ever
        server.gate.set()
        made.close()
    assert server.posts.qsize() == MOST


def test_closing_does_not_wait_for_a_webhook_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORDS", 0.1)
    with hook() as server, notifier({"webhook": server.url}) as (made, _):
        server.gate.clear()
        made.notify(notice())
        server.posts.get(timeout=PATIENCE)
        began = time.monotonic()
        made.close()
        assert time.monotonic() - began < PATIENCE


def test_where_nobody_is_to_be_told_there_is_no_thread() -> None:
    before = set(threading.enumerate())
    with notifier({}) as (made, reports):
        made.notify(notice())
        assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "relay-notices"]
    assert reports.empty()


def test_what_the_webhook_does_not_take_is_written_down_once() -> None:
    kept: list[str] = []
    with (
        hook(500, 500, 500) as server,
        notifier({"webhook": server.url}, book=lambda notice, now: kept.append(notice.key)) as (made, reports),
    ):
        made.notify(notice("a"))
        assert "answered 500" in reports.get(timeout=PATIENCE)
        assert server.posts.qsize() == 3
    assert kept == ["a"]


def test_a_database_that_refuses_keeps_nothing_from_the_webhook() -> None:
    def refuse(notice: Notice, now: float) -> None:
        raise StoreError("the disk is full")

    with hook() as server, notifier({"webhook": server.url}, book=refuse) as (made, reports):
        made.notify(notice("a"))
        assert json.loads(server.posts.get(timeout=PATIENCE)[2])["key"] == "a"
        assert "the disk is full" in reports.get(timeout=PATIENCE)


def test_a_webhook_whose_certificate_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    with hook() as server:
        server.socket = (
            Authority(tmp_path)
            .server_context()
            .wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        )
        url = server.url.replace("http:", "https:")
        with pytest.raises(PostError, match="SSLCertVerificationError"):
            post(SecretStr(url), SecretStr(SECRET), b"{}", PATIENCE)
        assert server.posts.empty()
