"""Reads a client's Messages request and checks it, for providers that are asked in another format.

    >>> read(b'{"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}').turns
    (Turn(role='user', parts=(Text(text='Hi', cached=False),)),)

Every field of the API is read, refused (`Unsuited`, naming its path) or noted in `Conversation.notes`; what no table knows is noted
when it is a field, and refused when it is a block. Only `cache_control` is passed over, as leaving it out changes no answer,
and the line of Claude Code's about billing, which is meant for the transport. It must not know what single blocks and tools
become, nor the formats that are written from it.

Shapes follow the official Python SDK (`anthropic.types.beta`), https://docs.claude.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from claude_relay.core.bodies.facts import named_model
from claude_relay.core.bodies.legible import utf8, whole
from claude_relay.core.bodies.lenient import BAD_JSON, mapping
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Conversation, Effort, Json, Part, Text, Turn

from .blocks import ROLES, Blocks
from .fields import Notes, filled, number, objects, optional, path_of, required, strings
from .offered import Offered

_BILLING = "x-anthropic-billing-header:"
_LEVELS = ("low", "medium", "high", "xhigh", "max")
_READ = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stream", "metadata", "service_tier", "cache_control"),
        *("tools", "tool_choice", "thinking", "output_config", "output_format"),
        *("stop_sequences", "temperature", "top_p", "top_k"),
    }
)
_MESSAGE_FIELDS = frozenset({"role", "content", "clear_at"})
_THINKING: Mapping[str, bool] = {"enabled": True, "adaptive": True, "between_tools": True, "disabled": False}


class _Refusal(NamedTuple):
    """When a top-level field cannot be left out, and why."""

    applies: Callable[[Any], bool]
    why: str


_REFUSED: Mapping[str, _Refusal] = {
    "mcp_servers": _Refusal(bool, "only Claude's own servers connect to MCP servers"),
    "compaction": _Refusal(bool, "only Claude's own servers compact a conversation"),
    "safeguards": _Refusal(bool, "only Claude's own servers check a request by safeguards"),
    "thread": _Refusal(
        lambda it: mapping(it).get("type") == "continue", "the conversation so far is kept by Claude's own servers"
    ),
    "inference_geo": _Refusal(lambda it: it != "global", "another provider does not promise where it computes"),
}


_LIMITS: Mapping[int | None, str] = {
    None: "is required",
    0: "0 asks to fill the prompt cache of Claude's own servers (a cache pre-warm), which another provider does not do",
}
"""What is wrong with a limit. https://docs.claude.com/en/docs/build-with-claude/prompt-caching"""


def read(body: bytes, *, count_only: bool = False) -> Conversation:
    """The conversation in a Messages request; `count_only`: in a count_tokens request, which needs no `max_tokens` (0 then).

    Raises Unsuited when the JSON is broken or not what the API describes, or asks for what only Claude's own servers can do.
    """
    try:
        return _Reader().conversation(_decoded(body), count_only)
    except RecursionError:
        raise Unsuited("body", "nested too deeply") from None


def _decoded(body: bytes) -> Json:
    """As all readers of requests have it (`bodies.legible`)."""
    body = utf8(body)
    try:
        decoded, strictly = whole(body)
    except BAD_JSON as error:
        raise Unsuited("body", f"no valid JSON ({error})") from None
    if not isinstance(decoded, dict):
        raise Unsuited("body", "must be a JSON object")
    if not strictly and "model" in decoded and isinstance(decoded["model"], str):
        decoded["model"] = named_model(body)
    return decoded


