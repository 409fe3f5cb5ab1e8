"""The fuzzer: it makes the same input of the same seed, finds what is there to be found, and finds nothing in the relay."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fuzz import answers, cases, clients, grammar, invariants
from fuzz.cases import ANSWER_PARTS, PARTS, Case, Wire
from fuzz.invariants import Books, Log
from fuzz.reading import Received, frames_of, is_whole, texts

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
KEY = b"sk-ant-api03-pool-0123456789"
SECONDS = 20 if os.environ.get("CI", "").lower() in ("true", "1") else 2
"""Of the random run; a minute or more is for `scripts/fuzz` by hand."""


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "lib" / "run.py"), "fuzz", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


# -- the relay under attack


def test_what_was_found_before(tmp_path: Path) -> None:
    done = fuzz("--seconds", "0", "--seed", "1", "--keep", str(tmp_path))
    assert "every invariant held" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_what_a_seed_makes(tmp_path: Path) -> None:
    done = fuzz("--seconds", str(SECONDS), "--seed", "7", "--keep", str(tmp_path))
    assert "every invariant held" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


# -- its input


@pytest.mark.parametrize("part", PARTS)
def test_a_seed_makes_the_same_input_again(part: str) -> None:
    stored = [case for case in cases.corpus(CORPUS) if case.part == part]
    for number in range(15):
        case = grammar.make(part, 5, number, stored)
        assert case == grammar.make(part, 5, number, stored)
        assert cases.parsed(json.loads(json.dumps(case.as_json())), case.name) == case
    assert grammar.make(part, 5, 1, stored) != grammar.make(part, 6, 1, stored)


def test_every_piece_can_be_sent() -> None:
    for part in PARTS:
        for number in range(15):
            case = grammar.make(part, 9, number, ())
            for pieces in (case.send, case.answer):
                list(Wire({"@UA@": case.name}).sent(pieces))


def test_the_corpus_attacks_every_part_but_is_small() -> None:
    found = cases.corpus(CORPUS)
    assert {case.part for case in found} == set(PARTS)
    assert all(case.why for case in found)
    assert max(path.stat().st_size for path in CORPUS.iterdir()) < 60_000


def test_a_file_that_is_no_case(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"part": "x"}', '{"part": "status", "send": 5}'):
        (tmp_path / "case.json").write_text(text)
        with pytest.raises(ValueError, match=r"case\.json: "):
            cases.load(tmp_path / "case.json")
    done = fuzz("--replay", str(tmp_path / "case.json"))
    assert (done.returncode, "case.json" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


# -- its eyes


def test_frames_are_what_they_say() -> None:
    wire = Wire({"@UA@": "me"})
    sent = b"".join(
        data
        for data in wire.sent(
            [
                {"frame": "HEADERS", "stream": 3, "flags": 5, "fields": [["user-agent", "@UA@"]]},
                {"repeat": 2, "step": 2, "of": [{"frame": "DATA", "stream": 1, "payload": [[3, "ab"], "c"]}]},
            ]
        )
        if isinstance(data, bytes)
    )
    assert [(kind, stream) for kind, _, stream, _ in frames_of(sent)] == [("HEADERS", 3), ("DATA", 1), ("DATA", 3)]
    assert b"user-agent: me\r\nabababc" in list(texts(sent, framed=True))[1]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nx: " + KEY + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsk-an\r\n30\r\n" + KEY[5:] + b"\r\n0\r\n\r\n",
        b'HTTP/1.1 200 OK\r\n\r\n{"a": "' + b"".join(b"\\u00%02x" % byte for byte in KEY) + b'"}',
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" + KEY, mtime=0),
    ],
)
def test_a_key_is_seen_in_every_disguise(data: bytes) -> None:
    case = Case("base-h1", "c", ())
    (found,) = invariants.leaks(case, Received(bytearray(data)), [b"sk-ant-api03-pool-other", KEY])
    assert (found.invariant, found.cases) == ("keys", (case,))
    assert list(invariants.leaks(case, Received(bytearray(data)), [b"sk-ant-api03-pool-other"])) == []


def test_a_key_over_the_edge_of_two_slices(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (invariants.SLICE - 5) + KEY)
    assert invariants.found_in(tmp_path / "f", [KEY]) == (KEY, b"x" * invariants.AROUND + KEY)


def test_tracebacks_are_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("all is well\n")
    log = Log(path)
    assert list(log.findings([])) == []
    with path.open("a") as file:
        file.write('Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\n    x\nValueError: no\n')
    assert [found.what for found in log.findings([])] == ["ValueError: no (b.py:3 f)"]
    assert list(log.findings([])) == []
    with path.open("a") as file:
        file.write(
            invariants.NOT_THE_RELAYS.decode() + " at 0x1>\nTraceback (most recent call last):\n  x\nTypeError: y\n"
        )
    assert list(log.findings([])) == []


def test_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE requests (user_agent TEXT, requested_model TEXT)")
        connection.executemany("INSERT INTO requests VALUES (?, 'm')", [("fz0000000001",), ("fz0000000001",)])
    books, part = Books(), ANSWER_PARTS[0]
    for name in ("fz0000000001", "fz0000000002"):
        books.note(Case(part, name, ("User-Agent: @UA@\r\n",)), Received(bytearray(b"x-relay-provider: p")))
    found = {finding.what for finding in books.findings(path, [], {})}
    assert found == {"2 rows for 1 request(s)", "no row for a request that a provider was asked for"}


def test_memory_and_files() -> None:
    relay = cast(Any, SimpleNamespace(folder=Path("r")))
    assert list(invariants.of_resources((10**8, 10), 10**8, relay, (10**8 + 10**6, 12))) == []
    found = invariants.of_resources((10**8, 10), 10**8, relay, (10**9, 200))
    assert [finding.invariant for finding in found] == ["memory", "files"]


def test_when_an_answer_is_whole() -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    for data in (one, chunked):
        assert is_whole(data)
        assert not is_whole(data[:-1])
        assert not is_whole(data, 2)
    assert is_whole(one + chunked, 2)
    assert clients.unchunked(b"2\r\n{}\r\n0\r\n\r\n") == b"{}"


def test_an_answer_is_whole_whatever_its_request_says() -> None:
    case = Case(ANSWER_PARTS[0], "c", ("POST / HTTP/1.1\r\n\r\n", "a body with HTTP/1.1 in it"))
    assert clients.is_complete(case, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("part", ANSWER_PARTS)
def test_few_answers_put_a_key_out(part: str) -> None:
    """Without one the upstream is not asked any more."""
    stored = [case for case in cases.corpus(CORPUS) if case.part == part]
    made = [grammar.make(part, 5, number, stored) for number in range(200)]
    assert sum(answers.costs_a_key(case.answer) for case in made) < 10


def test_the_fence(tmp_path: Path) -> None:
    """Nothing of what is made up reaches another machine or program."""
    program = f"""
import runpy, socket
runpy.run_path({str(ROOT / "scripts" / "lib" / "fuzz" / "fence.py")!r})["fence"]({{1}})
for host, port in (("127.0.0.1", 22), ("192.0.2.1", 1), ("example.com", 1), ("127.0.0.1", 1)):
    try:
        socket.create_connection((host, port), timeout=1)
    except OSError as error:
        print(type(error).__name__, error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[:2] == ["ConnectionRefusedError outside of the fence"] * 2
    assert said[2].startswith("gaierror")
    assert said[3] == "ConnectionRefusedError Connection refused"


def test_a_well_behaved_client_says_what_is_wrong() -> None:
    good = Received(bytearray(b"HTTP/1.1 200 OK\r\n\r\n" + clients.GOOD_MESSAGE.encode()))
    assert clients.what_is_wrong(0, good) == ""
    assert "another body" in clients.what_is_wrong(1, good)
    assert "no answer" in clients.what_is_wrong(0, Received())
