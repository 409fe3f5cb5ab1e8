"""Rows that neither the database nor memory has room for: a file of JSON lines beside the database, one for each process.

    journal = Journal(Path("relay.db"), encode=…, decode=…, report=logging.error)
    journal.append(rows)                      relay.db.spill-4711-5f0c2ab1: {"crc32":911,"row":…} a line
    journal.adopt()                           files whose process is gone are ours now
    while rows := journal.read(256):          the oldest first
        …                                     written elsewhere
        journal.forget()                      those are never given again; a file that is done with is removed

A process holds a lock on its file for as long as it lives, so that nobody reads what is still being written; the lock of a
killed one is gone with it. Whoever is killed between writing rows elsewhere and `forget` gives them twice: rows need an id.

What this module must not know: what a row is, where rows go in the end.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

try:
    import fcntl
except (
    ImportError
):  # Windows: a file in use cannot be removed there, so others read it too soon, and no row is lost by that
    fcntl = None  # type: ignore[assignment]

LIMIT = 256 * 1024 * 1024
"""Bytes of all journals of one database together."""


class JournalFull(OSError):
    """The journals of the database have reached their limit."""


class _Line(msgspec.Struct):
    """A line: the row's JSON as it stands in the line, and its checksum."""

    crc32: int
    row: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode


class Journal[T]:
    """The journals of the database at `database`: one of our own, and those taken over.

    encode  a row as JSON; raises TypeError or ValueError for one that cannot be written
    decode  its inverse; raises msgspec.DecodeError, and so does a row of another shape
    report  told what was found damaged
    """

    def __init__(
        self,
        database: Path,
        *,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
        report: Callable[[str], None],
        limit: int = LIMIT,
    ) -> None:
        """Nothing is touched before the first call."""
        self.limit = limit
        self._database = database
        self._encode = encode
        self._decode = decode
        self._report = report
        self._own: _File | None = None
        self._files: deque[_File] = deque()

    @property
    def place(self) -> str:
        """Where the rows are, for people."""
        return f"{self._database}.spill-*"

    @property
    def waiting(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._files)

    def append(self, rows: Sequence[T]) -> list[Exception]:
        """Write rows to the end of our file; returns why some of them, which are lost, are no JSON.

        Raises OSError, JournalFull among them; then none of these rows is in the file.
        """
        lines: list[bytes] = []
        refused: list[Exception] = []
        for row in rows:
            try:
                lines.append(_line(self._encode(row)))
            except (TypeError, ValueError, OverflowError) as error:
                refused.append(error)
        data = b"".join(lines)
        if sum(map(_size, self._paths())) + len(data) > self.limit:
            raise JournalFull(f"{self.place} has reached {self.limit // 1024 // 1024} MB")
        if self._own is None:
            self._own = _File.new(self._database)
            self._files.append(self._own)
        self._own.append(data)
        return refused

    def adopt(self) -> None:
        """Take over the files whose process is gone."""
        with suppress(OSError):  # a folder that cannot be read, a file that somebody else has just taken over
            held = {file.path for file in self._files}
            for path in self._paths():
                if path not in held and (file := _File.taken(path)):
                    self._files.append(file)

    def read(self, count: int) -> list[T]:
        """The oldest rows that were not forgotten, `count` at most; none: there are no more, and all files are removed."""
        while self._files:
            file = self._files[0]
            try:
                lines = file.peek(count)
            except OSError as error:
                self._report(f"{file.path} cannot be read and stays where it is: {error}")
                self._leave(file)
                continue
            if not lines:
                self._finish(file)
            elif rows := self._rows(file, lines):
                return rows
            else:  # nothing but damage
                file.advance()
        return []

    def forget(self) -> None:
        """What was read last is safe elsewhere."""
        if self._files:
            self._files[0].advance()

    def close(self) -> None:
        """Let go of all files; what is in them is there for whoever starts next."""
        while self._files:
            self._leave(self._files[0])

    def _rows(self, file: _File, lines: Sequence[bytes]) -> list[T]:
        rows: list[T] = []
        for line in lines:
            try:
                rows.append(self._decode(_checked(line)))
            except msgspec.DecodeError:
                file.damaged += 1
        return rows

    def _finish(self, file: _File) -> None:
        if file.damaged:
            self._report(f"{file.damaged} half-written or damaged lines of {file.path} were skipped")
        with suppress(OSError):
            file.path.unlink(missing_ok=True)
        self._leave(file)

    def _leave(self, file: _File) -> None:
        file.close()
        self._files.remove(file)
        if file is self._own:
            self._own = None

    def _paths(self) -> list[Path]:
        return sorted(self._database.parent.glob(f"{_escaped(self._database.name)}.spill-*"))


class _File:
    """An open journal whose lock we hold. `damaged`: lines that were skipped."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.damaged = 0
        self._fd = fd
        self._end = os.fstat(fd).st_size
        self._forgotten = 0
        self._given = 0

    @classmethod
    def new(cls, database: Path) -> _File:
        """A fresh one. Somebody may take it over in the moment before it is locked; then another is made."""
        while True:
            path = database.with_name(f"{database.name}.spill-{os.getpid()}-{secrets.token_hex(4)}")
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                if file := cls._locked(path, fd):
                    return file
            except OSError:  # a file system without locks
                path.unlink(missing_ok=True)
                raise

    @classmethod
    def taken(cls, path: Path) -> _File | None:
        """One that is there; None while its process lives."""
        return cls._locked(path, os.open(path, os.O_RDWR | os.O_APPEND))

    @classmethod
    def _locked(cls, path: Path, fd: int) -> _File | None:
        try:
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), path.stat()):
                return cls(path, fd)
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def append(self, data: bytes) -> None:
        """All of it, or none: what came to be there before the disk was full is cut off again."""
        remainder = memoryview(data)
        try:
            while remainder:
                remainder = remainder[os.write(self._fd, remainder) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)

    def peek(self, count: int) -> list[bytes]:
        """The next lines, without their ends; the last one may be half a line."""
        found: list[bytes] = []
        self._given = self._forgotten
        with open(self._fd, "rb", closefd=False) as stream:
            stream.seek(self._forgotten)
            while len(found) < count and (line := stream.readline()):
                found.append(line.removesuffix(b"\n"))
                self._given += len(line)
        return found

    def advance(self) -> None:
        """The lines of the last `peek` are done with."""
        self._forgotten = self._given

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self._fd)


def _line(row: bytes) -> bytes:
    return b'{"crc32":%d,"row":%b}\n' % (zlib.crc32(row), row)


def _checked(line: bytes) -> bytes:
    found = _decode_line(line)
    row = bytes(found.row)
    if zlib.crc32(row) != found.crc32:
        raise msgspec.DecodeError("the checksum is another one")
    return row


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # read to its end and removed, a moment ago
        return 0


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
