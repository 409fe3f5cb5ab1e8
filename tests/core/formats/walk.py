"""Every field of a Claude request, as the installed SDK's types have it, and what each format makes of it.

    PYTHONPATH=addon:tests .venv/bin/python -m core.formats.walk > docs/fields.md

For each field of each type there is a request that has it and one that has not, otherwise alike. A field is carried when the provider's
request differs between the two, noted when the notes do, and refused when the conversation goes to another provider. What is none of
these is left out in silence, which only the reasons in SILENT allow.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import anthropic
from anthropic.types.beta import BetaContentBlockParam, BetaMessageParam
from anthropic.types.beta.message_create_params import MessageCreateParamsBase

from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Asked, Unsuited
from claude_relay.core.formats.claude.blocks import BLOCKS
from claude_relay.core.formats.claude.reader import read

MODELS = {"openai-chat": "gpt-4.1", "openai-responses": "gpt-5.6-sol", "gemini": "gemini-3.6-flash"}
"""A model for each format, of the newest family that thinks where the format tells thoughts."""
PASSED_OVER = frozenset({"betas", "user_profile_id", "workspace_id", "model", "messages"})
"""Parameters of the SDK that are header fields on the wire, the name that the route exchanges, and what is walked block by block."""

type Json = Any
type Embed = Callable[[Json], Json]


class Outcome(StrEnum):
    """What becomes of a field."""

    CARRIED = "carried"
    CHANGED = "carried, with a note"
    NOTED = "noted"
    REFUSED = "refused"
    SILENT = "left out"


LEFT_OUT = frozenset({Outcome.NOTED, Outcome.REFUSED})
"""What becomes of all that is in an object, too."""


@dataclass(frozen=True)
class Row:
    """A field and a value of it, and what each format makes of them."""

    path: str
    value: Json
    outcomes: dict[str, Outcome]


# -- requests

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
VALUES: dict[str, Json] = {
    "data": IMAGE,
    "url": "https://a.example/file",
    "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
    "schema": {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "max_tokens": 2000,
    "budget_tokens": 1500,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "max_uses": 3,
    "inference_geo": "us",
    "tool_use_id": "toolu_1",
    "max_characters": 1000,
}
"""Values of fields by their names, where the type alone does not say what is valid."""


def example(kind: Any, name: str = "") -> Json:
    """A small value of a type: of an object, what it requires."""
    return next(iter(examples(kind, name)))


def examples(kind: Any, name: str = "") -> Iterator[Json]:
    """One value for each way in which a type may be: members of unions, literals."""
    if name == "cache_control":
        yield from ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"})
        return
    if name in VALUES:
        yield VALUES[name]
        return
    kind = bare(kind)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        yield from args
    elif origin in (typing.Union, types.UnionType):
        members = [arg for arg in args if arg is not type(None)]
        literal = [arg for arg in members if typing.get_origin(bare(arg)) is typing.Literal]
        for arg in literal if literal and str in members else members:
            yield from examples(arg)
    elif hasattr(kind, "__required_keys__"):
        yield {field: example(of, field) for field, of in fields(kind).items() if field in needed(kind)}
    elif origin in (dict, typing.get_origin(typing.Mapping[str, int])):
        yield {"k": "v"}
    elif args:  # a list of some kind
        for item in examples(args[0]):
            yield [item]
    else:
        yield {str: "walk", int: 3, float: 0.5, bool: True}.get(kind, "walk")


def bare(kind: Any) -> Any:
    """The type without Required, Annotated and names of types."""
    while True:
        if isinstance(kind, typing.TypeAliasType):
            kind = kind.__value__
        elif typing.get_origin(kind) in (typing.Required, typing.NotRequired, typing.Annotated):
            kind = typing.get_args(kind)[0]
        else:
            return kind


def fields(kind: Any) -> dict[str, Any]:
    """The fields of an object."""
    return typing.get_type_hints(kind, include_extras=True)


def needed(kind: Any) -> frozenset[str]:
    """The fields that an object must have. Its own list of them misses those whose annotations are texts."""
    return frozenset(name for name, of in fields(kind).items() if typing.get_origin(of) is typing.Required)


def members(kind: Any) -> list[Any]:
    """The objects that a type may be, within unions and lists."""
    kind = bare(kind)
    if hasattr(kind, "__required_keys__"):
        return [kind]
    found = (member for arg in typing.get_args(kind) if arg is not type(None) for member in members(arg))
    return list(dict.fromkeys(found))


def label(kind: Any) -> str:
    """What tells an object from others in its place: its `type`."""
    told = fields(kind).get("type")
    literal = bare(told) if told is not None else None
    values = [value for arg in (literal, *typing.get_args(literal)) for value in typing.get_args(arg) or (arg,)]
    return next((value for value in values if isinstance(value, str)), "")


# -- the walk

ASKED = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
TOOL = {"name": "tool_a", "description": "Does it.", "input_schema": {"type": "object", "properties": {}}}
BODY = {"model": "claude-sonnet-5", "max_tokens": 1000, "messages": [ASKED], "tools": [TOOL]}


def walk() -> list[Row]:
    """All fields of a request, those of each type where it comes first."""
    walker = _Walker()
    own = {name: of for name, of in fields(MessageCreateParamsBase).items() if name not in PASSED_OVER}
    walker.members(own, frozenset({"max_tokens"}), BODY, "", lambda body: body, {})
    for block in members(BetaContentBlockParam):
        walker.block(block)
    for message in members(BetaMessageParam):
        own = {name: of for name, of in fields(message).items() if name not in ("role", "content")}
        role = example(fields(message)["role"])
        turn = {"role": role, "content": [{"type": "text", "text": "So"}]}
        walker.members(
            own, frozenset(), turn, f"messages[{role}]", lambda turn: BODY | {"messages": [ASKED, turn, ASKED]}, {}
        )
    return walker.rows


class _Walker:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.seen: set[Any] = set()

    def block(self, kind: Any) -> None:
        """A block of a turn: as a whole, then its fields."""
        embed, base, path = placed(label(kind)), example(kind), f"content[{label(kind)}]"
        outcomes = judged(embed(base), embed(None), {})
        self.rows.append(Row(path, base, outcomes))
        self.object(kind, base, path, embed, outcomes)

    def object(self, kind: Any, base: Json, path: str, embed: Embed, above: dict[str, Outcome]) -> None:
        """The fields of an object, unless it was met before."""
        if kind not in self.seen:
            self.seen.add(kind)
            self.members(fields(kind), needed(kind), base, path, embed, above)

    def members(
        self,
        own: dict[str, Any],
        required: frozenset[str],
        base: Json,
        path: str,
        embed: Embed,
        above: dict[str, Outcome],
    ) -> None:
        """Each of an object's fields with each kind of value."""
        for name, of in own.items():
            here = f"{path}.{name}" if path else name
            for value in examples(of, name):
                having = base | {name: value}
                if name in required and value == base.get(name):
                    lacking = base | {name: other(value)}
                else:
                    lacking = {key: held for key, held in base.items() if key != name}
                if name == "type" or value == {} or lacking == having:
                    continue
                outcomes = judged(embed(having), embed(lacking), above)
                self.rows.append(Row(here, value, outcomes))
                if name not in VALUES and name != "cache_control" and not LEFT_OUT.issuperset(outcomes.values()):
                    self.within(of, base, name, value, here, embed, outcomes)

    def within(
        self, of: Any, base: Json, name: str, value: Json, path: str, embed: Embed, outcomes: dict[str, Outcome]
    ) -> None:
        """The fields of an object, or of the one in a list, that is the value of a field."""
        held = value[0] if isinstance(value, list) and value else value
        kind = kind_of(of, held)
        if kind is not None:
            deeper = lambda it: embed(base | {name: [it] if isinstance(value, list) else it})  # noqa: E731
            self.object(kind, held, f"{path}[{label(kind)}]" if label(kind) else path, deeper, outcomes)