class _Reader:
    """One request; what is found out on the way is collected here."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.offered = Offered(self.notes)
        self.blocks = Blocks(self.notes, self.offered)
        self.turns: list[Turn] = []

    def conversation(self, body: Json, count_only: bool) -> Conversation:
        for name, refusal in _REFUSED.items():
            if body.get(name) is not None and refusal.applies(body[name]):
                raise Unsuited(name, refusal.why)
        self.notes.others(body, _READ, "")
        model, limit = filled(body, "model", ""), optional(body, "max_tokens", int, "")
        if not count_only and (limit is None or limit < 1):
            raise Unsuited("max_tokens", _LIMITS.get(limit, "must not be negative"))
        for tool, path in objects(optional(body, "tools", list, "") or [], "tools"):
            self.offered.read(tool, path)
        system = self.read_system(body)
        self.read_messages(required(body, "messages", list, ""))
        effort, schema = self.read_output(body)
        metadata = optional(body, "metadata", dict, "") or {}
        self.notes.others(metadata, frozenset({"user_id"}), "metadata")
        return Conversation(
            model=model,
            max_tokens=limit or 0,
            turns=tuple(self.turns),
            system=system,
            tools=tuple(self.offered.tools.values()),
            choice=self.offered.choice(body),
            effort=effort,
            temperature=number(body, "temperature"),
            top_p=number(body, "top_p"),
            top_k=optional(body, "top_k", int, ""),
            stops=strings(body, "stop_sequences"),
            schema=schema,
            web_search=self.offered.web_search,
            user=optional(metadata, "user_id", str, "metadata") or "",
            tier=optional(body, "service_tier", str, "") or "",
            stream=optional(body, "stream", bool, "") or False,
            notes=self.notes.lines(),
        )

    def read_system(self, body: Json) -> tuple[Text, ...]:
        if isinstance(system := body.get("system"), str):
            blocks = [Text(system)]
        else:
            blocks = self.blocks.texts(optional(body, "system", list, "") or [], "system")
        if blocks and blocks[0].text.startswith(_BILLING):
            del blocks[0]
        return tuple(block for block in blocks if block.text)

    # -- how to answer

    def read_output(self, body: Json) -> tuple[Effort, Json | None]:
        config = optional(body, "output_config", dict, "") or {}
        self.notes.others(config, frozenset({"effort", "format"}), "output_config")
        level = optional(config, "effort", str, "output_config") or ""
        if level and level not in _LEVELS:
            raise Unsuited("output_config.effort", f"must be one of {', '.join(_LEVELS)}")
        old = self.read_format(body, "output_format", "")
        return self.read_thinking(body, level), self.read_format(config, "format", "output_config") or old

    def read_format(self, of: Json, name: str, parent: str) -> Json | None:
        form, path = optional(of, name, dict, parent), path_of(parent, name)
        if form is None:
            return None
        if form.get("type") != "json_schema":
            raise Unsuited(f"{path}.type", "must be json_schema")
        self.notes.others(form, frozenset({"type", "schema"}), path)
        return required(form, "schema", dict, path)

    def read_thinking(self, body: Json, level: str) -> Effort:
        thinking = optional(body, "thinking", dict, "")
        if thinking is None:
            return Effort(asked=bool(level), level=level)
        kind = required(thinking, "type", str, "thinking")
        if kind not in _THINKING:
            raise Unsuited("thinking.type", f"must be one of {', '.join(_THINKING)}")
        self.notes.others(thinking, frozenset({"type", "budget_tokens"}), "thinking")
        if kind == "between_tools":
            self.notes.add("thinking.type", "between_tools taken for adaptive")
        budget = required(thinking, "budget_tokens", int, "thinking") if kind == "enabled" else None
        return Effort(asked=_THINKING[kind], off=not _THINKING[kind], budget=budget, level=level)

    # -- messages

    def read_messages(self, messages: list[object]) -> None:
        entries = list(objects(messages, "messages"))
        last_user = max((n for n, (entry, _) in enumerate(entries) if entry.get("role") == "user"), default=-1)
        for at, (entry, path) in enumerate(entries):
            role = ROLES.get(required(entry, "role", str, path))
            if role is None:
                raise Unsuited(f"{path}.role", f"must be one of {', '.join(ROLES)}")
            self.notes.others(entry, _MESSAGE_FIELDS, "messages")
            if entry.get("clear_at") == "next_user_message" and at < last_user:
                continue
            parts = tuple(self.read_content(entry, role, path))
            if parts := parts + (self.blocks.files() if role == "user" else ()):
                self.turns.append(Turn(role, parts))
        if files := self.blocks.files():
            self.turns.append(Turn("user", files))
        if not self.turns:
            raise Unsuited("messages", "there is nothing to answer")
        self.blocks.check_results()

    def read_content(self, entry: Json, role: str, path: str) -> list[Part]:
        content = entry.get("content")
        if isinstance(content, str):
            return [Text(content)] if content else []
        needed = optional if role == "system" else required
        parts: list[Part] = []
        for block, where in objects(needed(entry, "content", list, path) or [], f"{path}.content"):
            found = self.blocks.read(block, role, where)
            if block["type"] == "compaction" and found:
                self.restart(found)
                parts = []
            else:
                parts += found
        return parts

    def restart(self, summary: tuple[Part, ...]) -> None:
        """Claude passes over everything before a summary.

        https://docs.claude.com/en/docs/build-with-claude/compaction
        """
        self.turns = [Turn("user", summary)]
        self.blocks.forget()
