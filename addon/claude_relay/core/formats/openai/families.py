"""What OpenAI's interfaces and those made after them have in common: model families, levels of effort, strict schemas, user names.

    >>> family("openai/gpt-5-mini").efforts
    ('minimal', 'low', 'medium', 'high')
    >>> effort_for(Effort(asked=True, budget=31999), ("low", "high"))
    'high'

What a family takes is the table FAMILIES. It must not know the shape of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from claude_relay.core.formats.conversation import Effort, Json

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Levels of effort that any model knows, the least first."""
DEFAULT_LEVEL = "medium"
"""For adaptive thinking without a level: the newer models would not think at all when nothing is said."""
BUDGETS = ((4096, "low"), (16_000, "medium"), (32_000, "high"))
"""Budgets of thinking tokens below which a level is meant; above all of them it is xhigh. No provider publishes such a table. This
one makes Claude's least budget (1024) low, and 4000, 10000 and 31999, which clients use for three degrees, three levels.
"""


@dataclass(frozen=True, slots=True)
class Family:
    """What models of these names take.

    names     what the whole name matches, without the vendor before a slash
    source    where that is said
    openai    made and served by OpenAI: the field for user names and its words for `service_tier` are known there
    tokens    the field for the limit of output tokens
    efforts   levels of `reasoning_effort`; (): the field is refused
    tools     how much effort tools allow: None any; "" the field must be left out; else the only level
    sampling  whether temperature and top_p may be chosen
    stops     whether stop sequences may be given
    short_ids ids of calls are nine letters and digits, results are followed by an assistant's message, prefill is marked
    """

    names: re.Pattern[str]
    source: str
    openai: bool = False
    tokens: str = "max_tokens"
    efforts: tuple[str, ...] = ()
    tools: str | None = None
    sampling: bool = True
    stops: bool = True
    short_ids: bool = False


def _openai(
    names: str, source: str, efforts: str = "", *, tools: str | None = None, thinks: bool = True, stops: bool = True
) -> Family:
    return Family(
        re.compile(names), source, True, "max_completion_tokens", tuple(efforts.split()), tools, not thinks, stops
    )


_MODELS = "https://developers.openai.com/api/docs/models"
_REASONING = "https://developers.openai.com/api/docs/guides/reasoning"
_XAI = "https://docs.x.ai/developers/model-capabilities/text/reasoning"

