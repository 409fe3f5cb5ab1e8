"""How a model behind Chat Completions is made to think, to think less, or not at all, and what that leaves of a demanded tool.

    >>> thinking(Conversation(…, effort=Effort(off=True)), "deepseek-v4-pro", family, {"thinking": "deepseek"}).fields
    {'thinking': {'type': 'disabled'}}

Servers have made up a switch each; their dialects are data, with sources: `data/thinking.json`. Which one a provider speaks is told by
its option `thinking`; where nothing is told, it is the vendor's own, by the model's name, and for OpenAI's models `reasoning_effort`
(families). Some models take no demanded tool while they think: thinking is switched off for it where that can be, else the tool is only
offered. It must not know messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from typing import Literal

import msgspec

from claude_relay.core.formats.conversation import Choice, Conversation, Json

from .common import PLAIN_EFFORTS
from .families import Family, effort_for, level_of

VENDOR = "vendor"
"""The dialect of a provider that has none."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a dialect says to some models; the fields are explained in the data."""

    models: tuple[str, ...]
    thinks: bool = True
    unasked: str = "on"
    on: dict[str, object] = {}
    off: dict[str, object] | None = None
    always: dict[str, object] = {}
    level: str = ""
    levels: dict[str, str] = {}
    least: str = ""
    budget: str = ""
    choices: tuple[str, ...] | None = None
    choices_off: tuple[str, ...] | None = None


