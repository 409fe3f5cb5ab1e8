"""Schemas as OpenAI takes them: roots, patterns, and what may be strict."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Conversation, Text, Tool, Turn
from claude_relay.core.formats.openai.schemas import (
    answer_schema,
    compiles,
    fit,
    fits_strict,
    parameters_of,
    schema_notes,
)

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
WHOLE = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}


def test_a_plain_schema_stays_as_it_is():
    assert fit(WHOLE) == (WHOLE, ())
    assert parameters_of({}) == {"type": "object", "properties": {}}


@pytest.mark.parametrize("word", ["anyOf", "oneOf"])
def test_a_root_of_branches_becomes_an_object_with_all_their_properties(word):
    branches = [
        {"properties": {"a": TEXT, "n": TEXT}, "required": ["a", "n"]},
        {"properties": {"b": NUMBER, "n": NUMBER}, "required": ["b", "n"]},
    ]
    root, lost = fit({word: branches, "description": "Either.", "required": ["x"], "properties": {"x": TEXT}})
    assert lost == (f"{word} at the root",)
    assert root["type"] == "object"
    assert root["properties"] == {"x": TEXT, "a": TEXT, "n": {"anyOf": [TEXT, NUMBER]}, "b": NUMBER}
    assert root["required"] == ["x", "n"]
    described = root["description"]
    assert described.startswith("Either.\nMust also be valid against ")
    assert json.loads(described.partition("against ")[2]) == {word: branches}


def test_what_must_hold_together_is_put_together():
    root, _ = fit(
        {"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}, "required": ["b"]}]}
    )
    assert root["properties"] == {"a": TEXT, "b": TEXT}
    assert root["required"] == ["a", "b"]


@pytest.mark.parametrize("word", ["enum", "not"])
def test_other_words_that_a_root_must_not_have(word):
    root, lost = fit(WHOLE | {word: [{"a": "x"}]})
    assert word not in root
    assert lost == (f"{word} at the root",)
    assert '"a":"x"' in root["description"]


def test_references_at_the_root_and_in_its_branches_are_followed():
    definitions = {"A": {"properties": {"a": TEXT}}, "B/x": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/nowhere"}]}}
    root, _ = fit({"$ref": "#/$defs/B~1x", "$defs": definitions})
    assert root["properties"] == {"a": TEXT}
    assert "$ref" not in root
    assert root["$defs"] == definitions


def test_references_in_a_circle_end():
    circles: list[dict[str, Any]] = [
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#/anyOf/0"}]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}}},
    ]
    for circle in circles:
        root, _ = fit(circle)
        assert (root["type"], root["properties"]) == ("object", {})


def test_a_long_root_is_told_by_its_names():
    branch = {"properties": {f"name_{n}": TEXT | {"description": "x" * 100} for n in range(20)}, "required": ["name_0"]}
    root, _ = fit({"anyOf": [branch, branch]})
    assert len(root["description"]) < 2100
    assert "name_19" in root["description"]
    assert "xxx" not in root["description"]


UNFIT = [
    r"^[^\p{Cc}\p{L}]+$",
    r"\P{Lu}",
    r"^(?!__)[a-z]+$",
    r"(?=a)b",
    r"(?<=a)b",
    r"(?<!a)b",
    r"(?<year>\d{4})",
    r"(?P<year>\d{4})",
    r"(?i)abc",
    r"\u{1F600}",
    r"\Aabc\Z",
    r"\cA",
    r"[a",
    r"a(",
    r"*a",
    r"[^]",
]
FIT = [
    r"^[a-z]+$",
    r"^(?:a|b){1,200}$",
    r"\(\?=literal\)",
    r"[(?=]",
    r"^[[a]--b&&c||d]$",
    r"\\p",
    r"^\d{4}-\d{2}\/\d{2}$",
    r"[^[\]]*",
    r"a{1,99999}",
]


@pytest.mark.parametrize("pattern", UNFIT)
def test_a_pattern_that_does_not_compile_is_told_in_words(pattern):
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "Its name.", "pattern": pattern}}}
    fitted, lost = fit(schema)
    assert lost == ("a pattern",)
    described = f"Its name.\nMust match the regular expression {pattern}"
    assert fitted["properties"]["a"] == {"type": "string", "description": described}
    assert schema["properties"]["a"]["pattern"] == pattern


@pytest.mark.parametrize("pattern", FIT)
def test_other_patterns_stay(pattern):
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    assert fit(schema) == (schema, ())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda it: {"items": it},
        lambda it: {"items": [it]},
        lambda it: {"anyOf": [it]},
        lambda it: {"additionalProperties": it},
        lambda it: {"properties": {"pattern": it}},
        lambda it: {"if": it},
        lambda it: {"$defs": {"x": it}},
        lambda it: {"patternProperties": {"^a": it}},
    ],
)
def test_patterns_are_found_wherever_a_schema_is(wrap):
    schema = {"type": "object", "properties": {"a": wrap({"pattern": r"\p{L}"})}}
    fitted, lost = fit(schema)
    assert lost == ("a pattern",)
    assert fitted["properties"]["a"] == wrap({"description": r"Must match the regular expression \p{L}"})


def test_what_only_looks_like_a_pattern_stays():
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"pattern": TEXT, "b": {"default": {"pattern": r"\p{L}"}}},
    }
    schema["properties"]["c"] = {"enum": [{"pattern": r"\p{L}"}], "pattern": 7}
    assert fit(schema) == (schema, ())


def test_names_by_patterns_are_told_in_words():
    named = {r"^\p{L}": TEXT, "^b": NUMBER}
    fitted, lost = fit({"type": "object", "properties": {}, "patternProperties": named})
    assert lost == ("a pattern",)
    assert fitted["patternProperties"] == {"^b": NUMBER}
    assert r"^\\p{L}" in fitted["description"]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"a": TEXT | {"default": "x"}},
        {"a": TEXT | {"format": "uri"}},
        {"a": TEXT | {"format": ["x"]}},
        {"a": {"type": "array", "items": TEXT, "uniqueItems": True}},
        {"a": {"type": "object", "properties": {"b": TEXT}}},
        {"a": {"oneOf": [TEXT]}},
        {"a": TEXT, "b": TEXT},
    ],
)
def test_what_strict_does_not_take(spoilt):
    assert fits_strict(WHOLE)
    assert fits_strict(WHOLE | {"properties": {"a": TEXT | {"format": "date", "pattern": "^a"}}})
    assert not fits_strict(WHOLE | {"properties": spoilt})


def test_an_answer_is_strict_where_it_can_be_and_an_object_always():
    assert answer_schema(WHOLE) == (WHOLE, True)
    assert answer_schema(WHOLE | {"type": ["object", "null"]})[0]["type"] == "object"
    assert answer_schema({"properties": {}})[1] is False
    for kind in ("array", "string", ["array", "null"]):
        with pytest.raises(Unsuited, match=r"output_config\.format\.schema"):
            answer_schema({"type": kind})


def test_notes_say_what_is_not_as_it_was():
    tool = Tool("A", "", {"anyOf": [], "properties": {"a": {"pattern": r"\p{L}"}}})
    said = Conversation(
        "claude-x", 9, (Turn("user", (Text("Hi"),)),), tools=(tool,), schema={"properties": {"a": TEXT}}
    )
    assert list(schema_notes(said)) == [
        "tools.A.input_schema: anyOf at the root is told in the description",
        "tools.A.input_schema: a pattern is told in the description",
        "output_config.format: not strict, the schema is not of the kind that this provider guarantees",
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["object", "^a", r"\p{L}", "#/a", "#"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "anyOf", "allOf", "not", "items", "pattern", "$ref", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "properties", "required", "anyOf", "oneOf", "$ref", "patternProperties"]), _JSON
    )
)
def test_odd_schemas_never_raise(schema):
    fitted, _ = fit(schema)
    assert fitted["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf", "enum", "not"} & fitted.keys()
    fits_strict(fitted)
    json.dumps(fitted)


@given(st.text(alphabet="ab(?=!<>P[]^$\\{},pdu-&|~*+.", max_size=12))
def test_a_pattern_that_compiles_is_one_to_python(pattern):
    if compiles(pattern):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
