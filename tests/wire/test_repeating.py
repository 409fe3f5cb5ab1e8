"""An upstream that repeats the key in every place and form: nobody is shown it, and the client does not get it either."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.bodies.decode import Decoder
from claude_relay.store.db.backup import backup
from claude_relay.store.ledger.export import TABLES, export
from waiting import PATIENCE

from . import claude, steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, free_ports, provider
from .repeating import FORMS, KEY, answer, broken, error, exactly, holds, stream, whole
from .upstream import FakeUpstream, Step

FORMATS = ["anthropic", "openai-chat", "openai-responses", "gemini"]
AUTH = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
SSE = "text/event-stream"


class Scene:
    """A relay at its most talkative before an upstream of some format."""

    def __init__(
        self, start: StartRelay, upstream: FakeUpstream, tmp_path: Path, stack: ExitStack, format: str
    ) -> None:
        self.upstream, self.folder, self.stack, self.format = upstream, tmp_path, stack, format
        (self.status_port,) = free_ports(1)
        self.hook = stack.enter_context(FakeUpstream(default=steps.answer([b""])))
        found = provider(
            upstream.url, [KEY], auth=AUTH.get(format, "bearer"), format=format, models={"*": "some-model"}
        )
        text = config(
            providers={"one": found if format != "anthropic" else {**found, "models": {}}},
            retry={"attempts": 2, "max_wait": "100ms", "first_byte": "2s", "whole": "2s", "idle": "2s"},
            log={"json": True},
            notices={"webhook": f"{self.hook.url}/hook", "at_most": 100},
            ledger={"bodies": {"keep": "1d", "limit": "64KiB"}},
            listen={"status": f"127.0.0.1:{self.status_port}"},
        )
        settings = {
            "save_stream_file": str(tmp_path / "flows"),
            "termlog_verbosity": "debug",
            "store_streamed_bodies": True,
        }
        self.relay: Relay = start(text, relay={"web": True, "settings": settings})
        self.relay.expect_error("could not be translated")
        self.answers: list[Answer] = []

    def ask(self, *script: Step, streamed: bool, **more: Any) -> Answer:
        self.upstream.script(*script)
        client = self.stack.enter_context(RawClient(self.relay.base_port))
        client.sock.settimeout(30)  # thousands of pieces, each of them searched, on a machine that may be slow
        body = messages_body(stream=streamed, text="Hi")
        got = Answer()
        with contextlib.suppress(ConnectionError):
            got = client.ask("POST", "/v1/messages", **{"body": body} | more)
        self.answers.append(got)
        return got

    def places(self, printed: str) -> Iterator[tuple[str, bytes]]:
        """All that leaves the process for a person, or stays on the disk."""
        relay, folder = self.relay, self.folder
        self.stack.close()
        relay.wait_until_clients_left()
        for number, got in enumerate(self.answers):
            yield (
                f"answer {number}",
                repr((got.status, got.headers, got.trailers if hasattr(got, "trailers") else ())).encode(),
            )
            yield f"body {number}", got.body
        ui = relay.web_ui
        for path in ("/flows", "/events", "/flows/dump"):
            yield path, ui.get(path)
        for flow in ui.flows():
            for message in ("request", "response"):
                if flow.get(message) and flow[message]["contentLength"] is not None:
                    yield f"{flow['comment']} {message}", ui.body(flow, message)
        har = folder / "flows.har"
        relay.on_loop(lambda: relay.master.commands.call("save.har", list(relay.master.view), str(har)))
        yield "HAR", har.read_bytes()
        relay.on_loop(lambda: relay.master.options.update(save_stream_file=None))
        yield "-w", (folder / "flows").read_bytes()
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=PATIENCE)
        ) as connection:
            connection.request("GET", "/metrics")
            yield "/metrics", connection.getresponse().read()
        for record in relay.logs.records:
            yield "log", (logging.Formatter().format(record) + repr(record.args)).encode("utf-8", "replace")
        yield "output", printed.encode()
        for notice in self.hook.requests:
            yield "notice", notice.body
        parts = relay.master.addons.get("claude_relay").parts
        relay.on_loop(lambda: parts.reporting.bodies.close())
        backup(relay.database, folder / "copy.db")
        yield "backup", (folder / "copy.db").read_bytes()
        for table in TABLES:
            export(relay.database, folder / f"{table}.jsonl", table=table)
            yield f"export of {table}", (folder / f"{table}.jsonl").read_bytes()
        with contextlib.closing(sqlite3.connect(relay.database)) as connection:
            for n, kind, body in connection.execute("SELECT n, kind, body FROM bodies"):
                yield f"stored {kind} {n}", body if isinstance(body, bytes) else str(body).encode()
        for file in folder.glob("relay.db*"):
            yield file.name, file.read_bytes()


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, start: StartRelay, upstream: FakeUpstream, tmp_path: Path, stack: ExitStack
) -> Scene:
    return Scene(start, upstream, tmp_path, stack, request.param)


def check(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    assert KEY in repr([request.headers for request in scene.upstream.requests])
    found = []
    for place, data in scene.places("".join(capfd.readouterr())):
        form = exactly(data) or ("some form" if len(data) < 20_000 and holds(data) else None)
        if form is not None:
            found.append(f"{place}: {form}")
    assert found == []


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scene", FORMATS, indirect=True)
def test_good_answers(scene: Scene, capfd: pytest.CaptureFixture[str], streamed: bool) -> None:
    for number, form in enumerate(FORMS.values()):
        said = form(KEY)
        body, kind = (stream(scene.format, said), SSE) if streamed else (whole(scene.format, said), "application/json")
        got = scene.ask(answer(200, body, said, kind=kind, size=(1 << 30, 1, 7)[number % 3]), streamed=streamed)
        assert (got.status, got.complete) == (200, True)
        assert b"relay:one/k1" in got.body
    check(scene, capfd)


@pytest.mark.parametrize("names", [("as it is", "JSON"), ("url", "base64 of more")], ids="+".join)
@pytest.mark.parametrize("scene", FORMATS, indirect=True)
def test_errors_and_what_is_no_answer(scene: Scene, capfd: pytest.CaptureFixture[str], names: tuple[str, ...]) -> None:
    for name in names:
        said = FORMS[name](KEY)
        for status in (400, 500):
            scene.ask(*[answer(status, error(scene.format, said), said)] * 2, streamed=False)
        for step in broken(said):
            scene.ask(step, step, streamed=True)
    scene.ask(answer(401, error(scene.format, said), said), streamed=False)
    check(scene, capfd)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("scene", ["anthropic", "openai-chat"], indirect=True)
def test_compressed_answers(scene: Scene, capfd: pytest.CaptureFixture[str], encoding: str) -> None:
    for name in ("as it is", "json", "base64"):
        said = FORMS[name](KEY)
        for streamed in (False, True):
            body, kind = (
                (stream(scene.format, said), SSE) if streamed else (whole(scene.format, said), "application/json")
            )
            for size in (1 << 30, 5):
                step = answer(200, body, said, kind=kind, encoding=encoding, size=size)
                got = scene.ask(step, streamed=streamed, headers=[("accept-encoding", encoding)])
                plain = got.body
                if got.header("content-encoding"):
                    plain = Decoder(encoding).feed(plain)
                assert not holds(plain)
        scene.ask(answer(400, error(scene.format, said), said, encoding=encoding), streamed=False)
    check(scene, capfd)


@pytest.mark.parametrize(
    "before",
    [b"", gzip.compress(b"{}"), gzip.compress(b"word " * 100)[:30] + b"\xff" * 20],
    ids=["plain", "whole", "broken"],
)
@pytest.mark.parametrize("scene", ["anthropic", "openai-chat"], indirect=True)
def test_answers_that_are_called_compressed_and_are_not(
    scene: Scene, capfd: pytest.CaptureFixture[str], before: bytes
) -> None:
    """All of it, or what comes after its end or where it is broken."""
    body = before + error(scene.format, KEY)
    for status, reason in ((200, "OK"), (301, "Moved"), (400, "Bad"), (500, "Broken")):
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
        step = [steps.raw(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)]
        scene.ask(*step * 3, streamed=False, headers=[("accept-encoding", "gzip")])
    check(scene, capfd)


@pytest.mark.parametrize("scene", ["anthropic"], indirect=True)
@pytest.mark.parametrize(("size", "framing"), [(1, "chunked"), (4, "chunked"), (12, "length"), (40, "close")])
def test_a_key_in_several_deltas(scene: Scene, capfd: pytest.CaptureFixture[str], size: int, framing: str) -> None:
    text = f"Your key is {KEY}, isn't it?"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    got = scene.ask(steps.stream(claude.events(*pieces), framing=framing), streamed=True)
    lines = [json.loads(line[6:]) for line in got.body.decode().splitlines() if line.startswith("data: ")]
    said = "".join(line["delta"]["text"] for line in lines if line["type"] == "content_block_delta")
    assert said.startswith("Your key is ")
    assert said.endswith(", isn't it?")
    assert "relay:one/k1" in said
    assert KEY[8:] not in said
    assert len(lines) == len(pieces) + 6
    check(scene, capfd)
