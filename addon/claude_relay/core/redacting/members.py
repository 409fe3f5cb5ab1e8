"""JSON: which of its members are credentials, and which name somebody; the values without them.

    members = Members(finder)
    members.secrets(document)        their values, to be looked for wherever else they are repeated
    members.clean(document)          the document without them; the same object when there were none

In schemas a member `password` is a description of one. `metadata.user_id` holds three ids, one of which is the conversation's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.secrets import SHORTEST

from .blanks import REDACTED
from .naming_them import is_alias, is_credential, names_somebody
from .shapes import ACCOUNT, EMAIL, KEY, Finder

SCHEMAS: Final = frozenset(
    {"properties", "input_schema", "parameters", "schema", "$defs", "definitions", "responseSchema", "output_schema"}
)
IDS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{20,40}|[0-9a-f]{32,}|[A-Za-z0-9_-]{24,}")
"""Ids within an id."""
USER: Final = "user"
SHOWN_WORDS: Final = frozenset(
    {"user", "assistant", "system", "auto", "none", "any", "null", "true", "false", "ephemeral"}
)
DEEPEST: Final = 200
BROKEN: Final = "redacted: nested too deeply"


class Members:
    """Of one export."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder

    # -- what is known then

    def secrets(self, value: Any, *, schema: bool = False, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Values that are credentials or name somebody, by their members' names, each with what is to stand in its place."""
        if depth > DEEPEST:
            return
        if isinstance(value, Mapping):
            for name, held in value.items():
                within = schema or name in SCHEMAS
                if isinstance(held, str) and not schema and (mark := mark_of(name, held)):
                    for part in ids_in(held) if mark == ACCOUNT else (held,):
                        if len(part) >= SHORTEST and part not in SHOWN_WORDS:
                            yield part.encode("utf-8", "surrogatepass"), mark
                else:
                    yield from self.secrets(held, schema=within, depth=depth + 1)
        elif isinstance(value, list):
            for held in value:
                yield from self.secrets(held, schema=schema, depth=depth + 1)

    # -- without them

    def clean(self, value: Any, *, schema: bool = False, hot: bytes = b"", depth: int = 0) -> Any:
        """`schema`: it describes values; `hot`: all texts in it are credentials."""
        if depth > DEEPEST:
            return BROKEN
        if isinstance(value, str):
            return hot.decode() if hot and value and not is_alias(value) else self.finder.clean_text(value)
        if isinstance(value, Mapping):
            return self._mapping(value, schema, hot, depth)
        if isinstance(value, Sequence):
            found = [self.clean(held, schema=schema, hot=hot, depth=depth + 1) for held in value]
            return value if all(new is old for new, old in zip(found, value, strict=True)) else found
        return value

    def _mapping(self, value: Mapping[str, Any], schema: bool, hot: bytes, depth: int) -> Any:
        found, changed = {}, False
        for name, held in value.items():
            shown = self.finder.clean_text(name)
            mark = b"" if schema or not isinstance(held, str | list | dict) else mark_of(name, held)
            if mark == ACCOUNT and isinstance(held, str):
                new: Any = without_ids(held)
            else:
                inner = mark or (b"" if name in SCHEMAS else hot)
                new = self.clean(held, schema=schema or name in SCHEMAS, hot=inner, depth=depth + 1)
            changed = changed or shown is not name or new is not held
            found[shown] = new
        return found if changed else value


def mark_of(name: str, value: Any) -> bytes:
    """What is to stand in the place of a member's value; empty: it may be shown."""
    if isinstance(value, str) and (is_alias(value) or REDACTED.fullmatch(value)):
        return b""
    if is_credential(name):
        return KEY
    if names_somebody(name) or (name == USER and isinstance(value, str) and value not in SHOWN_WORDS):
        return EMAIL if name.lower().startswith("email") else ACCOUNT
    return b""


def ids_in(text: str) -> Iterator[str]:
    """The ids that an id is made of: JSON of Claude Code's, its older form with underscores, or itself."""
    yield text
    yield from (named_ids(text) or {}).values()
    for found in IDS.finditer(text):
        yield found[0]


def without_ids(text: str) -> str:
    """An id, in the same form."""
    held = named_ids(text)
    if held is None:
        return ACCOUNT.decode() if text else text
    return msgspec.json.encode({name: ACCOUNT.decode() if value else "" for name, value in held.items()}).decode()


def named_ids(text: str) -> dict[str, str] | None:
    """Those that an id in JSON holds, by name. None: it is no such one."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.ValidationError, *BAD_JSON):
        return None
