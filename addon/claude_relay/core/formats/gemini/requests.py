"""Google's Gemini API: https://ai.google.dev/api/generate-content

    Conversation ──► POST {base}/models/{model}:generateContent, or :streamGenerateContent?alt=sse ──► Claude's answer

with the base URL https://generativelanguage.googleapis.com/v1beta and the key in `x-goog-api-key`.

Options of a provider:

    safety     threshold of all safety settings, e.g. OFF or BLOCK_NONE; Google's own when it is not there
    url_files  whether pictures and PDFs may be told by their URL; from Gemini 2.5 on they are. Otherwise the URL goes out as text

Gemini signs its thoughts where it calls a function, and Gemini 3 refuses a conversation that has lost a signature. They are kept under
the id of the call (`Writer.remember`) and given back on it, if a model of the same family is asked. Calls of other models get a
placeholder that Google documents for this (https://ai.google.dev/gemini-api/docs/thought-signatures), as the plain text that stands
there and in Google's own examples, though the field is one of bytes and its base64 has been seen to work as well. A signature of
another model is never sent. It must not know keys, routes or sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import msgspec

from claude_relay.core.bodies.lenient import BOM, parse_object, text, value
from claude_relay.core.bodies.lenient import count as number
from claude_relay.core.formats.base import Asked, Problem, Sent, Unsuited
from claude_relay.core.formats.conversation import (
    Call,
    Choice,
    Conversation,
    Document,
    Effort,
    Image,
    Json,
    Part,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from claude_relay.core.formats.errors import stated_wait
from claude_relay.core.formats.naming import fit_names
from claude_relay.core.formats.writer import Writer

from .answers import Reader, problem_of
from .schema import clean, parameters

PLACEHOLDER = "skip_thought_signature_validator"
"""In the place of a signature, on calls that Gemini did not make."""
MOST_STOPS = 5
MOST_TOOLS = 512
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]*")
_SAFETY = (
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
)
_MODES = {"auto": "AUTO", "any": "ANY", "tool": "ANY", "none": "NONE"}
_MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
}

_BUDGETS = {"pro": (128, 32_768, False), "flash": (1, 24_576, True), "flash-lite": (512, 24_576, True)}
"""Thinking tokens of Gemini 2.5: the fewest, the most, and whether there may be none."""
_BUDGET_OF = {"low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
"""Thinking tokens of Claude's efforts, and the other way round the most that count as one."""
_LEVEL_OF = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}

type Piece = dict[str, object]
"""A `Part` of Gemini's, as JSON."""


# -- models


@dataclass(frozen=True, slots=True)
class _Model:
    """What a model's name tells. `version` (0, 0): not one of Gemini's own, so taken for an old one."""

    version: tuple[int, int] = (0, 0)
    kind: str = ""

    @property
    def family(self) -> tuple[int, str]:
        """Those that understand each other's signatures. Google answers with a newer minor version where one has been withdrawn."""
        return self.version[0], self.kind

    @property
    def levels(self) -> tuple[str, ...]:
        """The thinking levels of a Gemini 3, the lowest first: https://ai.google.dev/gemini-api/docs/thinking"""
        if self.kind == "pro" and self.version == (3, 0):
            return ("LOW", "HIGH")
        if self.kind == "flash-lite" or (self.kind == "flash" and self.version <= (3, 6)):
            return ("MINIMAL", "LOW", "MEDIUM", "HIGH")
        return ("LOW", "MEDIUM", "HIGH")


_MODEL = re.compile(r"gemini-(?:(\d{1,3})(?:\.(\d{1,3}))?-)?(pro|flash-lite|flash|[a-z]+)(-latest)?")
_NEWEST = (3, 99)
"""What an alias such as gemini-flash-latest stands for."""


def _model(name: str) -> _Model:
    found = _MODEL.match(_bare(name))
    if not found:
        return _Model()
    major, minor, kind, latest = found.groups()
    if major is None:
        return _Model(_NEWEST if latest else (1, 0), kind)
    return _Model((int(major), int(minor or 0)), kind)


# -- the request


def request(asked: Asked) -> Sent:
    """The request for Gemini. Raises Unsuited for more than MOST_TOOLS tools."""
    method = "streamGenerateContent?alt=sse" if asked.conversation.stream else "generateContent"
    writing = _Request(asked)
    return writing.sent(method, writing.body())


