"""What two texts of relay.yaml differ in: as lines to look at, and as values for the audit log.

lines(before, after)        [Line("same", "routes:"), Line("removed", "  - to: [a]"), Line("added", "  - to: [b]")]
values({"a": {"b": 1}}, {"a": {"b": 2}})        ({"a.b": 1}, {"a.b": 2})
"""

from __future__ import annotations

import difflib
import json
from typing import Any, NamedTuple

from .problems import Place, dotted

AROUND = 3
"""Lines that are shown before and after a change."""


class Line(NamedTuple):
    """Of a unified diff. `kind`: same, added, removed, or place: where the next ones are."""

    kind: str
    text: str


KINDS = {" ": "same", "+": "added", "-": "removed", "@": "place"}


def lines(before: str, after: str) -> list[Line]:
    """The differences, each with some lines around it; none: the texts are the same."""
    found = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=AROUND, lineterm=""))[2:]
    return [Line(KINDS[line[0]], line if line[0] == "@" else line[1:]) for line in found]


def values(before: Any, after: Any, place: Place = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, by its place, as it was and as it is; lists as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        was: dict[str, Any] = {}
        then: dict[str, Any] = {}
        for name in dict.fromkeys((*before, *after)):
            old, new = values(before.get(name), after.get(name), (*place, name))
            was |= old
            then |= new
        return was, then
    if json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True):
        return {}, {}
    return ({dotted(place): before} if before is not None else {}), (
        {dotted(place): after} if after is not None else {}
    )
