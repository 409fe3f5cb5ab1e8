"""Google's Gemini API: https://ai.google.dev/api/generate-content

    Conversation ──► POST {base}/models/{model}:generateContent, or :streamGenerateContent?alt=sse ──► Claude's answer

with the base URL https://generativelanguage.googleapis.com/v1beta and the key in `x-goog-api-key`.

Options of a provider:

    safety               threshold of all safety settings, e.g. OFF or BLOCK_NONE; Google's own when it is not there
    url_files            whether pictures and PDFs may be told by their URL; from Gemini 2.5 on they are. Otherwise the URL goes out as text
    family               the name of the Gemini whose rules count, where the model's own name does not say it
    search_beside_tools  whether the web search works beside the client's tools; from Gemini 3 on it does
    exclude_domains      true where `excludeDomains` of the search is known: Google Cloud, not the Gemini API

It must not know how turns are written, how much a model thinks, nor keys, routes or sockets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from claude_relay.core.bodies.lenient import BOM, text, value
from claude_relay.core.bodies.lenient import count as number
from claude_relay.core.formats.base import Asked, Problem, Sent, Unsuited
from claude_relay.core.formats.conversation import Choice, Json, Tool
from claude_relay.core.formats.errors import stated_wait
from claude_relay.core.formats.naming import fit_names
from claude_relay.core.formats.searching import restrict
from claude_relay.core.formats.writer import Writer

from .answers import Reader, problem_of
from .contents import Contents
from .media import Piece
from .models import bare, model_of
from .schema import clean, parameters
from .thinking import plan

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
_SEARCH_FIRST = "Search the web with Google Search before you answer."


def request(query: Asked) -> Sent:
    """The request for Gemini. Raises Unsuited for more than MOST_TOOLS tools."""
    method = "streamGenerateContent?alt=sse" if query.conversation.stream else "generateContent"
    writing = _Request(query)
    return writing.build(method, writing.body())


def count(query: Asked) -> Sent:
    """The question how many tokens the prompt has: https://ai.google.dev/api/tokens#method:-models.counttokens"""
    writing = _Request(query)
    body = writing.body()
    prompt: Piece = {"model": f"models/{bare(query.model)}"}
    names = ["contents", "systemInstruction", "tools", *(["toolConfig"] if writing.searches_beside else [])]
    prompt |= {name: body[name] for name in names if name in body}
    return writing.build("countTokens", {"generateContentRequest": prompt})


def counted(body: Json) -> int:
    """The tokens in the answer to `count`; 0 when it does not tell."""
    return number(body.get("totalTokens")) or 0


def answer(body: Json, writer: Writer) -> None:
    """Write a whole answer. One without a candidate or a refusal is an error: it would look like an empty success."""
    reader = Reader(writer)
    reader.event("", body)
    if not writer.stopped and not writer.has_content:
        writer.fail("api_error", "Gemini's answer has no candidate")
    reader.finish()


def stream(writer: Writer) -> Reader:
    """A reader for one stream."""
    return Reader(writer)


