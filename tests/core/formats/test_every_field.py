"""No field of a request, and no kind of block, is left out in silence: what the next SDK brings is seen here first."""

import re
from pathlib import Path

import anthropic
import pytest

from claude_relay.core.formats.claude import blocks

from . import walk

PAGE = Path(__file__).parents[3] / "docs" / "fields.md"


def in_silence():
    """Fields that a format neither carries nor refuses nor notes."""
    return [
        f"{row.path} = {row.value!r}: {name}"
        for row in walk.walk()
        for name, outcome in row.outcomes.items()
        if outcome is walk.Outcome.SILENT and not walk.says_nothing(row)
    ]


MODELS = [
    {},
    {"openai-chat": "gpt-5.6-sol", "openai-responses": "gpt-4.1", "gemini": "gemini-2.5-flash"},
    {"openai-chat": "deepseek-v4-pro", "openai-responses": "grok-4.5", "gemini": "gemini-2.0-flash"},
]


@pytest.mark.parametrize("models", MODELS, ids=lambda models: ",".join(models.values()) or "as in the table")
def test_nothing_is_left_out_in_silence(models, monkeypatch):
    monkeypatch.setattr(walk, "MODELS", walk.MODELS | models)
    assert in_silence() == []


def test_the_walk_finds_what_is_left_out(monkeypatch):
    text = blocks.BLOCKS["text"]
    passed_over = blocks._Block(text.read, text.places, text.fields | {"citations"})
    monkeypatch.setattr(blocks, "BLOCKS", {**blocks.BLOCKS, "text": passed_over})
    assert any(".citations = " in line for line in in_silence())


def test_the_page_is_the_table_of_this_sdk():
    page = PAGE.read_text("utf-8")
    version = re.search(r"the Python SDK (\S+)", page)
    if version[1] != anthropic.__version__:
        pytest.skip(f"the page is of {version[1]}")
    assert page == walk.table(anthropic.__version__)
