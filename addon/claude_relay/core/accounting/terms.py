"""At which terms an answer was served, as far as its price depends on them.

    >>> str(Terms(speed="fast", geo="us"))
    'speed=fast inference_geo=us'
    >>> Terms.parse("service_tier=priority")
    Terms(speed='', geo='', tier='priority', unbilled=False)

What is usual is empty, so that most answers have no terms at all. The text is what the ledger keeps, for a later pricing. Names and
values are those of `BetaUsage` in the official Python SDK. It must not know any price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NAMES: Final[Mapping[str, str]] = {"speed": "speed", "geo": "inference_geo", "tier": "service_tier"}
"""Field here → name in a usage object."""
USUAL: Final = frozenset({"standard", "standard_only", "auto", "default", "global", "not_available"})
UNBILLED: Final = "unbilled"
_VALUE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Terms:
    """Empty: as usual.

    speed     `fast`
    geo       where it ran, if that was asked for: `us`
    tier      `priority` or `batch`
    unbilled  refused before any output: https://docs.claude.com/en/docs/build-with-claude/refusals-and-fallback
    """

    speed: str = ""
    geo: str = ""
    tier: str = ""
    unbilled: bool = False

    @classmethod
    def from_words(cls, said: Mapping[str, object], *, unbilled: bool = False) -> Terms:
        """From words by the fields' names; what is no plain word is not understood, and left out."""
        words = {name: _word(said.get(name)) for name in NAMES}
        return cls(**words, unbilled=unbilled) if unbilled or any(words.values()) else ORDINARY

    @classmethod
    def parse(cls, text: str | None) -> Terms:
        """The inverse of `str`; what is unknown is left out."""
        if not text:
            return ORDINARY
        pairs = dict(word.partition("=")[::2] for word in text.split())
        return cls.from_words({name: pairs.get(long) for name, long in NAMES.items()}, unbilled=UNBILLED in pairs)

    def __str__(self) -> str:
        """Words apart by blanks; empty when all is as usual."""
        words = [f"{long}={value}" for name, long in NAMES.items() if (value := getattr(self, name))]
        return " ".join([*words, UNBILLED] if self.unbilled else words)


def _word(said: object) -> str:
    word = said.lower() if isinstance(said, str) else ""
    return word if word not in USUAL and _VALUE.fullmatch(word) else ""


ORDINARY: Final = Terms()
