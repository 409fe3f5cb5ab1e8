"""Patterns that a server does not take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.formats.conversation import Tool
from claude_relay.core.formats.openai.chat_schemas import without_patterns

from .chats import noted, requested

ODD = {"type": "string", "pattern": "a", "description": "A name."}
MENDED = {"type": "string", "description": "A name.\nMust match the pattern a"}


@pytest.mark.parametrize(
    ("pattern", "takes", "stays"),
    [
        ("^a$", "anchored", True),
        ("a", "anchored", False),
        ("^a", "anchored", False),
        ("a$", "anchored", False),
        ("^a$", False, False),
        ("a", None, True),
        ("a", True, True),
    ],
)
def test_a_pattern_stays_where_it_is_taken(pattern: str, takes: object, stays: bool):
    schema = {"type": "string", "pattern": pattern}
    plain, changed = without_patterns(schema, takes)
    assert (plain is schema) is stays
    assert changed is not stays
    assert pattern in str(plain)


@pytest.mark.parametrize(
    "around",
    [
        lambda it: {"type": "object", "properties": {"a": it}},
        lambda it: {"type": "array", "items": it},
        lambda it: {"anyOf": [it, {"type": "null"}]},
        lambda it: {"$defs": {"a": it}, "$ref": "#/$defs/a"},
        lambda it: {"type": "object", "additionalProperties": it},
        lambda it: {"type": "array", "prefixItems": [it]},
        lambda it: {"not": it},
        lambda it: {"type": "object", "patternProperties": {"^a$": it}},
    ],
)
def test_it_is_found_wherever_a_schema_is(around: Any):
    assert without_patterns(around(ODD), "anchored") == (around(MENDED), True)


def test_what_is_no_schema_is_left_alone():
    schema = {
        "properties": {"pattern": {"type": "string"}},
        "default": ODD,
        "enum": [ODD],
        "const": ODD,
        "examples": [ODD],
    }
    assert without_patterns(schema, False)[0] is schema


def test_tools_and_answers_are_asked_for_without_them():
    schema = {"type": "object", "properties": {"name": ODD}, "required": ["name"], "additionalProperties": False}
    said = {"tools": (Tool("Name", "", schema),), "schema": schema, "preset": "lm-studio"}
    body = requested(**said)
    form = body["response_format"]["json_schema"]["schema"]
    assert body["tools"][0]["function"]["parameters"]["properties"]["name"] == form["properties"]["name"] == MENDED
    assert [note.partition(":")[0] for note in noted(**said)] == [
        "tools.Name.input_schema",
        "output_config.format.schema",
    ]
    assert not noted(**said | {"preset": "vllm"})


_schemas = st.recursive(
    st.none() | st.text("^$a", max_size=4) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["pattern", "properties", "items", "anyOf", "patternProperties", "description"]), inner
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["pattern", "properties", "items", "anyOf"]), _schemas, max_size=4))
def test_no_schema_is_too_odd_and_once_is_enough(schema: dict[str, Any]):
    plain, _ = without_patterns(schema, "anchored")
    assert without_patterns(plain, "anchored") == (plain, False)
