"""Reads answers of Google's Gemini API, streamed or whole: both are made of the same objects.

    >>> reader = Reader(writer)
    >>> reader.event("", {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]})
    >>> reader.end(done=False)

A stream has no end mark, and a reason to finish may stand in any event, or in every one: only the end of the bytes ends it, and without
such a reason it was cut off. It must not know requests, what a reason means (`finish_reasons`), nor what searches have found (`grounding`).

Fields: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from claude_relay.core.bodies.lenient import count, mapping, text
from claude_relay.core.formats.base import Problem
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.counts import keep_later
from claude_relay.core.formats.error_text import read_error
from claude_relay.core.formats.errors import claude_problem
from claude_relay.core.formats.writer import Writer
from claude_relay.core.times import stated

from .finish_reasons import NONE, ending_of
from .grounding import SERVER_SIDE, Grounding

MOST_KEPT: Final = 64 * 1024
"""Bytes of what Google's own tools did that are kept with a call."""
# Quotas have names such as GenerateRequestsPerDayPerProjectPerModel-FreeTier. One of a day comes back at midnight in California, however
# short the `retryDelay` beside it is: https://ai.google.dev/gemini-api/docs/rate-limits
_PER_DAY = re.compile(r"per_?day", re.I)


class Reader:
    """Reads one answer, a piece at a time."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._grounding = Grounding(writer)
        self._usage: dict[str, object] = {}
        self._calls = 0
        self._has_text = self._refused = False
        self._server_side: list[Mapping[str, object]] = []

    def event(self, name: str, data: Json) -> None:
        """The next piece of the answer. Never raises."""
        self._count(mapping(data.get("usageMetadata")))
        if data.get("error"):
            problem = problem_of(0, data)
            self._writer.fail(problem.type, problem.message)
            return
        self._writer.start(data.get("modelVersion"))
        candidates = data.get("candidates")
        candidate = mapping(candidates[0]) if isinstance(candidates, list) and candidates else {}
        self._grounding.read(mapping(candidate.get("groundingMetadata")))
        if not self._has_text:
            self._grounding.write()
        parts = mapping(candidate.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            self._part(mapping(part))
        if not candidate:
            self._blocked(mapping(data.get("promptFeedback")))
        self._finish(candidate)

    def end(self, *, done: bool) -> None:
        """Whole if a reason to finish was told; cut off otherwise."""
        if self._writer.stopped:
            self.finish()

    def finish(self) -> None:
        """The answer is whole."""
        self._grounding.end()
        self._writer.finish()

    def _part(self, part: Mapping[str, object]) -> None:
        if call := mapping(part.get("functionCall")):
            self._call(call, part.get("thoughtSignature"))
        elif part.get("thought") is True:
            self._writer.thinking(part.get("text"))
        elif any(part.get(kind) for kind in SERVER_SIDE):
            self._server_side.append(part)
            self._grounding.searched(mapping(mapping(part.get("toolCall")).get("args")).get("queries"))
        elif words := text(part["text"]) if "text" in part else _rendered(part):
            self._has_text = True
            self._writer.text(words)
            self._grounding.cite(words)

    def _call(self, call: Mapping[str, object], signature: object) -> None:
        id, name = text(call.get("id")), text(call.get("name"))
        if name is None:
            return
        key, self._calls = self._calls, self._calls + 1
        self._writer.call(key, id=id, name=name)
        self._writer.arguments(key, mapping(call.get("args")))
        # Gemini 3 refuses a call that comes back without its signature: https://ai.google.dev/gemini-api/docs/thought-signatures
        before, self._server_side = self._server_side, []
        if id or text(signature) or before:
            models = {"model": self._writer.served_model, "asked": self._writer.provider_model}
            memory: dict[str, object] = {"format": "gemini", **models, "signature": text(signature), "id": id}
            if before and len(kept := msgspec.json.encode(before)) <= MOST_KEPT:
                memory["before"] = msgspec.Raw(kept)
            self._writer.remember(key, msgspec.json.encode(memory).decode())

    def _blocked(self, feedback: Mapping[str, object]) -> None:
        reason = (text(feedback.get("blockReason")) or "").upper()
        if reason not in NONE and not self._refused:
            self._refused = True
            why = text(feedback.get("blockReasonMessage"))
            self._writer.text(f"Gemini refused the prompt ({reason}){f': {why}' if why else ''}")
            self._stop("refusal")

    def _finish(self, candidate: Mapping[str, object]) -> None:
        reason = (text(candidate.get("finishReason")) or "").upper()
        ending = ending_of(reason)
        if ending is None:
            return
        if ending.error:
            why = text(candidate.get("finishMessage")) or ending.why
            self._writer.fail(ending.error, f"Gemini stopped ({reason[:64]}): {why}")
        else:
            # Calls are whole: the client can run them, and the model goes on after them.
            self._stop("tool_use" if ending.stop == "pause_turn" and self._calls else ending.stop)

    def _stop(self, reason: str) -> None:
        """Every event may say STOP: it does not take back what another event has said."""
        if reason != "end_turn" or not self._writer.stopped:
            self._writer.stop(reason)

    def _count(self, usage: Mapping[str, object]) -> None:
        """Usage is cumulative, and numbers may be missing in some events. Thoughts are not among the tokens of the candidates."""
        if not usage:
            return
        keep_later(self._usage, usage)
        prompt, cached, tools, answer, thoughts = (
            count(self._usage.get(name)) or 0
            for name in (
                "promptTokenCount",
                "cachedContentTokenCount",
                "toolUsePromptTokenCount",
                "candidatesTokenCount",
                "thoughtsTokenCount",
            )
        )
        self._writer.usage(output_tokens=answer + thoughts, thinking_tokens=thoughts)
        if prompt:
            self._writer.usage(input_tokens=max(prompt - cached, 0) + tools, cache_read_input_tokens=cached)


def problem_of(status: int, error: object, retry_after: float | None = None) -> Problem:
    """An error of Google's. `status`: that of the answer, 0 for an error within a stream; `error`: the decoded body, in any shape.

    Google's errors: https://ai.google.dev/gemini-api/docs/troubleshooting, their details:
    https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
    """
    kind, code, message = read_error(error)
    details = _details(error)
    if kind and code.isdigit():
        code = ""
    if kind == "RESOURCE_EXHAUSTED":
        code = "DAILY_QUOTA" if _is_daily(details) else kind
    delays = [stated(text(detail.get("retryDelay")) or "") for detail in details]
    longest = max((delay for delay in delays if delay is not None), default=None)
    return claude_problem(status, kind, code, message, longest if longest is not None else retry_after)


def _details(error: object) -> list[Mapping[str, object]]:
    while isinstance(error, list) and error:
        error = error[0]
    details = mapping(mapping(error).get("error")).get("details")
    return [mapping(detail) for detail in details] if isinstance(details, list) else []


def _is_daily(details: list[Mapping[str, object]]) -> bool:
    """Whether a quota that is used up comes back only tomorrow."""
    for detail in details:
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            fields = mapping(violation)
            if any(_PER_DAY.search(text(fields.get(name)) or "") for name in ("quotaId", "quotaMetric")):
                return True
    return False


def _rendered(part: Mapping[str, object]) -> str:
    """What Google's own tools did, and pictures, as text."""
    if code := text(mapping(part.get("executableCode")).get("code")):
        return f"\n```python\n{code}\n```\n"
    if output := text(mapping(part.get("codeExecutionResult")).get("output")):
        return f"\n```\n{output}\n```\n"
    data = mapping(part.get("inlineData")) or mapping(part.get("fileData"))
    return f"[{text(data.get('mimeType')) or 'a file'}]" if data else ""
