"""Claude's built-in client tools, described as any other model must be told them.

    >>> list(builtin("bash_20250124").tool("bash", {}).schema["properties"])
    ['command', 'restart']

Claude knows these tools by their type; a request gives no schema for them. The client runs them and expects the arguments that Claude
would write. The facts are data, each with its source: `data/builtin_tools.json`. It must not know requests or other kinds of tools.
"""

from __future__ import annotations

from importlib import resources

import msgspec

from claude_relay.core.formats.conversation import Json, Tool


class Builtin(msgspec.Struct, forbid_unknown_fields=True):
    """One line of the table. `type`: how its types begin; `settings`: fields of a request's tool that a model should know."""

    type: str
    source: str
    settings: list[str]
    description: str
    schema: dict[str, object]

    def tool(self, name: str, settings: Json) -> Tool:
        """The tool under the client's name for it, with its settings in the description."""
        lines = [f"{setting}: {settings[setting]}" for setting in self.settings if settings.get(setting) is not None]
        return Tool(name, "\n".join([self.description, *lines]), self.schema)


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    read: str
    tools: list[Builtin]


_DATA = resources.files("claude_relay.core.data") / "builtin_tools.json"
_TOOLS = msgspec.json.decode(_DATA.read_bytes(), type=_Table).tools


def builtin(type: str) -> Builtin | None:
    """What is known of a tool of this type; None: it is none of these. Newer versions are taken for the newest in the table."""
    return next((known for known in _TOOLS if type.startswith(known.type)), None)
