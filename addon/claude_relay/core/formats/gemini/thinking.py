"""How much a Gemini thinks, and how long its answer may be, which go together: thoughts count inside `maxOutputTokens`.

    >>> plan(Effort(asked=True, level="max"), model_of("gemini-4-argon").rules, 9000, stream=True, note=print)
    output_config.effort: max becomes high
    {'maxOutputTokens': 9000, 'thinkingConfig': {'includeThoughts': True, 'thinkingLevel': 'HIGH'}}

Levels from Gemini 3 on, budgets in 2.5, nothing before, and never both: https://ai.google.dev/gemini-api/docs/thinking. It must not know
the rest of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from claude_relay.core.formats.conversation import Effort

from .models import Budget, Family

type Note = Callable[[str], None]

_TOKENS_OF = {"low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
"""Thinking tokens of Claude's efforts, and the other way round the most that count as one. The first three are Google's own for the
efforts of OpenAI: https://ai.google.dev/gemini-api/docs/openai"""
_LEVEL_OF = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}
_ORDER = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
FEW: Final = 512
"""Tokens: a limit below this is used up by thoughts before there is any answer. Nobody publishes how few are too few; this is the least
budget that any Gemini takes for thoughts alone (2.5 Flash-Lite)."""
ROOM: Final = 1024
"""Tokens that thinking a little takes: Google's budget for the lowest effort, https://ai.google.dev/gemini-api/docs/openai"""


def plan(effort: Effort, rules: Family, limit: int, *, stream: bool, note: Note) -> dict[str, object]:
    """The settings `maxOutputTokens` and `thinkingConfig`, as far as they are to be set. `limit` 0: there is none."""
    most = rules.most_output(stream=stream)
    if most is not None and limit > most:
        note(f"max_tokens: {limit} becomes {most}, the most of this model")
        limit = most
    thinking = _thinking(effort, rules, note)
    if limit and rules.thinks:
        thinking, limit = _with_room(thinking, limit, effort, rules, note)
    return ({"maxOutputTokens": limit} if limit else {}) | ({"thinkingConfig": thinking} if thinking else {})


def _thinking(effort: Effort, rules: Family, note: Note) -> dict[str, object]:
    if not effort.asked and not effort.off:
        return {}
    if not rules.thinks:
        note("thinking: left out, this model has none")
        if effort.level:
            note("output_config.effort: left out, this model does not think")
        return {}
    if effort.off and effort.level:
        note("output_config.effort: left out, as thinking is off")
    config: dict[str, object] = {} if effort.off else {"includeThoughts": True}
    if rules.budget:
        return config | {"thinkingBudget": _budget(effort, rules.budget, note)}
    level = _level(effort, rules.levels, note)
    return config | ({"thinkingLevel": level} if level else {})


def _budget(effort: Effort, budget: Budget, note: Note) -> int:
    """-1 leaves it to the model."""
    if effort.off:
        if not budget.off:
            note(f"thinking: cannot be switched off in this model, {budget.least} tokens")
        return 0 if budget.off else budget.least
    if effort.budget is not None:
        if effort.level:
            note("output_config.effort: left out, as thinking.budget_tokens counts")
        wanted, said = effort.budget, f"thinking.budget_tokens: {effort.budget} becomes"
    elif effort.level:
        wanted, said = _TOKENS_OF[effort.level], f"output_config.effort: {effort.level} becomes"
    else:
        return -1
    tokens = min(max(wanted, budget.least), budget.most)
    if tokens != effort.budget:
        note(f"{said} {tokens} tokens of thinking")
    return tokens


def _level(effort: Effort, levels: tuple[str, ...], note: Note) -> str:
    """ "" leaves it to the model."""
    if effort.off:
        note(f"thinking: cannot be switched off in this model, level {levels[0]}")
        return levels[0]
    if effort.level:
        if effort.budget is not None:
            note("thinking.budget_tokens: left out, as output_config.effort counts")
        level = _nearest(effort.level, levels)
        if level.lower() != effort.level:
            note(f"output_config.effort: {effort.level} becomes {level.lower()}")
        return level
    if effort.budget is not None:
        meant = next((name for name, most in _TOKENS_OF.items() if effort.budget <= most), "max")
        level = _nearest(meant, levels)
        note(f"thinking.budget_tokens: {effort.budget} becomes level {level}")
        return level
    return ""


def _nearest(effort: str, levels: tuple[str, ...]) -> str:
    """The level for an effort; where the model lacks it, the next higher one, else its highest."""
    wanted = _ORDER.index(_LEVEL_OF[effort])
    return next((level for level in levels if _ORDER.index(level) >= wanted), levels[-1])


def _with_room(
    thinking: dict[str, object], limit: int, effort: Effort, rules: Family, note: Note
) -> tuple[dict[str, object], int]:
    """Thoughts and answer with room for both: a lower effort, and a higher limit where even the least does not fit, or a budget is given.

    A client's limit is for what Claude would write, who does not think unless he is asked to.
    """
    budget = thinking.get("thinkingBudget")
    tokens = budget if isinstance(budget, int) else -1
    if tokens == 0 or (limit >= FEW and limit > tokens):
        return thinking, limit
    lower = max(ROOM, limit // 2)
    if effort.level and effort.budget is None and tokens > lower:
        note(f"thinking: {tokens} tokens become {lower}, as max_tokens leaves no room for more")
        thinking, tokens = thinking | {"thinkingBudget": lower}, lower
        if limit > tokens:
            return thinking, limit
    if not thinking:
        if rules.budget and rules.budget.off:
            note("thinking: switched off, as max_tokens leaves no room for it")
            return {"thinkingBudget": 0}, limit
        note("thinking: the least, as max_tokens leaves no room for more")
        thinking = {"thinkingBudget": rules.budget.least} if rules.budget else {"thinkingLevel": rules.levels[0]}
    raised = limit + max(tokens, ROOM)
    note(f"max_tokens: {limit} raised to {raised}, as this model's thoughts count inside it")
    return thinking, raised
