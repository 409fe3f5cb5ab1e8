"""A Claude request, read and checked: what the formats of other providers are written from.

    Claude's JSON ──► reader.read ──► Conversation ──► a format's `request` ──► the provider's JSON

Everything that all formats would have to do alike is done before: wrong types are refused, empty texts are gone, Claude's
built-in client tools have a schema, what only Claude's own servers understand has become text or a note. Formats map these
nouns and nothing else. They must not know the wire form of a Claude request, nor keys, routes or sockets.

Shapes follow the official Python SDK (`anthropic.types.beta`), https://docs.claude.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

type Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Text:
    """A text, never empty."""

    text: str
    cached: bool = False
    """Whether the client marked the end of a cacheable prefix here (`cache_control`)."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: `data` (base64, with its media type) or a `url`."""

    media_type: str = ""
    data: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A PDF: `data` (base64) or a `url`. Documents of plain text or of blocks arrive as `Text`, their title in front."""

    media_type: str = "application/pdf"
    data: str = ""
    url: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a model thought in an earlier turn. `foreign`: not Claude's own, so another provider may have use for the text."""

    text: str
    signature: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A `tool_use` block."""

    id: str
    name: str
    input: Json


@dataclass(frozen=True, slots=True)
class Result:
    """A `tool_result` block; `content` may be empty."""

    id: str
    content: tuple[Text | Image | Document, ...] = ()
    is_error: bool = False


type Part = Text | Image | Document | Thinking | Call | Result


@dataclass(frozen=True, slots=True)
class Turn:
    """One entry of `messages`; `parts` is never empty. Role `system`: texts in mid-conversation."""

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the client runs. `schema`: JSON Schema of an object, as the client gave it."""

    name: str
    description: str
    schema: Json
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """`tool_choice`. `search`: Claude's own web search is demanded. `parallel` False: at most one call in an answer."""

    kind: Literal["auto", "any", "tool", "none", "search"] = "auto"
    name: str = ""
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Effort:
    """How much thinking is asked for.

    off     True: thinking is switched off in so many words
    budget  tokens, for `thinking: {type: enabled}`; None otherwise
    level   `output_config.effort`: low, medium, high, xhigh, max; empty when not said
    asked   whether thinking is wanted at all (enabled, adaptive, or a level)
    """

    asked: bool = False
    off: bool = False
    budget: int | None = None
    level: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole request.

    system     texts before the conversation
    schema     JSON Schema that the answer must fit (`output_config.format`); None: free text
    web_search whether the client offers Claude's own web search, and with which settings; None: no
    user       `metadata.user_id`, as it came
    tier       `service_tier`
    notes      what was left out or changed so far, each a short line that names the field
    """

    model: str
    max_tokens: int
    turns: tuple[Turn, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: Choice = field(default_factory=Choice)
    effort: Effort = field(default_factory=Effort)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stops: tuple[str, ...] = ()
    schema: Json | None = None
    web_search: Json | None = None
    user: str = ""
    tier: str = ""
    stream: bool = False
    notes: tuple[str, ...] = ()

    def names_of_tools(self) -> Iterator[str]:
        """Every name of a tool in it: declared, called or demanded."""
        yield from (tool.name for tool in self.tools)
        yield from (part.name for turn in self.turns for part in turn.parts if isinstance(part, Call))
        if self.choice.kind == "tool":
            yield self.choice.name
