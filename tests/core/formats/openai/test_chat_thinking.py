"""How thinking is switched off and on at each provider, and what is left of a demanded tool."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from claude_relay.core.config.filling import presets
from claude_relay.core.formats.conversation import Choice, Effort
from claude_relay.core.formats.openai.chat_thinking import DIALECTS, for_model, rule_of

from .chats import READ, noted, request_of, requested

DISABLED, ENABLED = {"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}}
NAMES = (
    "thinking",
    "reasoning_effort",
    "reasoning",
    "enable_thinking",
    "thinking_budget",
    "chat_template_kwargs",
    "reasoning_format",
)
KWARGS = {"enable_thinking": False, "thinking": False}
OFF = Effort(off=True)


def said(**of: Any) -> dict[str, Any]:
    """What a request says of thinking."""
    body = requested(**of)
    return {name: body[name] for name in NAMES if name in body}


@pytest.mark.parametrize(
    ("preset", "model", "fields"),
    [
        ("deepseek-openai", "deepseek-v4-pro", DISABLED),
        ("deepseek-openai", "deepseek-v4-flash", DISABLED),
        ("deepseek-openai", "deepseek-flash", DISABLED),
        ("moonshot-openai", "kimi-k2.6", DISABLED),
        ("moonshot-openai", "kimi-k2.5", DISABLED),
        ("moonshot-openai", "kimi-k2.7-code", {}),
        ("moonshot-openai", "kimi-k3", {"reasoning_effort": "low"}),
        ("zhipu-openai", "glm-4.7", DISABLED),
        ("zhipu-openai", "glm-5.1", DISABLED),
        ("zhipu-openai", "glm-5.3", {"reasoning_effort": "low"}),
        ("modelscope", "Qwen/Qwen3-235B-A22B", {"enable_thinking": False}),
        ("modelscope", "Qwen/Qwen3-Coder-480B-A35B-Instruct", {}),
        ("modelscope", "deepseek-ai/DeepSeek-V3.2", {"enable_thinking": False}),
        ("vllm", "Qwen/Qwen3-32B", {"chat_template_kwargs": KWARGS}),
        ("vllm", "deepseek-ai/DeepSeek-V3.1", {"chat_template_kwargs": KWARGS}),
        ("vllm", "openai/gpt-oss-120b", {"reasoning_effort": "low"}),
        ("vllm", "mistralai/Mistral-Small-3.2-24B-Instruct-2506", {}),
        ("ollama", "qwen3:8b", {"reasoning_effort": "none"}),
        ("ollama", "gpt-oss:20b", {"reasoning_effort": "low"}),
        ("lm-studio", "qwen/qwen3.5-9b", {"reasoning_effort": "none"}),
        ("groq", "qwen/qwen3-32b", {"reasoning_format": "parsed", "reasoning_effort": "none"}),
        ("groq", "openai/gpt-oss-120b", {"reasoning_effort": "low"}),
        ("groq", "llama-3.3-70b-versatile", {}),
        ("mistral", "mistral-small-latest", {"reasoning_effort": "none"}),
        ("mistral", "mistral-large-latest", {}),
        ("xai", "grok-4.3", {"reasoning_effort": "none"}),
        ("openai-chat", "gpt-5.1", {"reasoning_effort": "none"}),
        ("openrouter", "deepseek/deepseek-v4-pro", {"reasoning": {"enabled": False}}),
        ("openrouter", "z-ai/glm-4.7", {"reasoning": {"effort": "none"}}),
        ("openrouter", "openai/gpt-5", {"reasoning": {"effort": "minimal"}}),
        ("openrouter", "google/gemini-3-pro-preview", {"reasoning": {"effort": "minimal"}}),
        ("openrouter", "meta-llama/llama-4", {}),
        ("openrouter", "~anthropic/claude-sonnet-latest", {}),
        ("openai-compatible", "kimi-k2.6", DISABLED),
        ("openai-compatible", "qwen3-235b-a22b", {"enable_thinking": False}),
        ("openai-compatible", "my-model", {}),
    ],
)
def test_thinking_that_is_switched_off_is_so_in_the_providers_words(preset: str, model: str, fields: dict[str, Any]):
    assert said(preset=preset, model=model, effort=OFF) == fields
    gone = fields and not (
        {"low", "minimal"} & set(map(str, [fields.get("reasoning_effort"), *fields.get("reasoning", {}).values()]))
    )
    assert gone or any(note.startswith("thinking: ") for note in noted(preset=preset, model=model, effort=OFF))


@pytest.mark.parametrize("preset", [name for name, found in presets().items() if found["format"] == "openai-chat"])
def test_nothing_is_said_of_thinking_when_nothing_is_asked(preset: str):
    models = [*presets()[preset].get("models", {}).values(), "some-model"]
    assert [said(preset=preset, model=model) for model in models] == [{}] * len(models)


@pytest.mark.parametrize(
    ("preset", "model", "effort", "fields"),
    [
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True), ENABLED),
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True, level="low"), {"reasoning_effort": "low"}),
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True, level="medium"), {"reasoning_effort": "high"}),
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True, level="high"), {"reasoning_effort": "high"}),
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True, level="xhigh"), {"reasoning_effort": "high"}),
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True, level="max"), {"reasoning_effort": "max"}),
        ("deepseek-openai", "deepseek-v4-pro", Effort(asked=True, budget=10_000), {"reasoning_effort": "high"}),
        ("moonshot-openai", "kimi-k2.6", Effort(asked=True, level="high"), ENABLED),
        ("moonshot-openai", "kimi-k3", Effort(asked=True, level="xhigh"), {"reasoning_effort": "max"}),
        ("zhipu-openai", "glm-5.3", Effort(asked=True, level="medium"), {"reasoning_effort": "high"}),
        ("zhipu-openai", "glm-5.2", Effort(asked=True, level="medium"), {"reasoning_effort": "medium"}),
        (
            "modelscope",
            "Qwen/Qwen3-32B",
            Effort(asked=True, budget=2000),
            {"enable_thinking": True, "thinking_budget": 2000},
        ),
        (
            "openrouter",
            "anthropic/claude-sonnet-4.5",
            Effort(asked=True, budget=2000),
            {"reasoning": {"max_tokens": 2000}},
        ),
        ("openrouter", "openai/gpt-5.2", Effort(asked=True, level="max"), {"reasoning": {"effort": "xhigh"}}),
        ("openrouter", "openai/gpt-5.2", Effort(asked=True), {"reasoning": {"enabled": True}}),
        ("mistral", "mistral-medium-3-5", Effort(asked=True, level="low"), {"reasoning_effort": "high"}),
        ("groq", "qwen/qwen3-32b", Effort(asked=True), {"reasoning_format": "parsed", "reasoning_effort": "default"}),
        ("ollama", "qwen3:8b", Effort(asked=True, level="high"), {}),
        ("xai", "grok-4.3", Effort(asked=True, level="high"), {"reasoning_effort": "high"}),
    ],
)
def test_how_much_is_said_as_the_provider_counts_it(preset: str, model: str, effort: Effort, fields: dict[str, Any]):
    found = said(preset=preset, model=model, effort=effort)
    assert {name: found.get(name) for name in fields} == fields
    assert found.keys() - fields.keys() <= {"thinking"}  # that it is on


@pytest.mark.parametrize(
    ("preset", "model", "effort", "note"),
    [
        (
            "deepseek-openai",
            "deepseek-v4-pro",
            Effort(asked=True, level="medium"),
            "output_config.effort: medium becomes high",
        ),
        (
            "deepseek-openai",
            "deepseek-v4-pro",
            Effort(asked=True, budget=9000),
            "thinking.budget_tokens: 9000 becomes effort high",
        ),
        ("openai-chat", "gpt-5.1", Effort(asked=True, level="max"), "output_config.effort: max becomes high"),
        ("openai-chat", "gpt-5.1", Effort(asked=True, budget=2000), "thinking.budget_tokens: 2000 becomes effort low"),
        ("openai-chat", "gpt-5", OFF, "thinking: cannot be switched off in this model, effort minimal"),
        ("moonshot-openai", "kimi-k2.6", Effort(asked=True, level="low"), "output_config.effort: left out"),
        ("moonshot-openai", "kimi-k2.7-code", OFF, "thinking: cannot be switched off"),
        ("groq", "llama-3.3-70b-versatile", Effort(asked=True), "thinking: left out"),
        ("deepseek-openai", "deepseek-v4-pro", Effort(off=True, level="low"), "output_config.effort: left out"),
    ],
)
def test_what_becomes_something_else_is_noted(preset: str, model: str, effort: Effort, note: str):
    assert [line for line in noted(preset=preset, model=model, effort=effort) if line.startswith(note)]


def test_a_level_that_is_the_same_is_no_news():
    assert not noted(preset="deepseek-openai", model="deepseek-v4-pro", effort=Effort(asked=True, level="high"))


ANY, ONE, NONE = Choice("any"), Choice("tool", "Read"), Choice("none")
NAMED = {"type": "function", "function": {"name": "Read"}}


@pytest.mark.parametrize(
    ("preset", "model", "choice", "effort", "sent"),
    [
        ("deepseek-openai", "deepseek-v4-pro", ANY, Effort(), {"tool_choice": "required", **DISABLED}),
        ("deepseek-openai", "deepseek-v4-flash", ONE, Effort(), {"tool_choice": NAMED, **DISABLED}),
        (
            "deepseek-openai",
            "deepseek-v4-pro",
            ONE,
            Effort(asked=True, level="max"),
            {"tool_choice": NAMED, **DISABLED},
        ),
        ("deepseek-openai", "deepseek-v4-pro", ONE, OFF, {"tool_choice": NAMED, **DISABLED}),
        ("deepseek-openai", "deepseek-v4-pro", Choice(), Effort(), {"tool_choice": "auto"}),
        ("deepseek-openai", "deepseek-chat", ONE, Effort(), {"tool_choice": NAMED}),
        ("moonshot-openai", "kimi-k2.6", ONE, Effort(), {"tool_choice": NAMED, **DISABLED}),
        ("moonshot-openai", "kimi-k2.7-code", ONE, Effort(), {"tool_choice": "auto"}),
        ("moonshot-openai", "kimi-k3", ONE, Effort(), {"tool_choice": "required"}),
        ("moonshot-openai", "kimi-k3", ANY, Effort(), {"tool_choice": "required"}),
        ("moonshot-openai", "kimi-k2-0905-preview", ONE, Effort(), {"tool_choice": NAMED}),
        ("zhipu-openai", "glm-5.1", ONE, Effort(), {"tool_choice": "auto"}),
        ("zhipu-openai", "glm-5.1", ANY, OFF, {"tool_choice": "auto", **DISABLED}),
        ("zhipu-openai", "glm-5.1", NONE, Effort(), {}),
        ("modelscope", "Qwen/Qwen3-32B", ANY, Effort(), {"tool_choice": "required", "enable_thinking": False}),
        ("openrouter", "moonshotai/kimi-k2.6", ONE, Effort(), {"tool_choice": NAMED, "reasoning": {"enabled": False}}),
        ("openrouter", "anthropic/claude-opus-5", ANY, Effort(asked=True, level="high"), {"tool_choice": "required"}),
        (
            "openrouter",
            "openai/gpt-5",
            ANY,
            Effort(asked=True, level="high"),
            {"tool_choice": "required", "reasoning": {"effort": "high"}},
        ),
        ("openai-compatible", "deepseek-v4-pro", ANY, Effort(), {"tool_choice": "required", **DISABLED}),
        ("vllm", "Qwen/Qwen3-32B", ANY, Effort(), {"tool_choice": "required"}),
    ],
)
def test_a_demanded_tool_is_sent_as_the_provider_takes_it(
    preset: str, model: str, choice: Choice, effort: Effort, sent: dict[str, Any]
):
    body = requested(preset=preset, model=model, choice=choice, effort=effort, tools=(READ,))
    assert {name: body[name] for name in ("tool_choice", *NAMES) if name in body} == sent
    assert ("tools" in body) is ("tool_choice" in sent)


@pytest.mark.parametrize(
    ("preset", "model", "choice", "note"),
    [
        ("deepseek-openai", "deepseek-v4-pro", ANY, "thinking: switched off"),
        ("moonshot-openai", "kimi-k2.7-code", ONE, "tool_choice: tool becomes auto"),
        ("moonshot-openai", "kimi-k3", ONE, "tool_choice: tool becomes any"),
        ("zhipu-openai", "glm-5.1", ANY, "tool_choice: any becomes auto"),
        ("zhipu-openai", "glm-5.1", NONE, "tools: left out"),
    ],
)
def test_what_a_demanded_tool_cost_is_noted(preset: str, model: str, choice: Choice, note: str):
    assert [line for line in noted(preset=preset, model=model, choice=choice, tools=(READ,)) if line.startswith(note)]


def test_an_option_of_ones_own_counts():
    effort = Effort(asked=True, level="high")
    assert said(model="m", options={"thinking": "openrouter"}, effort=effort) == {"reasoning": {"effort": "high"}}
    assert said(model="kimi-k2.6", options={"thinking": False}, effort=OFF) == {}
    levels = {"thinking": "deepseek", "reasoning_effort": ["low"]}
    assert said(model="deepseek-v4-pro", options=levels, effort=effort)["reasoning_effort"] == "low"
    never = {"thinking": "deepseek", "reasoning_effort": False}
    assert "reasoning_effort" not in said(model="deepseek-v4-pro", options=never, effort=effort)
    assert said(model="m", options={"thinking": "no such"}, effort=OFF) == {}


def test_an_option_may_differ_by_model():
    option = {"a-*": 1, "*": 2}
    assert [for_model(option, name) for name in ("vendor/A-1:free", "b")] == [1, 2]
    assert for_model({"a": 1}, "b") is None
    assert for_model("x", "b") == "x"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_says_where_it_is_from_and_means_what_it_says(name: str):
    dialect = DIALECTS[name]
    assert date.fromisoformat(dialect.date)
    assert dialect.source
    for rule in dialect.rules:
        assert bool(rule.levels) == bool(rule.level)
        assert set(rule.levels) in (set(), {"low", "medium", "high", "xhigh", "max"})
        assert not rule.least or rule.off is None
        assert rule.unasked in ("on", "off")
        for choices in (rule.choices, rule.choices_off):
            assert choices is None or {"auto"} <= set(choices) <= {"auto", "none", "any", "tool"}


def test_every_preset_speaks_a_dialect_that_there_is():
    named = {found.get("options", {}).get("thinking") for found in presets().values()}
    assert named - {None, False} <= DIALECTS.keys()
    assert rule_of("deepseek-v4-pro", {}) is not None


def test_thinking_off_without_tools_changes_nothing_else():
    plain, off = (
        requested(preset="deepseek-openai", model="deepseek-v4-pro", effort=effort) for effort in (Effort(), OFF)
    )
    assert off == plain | DISABLED
    assert not request_of(preset="deepseek-openai", model="deepseek-v4-pro", effort=OFF).notes
