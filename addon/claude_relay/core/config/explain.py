"""Turns what pydantic found into sentences: which key is wrong, and what to write instead.

Only the kind of an error, its place and its limits are used, never the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .models import Config
from .problems import Place, suggest

_SAYINGS = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of keys to values",
    "path_type": "must be a file name",
    "too_short": "must not be empty",
}


def explain(error: ValidationError) -> Iterator[tuple[Place, str]]:
    """Every place with what is wrong there."""
    details = error.errors(include_url=False, include_input=False)
    places = [detail["loc"] for detail in details]
    for detail in details:
        if detail["type"] == "too_short" and any(_inside(place, detail["loc"]) for place in places):
            continue  # not empty at all: what it holds is wrong, and says so itself
        yield tuple(part for part in detail["loc"] if part != "[key]"), _sentence(detail)


def _inside(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _sentence(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(detail["loc"])
    if kind == "value_error":
        return str(context["error"])
    return _SAYINGS.get(kind) or detail["msg"]


def _unknown(place: Place) -> str:
    *parents, key = place
    model = _model_at(tuple(parents))
    known = [field.alias or name for name, field in model.model_fields.items()]
    return f"unknown key; {suggest(str(key), known)}"


def _model_at(place: Place) -> type[BaseModel]:
    """The model that holds the keys of a place; lists and mappings stand for what they hold."""
    model: type[BaseModel] = Config
    for part in place:
        fields: Mapping[str, Any] = model.model_fields
        if part in fields:
            model = _inner_model(fields[str(part)].annotation) or model
    return model


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _inner_model(inner))), None)
