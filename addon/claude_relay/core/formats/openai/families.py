"""What models of OpenAI's interfaces take, and those made after them: families of models, and levels of effort.

    >>> family("openai/gpt-5-mini").efforts
    ('minimal', 'low', 'medium', 'high')
    >>> effort_for(Effort(asked=True, budget=31999), ("low", "high"))
    'high'

The facts are data, each with its source and date: `data/families.json`. A family is found by the model's name; by a name within a free
one, such as a deployment's; else an unknown model of a known vendor gets the rules of the newest. It must not know the shape of a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from importlib import resources

import msgspec

from claude_relay.core.bodies.lenient import mapping, text
from claude_relay.core.formats.base import Asked
from claude_relay.core.formats.conversation import Effort

from .schemas import fits_strict as fits_strict  # what is strict belongs to what models take
from .schemas import parameters_of as parameters_of

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Levels of effort that any model knows, the least first."""
DEFAULT_LEVEL = "medium"
"""For adaptive thinking without a level: the newer models would not think at all when nothing is said."""
LONGEST_NAME = 256
"""Characters of a model's name that is looked up."""
BUDGETS = ((4096, "low"), (16_000, "medium"), (32_000, "high"))
"""Budgets of thinking tokens below which a level is meant; above all of them it is xhigh. No provider publishes such a table. This
one makes Claude's least budget (1024) low, and 4000, 10000 and 31999, which clients use for three degrees, three levels.
"""


@dataclass(frozen=True, slots=True)
class Family:
    """What models of these names take.

    names             what the whole name matches, without the vendor before a slash
    source            where that is said
    openai            made and served by OpenAI: the field for user names and its words for `service_tier` are known there
    tokens            the field for the limit of output tokens
    efforts           levels of `reasoning_effort` in Chat Completions; (): the field is refused
    responses_efforts levels of `reasoning.effort` in Responses
    tools             how much effort tools allow in Chat Completions: None any; "" the field must be left out; else the only level
    sampling          whether temperature and top_p may be chosen
    stops             whether stop sequences may be given
    short_ids         ids of calls are nine letters and digits, results are followed by an assistant's message, prefill is marked
    least_output      output tokens below which a model that reasons in Chat Completions says nothing but an error
    most_tools        how many tools a request may have; None: not known
    images            media types of pictures
    searches          what of a web search's settings is heeded in Responses, and how many entries each may have
    search_sources    whether Responses can be asked to name the pages that a search has found
    """

    names: re.Pattern[str]
    source: str
    openai: bool = False
    tokens: str = "max_tokens"
    efforts: tuple[str, ...] = ()
    responses_efforts: tuple[str, ...] = ()
    tools: str | None = None
    sampling: bool = True
    stops: bool = True
    short_ids: bool = False
    least_output: int = 1
    most_tools: int | None = None
    images: tuple[str, ...] = ()
    searches: Mapping[str, int] = field(default_factory=dict)
    search_sources: bool = True


# -- the table


class _Vendor(msgspec.Struct, forbid_unknown_fields=True):
    """Who serves models. `images`: https://developers.openai.com/api/docs/guides/images-vision."""

    source: str
    date: str
    openai: bool = False
    tokens: str = "max_tokens"
    least_output: int = 1
    most_tools: int | None = None
    images: tuple[str, ...] = ("image/png", "image/jpeg", "image/webp", "image/gif")
    searches: dict[str, int] = msgspec.field(
        default_factory=lambda: {"allowed_domains": 100, "blocked_domains": 100, "user_location": 1}
    )
    search_sources: bool = True


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One family. `about`: what is not certain of it."""

    names: re.Pattern[str]
    vendor: str
    source: str
    date: str
    about: str = ""
    efforts: str = ""
    responses_efforts: str = ""
    tools: str | None = None
    sampling: bool = True
    stops: bool = True
    short_ids: bool = False

    def family(self, vendor: _Vendor) -> Family:
        efforts = tuple(self.efforts.split())
        return Family(
            self.names,
            self.source,
            openai=vendor.openai,
            tokens=vendor.tokens,
            efforts=efforts,
            responses_efforts=tuple(self.responses_efforts.split()) or efforts,
            tools=self.tools,
            sampling=self.sampling,
            stops=self.stops,
            short_ids=self.short_ids,
            least_output=1 if self.sampling else vendor.least_output,
            most_tools=vendor.most_tools,
            images=vendor.images,
            searches=vendor.searches,
            search_sources=vendor.search_sources,
        )


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    names: re.Pattern[str]
    most: int
    source: str
    date: str


class _Newest(msgspec.Struct, forbid_unknown_fields=True):
    names: re.Pattern[str]
    model: str


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    read: str
    vendors: dict[str, _Vendor]
    families: list[_Line]
    outputs: list[_Output]
    newest: list[_Newest]
    within: re.Pattern[str]


def _pattern(kind: type, written: object) -> re.Pattern[str]:
    return re.compile(str(written))


_DATA = resources.files("claude_relay.core.data") / "families.json"
_TABLE = msgspec.json.decode(_DATA.read_bytes(), type=_Table, dec_hook=_pattern)
FAMILIES = tuple(line.family(_TABLE.vendors[line.vendor]) for line in _TABLE.families)
OTHER = _Line(re.compile(".*"), "", _TABLE.vendors[""].source, _TABLE.read).family(_TABLE.vendors[""])
_SEPARATOR = re.compile(r"[-_./]")
_DASHED = re.compile(r"(?<=gpt-)(\d)-(\d)(?=-|$)")
"""Where names cannot have dots: gpt-5-6-sol."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known by a name. `name`: the model's, within the one that was given; `newest`: whose rules an unknown model has."""

    name: str
    family: Family
    newest: str = ""


