r"""JSON schemas of tools and answers as OpenAI's interfaces take them. What they do not take is told in a description.

    >>> fit({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {"pattern": "\\p{L}"}}})
    ({'properties': {'a': {'description': 'Must match the regular expression \\p{L}'}}, 'type': 'object',
      'description': 'Must also be valid against {"anyOf":[…]}'}, ('anyOf at the root', 'a pattern'))

A schema that OpenAI does not take kills the whole request, though only one of many tools has it:

- The root is an object, without anyOf, oneOf, allOf, enum and not. https://github.com/langchain-ai/langchainjs/issues/9804 2026-01-14
- Patterns are compiled by Python's `re`, which knows no `\p{…}`, https://github.com/BerriAI/litellm/pull/40485 2026-09-09; where a schema
  is strict, lookarounds are refused, too, https://github.com/vercel/ai/pull/21037 2026-09-17. Servers made after OpenAI's have other
  dialects, so only what ECMAScript and Python have in common stays. Without strict a pattern is no more than words to the model.
- What strict takes: https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas

It must not know the rest of a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import msgspec

from claude_relay.core.bodies.lenient import mapping, text
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Conversation, Json

type Schema = dict[str, object]

LONGEST_WORDS = 1000
"""Characters of a schema that is told in a description; of a longer one only names are told."""
LONGEST_PATTERN = 1000
"""Characters of a pattern that is tried; a longer one is told in words."""
_DEEPEST = 100
"""Schemas within schemas that are looked at."""

_ROOT = ("anyOf", "oneOf", "allOf", "enum", "not")
_SINGLE = (
    *("items", "additionalItems", "unevaluatedItems", "contains"),
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("not", "if", "then", "else"),
)
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords under which schemas are: one, a list, by names. Anything else is no schema, whatever it looks like."""


def fit(schema: Json) -> tuple[Schema, tuple[str, ...]]:
    """The schema of an object as it is taken, and what of it is told in words only."""
    root, lost = _object(schema)
    if _mentions_pattern(root):
        root, moved = _without_patterns(root)
        lost += ("a pattern",) if moved else ()
    return root, lost


def parameters_of(schema: Json) -> Schema:
    """A tool's schema as servers want it: of an object, with `properties` even if there are none."""
    return fit(schema)[0]


def answer_schema(schema: Json) -> tuple[Schema, bool]:
    """The schema of an answer, and whether it is strict. Raises Unsuited when answers of its kind cannot be demanded."""
    kind = _resolved(schema, schema, set()).get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise Unsuited(
            "output_config.format.schema", "the answers of this provider are objects, so the schema must be of one"
        )
    fitted = parameters_of(schema)
    return fitted, fits_strict(fitted)


def schema_notes(said: Conversation) -> Iterator[str]:
    """What of the schemas of a request is told in words only, and whether that of the answer is guaranteed."""
    for tool in said.tools:
        yield from (
            f"tools.{tool.name}.input_schema: {what} is told in the description" for what in fit(tool.schema)[1]
        )
    if said.schema is not None:
        fitted, lost = fit(said.schema)
        yield from (f"output_config.format.schema: {what} is told in the description" for what in lost)
        if not fits_strict(fitted):
            yield "output_config.format: not strict, the schema is not of the kind that this provider guarantees"


# -- the root


def _object(schema: Json) -> tuple[Schema, tuple[str, ...]]:
    """The root as that of an object, with all properties that its branches have, and the keywords that are gone."""
    followed: set[str] = set()
    resolved = _resolved(schema, schema, followed)
    lost = {word: resolved[word] for word in _ROOT if word in resolved}
    root = {word: value for word, value in resolved.items() if word not in lost}
    properties, required = _members(resolved, schema, followed, 0)
    root |= {"type": "object", "properties": properties}
    root.pop("required", None)
    if required:
        root["required"] = required
    if lost:
        _describe(root, f"Must also be valid against {_words(lost)}")
    return root, tuple(f"{word} at the root" for word in lost)


def _members(schema: Json, root: Json, followed: set[str], depth: int) -> tuple[Schema, list[str]]:
    """The properties of a schema and of its branches, and those that are required whatever branch it is."""
    properties: dict[str, list[object]] = {name: [one] for name, one in mapping(schema.get("properties")).items()}
    required = dict.fromkeys(_listed_names(schema.get("required")))
    for word in ("allOf", "anyOf", "oneOf"):
        branches = [_resolved(mapping(branch), root, followed) for branch in _values(schema.get(word))]
        found = [_members(branch, root, followed, depth + 1) for branch in branches] if depth < _DEEPEST else []
        for own, _ in found:
            for name, one in own.items():
                properties.setdefault(name, []).append(one)
        demanded = [names for _, names in found]
        each = [set(names) for names in demanded] or [set[str]()]
        common = set.union(*each) if word == "allOf" else set.intersection(*each)
        required |= {name: None for names in demanded for name in names if name in common}
    return {name: _either(ways) for name, ways in properties.items()}, list(required)