def placed(kind: str) -> Embed:
    """Puts a block where it may stand, with the call or the result that it needs; None leaves it out."""
    role = next((role for role in ("user", "assistant", "system") if role in BLOCKS[kind].places), "user")
    call = {"type": "tool_use", "id": "toolu_1", "name": "tool_a", "input": {}}

    def embed(block: Json) -> Json:
        within = block is not None and role not in BLOCKS[kind].places  # a part of a result
        turn = {
            "role": role,
            "content": [{"type": "text", "text": "So"}, *([block] if block is not None and not within else [])],
        }
        if kind != "tool_result" and not within:
            return BODY | {"messages": [ASKED, turn, ASKED]}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [block] if within else "nothing"}
        results = [block] if block is not None and not within else [result]
        turns = [ASKED, {"role": "assistant", "content": [call]}, {"role": "user", "content": results}, ASKED]
        return BODY | {"messages": turns}

    return embed


def kind_of(of: Any, held: Json) -> Any:
    """Which object of a type a value is."""
    if not isinstance(held, dict):
        return None
    fitting = (kind for kind in members(of) if label(kind) == held.get("type", "") and needed(kind) <= held.keys())
    return next(fitting, None)


def other(value: Json) -> Json:
    """Another value of the same type, and of another order; what has only one stays."""
    match value:
        case bool():
            return not value
        case "walk":
            return "talk"
        case int() | float():
            return value * 30
    return value


