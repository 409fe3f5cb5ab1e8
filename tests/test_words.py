"""One word for one thing: identifiers that the field has another word for do not come back. Prose is free."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "addon" / "claude_relay"
RETIRED = {
    "rests": "cooldowns",
    "resting": "in_cooldown",
    "rest_until": "cooldown_until",
    "Rest": "Cooldown",
    "Rests": "Cooldowns",
    "rooms": "headroom",
    "Rooms": "Headroom",
    "seating": "affinity",
    "Seating": "Affinity",
    "blame": "cause",
    "Blame": "Cause",
    "trip": "state",
    "Trip": "RetryState",
    "hop": "target",
    "hops": "targets",
    "Hop": "Target",
    "crossing": "adaptation",
    "Crossing": "Adaptation",
    "sharing": "replication",
    "lend": "issue",
    "lent": "issued",
    "Lent": "Issued",
}
"""And the word that is used."""
PARTS = re.compile(r"(?<![A-Za-z])_*(" + "|".join(sorted(RETIRED, key=len, reverse=True)) + r")(?![A-Za-z])")


def identifiers(text: str) -> Iterator[tuple[str, int]]:
    """The names in a module, also those in f-strings, and their lines."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string, token.start[0]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_retired_identifiers_stay_retired(file: Path) -> None:
    found = [
        f"line {line}: {name}: {RETIRED[match[1]]}"
        for name, line in identifiers(file.read_text("utf-8"))
        if (match := PARTS.fullmatch(name))
    ]
    assert found == []
    assert file.stem not in RETIRED
    assert file.parent.name not in RETIRED


def test_a_retired_identifier_is_found() -> None:
    names = [name for name, _ in identifiers("hop = f'{seat.rests}'  # hop-by-hop, rests\n_lent = 'trip'\n")]
    assert [name for name in names if PARTS.fullmatch(name)] == ["hop", "rests", "_lent"]
