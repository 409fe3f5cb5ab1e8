"""Folders that are made for this user alone, why one cannot be written to, and what is too little room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LITTLE: Final = 50 * 1000 * 1000
"""Bytes free on a disk below which it is as good as full."""


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
