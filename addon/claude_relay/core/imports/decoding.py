"""The bytes of an export as a document: JSON, lines of JSON, YAML, CSV.

    document(b'{"keys": […]}')        -> {"keys": […]}

Raises ValueError with what is wrong, without repeating what stands there. It must not know files, nor what a document means.
"""

from __future__ import annotations

import csv
import io
import json

from claude_relay.core.config.yaml import YamlError
from claude_relay.core.config.yaml import read as read_yaml


def document(data: bytes) -> object:
    """What the text says: a mapping or a list."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("this is no UTF-8 text") from None
    if text.lstrip().startswith(("{", "[")):
        return _json(text)
    if _is_csv(text):
        return list(csv.DictReader(io.StringIO(text)))
    try:
        return read_yaml(text).data
    except YamlError as error:
        said = error.complaints[0]
        raise ValueError(f"line {said.line}: {said.what}" if said.line else said.what) from None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("this is nested too deeply") from None
    except json.JSONDecodeError as error:
        try:  # one object a line
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise ValueError(f"line {error.lineno}: this is no JSON") from None


def _is_csv(text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first.count(",") >= 2 and ": " not in first