# The first that matches counts.
FAMILIES = (
    Family(re.compile(r"gpt-oss.*"), "https://github.com/openai/gpt-oss", efforts=("low", "medium", "high")),
    _openai(r"o1-(mini|preview).*", _MODELS, stops=False),
    _openai(r"o[1-9]-pro.*", _MODELS, "low medium high", stops=False),
    _openai(r"o[1-9](-.*)?", f"{_REASONING}; no stop: the API reference of `stop`", "low medium high", stops=False),
    _openai(r"gpt-5-chat.*", f"{_MODELS}/gpt-5-chat-latest", thinks=False),
    _openai(r"gpt-5\.\d+-chat.*", "https://github.com/Laisky/one-api/issues/285", "medium"),
    _openai(r"gpt-5-pro.*", f"{_MODELS}/gpt-5-pro", "high", stops=False),
    _openai(r"gpt-5\.\d+-pro.*", f"{_MODELS}/gpt-5.2-pro", "medium high xhigh"),
    _openai(r"gpt-5-codex.*", f"{_MODELS}/gpt-5-codex", "low medium high", stops=False),
    _openai(
        r"gpt-5(-.*)?",
        "https://github.com/BerriAI/litellm/issues/15244",
        "minimal low medium high",
        stops=False,
    ),
    _openai(r"gpt-5\.1-codex-max.*", f"{_MODELS}/gpt-5.1-codex-max", "none medium high xhigh"),
    _openai(r"gpt-5\.1(-.*)?", "https://github.com/livekit/agents/pull/3966", "none low medium high"),
    _openai(r"gpt-5\.[23](-.*)?", f"{_MODELS}/gpt-5.2", "none low medium high xhigh"),
    _openai(
        r"gpt-5\.[45](-.*)?",
        "https://github.com/pipecat-ai/pipecat/issues/4043",
        "none low medium high xhigh",
        tools="",
    ),
    _openai(
        r"gpt-(5\.[6-9]|5\.\d\d|[6-9]).*",
        "https://github.com/BerriAI/litellm/issues/34569",
        "none low medium high xhigh",
        tools="none",
    ),
    _openai(r"(chatgpt-|gpt-\d).*", f"{_MODELS}/gpt-4.1", thinks=False),
    Family(re.compile(r"grok-3-mini.*"), _XAI, efforts=("low", "high"), stops=False),
    Family(re.compile(r"grok-4\.20-multi-agent.*"), _XAI, efforts=("low", "medium", "high", "xhigh"), stops=False),
    Family(re.compile(r"grok-4\.3.*"), _XAI, efforts=("none", "low", "medium", "high"), stops=False),
    Family(re.compile(r"grok-4\.5.*"), _XAI, efforts=("low", "medium", "high"), stops=False),
    Family(re.compile(r"grok-4\.[6-9].*"), _XAI, efforts=("low", "medium", "high", "xhigh"), stops=False),
    Family(re.compile(r"grok-(4|code).*"), _XAI, stops=False),
    Family(
        re.compile(r"kimi-(k2\.[5-9]|k[3-9]|for-coding).*"),
        "https://platform.kimi.ai/docs/guide/kimi-k2-5-quickstart",
        sampling=False,
    ),
    Family(
        re.compile(r"(open-)?(mistral|mixtral|ministral|codestral|devstral|magistral|pixtral).*"),
        "https://mistralai.github.io/mistral-common/usage/tools/; user after tool: https://github.com/zed-industries/zed/issues/37021",
        short_ids=True,
    ),
)
OTHER = Family(re.compile(r".*"), "servers made after OpenAI's older interface")


def family(model: str) -> Family:
    """What a model takes, by its name at the provider: `gpt-5`, `openai/gpt-5`, `openai/gpt-5:free`."""
    name = model.lower().rpartition("/")[2].partition(":")[0]
    return next((known for known in FAMILIES if known.names.fullmatch(name)), OTHER)


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


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else LEVELS.index(DEFAULT_LEVEL)


def hashed_user(user: str) -> str:
    """A name for the user of 64 hexadecimal digits, the same for the same user: `metadata.user_id` itself is long and says much.

    https://platform.openai.com/docs/guides/safety-best-practices#safety-identifiers
    """
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def parameters_of(schema: Json) -> dict[str, object]:
    """A tool's schema as servers want it: of an object, with `properties` even if there are none."""
    return {**schema, "type": "object", "properties": schema.get("properties") or {}}


def fits_strict(schema: object) -> bool:
    """Whether OpenAI takes a schema as strict: every object closed, every property required, in all that is nested.

    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    return isinstance(schema, Mapping) and schema.get("type") == "object" and _strict(schema)


_UNFIT_FOR_STRICT = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
)


def _strict(schema: object) -> bool:
    if not isinstance(schema, Mapping) or any(word in schema for word in _UNFIT_FOR_STRICT):
        return False
    nested = [*_values(schema.get("$defs")), *_values(schema.get("definitions")), *_values(schema.get("anyOf"))]
    if "items" in schema:
        nested.append(schema["items"])
    if "properties" in schema or "object" in _types(schema):
        properties, required = schema.get("properties"), schema.get("required")
        names = set(properties) if isinstance(properties, Mapping) else set()
        if schema.get("additionalProperties") is not False or names != _strings(required):
            return False
        nested += _values(properties)
    return all(map(_strict, nested))


def _types(schema: Mapping[str, object]) -> set[str]:
    kind = schema.get("type")
    return {kind} if isinstance(kind, str) else _strings(kind)


def _strings(listed: object) -> set[str]:
    return {one for one in listed if isinstance(one, str)} if isinstance(listed, list | tuple) else set()


def _values(nested: object) -> list[object]:
    if isinstance(nested, Mapping):
        return list(nested.values())
    return list(nested) if isinstance(nested, list | tuple) else []
