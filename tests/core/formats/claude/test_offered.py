"""Which tools a request offers, and which of them the model is to call."""

import re

import pytest
from anthropic.types.beta import BetaToolUnionParam

from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.claude.tools import builtin
from claude_relay.core.formats.conversation import Choice

from .messages import WEATHER, kinds_of, read

SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_tools_come_and_go_in_mid_conversation():
    other = {**WEATHER, "name": "tides"}
    change = {
        "role": "system",
        "content": [
            {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "weather"}},
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": other}},
        ],
    }
    told = read(tools=[WEATHER], messages=[{"role": "user", "content": "a"}, change])
    assert [tool.name for tool in told.tools] == ["tides"]
    back = {
        "role": "system",
        "content": [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "weather"}}],
    }
    told = read(tools=[WEATHER], messages=[{"role": "user", "content": "a"}, change, back])
    assert [tool.name for tool in told.tools] == ["tides", "weather"]


TYPED = {
    "bash_20250124": ("bash", {"command", "restart"}),
    "text_editor_20241022": ("str_replace_editor", {"new_str", "view_range"}),
    "text_editor_20250728": ("str_replace_based_edit_tool", {"insert_text", "view_range"}),
    "memory_20250818": ("memory", {"old_path", "new_path"}),
    "computer_20251124": ("computer", {"region", "coordinate"}),
}


@pytest.mark.parametrize(("kind", "name", "arguments"), [(kind, *rest) for kind, rest in TYPED.items()])
def test_claudes_own_client_tools_have_a_schema(kind, name, arguments):
    (tool,) = read(tools=[{"type": kind, "name": name, "display_width_px": 1024, "display_height_px": 768}]).tools
    assert tool.name == name
    assert arguments <= tool.schema["properties"].keys()
    assert ("display_width_px: 1024" in tool.description) == (name == "computer")


def test_an_editor_is_told_the_argument_that_its_version_expects():
    old, new = (
        builtin("text_editor_20250429").schema["properties"],
        builtin("text_editor_20250728").schema["properties"],
    )
    assert "insert_text" not in old
    assert "insert_text" in new
    assert "undo_edit" not in old["command"]["enum"]


def test_web_search_is_kept_with_its_settings():
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8, "allowed_domains": ["a.org"]}
    told = read(tools=[search], tool_choice={"type": "tool", "name": "web_search"})
    assert told.web_search == {"max_uses": 8, "allowed_domains": ["a.org"]}
    assert told.choice == Choice("search")
    assert told.tools == ()


@pytest.mark.parametrize(
    ("tools", "choice", "read_as"),
    [
        ([SEARCH], {"type": "any"}, Choice("search")),
        ([SEARCH, WEATHER], {"type": "any", "disable_parallel_tool_use": True}, Choice("any", parallel=False)),
        ([SEARCH, WEATHER], {"type": "tool", "name": "web_search"}, Choice("search")),
        ([SEARCH, WEATHER], {"type": "auto"}, Choice()),
        ([SEARCH], {"type": "none"}, Choice("none")),
    ],
)
def test_a_forced_web_search_stays_forced(tools, choice, read_as):
    assert read(tools=tools, tool_choice=choice).choice == read_as


def test_tools_of_claudes_servers_are_noted():
    told = read(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}, WEATHER])
    assert [tool.name for tool in told.tools] == ["weather"]
    assert told.notes == ("tools.web_fetch_20250910: left out",)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, Choice(parallel=False)),
        ({"type": "any"}, Choice("any")),
        ({"type": "none"}, Choice("none")),
        (
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            Choice("tool", "weather", parallel=False),
        ),
    ],
)
def test_tool_choice(choice, expected):
    assert read(tools=[WEATHER], tool_choice=choice).choice == expected


@pytest.mark.parametrize(("tools", "expected"), [([], Choice()), ([WEATHER], Choice("any"))])
def test_no_tool_can_be_asked_for_when_none_is_left(tools, expected):
    left_out = {"type": "mcp_toolset", "mcp_server_name": "m"}
    assert read(tools=[left_out, *tools], tool_choice={"type": "any"}).choice == expected


FATES = {
    **dict.fromkeys(["bash", "text_editor", "memory", "computer"], "offered"),
    **dict.fromkeys(["code_execution", "web_fetch", "advisor", "mcp_toolset"], "noted"),
    **dict.fromkeys(["tool_search_tool_bm25", "tool_search_tool_regex"], "noted"),
    **dict.fromkeys(["computer_toolset", "browser_toolset"], "refused"),
    "web_search": "searched",
}


@pytest.mark.parametrize("kind", sorted(kinds_of(BetaToolUnionParam) - {"custom"}))
def test_every_tool_of_the_official_sdk_has_its_fate(kind):
    assert fate({"type": kind, "name": "a"}) == FATES[re.sub(r"_\d{8}$", "", kind)]


def fate(tool):
    try:
        told = read(tools=[tool])
    except Unsuited:
        return "refused"
    if told.notes:
        return "noted"
    return "offered" if told.tools else "searched"