def error(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """An error answer. `code` is Google's status or reason, and DAILY_QUOTA for a quota that comes back only the next day."""
    decoded = value(body.removeprefix(BOM))
    known = decoded if isinstance(decoded, dict | list | str) else body.decode("utf-8", "replace")
    return problem_of(status, known, stated_wait(headers, b"", ""))


class _Request:
    """One request while it is being written."""

    def __init__(self, query: Asked) -> None:
        self._query, self._talk = query, query.conversation
        self._model = model_of(text(query.options.get("family")) or query.model)
        self._notes: dict[str, None] = {}
        self._names = fit_names(self._talk.names_of_tools(), _NAME)
        if self._model.rules.newest:
            self._note(f"model: {bare(query.model)[:64]} is not known, taken for one of the newest family")

    def build(self, method: str, body: Mapping[str, object]) -> Sent:
        own = {fitted: name for name, fitted in self._names.items() if fitted != name}
        path = f"/models/{quote(bare(self._query.model), safe='')}:{method}"
        return Sent(path, msgspec.json.encode(body), tuple(self._notes), own)

    def body(self) -> dict[str, object]:
        talk = self._talk
        tools = self._tools()
        config = self._config()
        system = [text.text for text in talk.system]
        if talk.choice.kind == "search":
            self._note("tool_choice: asked for in the system prompt, as Gemini decides by itself whether it searches")
            system.append(_SEARCH_FIRST)
        if talk.schema is not None:
            if tools and not self._model.is_at_least(3):
                # Gemini 2.5 and older refuse JSON mode together with tools.
                self._note("output_config.format: in the system prompt, as this model has no JSON mode beside tools")
                schema = msgspec.json.encode(talk.schema).decode()
                system.append(
                    f"The final answer is only JSON, without any other text, that fits this JSON Schema:\n{schema}"
                )
            else:
                config |= self._json_mode(talk.schema)
        if talk.user:
            self._note("metadata.user_id: left out")
        if talk.tier not in ("", "auto"):
            self._note("service_tier: left out")
        contents = Contents(self._query, self._model, self._names, self._note, server_side=self.searches_beside)
        whole = {
            "systemInstruction": {"parts": [{"text": text} for text in system]} if system else None,
            "contents": contents.turns(),
            "tools": tools,
            "toolConfig": self._tool_config(talk.choice),
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
        sampling = {"temperature": talk.temperature, "topP": talk.top_p, "topK": talk.top_k}
        if not self._model.rules.sampling:
            for name, given in zip(("temperature", "top_p", "top_k"), sampling.values(), strict=True):
                if given is not None:
                    self._note(f"{name}: left out, this model takes no heed of it")
            sampling = {}
        settings = {**sampling, "stopSequences": list(talk.stops[:MOST_STOPS]) or None}
        thinking = plan(talk.effort, self._model.rules, talk.max_tokens, stream=talk.stream, note=self._note)
        return {name: setting for name, setting in settings.items() if setting is not None} | thinking

    def _json_mode(self, schema: Json) -> dict[str, object]:
        cleaned, lost = clean(schema)
        if lost:
            self._note(f"output_config.format.schema: {', '.join(lost)} only in words")
        return {"responseMimeType": "application/json", "responseSchema": cleaned}

    def _safety(self) -> list[Piece]:
        threshold = text(self._query.options.get("safety"))
        return [{"category": category, "threshold": threshold} for category in _SAFETY] if threshold else []

    # -- tools

    @property
    def searches_beside(self) -> bool:
        """Whether the search works beside the client's tools: https://ai.google.dev/gemini-api/docs/tool-combination"""
        both = bool(self._talk.tools) and self._talk.web_search is not None and self._talk.choice.kind != "search"
        return both and self._query.options.get("search_beside_tools", self._model.is_at_least(3)) is True

    def _tools(self) -> list[Piece]:
        """The functions; and Google's search, or only one of both where the model does not take them together."""
        talk = self._talk
        if len(talk.tools) > MOST_TOOLS:
            raise Unsuited("tools", f"Gemini takes {MOST_TOOLS} at most, not {len(talk.tools)}")
        if talk.web_search is None:
            return self._functions()
        search = self._search(talk.web_search)
        if self.searches_beside:
            return [*self._functions(), *search]
        if talk.tools and talk.choice.kind != "search":
            self._note("tools.web_search: left out, this model does not search beside other tools")
            return self._functions()
        if talk.tools:
            self._note("tools: left out, as the web search is demanded")
        return search

    def _functions(self) -> list[Piece]:
        declared = [self._declaration(tool) for tool in self._talk.tools]
        return [{"functionDeclarations": declared}] if declared else []

    def _search(self, settings: Json) -> list[Piece]:
        """Raises Unsuited for restrictions: the API knows neither domains nor a place in words, only coordinates for Google Maps.

        `excludeDomains` "is not supported in Gemini API" (google-genai 3.6.1, `types.GoogleSearch`, 2026-11).
        """
        excludes = self._query.options.get("exclude_domains") is True
        restrict(settings, *(["blocked_domains"] if excludes else []))
        if settings.get("max_uses"):
            self._note("tools.web_search.max_uses: left out")
        blocked = settings.get("blocked_domains")
        return [{"googleSearch": {"excludeDomains": blocked} if blocked else {}}]

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

    def _tool_config(self, choice: Choice) -> Piece:
        if not choice.parallel:
            self._note("tool_choice.disable_parallel_tool_use: left out")
        if not self._talk.tools or choice.kind == "search":
            return {}
        mode: Piece = {"mode": _MODES[choice.kind]}
        if choice.kind == "tool":
            mode["allowedFunctionNames"] = [self._names[choice.name]]
        if not self.searches_beside:
            return {"functionCallingConfig": mode}
        # AUTO is VALIDATED then: https://ai.google.dev/gemini-api/docs/tool-combination
        mode |= {"mode": "VALIDATED"} if choice.kind == "auto" else {}
        return {"functionCallingConfig": mode, "includeServerSideToolInvocations": True}
