"""JSON Schema for Gemini: each rewrite, and what holds for any schema."""

from __future__ import annotations

import doctest
import time
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.gemini import finish_reasons, keywords, merging, models, patterns
from claude_relay.core.formats.gemini import schema as schema_module
from claude_relay.core.formats.gemini.schema import ALLOWED, MAX_NODES, clean, parameters
from waiting import PATIENCE

TEXT = {"type": "STRING"}


def nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema and all within it."""
    within = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *filter(None, [schema.get("items")])]
    return [schema, *(node for inner in within for node in nodes(inner))]


@pytest.mark.parametrize(
    ("given_schema", "cleaned"),
    [
        ({"type": "string", "$schema": "x", "$id": "y", "$comment": "z", "readOnly": True}, TEXT),
        ({"type": "STRING"}, TEXT),
        ({"const": "a"}, TEXT | {"enum": ["a"]}),
        ({"type": "string", "const": None}, TEXT | {"nullable": True}),
        ({"type": ["string", "null"]}, TEXT | {"nullable": True}),
        ({"type": "null"}, TEXT | {"nullable": True}),
        ({"type": ["string", "boolean"]}, {"anyOf": [TEXT, {"type": "BOOLEAN"}]}),
        ({"type": ["integer", "number"]}, {"type": "NUMBER"}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, TEXT | {"nullable": True}),
        ({"anyOf": [{"type": "string"}, {"const": None}]}, TEXT | {"nullable": True}),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/anyOf/0"}]}, TEXT),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [TEXT, {"type": "INTEGER"}]}),
        ({"enum": ["a", "b", "a", None]}, TEXT | {"enum": ["a", "b"], "nullable": True}),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}, {"type": "INTEGER", "minimum": 1, "maximum": 9}),
        ({"type": "integer", "exclusiveMinimum": 4, "minimum": 2}, {"type": "INTEGER", "minimum": 5}),
        ({"type": "integer", "exclusiveMinimum": True, "minimum": 2}, {"type": "INTEGER", "minimum": 3}),
        ({"type": "array"}, {"type": "ARRAY", "items": TEXT}),
        ({"type": "string", "format": "date-time"}, TEXT | {"format": "date-time"}),
        ({"type": "integer", "format": "int64"}, {"type": "INTEGER", "format": "int64"}),
        ({"type": "string", "properties": {"a": {}}, "required": ["a"], "items": {}, "minimum": 3}, TEXT),
        ({"type": "string", "minLength": 1, "pattern": "^a", "maxLength": "x"}, TEXT | {"minLength": 1, "pattern": "^a"}),
        ({"type": "object", "properties": {}, "required": ["gone"], "additionalProperties": False}, {"type": "OBJECT"}),
        ({"minItems": 1, "items": {"type": "string"}}, {"type": "ARRAY", "items": TEXT, "minItems": 1}),
        ({"type": "string", "default": "a", "example": "b", "title": "T"}, TEXT | {"title": "T", "default": "a", "example": "b"}),
        ({"allOf": [{"type": "integer", "minimum": 1}, {"minimum": 3}]}, {"type": "INTEGER", "minimum": 3}),
        ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, TEXT | {"enum": ["b"]}),
        ({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "string"}}}, TEXT),
        ({"description": "Mine", "$ref": "#/definitions/S", "definitions": {"S": {"type": "string", "description": "Its"}}},
         TEXT | {"description": "Mine"}),
    ],
)  # fmt: skip
def test_what_has_a_twin_is_rewritten_without_loss(given_schema: Any, cleaned: Any):
    assert clean(given_schema) == (cleaned, ())


@pytest.mark.parametrize(
    ("given_schema", "cleaned", "lost"),
    [
        ({"type": "number", "multipleOf": 0.5}, {"type": "NUMBER", "description": "(multipleOf: 0.5)"}, ("multipleOf",)),
        ({"type": "array", "uniqueItems": True, "items": TEXT, "description": "Tags."},
         {"type": "ARRAY", "items": TEXT, "description": "Tags. (uniqueItems: true)"}, ("uniqueItems",)),
        ({"type": "string", "format": "uri"}, TEXT | {"description": "(format: uri)"}, ("format",)),
        ({"type": "string", "not": {"const": "x"}}, TEXT | {"description": '(not: {"const":"x"})'}, ("not",)),
        ({"type": "object", "additionalProperties": {"type": "number"}},
         {"type": "OBJECT", "description": '(additionalProperties: {"type":"number"})'}, ("additionalProperties",)),
        ({"type": "number", "exclusiveMinimum": 0},
         {"type": "NUMBER", "minimum": 0, "description": "(exclusiveMinimum: 0)"}, ("exclusiveMinimum",)),
        ({"enum": [1, 2]}, {"type": "INTEGER", "description": "(enum: [1,2])"}, ("enum",)),
        ({"enum": ["", "a"]}, TEXT | {"enum": ["a"], "description": '(enum: ["","a"])'}, ("enum",)),
        ({"$ref": "https://example.com/s"}, {"type": "OBJECT", "description": "(as s)"}, ("$ref",)),
        ({}, TEXT | {"description": "(any JSON value)"}, ()),
        (True, TEXT | {"description": "(any JSON value)"}, ()),
    ],
)  # fmt: skip
def test_what_has_no_twin_goes_into_words(given_schema: Any, cleaned: Any, lost: Any):
    assert clean(given_schema) == (cleaned, lost)


def test_properties_named_like_keywords_survive():
    names = [
        "type",
        "title",
        "format",
        "default",
        "const",
        "required",
        "$ref",
        "anyOf",
        "items",
        "properties",
        "enum",
        "not",
        "$defs",
    ]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}
    cleaned, lost = clean(schema)
    assert cleaned == {"type": "OBJECT", "properties": dict.fromkeys(names, TEXT), "required": names}
    assert lost == ()


def test_nothing_stands_beside_any_of():
    cleaned, _ = clean(
        {
            "description": "An id",
            "title": "Id",
            "anyOf": [{"type": "string", "description": "as text"}, {"type": "integer"}, {"type": "null"}],
        }
    )
    assert cleaned == {
        "anyOf": [
            {"type": "STRING", "title": "Id", "description": "An id as text", "nullable": True},
            {"type": "INTEGER", "title": "Id", "description": "An id", "nullable": True},
        ]
    }


def test_what_holds_for_all_alternatives_goes_into_each():
    cleaned, _ = clean(
        {
            "type": "object",
            "properties": {"kind": {"type": "string"}},
            "required": ["kind"],
            "oneOf": [
                {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}},
            ],
        }
    )
    assert cleaned == {
        "anyOf": [
            {"type": "OBJECT", "properties": {"a": TEXT, "kind": TEXT}, "required": ["a", "kind"]},
            {"type": "OBJECT", "properties": {"b": TEXT, "kind": TEXT}, "required": ["kind"]},
        ]
    }


def test_alternatives_that_only_require_go_into_words():
    schema = {
        "type": "object",
        "properties": {"a": TEXT, "b": TEXT},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    cleaned, lost = clean(schema)
    assert cleaned["properties"] == {"a": TEXT, "b": TEXT}
    assert cleaned["description"] == '(anyOf: [{"required":["a"]},{"required":["b"]}])'
    assert lost == ("anyOf",)


def test_a_schema_that_holds_itself_is_cut_at_the_second_time():
    node = {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}}}
    cleaned, lost = clean({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert cleaned == {
        "type": "OBJECT",
        "properties": {"name": TEXT, "next": {"type": "OBJECT", "description": "(as Node)"}},
    }
    assert lost == ("$ref",)


def test_the_same_definition_may_stand_twice_side_by_side():
    cleaned, lost = clean(
        {"properties": {"a": {"$ref": "#/$defs/S"}, "b": {"$ref": "#/$defs/S"}}, "$defs": {"S": {"type": "string"}}}
    )
    assert (cleaned["properties"], lost) == ({"a": TEXT, "b": TEXT}, ())


def chain(step: Any, length: int = 25) -> dict[str, Any]:
    """Definitions that each refer to the next."""
    defs = {f"D{at}": step({"$ref": f"#/$defs/D{at + 1}"}) for at in range(length)}
    return {"$ref": "#/$defs/D0", "$defs": defs | {f"D{length}": {"type": "string"}}}


@pytest.mark.parametrize(
    "step",
    [
        lambda ref: {"type": "object", "properties": dict.fromkeys("abcd", ref)},
        lambda ref: {"anyOf": [{"type": "array", "items": ref}, ref | {"title": "x"}]},
        lambda ref: {"allOf": [ref, ref, ref]},
        lambda ref: {"items": {"allOf": [ref, {"type": "array", "items": ref}]}},
    ],
)
def test_references_that_multiply_are_cut(step: Any):
    started = time.process_time()
    cleaned, lost = clean(chain(step))
    assert time.process_time() - started < PATIENCE  # all of them would take for ever
    assert {"nesting", "size", "$ref"} & set(lost)
    assert len(nodes(cleaned)) <= 2 * MAX_NODES
    assert clean(cleaned)[0] == cleaned


def test_the_deep_is_cut_before_the_wide():
    wide = {f"p{at}": {"type": "string"} for at in range(500)}
    cleaned, _ = clean(
        chain(lambda ref: {"type": "object", "properties": dict.fromkeys("abcd", ref)}) | {"properties": wide}
    )
    assert wide.keys() <= cleaned["properties"].keys()


@pytest.mark.parametrize(
    "schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}, None, [], {"type": "string"}]
)
def test_a_function_without_parameters_has_none(schema: Any):
    assert parameters(schema)[0] is None


def test_the_parameters_of_a_function_are_one_object():
    cleaned, lost = parameters(
        {
            "anyOf": [
                {"properties": {"id": {"type": "string"}, "all": {"type": "boolean"}}, "required": ["id"]},
                {"properties": {"id": {"type": "string"}, "name": {"type": "string"}}, "required": ["id", "name"]},
            ]
        }
    )
    assert cleaned == {
        "type": "OBJECT",
        "description": '(anyOf: properties of one of [["all","id"],["id","name"]])',
        "properties": {"id": TEXT, "name": TEXT, "all": {"type": "BOOLEAN"}},
        "required": ["id"],
    }
    assert lost == ("anyOf",)


# -- any schema

NAMES = st.sampled_from(["a", "b", "type", "items", "$ref"])
ODD = st.sampled_from([None, True, 0, -1.5, "", "x", [], {}, [1], {"a": 1}])
REFS = st.sampled_from(["#", "#/$defs/A", "#/$defs/B", "#/properties/a", "#/anyOf/0", "nowhere", "#/$defs/A/items"])
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", "STRING", "file"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "x", "y", 1.5]))


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    maps = st.dictionaries(NAMES, inner, max_size=3)
    plain = {
        "type": st.one_of(TYPES, st.lists(TYPES, max_size=3)),
        "description": st.sampled_from(["words", "more"]),
        "nullable": st.booleans(),
        "enum": st.lists(SCALARS, max_size=3),
        "const": SCALARS,
        "required": st.lists(NAMES, max_size=3),
        "format": st.sampled_from(["date-time", "uri", "int32"]),
        "minimum": SCALARS,
        "exclusiveMinimum": SCALARS,
        "exclusiveMaximum": SCALARS,
        "minLength": SCALARS,
        "multipleOf": SCALARS,
        "default": ODD,
        "$ref": REFS,
        **dict.fromkeys(("properties", "$defs", "patternProperties"), maps),
        **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), lists),
        **dict.fromkeys(("items", "not", "additionalProperties"), inner),
    }
    return st.lists(st.sampled_from(sorted(plain)), max_size=5, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: st.one_of(plain[key], plain[key], ODD) for key in keys})
    )


SCHEMAS = st.recursive(st.one_of(st.booleans(), objects(ODD)), objects, max_leaves=6)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS)
def test_any_schema_becomes_one_that_gemini_takes(schema: Any):
    cleaned, lost = clean(schema)
    assert list(lost) == sorted(set(lost))
    found = nodes(cleaned)
    assert len(found) <= 2 * MAX_NODES
    for node in found:
        assert node.keys() <= ALLOWED
        assert node.keys() == {"anyOf"} or isinstance(node["type"], str)
        assert ("items" in node) == (node.get("type") == "ARRAY")
        assert "properties" not in node or (node["type"] == "OBJECT" and node["properties"])
        assert set(node.get("required", ())) <= node.get("properties", {}).keys()
        assert "enum" not in node or (
            node["type"] == "STRING" and all(isinstance(one, str) and one for one in node["enum"])
        )
        assert "anyOf" not in node or len(node["anyOf"]) > 1
    assert clean(cleaned) == (cleaned, ())
    assert msgspec.json.decode(msgspec.json.encode(cleaned)) == cleaned
    of_function, _ = parameters(schema)
    assert of_function is None or (of_function["type"] == "OBJECT" and of_function["properties"])


@pytest.mark.parametrize("module", [schema_module, keywords, merging, models, patterns, finish_reasons])
def test_the_examples_in_the_docstrings(module: ModuleType):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


# -- what makes Gemini refuse a request


def test_a_pattern_that_gemini_compiles_stays():
    assert clean({"type": "string", "pattern": "^[a-z]+$"}) == ({"type": "STRING", "pattern": "^[a-z]+$"}, ())


@pytest.mark.parametrize("pattern", [r"^(?!root$)\w+$", r"(\w)\1", "a++", r"^\p{Script=Greek}+$", r"\u00e9"])
def test_a_pattern_that_it_cannot_compile_is_put_into_words(pattern):
    cleaned, lost = clean({"type": ["string", "null"], "pattern": pattern, "description": "A name."})
    assert cleaned == {"type": "STRING", "nullable": True, "description": f"A name. (pattern: {pattern})"}
    assert lost == ("pattern",)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "enum": ["a", "", None]}, {"type": "STRING", "nullable": True, "enum": ["a"]}),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"type": "STRING", "nullable": True, "enum": ["a"]}),
        ({"enum": [None, "a"]}, {"type": "STRING", "nullable": True, "enum": ["a"]}),
        ({"enum": [""]}, {"type": "STRING"}),
        ({"enum": []}, {"type": "STRING"}),
        ({"const": ""}, {"type": "STRING"}),
        ({"type": "string", "format": "enum"}, {"type": "STRING"}),
        ({"type": "string", "format": "enum", "enum": [""]}, {"type": "STRING"}),
        ({"type": "string", "format": "enum", "enum": ["a"]}, {"type": "STRING", "format": "enum", "enum": ["a"]}),
    ],
)
def test_no_value_of_an_enumeration_is_empty(schema, expected):
    cleaned, _ = clean(schema)
    cleaned.pop("description", None)
    assert cleaned == expected
    nested, _ = clean({"anyOf": [schema, {"type": "object", "properties": {"a": schema}}]})
    enumerations = [node["enum"] for node in nodes(nested) if "enum" in node]
    assert all(values and all(value and isinstance(value, str) for value in values) for values in enumerations)
