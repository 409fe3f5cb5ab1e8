"""Why an answer of Chat Completions ended, in Claude's words.

    >>> end_of("length"), end_of("abort")
    (End(reason='max_tokens', error=''), End(reason='', error='api_error'))

Only what says that the model was done is an end. A reason that nobody has heard of is an error: whoever takes half an answer for a
whole one works on with it. It must not know answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class End(NamedTuple):
    """`reason`: Claude's stop reason; "" for an error, of the type `error`."""

    reason: str = ""
    error: str = ""


DONE, CUT, CALLED, REFUSED = End("end_turn"), End("max_tokens"), End("tool_use"), End("refusal")
BROKEN, OVERLOADED = End(error="api_error"), End(error="overloaded_error")

ENDS: Mapping[str, End] = {
    # https://platform.openai.com/docs/api-reference/chat/object
    "stop": DONE,
    "length": CUT,
    "tool_calls": CALLED,
    "function_call": CALLED,
    "content_filter": REFUSED,
    # Claude's own, which gateways before Claude pass on: https://docs.claude.com/en/api/messages
    "end_turn": DONE,
    "stop_sequence": DONE,
    "max_tokens": CUT,
    "tool_use": CALLED,
    "refusal": REFUSED,
    "pause_turn": End("pause_turn"),
    "model_context_window_exceeded": End("model_context_window_exceeded"),
    # https://docs.mistral.ai/api/: `error` is OpenRouter's, too, https://openrouter.ai/docs/api-reference/overview#finish-reason
    "model_length": CUT,
    "error": BROKEN,
    # https://docs.bigmodel.cn/api-reference (GLM)
    "sensitive": REFUSED,
    "network_error": BROKEN,
    # https://api-docs.deepseek.com/api/create-chat-completion
    "insufficient_system_resource": OVERLOADED,
    # https://github.com/vllm-project/vllm/blob/main/vllm/v1/engine/__init__.py, https://github.com/sgl-project/sglang (schedule_batch.py)
    "abort": BROKEN,
    "repetition": BROKEN,
    # https://huggingface.co/docs/text-generation-inference
    "eos": DONE,
    "eos_token": DONE,
    # https://docs.cohere.com/docs/compatibility-api and its own names
    "complete": DONE,
    "error_limit": CUT,
    "error_toxic": REFUSED,
    "user_cancel": BROKEN,
    # https://docs.together.ai/reference/chat-completions-1
    "completed": DONE,
    # Names of Gemini's that servers before it pass on: https://ai.google.dev/api/generate-content#FinishReason
    "safety": REFUSED,
    "recitation": REFUSED,
    "language": REFUSED,
    "blocklist": REFUSED,
    "prohibited_content": REFUSED,
    "spii": REFUSED,
    "model_armor": REFUSED,
    "image_safety": REFUSED,
    "escalation": REFUSED,
    "continuation": End("pause_turn"),
    "malformed_function_call": BROKEN,
    "unexpected_tool_call": BROKEN,
    "too_many_tool_calls": BROKEN,
    "malformed_response": BROKEN,
    "missing_thought_signature": BROKEN,
    # Of Responses: https://platform.openai.com/docs/api-reference/responses/object#responses/object-incomplete_details
    "max_output_tokens": CUT,
}
"""By `finish_reason` in small letters. Read on 2026-11-27."""


def end_of(reason: str) -> End:
    """What a reason means; one that is not known is an error."""
    return ENDS.get(reason.lower(), BROKEN)


def stated_end(finish: str, native: str) -> str:
    """The reason that counts of `finish_reason` and OpenRouter's `native_finish_reason`: its own word for the model's may hide a break."""
    hidden = ENDS.get(native.lower())
    return native if finish == "stop" and hidden is not None and hidden not in (DONE, CALLED) else finish