class _Dialect(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    date: str
    rules: list[Rule]


class _Data(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    checked: str
    dialects: dict[str, _Dialect]


_DATA = resources.files("claude_relay.core.data") / "thinking.json"
DIALECTS: Mapping[str, _Dialect] = msgspec.json.decode(_DATA.read_bytes(), type=_Data).dialects


@dataclass(slots=True)
class Thinking:
    """What a request says of thinking.

    fields  of the request
    choice  the tools that may be called, as far as the model takes that; None: no tool may be told at all
    notes   what was changed
    """

    choice: Choice | None
    fields: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def thinking(talk: Conversation, model: str, known: Family, options: Json) -> Thinking:
    """For a request to this model, of a known family, of a provider with these options."""
    rule = rule_of(model, options)
    result = _by_family(talk, known, options) if rule is None else _ByRule(talk, rule, options).thinking()
    if talk.effort.off and talk.effort.level:
        result.notes.append("output_config.effort: left out, as thinking is switched off")
    return result


def rule_of(model: str, options: Json) -> Rule | None:
    """The rule that a provider has for a model. `thinking: false`, and a model that no rule names, have none."""
    dialect = options.get("thinking", VENDOR)
    return _rule(dialect if isinstance(dialect, str) else "", name_of(model))


def name_of(model: str) -> str:
    """A model's name without its vendor and its variant."""
    return model.lower().rpartition("/")[2].partition(":")[0]


def for_model(option: object, model: str) -> object:
    """An option that may differ by model: the value under the first glob that names the model; None when none does."""
    if not isinstance(option, Mapping):
        return option
    name = name_of(model)
    return next((value for glob, value in option.items() if fnmatchcase(name, str(glob).lower())), None)


@lru_cache(1024)
def _rule(dialect: str, name: str) -> Rule | None:
    rules = DIALECTS[dialect].rules if dialect in DIALECTS else []
    return next((rule for rule in rules if any(fnmatchcase(name, glob) for glob in rule.models)), None)


class _ByRule:
    """One request to a provider with a dialect."""

    def __init__(self, talk: Conversation, rule: Rule, options: Json) -> None:
        self.talk, self.rule, self.options = talk, rule, options
        self.result = Thinking(talk.choice)

    def thinking(self) -> Thinking:
        effort, rule = self.talk.effort, self.rule
        thinks = rule.thinks and (effort.asked or (not effort.off and rule.unasked == "on"))
        self.put(rule.always)
        if effort.off and rule.thinks and rule.off is None:
            thinks = True
        if self.talk.tools and self.talk.choice.kind != "search":
            thinks = self.choose(thinks)
        if not rule.thinks:
            if effort.asked:
                self.note("thinking: left out, this model has none")
            elif effort.off:
                self.note("thinking: this model has none")
        elif thinks and effort.off:
            self.least()
        elif thinks and effort.asked:
            self.put(rule.on)
            self.degree()
        elif not thinks and (effort.off or effort.asked or rule.unasked == "on"):
            self.put(rule.off or {})
            if effort.off and not rule.off:
                self.note("thinking: this model does not unless it is asked to")
        return self.result

    def choose(self, thinks: bool) -> bool:
        """Settle which tools may be called; whether the model thinks then."""
        choice, rule = self.talk.choice, self.rule
        if _takes(rule.choices if thinks else rule.choices_off, choice.kind):
            return thinks
        if thinks and rule.off is not None and _takes(rule.choices_off, choice.kind):
            self.note(f"thinking: switched off, as this model takes no tool_choice {choice.kind} while it thinks")
            return False
        taken = rule.choices if thinks else rule.choices_off
        if choice.kind == "none":
            self.result.choice = None
            self.note("tools: left out, as tool_choice is none, which this provider does not know")
        else:
            softer: Literal["any", "auto"] = "any" if choice.kind == "tool" and _takes(taken, "any") else "auto"
            self.result.choice = replace(choice, kind=softer, name="")
            self.note(f"tool_choice: {choice.kind} becomes {softer}, as this model does not take it")
        return thinks

    def least(self) -> None:
        level = self.rule.least if self._has_level() else ""
        if level:
            self.put_at(self.rule.level, level)
        self.note(f"thinking: cannot be switched off in this model{f', effort {level}' if level else ''}")

    def degree(self) -> None:
        """How much it shall think. Without a level or a budget it is the provider's own default."""
        effort, rule = self.talk.effort, self.rule
        if effort.budget is not None and rule.budget and not (effort.level and self._has_level()):
            self.put_at(rule.budget, effort.budget)
            if effort.level:
                self.note("output_config.effort: left out, this model is told a budget")
            return
        if not effort.level and effort.budget is None:
            return
        wanted = level_of(effort)
        given = self.level(wanted)
        if given:
            self.put_at(rule.level, given)
        self.result.notes += level_notes(self.talk, given, wanted)

    def level(self, wanted: str) -> str:
        if not self._has_level():
            return ""
        listed = self.options.get("reasoning_effort")
        if isinstance(listed, list | tuple):
            return effort_for(self.talk.effort, [str(level) for level in listed])
        return self.rule.levels.get(wanted, "")

    def _has_level(self) -> bool:
        return bool(self.rule.level) and self.options.get("reasoning_effort") is not False

    def put(self, fields: Mapping[str, object]) -> None:
        _merge(self.result.fields, fields)

    def put_at(self, path: str, value: object) -> None:
        for name in reversed(path.split(".")):
            value = {name: value}
        assert isinstance(value, dict)
        _merge(self.result.fields, value)
        reasoning = self.result.fields.get("reasoning")
        if isinstance(reasoning, dict) and len(reasoning) > 1:
            reasoning.pop("enabled", None)  # said by the level or the budget

    def note(self, note: str) -> None:
        self.result.notes.append(note)


def _takes(choices: Sequence[str] | None, kind: str) -> bool:
    return choices is None or kind in choices


def _merge(fields: dict[str, object], more: Mapping[str, object]) -> None:
    for name, value in more.items():
        within = fields.get(name)
        if isinstance(within, dict) and isinstance(value, dict):
            _merge(within, value)
        else:
            fields[name] = dict(value) if isinstance(value, dict) else value


def level_notes(talk: Conversation, given: str, wanted: str) -> list[str]:
    """What is to be said when a level, or a budget, becomes this level of the provider's; "" is none."""
    effort, notes = talk.effort, []
    if effort.level and not given:
        notes.append("output_config.effort: left out, this model knows no degrees of thinking")
    elif effort.level and given != wanted:
        notes.append(f"output_config.effort: {wanted} becomes {given}")
    if effort.budget is not None:
        becomes = f"becomes effort {given}" if given and not effort.level else "left out"
        notes.append(f"thinking.budget_tokens: {effort.budget} {becomes}")
    return notes


# -- models that a family describes


def _by_family(talk: Conversation, known: Family, options: Json) -> Thinking:
    """OpenAI's `reasoning_effort`, and what is made after it. https://developers.openai.com/api/docs/guides/reasoning"""
    result, effort = Thinking(talk.choice), talk.effort
    level = effort_for(effort, _efforts(known, options))
    with_tools = known.tools if talk.tools and "reasoning_effort" not in options else None
    if with_tools is not None and level != with_tools:
        only = "this model thinks and calls tools only in the Responses API"
        lost = "left to the model" if effort.off else f"left out, {only}" if effort.asked else f"switched off, {only}"
        result.notes.append(f"thinking: {lost}")
        level = with_tools
    elif effort.off and level != "none":
        least = f"cannot be switched off in this model, effort {level}" if level else "left to the model"
        result.notes.append(f"thinking: {least}")
    elif effort.asked and not level:
        result.notes.append("thinking: left to the model")
    elif effort.asked:
        result.notes += level_notes(talk, level, level_of(effort))
    if level:
        result.fields["reasoning_effort"] = level
    return result


def _efforts(known: Family, options: Json) -> Sequence[str]:
    match options.get("reasoning_effort"):
        case False:
            return ()
        case True:
            return known.efforts or PLAIN_EFFORTS
        case list() | tuple() as levels:
            return [str(level) for level in levels]
    return known.efforts
