"""Zstandard, wherever this Python has it: in its standard library since 3.14 (https://docs.python.org/3/library/compression.zstd.html),
before that in a package that has the same functions."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
