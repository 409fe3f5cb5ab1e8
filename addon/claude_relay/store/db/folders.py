"""Folders that are made for this user alone, why one cannot be written to, and what is too little room."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

LITTLE: Final = 50 * 1000 * 1000
"""Bytes free on a disk below which it is as good as full."""
PROBE: Final = 64 * 1024
"""Bytes that are written to see whether that can be done."""
NO_ROOM: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "this user's part of the disk is used up",
    errno.EFBIG: "files may not grow any more (see `ulimit -f`)",
}


def make_private(folder: Path) -> None:
    """With what is missing above it, as https://specifications.freedesktop.org/basedir-spec/latest/ wants it. Raises OSError."""
    if not os.path.isdir(folder):
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def unwritable(folder: Path) -> str:
    """Why no file can be made in this folder, which is made if it is missing; empty when one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or type(error).__name__
    return "" if os.access(folder, os.W_OK | os.X_OK) else "it may not be written to"


def refusal(folder: Path) -> str:
    """Why nothing more can be written in this folder for the want of room; empty when it can, or when something else is wrong.

    Tried with a file that nobody sees, for the free bytes tell nothing of quotas, and of a disk without room for another file. Waits for
    the disk.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE))
            probe.flush()
    except OSError as error:
        return NO_ROOM.get(error.errno or 0, "")
    return ""


def shortage(folder: Path) -> str:
    """That the disk will be full soon; empty when it will not, or nobody knows. Waits for the disk."""
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
        if free < LITTLE:
            return f"the disk is nearly full: {free / 1e6:.0f} MB are left"
    return ""
