"""What the name of a Gemini tells about it: the rules of its family, and whose signatures it understands.

    >>> model_of("models/gemini-3.1-flash-lite").rules.levels
    ('MINIMAL', 'LOW', 'MEDIUM', 'HIGH')

The rules are data, each with its source: `data/gemini_models.json`. A Gemini that is not there is taken for one of the newest family.
It must not know requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import msgspec


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thinking tokens: the fewest, the most, and whether there may be none."""

    least: int
    most: int
    off: bool


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of some models; what each says, `about` in the data tells."""

    names: str
    source: str
    date: str
    generation: tuple[int, int]
    levels: tuple[str, ...] = ()
    budget: Budget | None = None
    output: int | None = None
    output_whole: int | None = None
    sampling: bool = True
    prefill: bool = True
    newest: bool = False

    @property
    def thinks(self) -> bool:
        """Whether it thinks, and can be told how much."""
        return bool(self.levels or self.budget)

    def most_output(self, *, stream: bool) -> int | None:
        """The most tokens of one answer, thoughts included; None where that is not known."""
        return self.output if stream or self.output_whole is None else self.output_whole


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What files Gemini takes. `same`: other names of a type; `endings`: types by how the name of a file ends."""

    images: frozenset[str]
    documents: frozenset[str]
    same: dict[str, str]
    endings: dict[str, str]
    most_bytes_of_document: int
    most_bytes: int
    source: str
    date: str


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    read: str
    families: list[Family]
    media: Media


_DATA = resources.files("claude_relay.core.data") / "gemini_models.json"
_TABLE = msgspec.json.decode(_DATA.read_bytes(), type=_Table)
FAMILIES = tuple((re.compile(family.names), family) for family in _TABLE.families)
MEDIA = _TABLE.media
_NAME = re.compile(r"gemini-(?:(\d{1,3})(?:\.\d{1,3})?-)?(flash-lite|[a-z]+)")


@dataclass(frozen=True, slots=True)
class Model:
    """A model. `major`: its main version, 0 for what is none of Gemini's; `kind`: pro, flash …, "" then."""

    major: int
    kind: str
    rules: Family

    @property
    def kin(self) -> tuple[int, str]:
        """Those that understand each other's signatures. Google answers with a newer minor version where one has been withdrawn."""
        return self.major, self.kind

    def is_at_least(self, major: int, minor: int = 0) -> bool:
        """Whether it is of this generation, or of a later one."""
        return self.rules.generation >= (major, minor)


@lru_cache(maxsize=256)
def model_of(name: str) -> Model:
    """By the name that is asked for."""
    name = name.rpartition("/")[2]
    rules = next(family for names, family in FAMILIES if names.fullmatch(name))
    found = _NAME.match(name)
    if not found:
        return Model(0, "", rules)
    major, kind = found.groups()
    return Model(int(major) if major else rules.generation[0], kind, rules)


def bare(model: str) -> str:
    """The name as it is written in a path."""
    return model.removeprefix("models/")