def family(model: str) -> Family:
    """What a model takes, by its name at the provider: `gpt-5`, `openai/gpt-5`, `openai/gpt-5:free`, `my-gpt-5-eu`."""
    return _find(model).family


def most_output(model: str) -> int | None:
    """How many tokens the model gives at most in one answer, where that is documented."""
    found = _find(model)
    return (
        None if found.newest else next((line.most for line in _TABLE.outputs if line.names.fullmatch(found.name)), None)
    )


def ruling_name(query: Asked) -> str:
    """The name of the model whose rules count for a request.

    That is what the option `family` says, for all models or by their names (globs); else the model's own, unless nobody knows it and
    the client's name for it is known: `models: {gpt-5.6-sol: prod-a}` in relay.yaml says of what family a deployment is.
    """
    option = query.options.get("family")
    stated = text(option) or next(
        (text(named) for glob, named in mapping(option).items() if fnmatchcase(query.model.lower(), str(glob).lower())),
        None,
    )
    if stated is None and family(query.model) is OTHER and family(query.conversation.model) is not OTHER:
        return query.conversation.model
    return stated or query.model


def notes_on_name(name: str, model: str) -> Iterator[str]:
    """What the client should know of the rules: that they are those of another model, or of none."""
    found = _find(name)
    if found.newest:
        yield f"model: {found.name[:64]} is not known, the rules of {found.newest} are taken"
    elif name != model and found.family is OTHER:
        yield f"model: the option family names {name[:64]}, which is not known"


@lru_cache(maxsize=1024)
def _find(model: str) -> _Found:
    if len(model) > LONGEST_NAME:
        return _Found(model, OTHER)
    name = _DASHED.sub(r"\1.\2", model.lower().rpartition("/")[2].partition(":")[0])
    parts = [name, *(name[cut.end() :] for cut in _SEPARATOR.finditer(name) if _TABLE.within.match(name, cut.end()))]
    for part in parts:
        if known := _family_of(part):
            return _Found(part, known)
        if newest := next((line.model for line in _TABLE.newest if line.names.fullmatch(part)), ""):
            return _Found(part, _family_of(newest) or OTHER, newest)
    return _Found(name, OTHER)


def _family_of(name: str) -> Family | None:
    return next((known for known in FAMILIES if known.names.fullmatch(name)), None)


# -- effort


def level_of(effort: Effort) -> str:
    """The level that is asked for; `none` for thinking that is switched off, "" when nothing is said."""
    if effort.off:
        return "none"
    if effort.level or not effort.asked:
        return effort.level
    if effort.budget is None:
        return DEFAULT_LEVEL
    return next((level for below, level in BUDGETS if effort.budget < below), "xhigh")


def effort_for(effort: Effort, known: Sequence[str]) -> str:
    """The level for a model that knows these: the highest not above what is asked for, else its least; "" to say nothing.

    Thinking that is switched off becomes `none` or `minimal`, and nothing where the model has neither.
    """
    level = level_of(effort)
    if not level or not known:
        return ""
    if level == "none":
        return next((least for least in ("none", "minimal") if least in known), "")
    thinks = sorted((one for one in known if one in LEVELS and one != "none"), key=LEVELS.index)
    fitting = [one for one in thinks if LEVELS.index(one) <= _rank(level)]
    return fitting[-1] if fitting else next(iter(thinks), "")


def effort_notes(effort: Effort, level: str) -> Iterator[str]:
    """What becomes of the effort that is asked for, when the provider is told this level (""; nothing) and it is not the same."""
    if not level:
        if effort.asked or effort.off:
            yield "thinking: left to the model"
    elif effort.off:
        if level != "none":
            yield f"thinking: disabled becomes effort {level}"
    elif effort.level:
        if level != effort.level:
            yield f"output_config.effort: {effort.level} becomes {level}"
    elif effort.budget is not None:
        yield f"thinking.budget_tokens: {effort.budget} becomes effort {level}"


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else LEVELS.index(DEFAULT_LEVEL)


def hashed_user(user: str) -> str:
    """A name for the user of 64 hexadecimal digits, the same for the same user: `metadata.user_id` itself is long and says much.

    https://platform.openai.com/docs/guides/safety-best-practices#safety-identifiers
    """
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
