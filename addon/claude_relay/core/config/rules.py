"""A rule of `faults` as somebody types it, for commands: the fault, then NAME=VALUE.

    fault_rule(["529", "attempt=1", "model=claude-opus-*"])
        -> FaultRule(fault="529", attempt=1, match=Match(model="claude-opus-*"))

    in_words(rule)
        -> "attempt=1 model=claude-opus-*"

Names are those of the rule, else those of its `match`. Raises ValueError with a sentence for what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from .explain import explain
from .models import FaultRule, Match
from .problems import dotted, suggest

OF_RULE = tuple(name for name in FaultRule.model_fields if name != "match")
OF_MATCH = tuple(name for name in Match.model_fields if name != "header")


def fault_rule(words: Iterable[str]) -> FaultRule:
    """The rule of these words."""
    rule: dict[str, str] = {}
    match: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            name, value = "fault", word
        if name not in (*OF_RULE, *OF_MATCH):
            raise ValueError(f"{name} is none of a rule's names; {suggest(name, (*OF_RULE, *OF_MATCH))}")
        part = rule if name in OF_RULE else match
        if name in part:
            raise ValueError(f"{name} is given twice; keep one")
        part[name] = value
    if "fault" not in rule:
        raise ValueError("which fault? Begin with one, such as 529 or cut")
    try:
        return FaultRule.model_validate({**rule, "match": match})
    except ValidationError as error:
        raise ValueError(
            "; ".join(": ".join(filter(None, (dotted(at), what))) for at, what in explain(error))
        ) from None


def in_words(rule: Any) -> str:
    """What narrows a rule, as it is typed."""
    said = rule.model_dump(exclude={"fault", "after", "lasts"}, exclude_defaults=True)
    match = said.pop("match", {})
    header = {f"header.{name}": glob for name, glob in match.pop("header", {}).items()}
    return " ".join(f"{name}={value}" for name, value in {**said, **match, **header}.items())
