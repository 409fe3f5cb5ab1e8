"""The tools that a request offers at the end of its conversation, and which of them the model is to call.

    offered = Offered(notes)
    offered.read(tool, "tools.0")          # one entry of `tools`
    offered.change(block, "messages.2.…")  # one comes or goes in mid-conversation
    offered.tools, offered.choice(body)

Tools of the client's are kept, Claude's built-in ones get a schema, those that only Claude's own servers run are noted. It must not
know turns, nor what tools have been called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Choice, Json, Tool

from .fields import Notes, filled, optional, required
from .tools import builtin

_CHOICES: Mapping[str, Literal["auto", "any", "tool", "none"]] = {
    "auto": "auto",
    "any": "any",
    "tool": "tool",
    "none": "none",
}
_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_BUILTIN_FIELDS = frozenset({"type", "name", "cache_control"})
_SEARCH_FIELDS = frozenset({"allowed_domains", "blocked_domains", "user_location", "max_uses"})
_TOOLSETS = ("computer_toolset_", "browser_toolset_")


class Offered:
    """The tools of one request. `web_search`: the settings of Claude's search, None where nobody asks for it."""

    def __init__(self, notes: Notes) -> None:
        self.tools: dict[str, Tool] = {}
        self.web_search: Json | None = None
        self._notes = notes
        self._declared: dict[str, Tool] = {}
        self._left_out: set[str] = set()
        self._searches: set[str] = set()

    def read(self, tool: Json, path: str) -> None:
        """One entry of `tools`."""
        kind = optional(tool, "type", str, path) or "custom"
        if kind.startswith(_TOOLSETS):
            raise Unsuited(f"{path}.type", "only Claude knows the tools of this set")
        if known := builtin(kind):
            self._notes.others(tool, _BUILTIN_FIELDS.union(known.settings), f"tools.{kind}")
            self._offer(known.tool(filled(tool, "name", path), tool), path)
        elif kind == "custom" or "input_schema" in tool:
            self._notes.others(tool, _TOOL_FIELDS, "tools")
            description = optional(tool, "description", str, path) or ""
            schema, strict = required(tool, "input_schema", dict, path), optional(tool, "strict", bool, path)
            self._offer(Tool(filled(tool, "name", path), description, schema, strict or False), path)
        else:
            name = optional(tool, "name", str, path)
            if kind.startswith("web_search_"):
                self.web_search = {key: value for key, value in tool.items() if key in _SEARCH_FIELDS}
                self._notes.others(tool, _BUILTIN_FIELDS | _SEARCH_FIELDS, "tools.web_search")
                self._searches.update({name} if name else ())
            else:
                self._left_out.update({name} if name else ())
                self._notes.add(f"tools.{kind}")

    def _offer(self, tool: Tool, path: str) -> None:
        if tool.name in self._declared:
            raise Unsuited(f"{path}.name", "another tool has this name")
        self._declared[tool.name] = self.tools[tool.name] = tool

    def change(self, block: Json, path: str) -> None:
        """A tool comes or goes in mid-conversation; what counts is what is offered at its end."""
        tool, adds = required(block, "tool", dict, path), block.get("type") == "tool_addition"
        name = tool.get("name")
        if adds and tool.get("type") == "tool_definition":
            self.read(required(tool, "definition", dict, f"{path}.tool"), f"{path}.tool.definition")
        elif tool.get("type") != "tool_reference" or not isinstance(name, str) or name not in self._declared:
            self._notes.add(str(block.get("type")))
        elif adds:
            self.tools[name] = self._declared[name]
        else:
            self.tools.pop(name, None)
            self._left_out.add(name)

    def choice(self, body: Json) -> Choice:
        """What `tool_choice` says. Raises Unsuited when it names a tool that there is not."""
        choice = optional(body, "tool_choice", dict, "")
        if choice is None:
            return Choice()
        self._notes.others(choice, frozenset({"type", "name", "disable_parallel_tool_use"}), "tool_choice")
        kind = _CHOICES.get(required(choice, "type", str, "tool_choice"))
        if kind is None:
            raise Unsuited("tool_choice.type", f"must be one of {', '.join(_CHOICES)}")
        parallel = not optional(choice, "disable_parallel_tool_use", bool, "tool_choice")
        name = filled(choice, "name", "tool_choice") if kind == "tool" else ""
        if name in self._searches or (kind == "any" and not self.tools and self.web_search is not None):
            return Choice("search", parallel=parallel)
        if name and name not in self.tools and name not in self._left_out:
            raise Unsuited("tool_choice.name", "there is no such tool")
        if name in self._left_out or (kind == "any" and not self.tools):
            self._notes.add("tool_choice", "auto, as the tool is none of the client's")
            return Choice(parallel=parallel)
        return Choice(kind, name, parallel)
