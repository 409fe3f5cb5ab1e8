"""The standard output as it is found: one that has no room for all characters, a pipe that nobody reads any more, a full disk.

    prepare()                   once, before anything is printed
    with well_ended(): ...      around the command: no traceback for what is none of its making

Where only ASCII can be shown, typographic characters get one that looks alike, so that tables keep their columns.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

CLOSED: Final = 141
"""Exit status when nobody reads: 128 + SIGPIPE, as of programs that the signal ends."""
ALIKE: Final = str.maketrans("…→←–—·»✔✘█▉▊▋▌▍▎▏░▁▂▃▄▅▆▇“”„‘’─│", '.><--->+x#####---._.:-=+*"""\'\'-|')
"""One character for one."""
PLAIN: Final = "relay-ascii"
"""ASCII by another name: of a stream that is called ascii click thinks that it is meant to be UTF-8."""


def prepare() -> None:
    """Let nothing that is printed fail for the want of a character."""
    codecs.register_error("alike", _alike)
    codecs.register(_plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not speaks_utf8(stream.encoding):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=PLAIN if is_ascii else stream.encoding, errors="alike")


def speaks_utf8(encoding: str | None) -> bool:
    """Whether every character can be written."""
    return codecs.lookup(encoding or "ascii").name.startswith("utf")


@contextmanager
def well_ended() -> Iterator[None]:
    """Raises SystemExit, with CLOSED for a pipe that was closed, and in the place of an error when the output cannot be written."""
    found = sys.stdout
    status: int | str | None = 0
    try:
        try:
            yield
        except SystemExit as ended:
            status = ended.code
        if sys.stdout is not found:  # click puts another one there when it finds the pipe closed
            raise BrokenPipeError(errno.EPIPE, "")
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if not (isinstance(error, BrokenPipeError) or _is_of_output(error)):
            raise
        _let_go()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED) from None
        sys.stderr.write(f"Error: the output cannot be written: {error.strerror}\n")
        raise SystemExit(1) from None
    raise SystemExit(status)


def _is_of_output(error: OSError) -> bool:
    """A full disk, or one that fails, without the name of a file: it can only be the one that the output goes to."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def _let_go() -> None:
    """So that the interpreter does not try once more at its end, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)
        os.close(nowhere)


def _alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ALIKE)
    return "".join(one if one.isascii() else ascii(one)[1:-1] for one in text), error.end


def _plain(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != PLAIN:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        incrementalencoder=found.incrementalencoder,
        incrementaldecoder=found.incrementaldecoder,
        name=PLAIN,
    )
