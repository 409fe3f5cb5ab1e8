"""The results of a batch of messages, one JSON object a line: https://docs.claude.com/en/api/retrieving-message-batch-results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from claude_relay.core.bodies.lenient import mapping, text, value

from .claude_answer import page_of
from .elements import others
from .excerpts import SHOWN, read_json
from .page import Line, Remark, size
from .seen import Seen

MOST: Final = 80
"""Results that are shown."""


def show(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page: what became of the requests as far as they are shown, then each of them."""
    lines = [line for line in data[:SHOWN].split(b"\n", MOST)[:MOST] if line.strip()]
    if not lines:
        return None
    read = sum(map(len, lines)) + len(lines)
    found = [mapping(value(line)) for line in lines[:-1]] + [mapping(read_json(lines[-1]))]
    kinds = Counter(text(mapping(one.get("result")).get("type")) or "?" for one in found)
    results: list[object] = [_result(one) for one in found]
    if (left := len(data) - read) > 1:
        results.append(Remark(f"… {size(left)} more"))
    title = f"results of a batch, {size(len(data))}"
    shown = f"the first {len(found)}" if left > 1 else f"all {len(found)}"
    return title, seen.facts() | {"shown": shown, "of these": Line(dict(kinds)), "results": results}


def _result(found: Mapping[str, object]) -> dict[str, object]:
    result = mapping(found.get("result"))
    kind = text(result.get("type")) or "?"
    message = mapping(result.get("message"))
    said = page_of(message) if message else others(result, "type")
    return {"custom_id": found.get("custom_id"), kind: said}
