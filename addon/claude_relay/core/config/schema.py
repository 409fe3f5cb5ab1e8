"""The JSON schema of relay.yaml, for editors. `scripts/relay --schema` prints it."""

from __future__ import annotations

import json
from typing import Any

from .filling import presets
from .models import Config


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12, made from the models."""
    made = Config.model_json_schema()
    for model in (made, *made["$defs"].values()):
        for field in model.get("properties", {}).values():
            _plain(field)
    provider = made["$defs"]["Provider"]
    provider["properties"]["preset"] = {
        "enum": list(presets()),
        "description": provider["properties"]["preset"]["description"],
    }
    provider["properties"]["empty_pool"].pop("default")
    complete = [name for name, preset in presets().items() if preset["base_url"]]
    provider["anyOf"] = [
        {"required": ["base_url"]},
        {"required": ["preset"], "properties": {"preset": {"enum": complete}}},
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Claude Relay: relay.yaml"}


def _plain(field: dict[str, Any]) -> None:
    """Leave out what an editor has no use for, and what differs between versions of pydantic."""
    field.pop("title", None)
    if isinstance(field.get("default"), dict | list):
        del field["default"]


def text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