# -- what becomes of it


def judged(having: Json, lacking: Json, above: dict[str, Outcome]) -> dict[str, Outcome]:
    """By format. What is within an object that is left out, or refused, has its lot."""
    found = {}
    for name in MODELS:
        outcome = judge(name, having, lacking)
        before = above.get(name, Outcome.CARRIED)
        if outcome is Outcome.SILENT and before is not Outcome.CARRIED:
            outcome = Outcome.NOTED if before is Outcome.CHANGED else before
        elif outcome is Outcome.CARRIED and before is Outcome.CHANGED:
            outcome = before
        found[name] = outcome
    return found


def judge(name: str, having: Json, lacking: Json) -> Outcome:
    """What a format makes of what one request has and the other lacks."""
    try:
        body, notes = asked(name, having)
    except Unsuited:
        return Outcome.REFUSED
    try:
        other_body, other_notes = asked(name, lacking) if lacking is not None else ("", ())
    except Unsuited:
        other_body, other_notes = "", ()
    match body != other_body, notes != other_notes:
        case True, False:
            return Outcome.CARRIED
        case True, True:
            return Outcome.CHANGED
        case False, True:
            return Outcome.NOTED
    return Outcome.SILENT


def asked(name: str, body: Json) -> tuple[str, tuple[str, ...]]:
    """The provider's request and all notes."""
    conversation = read(json.dumps(body).encode())
    sent = FORMATS[name].request(Asked(conversation, MODELS[name]))
    return sent.path + sent.body.decode(), (*conversation.notes, *sent.notes)


# -- what may be left out in silence, and the table

SILENT: dict[str, Callable[[Json], bool]] = {
    "cache_control": lambda mark: "ttl" not in mark,
    "service_tier": lambda tier: tier == "auto",
    "tool_choice": lambda choice: choice == {"type": "auto"},
    "caller": lambda caller: caller == {"type": "direct"},
    "clear_at": lambda when: when == "never",
}
"""Values that say nothing: marks of the cache, as other providers cache by themselves, and what would be so without them."""


def says_nothing(row: Row) -> bool:
    """Whether a value may be left out without a word."""
    name = row.path.rpartition(".")[2]
    return name in SILENT and SILENT[name](row.value)


ABOUT = """# What becomes of each field

You want to know what reaches a provider of another format. The table goes through every field of a Claude request that
the Python SDK {version} knows, each asked of a model with none of a provider's options set:

- **carried**: it is in the provider's request, in the provider's words
- **noted**: it is left out, or has become text; `x-relay-notes` and the ledger's `notes` say so
- **refused**: the request does not go there, but to the route's next provider, or gets a 400 that names the field
- **–**: it says nothing there: a default, or a mark of the cache where the provider caches by itself

Values are named where it depends on them. Objects of one type are listed where they come first.

| field | {heads} |
|---|{rules}|
"""


def table(version: str) -> str:
    """The page."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for row in walk():
        outcomes = tuple("–" if o is Outcome.SILENT else str(o) for o in row.outcomes.values())
        groups.setdefault((row.path, outcomes), []).append(worded(row.value))
    paths = [path for path, _ in groups]
    lines = [
        f"| `{path}`{f' {values_of(values)}' if paths.count(path) > 1 else ''} | {' | '.join(outcomes)} |"
        for (path, outcomes), values in groups.items()
    ]
    heads = " | ".join(f"`{form}` {model}" for form, model in MODELS.items())
    rules = "|".join(["---"] * len(MODELS))
    return ABOUT.format(version=version, heads=heads, rules=rules) + "\n".join(lines) + "\n"


def values_of(values: list[str]) -> str:
    """A few of them."""
    distinct = list(dict.fromkeys(values))
    return ", ".join(distinct[:3]) + (" …" if len(distinct) > 3 else "")


def worded(value: Json) -> str:
    """A value in few characters."""
    held = value[0] if isinstance(value, list) and value else value
    if isinstance(held, dict):
        return str(held.get("type", "…")) + (f" {held['ttl']}" if "ttl" in held else "")
    return str(held).lower()[:30]


if __name__ == "__main__":
    print(table(anthropic.__version__), end="")
