"""Names and ids that a provider takes, made from those that Claude takes.

    >>> fit_names(["search", "mcp.files/read"], re.compile(r"[a-zA-Z0-9_-]+"))
    {'search': 'search', 'mcp.files/read': 'mcp_files_read_6efd9b52'}

A name that fits stays as it is. Any other is cut and gets eight hexadecimal digits of its own hash, so that it is the same in every
request of a conversation (prompt caches keep working) whatever the other names are. It must not know providers: they say what fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

_ODD = re.compile(r"[^a-zA-Z0-9_-]")
_DIGITS = 8


def fit_names(names: Iterable[str], pattern: re.Pattern[str], limit: int = 64) -> dict[str, str]:
    """The provider's name for each of the client's; no two are alike.

    pattern  what a whole name must match, apart from its length; letters, digits, `_` and `-` must do, but for the first
             character, where `_` must
    limit    longest name, in characters
    """
    distinct = list(dict.fromkeys(names))
    fitted = {name: name for name in distinct if len(name) <= limit and pattern.fullmatch(name)}
    taken = set(fitted)
    for name in distinct:
        if name not in fitted:
            fitted[name] = _fit(name, pattern, limit, taken)
            taken.add(fitted[name])
    return fitted


def fit_id(id: str, limit: int) -> str:
    """An id of at most `limit` characters: itself, or its beginning and a hash of the whole. The same for a call and its result."""
    return id if len(id) <= limit else f"{id[: limit - 17]}_{_hash(id)[:16]}"


def _fit(name: str, pattern: re.Pattern[str], limit: int, taken: set[str]) -> str:
    stem = _ODD.sub("_", name)
    stem = stem if pattern.fullmatch(stem) else f"_{stem}"
    seed = name
    while (own := f"{stem[: limit - _DIGITS - 1]}_{_hash(seed)[:_DIGITS]}") in taken:
        seed += "'"
    return own


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
