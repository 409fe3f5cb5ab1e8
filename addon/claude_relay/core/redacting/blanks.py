"""Texts, replaced by others of the same length class; all that a body is but texts stays.

    >>> len(blank("Fix the bug in main.py"))
    24
    >>> Blanks().document({"role": "user", "content": "Hello!", "stop": None})
    {'role': 'user', 'content': 'text t', 'stop': None}

What stays: members' names, order and types of blocks, roles, models, reasons, numbers, tools' names (those of others' servers as a
hash), the shape of schemas; ids as numbers, so that what belongs together can be seen. Of files: their type and size. In what tools are
given or return as JSON names and numbers are texts, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

REDACTED: Final = re.compile(r"redacted-[a-z]{1,16}|\{(?:\"[a-z_]{1,40}\":\"(?:redacted-[a-z]{1,16})?\",?){1,10}\}")
"""What was redacted already, in Claude Code's form of `user_id` too."""
FILLING: Final = "text "
STRUCTURE: Final = frozenset(
    [
        "type",
        "role",
        "model",
        "object",
        "stop_reason",
        "finish_reason",
        "finishReason",
        "media_type",
        "mime_type",
        "mimeType",
        "service_tier",
        "effort",
        "status",
        "ttl",
        "speed",
        "reasoning_effort",
        "display",
        "format",
        "event",
        "detail",
        "modality",
        "anthropic_version",
        "anthropic-version",
        "tool_choice",
        "mode",
        "severity",
        "code",
        "scope",
        "phase",
        "inference_geo",
        "modelVersion",
        "blockReason",
    ]
)
"""Members whose words say of what shape a body is."""
WORD: Final = re.compile(r"[A-Za-z0-9_.:/+;=@ -]{0,80}")
IDENTIFIER: Final = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$.-]{0,63}")
IDS: Final = frozenset(
    [
        "id",
        "tool_use_id",
        "call_id",
        "tool_call_id",
        "file_id",
        "container",
        "item_id",
        "response_id",
        "previous_response_id",
        "responseId",
        "parent_id",
        "request_id",
        "session_id",
        "user_id",
    ]
)
NAMED: Final = frozenset({"name", "tool_name", "server_name"})
FREE: Final = frozenset({"input", "args", "arguments", "response", "metadata", "output"})
"""What is in these is the client's own, names of members and numbers included."""
SCHEMAS: Final = frozenset(
    {
        "input_schema",
        "parameters",
        "schema",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "output_schema",
    }
)
OF_SCHEMAS: Final = frozenset({"type", "format", "$ref", "$schema", "required"})
PROPERTIES: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
BYTES: Final = frozenset(
    {
        "data",
        "signature",
        "encrypted_content",
        "thoughtSignature",
        "encrypted_index",
        "file_data",
        "b64_json",
        "encrypted_stdout",
    }
)
"""Of these the size is shown."""
PREFIX: Final = re.compile(r"[A-Za-z]{2,12}(?=[_-])")


def length_class(length: int) -> int:
    """The class of a length: itself up to 4, then two steps for each doubling.

    >>> [length_class(n) for n in (0, 3, 5, 7, 22, 1000)]
    [0, 3, 6, 8, 24, 1024]
    """
    if length <= 4:
        return length
    top = 1 << (length - 1).bit_length()
    return top * 3 // 4 if length <= top * 3 // 4 else top


def blank(text: str) -> str:
    """A text of the same length class, which says nothing."""
    size = length_class(len(text))
    return (FILLING * (size // len(FILLING) + 1))[:size]


class Blanks:
    """Of one export: ids have the same number wherever they occur."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def document(self, value: Any, name: str = "") -> Any:
        """JSON without texts. `name`: that of the member whose value it is."""
        match value:
            case str():
                return self._text(value, name)
            case Mapping():
                return {self._name(key): self._member(key, held) for key, held in value.items()}
            case Sequence():
                return [self.document(held, name) for held in value]
            case _:
                return value

    def named(self, text: str) -> str:
        """An id, as a number."""
        prefix = PREFIX.match(text)
        return self._numbers.setdefault(text, f"{prefix[0] if prefix else 'id'}_{len(self._numbers) + 1}")

    def _member(self, name: str, value: Any) -> Any:
        if name in SCHEMAS and isinstance(value, Mapping):
            return self._schema(value)
        if name in FREE and not isinstance(value, str):
            return self._free(value, top=name == "metadata")
        return self.document(value, name)

    def _text(self, text: str, name: str) -> str:
        if REDACTED.fullmatch(text):
            return text
        if name in STRUCTURE and WORD.fullmatch(text):
            return text
        if name in IDS:
            return self.named(text) if text else text
        if name in NAMED:
            return tool_name(text)
        if name in BYTES or text[:5] == "data:":
            return f"({len(text)} characters)"
        return blank(text)

    @staticmethod
    def _name(name: str) -> str:
        return name if IDENTIFIER.fullmatch(name) else blank(name)

    def _free(self, value: Any, *, top: bool = False) -> Any:
        match value:
            case str():
                return value if REDACTED.fullmatch(value) else blank(value)
            case bool() | None:
                return value
            case int() | float():
                return 0
            case Mapping():
                names = [
                    str(name) if top and IDENTIFIER.fullmatch(str(name)) else f"member_{n}"
                    for n, name in enumerate(value, 1)
                ]
                return dict(zip(names, (self._part(held) for held in value.values()), strict=True))
            case Sequence():
                return [self._part(held) for held in value]
            case _:
                return None

    def _part(self, value: Any) -> Any:
        """Results of tools are blocks, which have a type."""
        if (
            isinstance(value, Mapping)
            and isinstance(value.get("type"), str)
            and value.keys() & {"text", "source", "tool_name"}
        ):
            return self.document(value)
        return self._free(value)

    def _schema(self, value: Any, name: str = "", *, names: bool = False) -> Any:
        """`names`: its members are properties, and no words of schemas."""
        match value:
            case Mapping():
                return {
                    self._name(key): self._schema(held, "" if names else key, names=key in PROPERTIES and not names)
                    for key, held in value.items()
                }
            case list():
                return [self._schema(held, name) for held in value]
            case str() if name in OF_SCHEMAS and (WORD if name != "required" else IDENTIFIER).fullmatch(value):
                return value
            case str():
                return blank(value)
            case _:
                return value


def tool_name(name: str) -> str:
    """As it is; of a server of the client's own: hashed, so that it is the same one wherever it occurs.

    >>> tool_name("Bash"), tool_name("mcp__acme__pay")
    ('Bash', 'mcp__5d5ce4d0')
    """
    if IDENTIFIER.fullmatch(name) and not name.startswith("mcp__"):
        return name
    return f"{'mcp__' if name.startswith('mcp__') else ''}{sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