def count(asked: Asked) -> Sent:
    """The question how many tokens the prompt has: https://ai.google.dev/api/tokens#method:-models.counttokens"""
    writing = _Request(asked)
    body = writing.body()
    prompt: Piece = {"model": f"models/{_bare(asked.model)}"}
    prompt |= {name: body[name] for name in ("contents", "systemInstruction", "tools") if name in body}
    return writing.sent("countTokens", {"generateContentRequest": prompt})


def counted(body: Json) -> int:
    """The tokens in the answer to `count`; 0 when it does not tell."""
    return number(body.get("totalTokens")) or 0


def answer(body: Json, writer: Writer) -> None:
    """Write a whole answer. One without a candidate or a refusal is an error: it would look like an empty success."""
    reader = Reader(writer)
    reader.event("", body)
    if not writer.stopped and not writer.has_content:
        writer.fail("api_error", "Gemini's answer has no candidate")
    writer.finish()


def stream(writer: Writer) -> Reader:
    """A reader for one stream."""
    return Reader(writer)


def error(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """An error answer. `code` is Google's status or reason, and DAILY_QUOTA for a quota that comes back only the next day."""
    decoded = value(body.removeprefix(BOM))
    known = decoded if isinstance(decoded, dict | list | str) else body.decode("utf-8", "replace")
    return problem_of(status, known, stated_wait(headers, b"", ""))


@dataclass(slots=True)
class _Content:
    """Neighbouring turns of one role."""

    role: str
    parts: list[Part] = field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def results(self) -> list[Result]:
        return [part for part in self.parts if isinstance(part, Result)]


class _Request:
    """One request while it is being written."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._talk = asked, asked.conversation
        self._model = _model(asked.model)
        self._notes: dict[str, None] = {}
        self._names = fit_names(_names_in(self._talk), _NAME)
        self._url_files = asked.options.get("url_files", self._model.version >= (2, 5)) is True

    def sent(self, method: str, body: Mapping[str, object]) -> Sent:
        own = {fitted: name for name, fitted in self._names.items() if fitted != name}
        path = f"/models/{quote(_bare(self._asked.model), safe='')}:{method}"
        return Sent(path, msgspec.json.encode(body), tuple(self._notes), own)

    def body(self) -> dict[str, object]:
        talk = self._talk
        tools = self._tools()
        config = self._config()
        system = [text.text for text in talk.system]
        if talk.schema is not None:
            if tools and self._model.version < (3, 0):
                # Gemini 2.5 and older refuse JSON mode together with tools.
                self._note("output_config.format: told in the system prompt, this model has no JSON mode beside tools")
                schema = msgspec.json.encode(talk.schema).decode()
                system.append(
                    f"The final answer is only JSON, without any other text, that fits this JSON Schema:\n{schema}"
                )
            else:
                config |= self._json_mode(talk.schema)
        if talk.user:
            self._note("metadata.user_id: left out")
        if talk.tier:
            self._note("service_tier: left out")
        whole = {
            "systemInstruction": {"parts": [{"text": text} for text in system]} if system else None,
            "contents": self._contents(),
            "tools": tools,
            "toolConfig": self._choice(talk.choice),
            "generationConfig": config,
            "safetySettings": self._safety(),
        }
        return {name: part for name, part in whole.items() if part}

    def _note(self, note: str) -> None:
        self._notes[note] = None

    # -- settings

    def _config(self) -> dict[str, object]:
        talk = self._talk
        if len(talk.stops) > MOST_STOPS:
            self._note(f"stop_sequences: only the first {MOST_STOPS} of {len(talk.stops)}")
        settings = {
            "maxOutputTokens": talk.max_tokens,
            "temperature": talk.temperature,
            "topP": talk.top_p,
            "topK": talk.top_k,
            "stopSequences": list(talk.stops[:MOST_STOPS]) or None,
            "thinkingConfig": self._thinking(talk.effort) or None,
        }
        return {name: setting for name, setting in settings.items() if setting is not None}

    def _thinking(self, effort: Effort) -> dict[str, object]:
        """https://ai.google.dev/gemini-api/docs/thinking: levels from Gemini 3 on, budgets in 2.5, nothing before, and never both."""
        if not effort.asked and not effort.off:
            return {}
        if self._model.version < (2, 5):
            if effort.asked:
                self._note("thinking: left out, this model has none")
            return {}
        config: dict[str, object] = {} if effort.off else {"includeThoughts": True}
        if self._model.version < (3, 0):
            return config | {"thinkingBudget": self._budget(effort)}
        level = self._level(effort)
        return config | ({"thinkingLevel": level} if level else {})

    def _budget(self, effort: Effort) -> int:
        lowest, highest, off = _BUDGETS.get(self._model.kind, _BUDGETS["pro"])
        if effort.off:
            if not off:
                self._note(f"thinking: cannot be switched off in this model, {lowest} tokens")
            return 0 if off else lowest
        asked = effort.budget if effort.budget is not None else _BUDGET_OF.get(effort.level)
        if asked is None:
            return -1
        budget = min(max(asked, lowest), highest)
        if budget != asked and effort.budget is not None:
            self._note(f"thinking.budget_tokens: {asked} becomes {budget}")
        return budget

    def _level(self, effort: Effort) -> str:
        """ "" leaves it to the model."""
        levels = self._model.levels
        if effort.off:
            self._note(f"thinking: cannot be switched off in this model, level {levels[0]}")
            return levels[0]
        level = effort.level
        if not level and effort.budget is not None:
            level = next((name for name, most in _BUDGET_OF.items() if effort.budget <= most), "max")
        wanted = _LEVEL_OF.get(level, "")
        return wanted if not wanted or wanted in levels else "HIGH"

    def _json_mode(self, schema: Json) -> dict[str, object]:
        cleaned, lost = clean(schema)
        if lost:
            self._note(f"output_config.format.schema: {', '.join(lost)} only in words")
        return {"responseMimeType": "application/json", "responseSchema": cleaned}

    def _safety(self) -> list[Piece]:
        threshold = text(self._asked.options.get("safety"))
        return [{"category": category, "threshold": threshold} for category in _SAFETY] if threshold else []

    # -- tools

    def _tools(self) -> list[Piece]:
        """The functions; or Google's search if there are none, as the two cannot be told together to every model."""
        talk = self._talk
        if len(talk.tools) > MOST_TOOLS:
            raise Unsuited("tools", f"Gemini takes {MOST_TOOLS} at most, not {len(talk.tools)}")
        if talk.tools:
            if talk.web_search is not None:
                self._note("tools.web_search: left out, Gemini does not search beside other tools")
            return [{"functionDeclarations": [self._declaration(tool) for tool in talk.tools]}]
        if talk.web_search is not None:
            if talk.web_search.keys() & {"allowed_domains", "blocked_domains", "max_uses", "user_location"}:
                self._note("tools.web_search: its settings are left out")
            return [{"googleSearch": {}}]
        return []

    def _declaration(self, tool: Tool) -> Piece:
        cleaned, lost = parameters(tool.schema)
        if lost:
            self._note(f"tools.{tool.name}.input_schema: {', '.join(lost)} only in words")
        if tool.strict:
            self._note(f"tools.{tool.name}.strict: left out")
        declared: Piece = {"name": self._names[tool.name]}
        if tool.description:
            declared["description"] = tool.description
        return declared | ({"parameters": cleaned} if cleaned else {})

    def _choice(self, choice: Choice) -> Piece:
        if not self._talk.tools:
            return {}
        if not choice.parallel:
            self._note("tool_choice.disable_parallel_tool_use: left out")
        mode: Piece = {"mode": _MODES[choice.kind]}
        if choice.kind == "tool":
            mode["allowedFunctionNames"] = [self._names[choice.name]]
        return {"functionCallingConfig": mode}

    # -- contents

    def _contents(self) -> list[Piece]:
        groups = self._groups()
        if not groups or groups[0].role == "model":
            groups.insert(0, _Content("user", [Text("(The conversation before this is not told.)")]))
        if groups[-1].calls:
            groups.append(_Content("user"))
        answers_calls = [bool(before.calls) for before in [_Content(""), *groups]]
        turn = max((at for at, group in enumerate(groups) if group.role == "user" and not answers_calls[at]), default=0)
        contents: list[Piece] = []
        calls: list[Call] = []
        for at, group in enumerate(groups):
            if group.role == "model":
                calls = group.calls
                parts = self._model_parts(group, signed=at > turn and self._model.version >= (3, 0))
            else:
                parts = self._user_parts(group, calls)
            contents.append({"role": group.role, "parts": parts})
        return contents

    def _groups(self) -> list[_Content]:
        """The turns without thoughts, which nobody but their author can use; neighbours of one role in one."""
        groups: list[_Content] = []
        for turn in self._talk.turns:
            parts = _told(turn)
            role = "model" if turn.role == "assistant" else "user"
            if parts and groups and groups[-1].role == role:
                groups[-1].parts.extend(parts)
            elif parts:
                groups.append(_Content(role, parts))
        return groups

    def _model_parts(self, group: _Content, *, signed: bool) -> list[Piece]:
        """`signed`: the first call must have a signature, be it the placeholder."""
        parts: list[Piece] = []
        first = True
        for part in group.parts:
            if not isinstance(part, Call):
                parts += self._pieces(part)
                continue
            memory = self._memory(part)
            call = {"name": self._names[part.name], "args": part.input} | _id_in(memory)
            signature = text(memory.get("signature")) or (PLACEHOLDER if signed and first else None)
            parts.append({"functionCall": call} | ({"thoughtSignature": signature} if signature else {}))
            first = False
        return parts

    def _user_parts(self, group: _Content, calls: list[Call]) -> list[Piece]:
        """First as many responses as there were calls, in their order; then what came with them; then all the rest."""
        results: dict[str, Result] = {}
        strays: list[Result] = []
        wanted = {call.id for call in calls}
        for result in group.results:
            if result.id in wanted and result.id not in results:
                results[result.id] = result
            else:
                strays.append(result)
        parts: list[Piece] = []
        beside: list[Piece] = []
        for call in calls:
            response, more = self._response(call, results.get(call.id))
            parts.append({"functionResponse": response})
            beside += more
        for stray in strays:
            self._note("tool_result: one without its call goes out as text")
            beside.append({"text": f"Result of an earlier tool call:\n{_words(stray)}"})
            beside += [piece for part in stray.content if not isinstance(part, Text) for piece in self._pieces(part)]
        for part in group.parts:
            beside += self._pieces(part)
        return parts + beside

    def _response(self, call: Call, result: Result | None) -> tuple[Piece, list[Piece]]:
        """The response to a call, and what of it must stand beside it."""
        head = {"name": self._names[call.name]} | _id_in(self._memory(call))
        if result is None:
            self._note("tool_use: one without a result is answered with an error")
            return head | {"response": {"error": "the call has no result"}}, []
        response = head | {"response": {"error" if result.is_error else "output": _words(result)}}
        inside: list[Piece] = []
        beside: list[Piece] = []
        for part in result.content:
            if not isinstance(part, Text):
                # Before Gemini 3 a response holds no files.
                within = self._model.version >= (3, 0) and part.data
                (inside if within else beside).extend(self._pieces(part))
        return response | ({"parts": inside} if inside else {}), beside

    def _pieces(self, part: Part) -> list[Piece]:
        match part:
            case Text():
                return [{"text": part.text}]
            case Image() | Document() if part.data:
                return [{"inlineData": {"mimeType": part.media_type, "data": part.data}}]
            case Image() | Document() if self._url_files:
                kind = part.media_type or _MEDIA.get(part.url.partition("?")[0].rpartition(".")[2].lower(), "")
                return [{"fileData": {"fileUri": part.url} | ({"mimeType": kind} if kind else {})}]
            case Image() | Document():
                self._note("source.url: told as text, the model cannot fetch it")
                return [{"text": f"[{'image' if isinstance(part, Image) else 'document'}: {part.url}]"}]
        return []

    def _memory(self, call: Call) -> Mapping[str, object]:
        """What Gemini gave with this call; nothing if it was another family's."""
        memory = parse_object(self._asked.recall.get(call.id, "").encode())
        author = _model(text(memory.get("model")) or "")
        same = (author.kind and author.family == self._model.family) or memory.get("asked") == self._asked.model
        return memory if same and memory.get("format") == "gemini" else {}


def _names_in(talk: Conversation) -> Iterable[str]:
    yield from (tool.name for tool in talk.tools)
    yield from (part.name for turn in talk.turns for part in turn.parts if isinstance(part, Call))
    if talk.choice.kind == "tool":
        yield talk.choice.name


def _told(turn: Turn) -> list[Part]:
    if turn.role == "system":
        return [Text(f"<system>\n{part.text}\n</system>") for part in turn.parts if isinstance(part, Text)]
    return [part for part in turn.parts if not isinstance(part, Thinking)]


def _words(result: Result) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, Text))


def _id_in(memory: Mapping[str, object]) -> Piece:
    """An id goes back only where Gemini gave one: older models do not know the field."""
    id = text(memory.get("id"))
    return {"id": id} if id else {}


def _bare(model: str) -> str:
    return model.removeprefix("models/")
