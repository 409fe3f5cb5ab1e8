"""Reads answers of Google's Gemini API, streamed or whole: both are made of the same objects.

    >>> reader = Reader(writer)
    >>> reader.event("", {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]})
    >>> reader.end(done=False)

A stream has no end mark, and a reason to finish may stand in any event, or in every one: only the end of the bytes ends it, and without
such a reason it was cut off. It must not know requests.

`finishReason` has no twin for most of its values (https://ai.google.dev/api/generate-content#FinishReason). What was withheld by a
filter is a `refusal`. Calls that the model got wrong end the turn with a text that says so: an error would make clients repeat the
same request, and `tool_use` without a call would make them wait.

Fields: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from claude_relay.core.bodies.lenient import count, mapping, text
from claude_relay.core.formats.base import Problem
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.counts import keep_later
from claude_relay.core.formats.error_text import read_error
from claude_relay.core.formats.errors import claude_problem
from claude_relay.core.formats.writer import Writer

_STOPS: Mapping[str, str] = {
    "MAX_TOKENS": "max_tokens",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "MODEL_ARMOR": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
    "IMAGE_OTHER": "refusal",
    "NO_IMAGE": "refusal",
}
"""Claude's reasons to stop; all that are not here are `end_turn`."""
_FAULTS = {
    "MALFORMED_FUNCTION_CALL": "the model wrote a call that cannot be read",
    "UNEXPECTED_TOOL_CALL": "the model called a tool that it was not given",
    "TOO_MANY_TOOL_CALLS": "the model called too many tools in a row",
    "MALFORMED_RESPONSE": "the model wrote an answer that cannot be read",
    "MISSING_THOUGHT_SIGNATURE": "a signature of the model's thoughts is missing in the conversation",
}
_NOT_TOLD = {"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"}
_PER_DAY = re.compile(r"per_?day", re.I)
_DELAY = re.compile(r"(\d{1,9}(?:\.\d+)?)s")


class Reader:
    """Reads one answer, a piece at a time."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._usage: dict[str, object] = {}
        self._calls = 0
        self._refused = False
        self._faults: set[str] = set()

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
        parts = mapping(candidate.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            self._part(mapping(part))
        if not candidate:
            self._blocked(mapping(data.get("promptFeedback")))
        self._finish(candidate)

    def end(self, *, done: bool) -> None:
        """Whole if a reason to finish was told; cut off otherwise."""
        if self._writer.stopped:
            self._writer.finish()

    def _part(self, part: Mapping[str, object]) -> None:
        if call := mapping(part.get("functionCall")):
            self._call(call, part.get("thoughtSignature"))
        elif part.get("thought") is True:
            self._writer.thinking(part.get("text"))
        elif "text" in part:
            self._writer.text(part["text"])
        else:
            self._writer.text(_rendered(part))

    def _call(self, call: Mapping[str, object], signature: object) -> None:
        id, name = text(call.get("id")), text(call.get("name"))
        if name is None:
            return
        key, self._calls = self._calls, self._calls + 1
        self._writer.call(key, id=id, name=name)
        self._writer.arguments(key, mapping(call.get("args")))
        if id or text(signature):
            models = {"model": self._writer.served_model, "asked": self._writer.asked_model}
            memory = {"format": "gemini", **models, "signature": text(signature), "id": id}
            self._writer.remember(key, msgspec.json.encode(memory).decode())

    def _blocked(self, feedback: Mapping[str, object]) -> None:
        reason = text(feedback.get("blockReason")) or ""
        if reason not in _NOT_TOLD and not self._refused:
            self._refused = True
            why = text(feedback.get("blockReasonMessage"))
            self._writer.text(f"Gemini refused the prompt ({reason}){f': {why}' if why else ''}")
            self._stop("refusal")

    def _finish(self, candidate: Mapping[str, object]) -> None:
        reason = text(candidate.get("finishReason")) or ""
        if reason in _NOT_TOLD:
            return
        if reason in _FAULTS and reason not in self._faults:
            self._faults.add(reason)
            self._writer.text(f"[{reason}: {text(candidate.get('finishMessage')) or _FAULTS[reason]}]")
        self._stop(_STOPS.get(reason, "end_turn"))

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
    delays = [_DELAY.fullmatch(text(detail.get("retryDelay")) or "") for detail in details]
    told = max((float(delay[1]) for delay in delays if delay), default=None)
    return claude_problem(status, kind, code, message, told if told is not None else retry_after)


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
            told = mapping(violation)
            if any(_PER_DAY.search(text(told.get(name)) or "") for name in ("quotaId", "quotaMetric")):
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