def _either(ways: list[object]) -> object:
    """What fits any of the schemas that a property has."""
    distinct = list({msgspec.json.encode(way): way for way in ways}.values()) if len(ways) > 1 else ways
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _resolved(schema: Json, root: Json, followed: set[str]) -> Json:
    """The schema without a reference at its root: what it refers to within the document, with its own keywords over that.

    Each reference is followed once: definitions may refer to each other in circles, or to the same over and over.
    """
    while (
        (reference := text(schema.get("$ref"))) is not None and reference.startswith("#") and reference not in followed
    ):
        followed.add(reference)
        place: object = root
        for step in filter(None, reference[1:].split("/")):
            place = mapping(place).get(step.replace("~1", "/").replace("~0", "~"))
        schema = {**mapping(place), **{word: value for word, value in schema.items() if word != "$ref"}}
    return schema


def _words(lost: Json) -> str:
    """A schema in few words: itself, or what is required and named in it."""
    whole = msgspec.json.encode(lost).decode()
    if len(whole) <= LONGEST_WORDS:
        return whole
    names = {
        word: [
            {
                "properties": list(mapping(mapping(branch).get("properties"))),
                "required": mapping(branch).get("required", []),
            }
            for branch in _values(branches)
        ]
        for word, branches in lost.items()
    }
    return msgspec.json.encode(names).decode()[: 2 * LONGEST_WORDS]


# -- patterns

_CONSTRUCTS = re.compile(r"\\(.)|\[(?:\\.|[^\]\\]++)*+\]?|(\(\?(?!:))", re.DOTALL)
_FOREIGN = frozenset("pPAZzGk")
"""Letters behind a backslash that Python and ECMAScript do not understand alike."""
_NESTED_SETS = re.compile(r"\[\^?\[|--|&&|~~|\|\|")
"""What Python warns of, as a later version might understand it."""


@lru_cache(maxsize=1024)
def compiles(pattern: str) -> bool:
    """Whether a pattern means the same in ECMAScript and to Python's `re`, and has no lookaround."""
    if len(pattern) > LONGEST_PATTERN:
        return False
    for found in _CONSTRUCTS.finditer(pattern):
        if found[2] or (found[1] or "") in _FOREIGN or "\\p" in found[0] or "\\P" in found[0]:
            return False
    try:
        re.compile(_NESTED_SETS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", pattern))
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _mentions_pattern(schema: Json) -> bool:
    return b'"pattern' in msgspec.json.encode(schema)


def _without_patterns(schema: Json, depth: int = 0) -> tuple[Schema, bool]:
    """A copy in which patterns that are not taken are words, and whether there were any."""
    copy, moved = dict(schema), False

    def within(inner: object) -> object:
        nonlocal moved
        if not isinstance(inner, Mapping) or depth >= _DEEPEST:
            return inner
        cleaned, changed = _without_patterns(inner, depth + 1)
        moved = moved or changed
        return cleaned

    _each_schema(copy, within)
    pattern = copy.get("pattern")
    if isinstance(pattern, str) and not compiles(pattern):
        del copy["pattern"]
        _describe(copy, f"Must match the regular expression {pattern}")
        moved = True
    named = mapping(copy.get("patternProperties"))
    if unfit := {name: inner for name, inner in named.items() if not compiles(name)}:
        copy["patternProperties"] = {name: inner for name, inner in named.items() if name not in unfit}
        _describe(copy, f"Properties by the regular expressions of their names: {_words(unfit)}")
        moved = True
    return copy, moved


def _each_schema(schema: Schema, change: Callable[[object], object]) -> None:
    """Put what `change` makes of it in the place of each schema that is directly within."""
    for word in _SINGLE:
        if isinstance(schema.get(word), Mapping):
            schema[word] = change(schema[word])
    for word in _LISTED:
        if isinstance(listed := schema.get(word), list):
            schema[word] = [change(inner) for inner in listed]
    for word in _NAMED:
        if isinstance(named := schema.get(word), Mapping):
            schema[word] = {name: change(inner) for name, inner in named.items()}


def _describe(schema: Schema, words: str) -> None:
    described = text(schema.get("description"))
    schema["description"] = f"{described}\n{words}" if described else words


# -- strict


def fits_strict(schema: object) -> bool:
    """Whether OpenAI takes a schema as strict: every object closed, every property required, in all that is nested."""
    return isinstance(schema, Mapping) and schema.get("type") == "object" and _strict(schema)


_UNFIT_FOR_STRICT = (
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"),
    *("default", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties", "minProperties", "maxProperties"),
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def _strict(schema: object) -> bool:
    if not isinstance(schema, Mapping) or any(word in schema for word in _UNFIT_FOR_STRICT):
        return False
    if "format" in schema and text(schema["format"]) not in _FORMATS:
        return False
    nested = [*_values(schema.get("$defs")), *_values(schema.get("definitions")), *_values(schema.get("anyOf"))]
    if "items" in schema:
        nested.append(schema["items"])
    if "properties" in schema or "object" in _types(schema):
        properties, required = schema.get("properties"), schema.get("required")
        names = set(properties) if isinstance(properties, Mapping) else set()
        if schema.get("additionalProperties") is not False or names != set(_listed_names(required)):
            return False
        nested += _values(properties)
    return all(map(_strict, nested))


def _types(schema: Mapping[str, object]) -> set[str]:
    kind = schema.get("type")
    return {kind} if isinstance(kind, str) else set(_listed_names(kind))


def _listed_names(listed: object) -> list[str]:
    return [one for one in listed if isinstance(one, str)] if isinstance(listed, list | tuple) else []


def _values(nested: object) -> list[object]:
    if isinstance(nested, Mapping):
        return list(nested.values())
    return list(nested) if isinstance(nested, list | tuple) else []
