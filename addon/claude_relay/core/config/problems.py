"""What is wrong with a configuration, said so that a person can mend it.

    relay.yaml:12: providers.anthropic.formt: unknown key; did you mean 'format'?

A problem never repeats a value of the file, for the value may be a secret that slipped into the wrong line; it names
the place and the remedy. Keys (the left side) are repeated only where they look like words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from claude_relay.core.errors import RelayError

type Place = tuple[str | int, ...]
"""Where something stands in the document: `("providers", "anthropic", "keys", 0)`."""

_WORD = re.compile(r"[\w.*?+/:-]{1,40}")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing to mend. `line` counts from 1; None when the problem is not in one line."""

    where: str
    line: int | None
    path: str
    what: str

    def __str__(self) -> str:
        """One line: file and line, path, what is wrong."""
        at = self.where if self.line is None else f"{self.where}:{self.line}"
        return ": ".join(part for part in (at, self.path, self.what) if part)


class ConfigError(RelayError):
    """relay.yaml cannot be used. A client sees only `message`; `str()` lists every problem, one a line."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        """From everything that was found, in the file's order."""
        super().__init__(503, "The relay's configuration has a mistake; the relay's log names the lines.", final=True)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """Every problem, one a line, for the log and the terminal."""
        return "\n".join(map(str, self.problems))


def shown(name: str | int) -> str:
    """A key as it may be repeated in a message: words only, nothing that could be a credential."""
    text = str(name)
    return text if _WORD.fullmatch(text) and "sk-" not in text.lower() else "…"


def dotted(place: Place) -> str:
    """`providers.anthropic.keys[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in place)
    return "".join(parts).removeprefix(".")


def suggest(wrong: str, known: Iterable[str]) -> str:
    """The remedy for a wrong word: the nearest known one, else all of them."""
    names = list(known)
    near = difflib.get_close_matches(wrong.lower(), names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
