"""Files of rows beside the database; what a row is does not matter here: they are numbers and texts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_relay.store.ledger import spill as module
from claude_relay.store.ledger.spill import Journal, JournalFull
from store.rows import Heard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


def journal(path: Path, heard: Heard | None = None, **options) -> Journal:
    decode = msgspec.json.Decoder(int).decode
    return Journal(path, encode=msgspec.json.encode, decode=decode, report=heard or Heard(), **options)


def files(path: Path) -> list[Path]:
    return sorted(path.parent.glob("relay.db.spill-*"))


def drained(found: Journal, count: int = 3) -> list[int]:
    rows: list[int] = []
    while batch := found.read(count):
        rows += batch
        found.forget()
    return rows


def test_a_line_is_json_with_its_checksum_and_the_file_is_private(path: Path) -> None:
    journal(path).append([7, 8])
    (file,) = files(path)
    assert [json.loads(line)["row"] for line in file.read_text().splitlines()] == [7, 8]
    assert re.fullmatch(rf"relay\.db\.spill-{os.getpid()}-[0-9a-f]{{8}}", file.name)
    assert file.stat().st_mode & 0o777 == 0o600


@given(turns=st.lists(st.one_of(st.integers(1, 7), st.sampled_from(["read", "forget"])), max_size=20))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_rows_come_in_their_order_and_again_until_forgotten(path: Path, turns: list[int | str]) -> None:
    found, end, begin, given = journal(path), 0, 0, 0
    for turn in turns:
        if isinstance(turn, int):
            found.append(range(end, end + turn))
            end += turn
        elif turn == "read":
            given = min(end, begin + 3)
            assert found.read(3) == list(range(begin, given))
        elif given > begin:
            found.forget()
            begin = given
    assert drained(found) == list(range(begin, end))
    assert files(path) == []
    assert not found.waiting


def test_what_one_process_left_the_next_takes_and_nobody_while_it_lives(path: Path) -> None:
    first, second = journal(path), journal(path)
    first.append([1, 2])
    second.append([3])
    second.adopt()
    assert drained(second) == [3]
    first.close()
    second.adopt()
    second.append([4])
    assert drained(second) == [1, 2, 4]
    assert files(path) == []


OTHER = """
import os, resource, sys
from pathlib import Path
import msgspec
from claude_relay.store.ledger.spill import Journal
found = Journal(Path(sys.argv[1]), encode=msgspec.json.encode, decode=msgspec.json.Decoder(int).decode, report=print)
found.append([1])
"""
"""The start of a program that has a journal too."""


def run_another(path: Path, rest: str) -> subprocess.CompletedProcess[bytes]:
    environ = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[3])}
    return subprocess.run(
        [sys.executable, "-c", OTHER + rest, str(path)], capture_output=True, check=False, env=environ
    )


def test_a_killed_process_holds_nothing(path: Path) -> None:
    assert run_another(path, "os.kill(os.getpid(), 9)").returncode == -9
    found = journal(path)
    found.adopt()
    assert drained(found) == [1]


DAMAGE = {
    "half a last line": (lambda text: text[:-4], [1, 2], 1),
    "a byte of a row": (lambda text: text.replace(b'"row":2', b'"row":3'), [1, 3], 1),
    "a checksum": (lambda text: text.replace(b'"crc32":', b'"crc32":1', 1), [2, 3], 1),
    "a line of another sort": (lambda text: b'{"row":"x"}\n\xff\n' + text, [1, 2, 3], 2),
    "everything": (lambda text: bytes(len(text)), [], 1),
    "nothing": (lambda text: text, [1, 2, 3], 0),
}


@pytest.mark.parametrize(("damage", "rows", "skipped"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_lines_are_skipped_and_told(path: Path, damage, rows: list[int], skipped: int) -> None:
    first, heard = journal(path), Heard()
    first.append([1, 2, 3])
    first.close()
    (file,) = files(path)
    file.write_bytes(damage(file.read_bytes()))
    found = journal(path, heard)
    found.adopt()
    assert drained(found, count=1) == rows
    assert files(path) == []
    told = [f"{skipped} half-written or damaged lines of {file} were skipped"] if skipped else []
    assert heard.texts == told


def test_the_limit_counts_the_journals_of_all_and_a_refused_append_leaves_nothing(path: Path) -> None:
    first, second = journal(path, limit=100), journal(path, limit=100)
    first.append([1])
    second.append([2])
    with pytest.raises(JournalFull, match="has reached"):
        second.append([3] * 3)
    assert drained(second) == [2]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for the size of files there")
def test_on_a_full_disk_no_half_line_is_left(path: Path) -> None:
    """In a process of its own: the limit counts for all of its files."""
    found = run_another(
        path,
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY))
try:
    found.append([2, 3])
except OSError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found.append([4])
    print(found.read(9), type(error).__name__)
""",
    )
    assert found.stdout == b"[1, 4] OSError\n", found.stderr


def test_what_is_no_json_is_given_back_as_a_fault(path: Path) -> None:
    found = journal(path)
    faults = found.append([1, object(), 2])  # type: ignore[list-item]
    assert [type(fault) for fault in faults] == [TypeError]
    assert drained(found) == [1, 2]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    found = journal(tmp_path / "no" / "relay.db")
    found.adopt()
    with pytest.raises(FileNotFoundError):
        found.append([1])


def test_another_databases_journal_is_not_ours(tmp_path: Path) -> None:
    other = journal(tmp_path / "relay.db2")
    other.append([1])
    other.close()
    found = journal(tmp_path / "relay.db")
    found.adopt()
    assert not found.waiting
    odd = journal(tmp_path / "re[l]*y.db")
    odd.append([5])
    assert drained(odd) == [5]
