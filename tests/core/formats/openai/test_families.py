"""What models take, by their names: the right value of each fact, and names that nobody has listed."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from claude_relay.core.formats.base import Asked
from claude_relay.core.formats.conversation import Conversation, Effort, Text, Turn
from claude_relay.core.formats.openai import chat
from claude_relay.core.formats.openai.families import (
    FAMILIES,
    LEVELS,
    OTHER,
    effort_for,
    effort_notes,
    family,
    most_output,
    notes_on_name,
    ruling_name,
)

TABLE = json.loads((resources.files("claude_relay.core.data") / "families.json").read_text())
HELLO = (Turn("user", (Text("Hello"),)),)
TO_XHIGH = ("low", "medium", "high", "xhigh")


def query(model: str, client: str = "claude-x", family: object = None) -> Asked:
    options = {} if family is None else {"family": family}
    return Asked(Conversation(client, 1000, HELLO), model, options)


@pytest.mark.parametrize("line", [*TABLE["families"], *TABLE["outputs"], *TABLE["vendors"].values()], ids=str)
def test_each_fact_has_a_source_and_a_date(line):
    assert re.fullmatch(r"2026-\d\d-\d\d", line["date"])
    assert line["source"]
    assert line.get("vendor", "") in TABLE["vendors"]


def test_all_levels_are_known_and_no_family_is_hidden_by_an_earlier_one():
    for known in FAMILIES:
        assert {*known.efforts, *known.responses_efforts} <= set(LEVELS)
    for name in ("gpt-5.1-codex-max", "gpt-5.3-codex", "gpt-5-pro", "gpt-6.2-astra", "grok-4.3", "grok-code-fast-1"):
        assert family(name) is not OTHER


@pytest.mark.parametrize(
    ("model", "in_chat", "in_responses"),
    [
        ("gpt-6-astra", TO_XHIGH, (*TO_XHIGH, "max")),
        ("gpt-6.2-astra", TO_XHIGH, (*TO_XHIGH, "max")),
        ("gpt-6.1-sol", TO_XHIGH, (*TO_XHIGH, "max")),
        ("gpt-6-sol", ("none", *TO_XHIGH), ("none", *TO_XHIGH, "max")),
        ("gpt-6-luna", ("none", *TO_XHIGH), ("none", *TO_XHIGH, "max")),
        ("gpt-6.1-terra", ("none", *TO_XHIGH), ("none", *TO_XHIGH, "max")),
        ("gpt-5.6-sol", ("none", *TO_XHIGH), ("none", *TO_XHIGH, "max")),
        ("gpt-5.5", ("none", *TO_XHIGH), ("none", *TO_XHIGH)),
        ("gpt-5.3-codex", TO_XHIGH, TO_XHIGH),
        ("gpt-5.1-codex", ("low", "medium", "high"), ("low", "medium", "high")),
        ("o4-mini-2025-04-16", ("low", "medium", "high"), ("low", "medium", "high")),
        ("grok-4.6", TO_XHIGH, TO_XHIGH),
        ("deepseek-v4-pro", (), ()),
        ("qwen3-max", (), ()),
    ],
)
def test_levels_of_effort(model, in_chat, in_responses):
    assert family(model).efforts == in_chat
    assert family(model).responses_efforts == in_responses


@pytest.mark.parametrize(
    ("model", "stops"), [("gpt-6-astra", False), ("gpt-6-luna", True), ("o3", False), ("gpt-5.5", True)]
)
def test_stop_sequences(model, stops):
    assert family(model).stops is stops


@pytest.mark.parametrize(
    "model", ["labs-devstral-small-2512", "voxtral-small-latest", "mistral-large", "open-mixtral-8x7b"]
)
def test_mistrals_models_have_short_ids(model):
    assert family(model).short_ids


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("my-gpt-5.6-sol-eu", "gpt-5.6-sol"),
        ("prod_gpt-6-astra", "gpt-6-astra"),
        ("openai.gpt-6-luna", "gpt-6-luna"),
        ("gpt-5-6-sol", "gpt-5.6-sol"),
        ("team-o3-mini", "o3-mini"),
        ("eu.grok-4.6", "grok-4.6"),
        ("x-labs-devstral-small", "labs-devstral-small"),
    ],
)
def test_a_free_name_that_has_a_models_name_in_it_is_that_model(model, like):
    assert family(model) is family(like)
    assert list(notes_on_name(model, model)) == []


@pytest.mark.parametrize("model", ["marco-o1", "prod-a", "my-4o", "llama-3.3", "dolphin-mixtral", "nomic-gpt"])
def test_other_names_are_nobodys(model):
    assert family(model) is OTHER


@pytest.mark.parametrize(
    ("model", "newest"),
    [
        ("gpt-7", "gpt-6.2-astra"),
        ("openai/gpt-6.3-sol", "gpt-6.2-astra"),
        ("my-gpt-8-eu", "gpt-6.2-astra"),
        ("o9", "o4-mini"),
        ("o5-pro", "o4-mini"),
        ("grok-9", "grok-4.6"),
        ("kimi-k9", "kimi-k3"),
        ("labs-new", "mistral-large-latest"),
    ],
)
def test_an_unknown_model_of_a_known_vendor_has_the_newest_rules(model, newest):
    assert family(model) is family(newest)
    (note,) = notes_on_name(model, model)
    assert f"the rules of {newest} are taken" in note


@pytest.mark.parametrize("model", [line["model"] for line in TABLE["newest"]])
def test_the_newest_is_known_itself(model):
    assert family(model) in FAMILIES
    assert list(notes_on_name(model, model)) == []


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (query("prod-a", family="gpt-5.6-sol"), "gpt-5.6-sol"),
        (query("gpt-4.1", family="gpt-5.6-sol"), "gpt-5.6-sol"),
        (query("Prod-A", family={"other": "o3", "prod-*": "gpt-5.6-sol"}), "gpt-5.6-sol"),
        (query("elsewhere", family={"prod-*": "gpt-5.6-sol"}), "elsewhere"),
        (query("prod-a", client="gpt-5.6-sol"), "gpt-5.6-sol"),
        (query("gpt-4.1", client="gpt-5.6-sol"), "gpt-4.1"),
        (query("prod-a", family=7), "prod-a"),
    ],
)
def test_whose_rules_count(asked, name):
    assert ruling_name(asked) == name


def test_a_family_that_nobody_knows_is_noted():
    (note,) = notes_on_name("gtp-5", "prod-a")
    assert note == "model: the option family names gtp-5, which is not known"


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4.1-mini", 32_768),
        ("gpt-5-chat-latest", 16_384),
        ("gpt-5.2-chat-latest", 16_384),
        ("gpt-5-mini", 128_000),
        ("gpt-6.2-astra", 128_000),
        ("my-gpt-5.6-sol-eu", 128_000),
        ("o3", 100_000),
        ("gpt-3.5-turbo", 4096),
        ("deepseek-v4-pro", 384_000),
        ("gpt-7", None),
        ("grok-4.6", None),
        ("prod-a", None),
    ],
)
def test_the_most_that_a_model_gives(model, most):
    assert most_output(model) == most


@pytest.mark.parametrize(
    ("effort", "level", "notes"),
    [
        (Effort(asked=True, level="max"), "xhigh", ["output_config.effort: max becomes xhigh"]),
        (Effort(asked=True, level="high"), "high", []),
        (Effort(asked=True, level="high"), "", ["thinking: left to the model"]),
        (Effort(off=True), "none", []),
        (Effort(off=True), "minimal", ["thinking: disabled becomes effort minimal"]),
        (Effort(off=True), "", ["thinking: left to the model"]),
        (Effort(asked=True, budget=2000), "low", ["thinking.budget_tokens: 2000 becomes effort low"]),
        (Effort(), "", []),
    ],
)
def test_what_becomes_of_an_effort_is_noted(effort, level, notes):
    assert list(effort_notes(effort, level)) == notes


def test_thinking_that_is_off_is_never_an_effort_that_the_model_lacks():
    assert effort_for(Effort(off=True), family("gpt-6-astra").efforts) == ""
    assert effort_for(Effort(off=True), family("gpt-6-luna").efforts) == "none"


# -- limits in Chat Completions


@pytest.mark.parametrize(
    ("model", "limit", "field", "written"),
    [
        ("gpt-5.5", 1, "max_completion_tokens", 50),
        ("gpt-4.1", 1, "max_completion_tokens", 1),
        ("gpt-4o", 64_000, "max_completion_tokens", 16_384),
        ("deepseek-chat", 10**6, "max_tokens", 10**6),
        ("my-gpt-5.6-sol-eu", 1, "max_completion_tokens", 50),
    ],
)
def test_the_limit_is_one_that_the_model_can_keep(model, limit, field, written):
    sent = chat.request(Asked(Conversation("claude-x", limit, HELLO), model))
    assert json.loads(sent.body)[field] == written
    assert [note.split(":")[0] for note in sent.notes] == (["max_tokens"] if written != limit else [])


def test_an_option_says_what_a_model_gives_at_most():
    sent = chat.request(Asked(Conversation("claude-x", 9000, HELLO), "prod-a", {"most_output": 8192}))
    assert json.loads(sent.body)["max_tokens"] == 8192


def test_chat_takes_no_stop_for_astra_and_says_so():
    sent = chat.request(
        Asked(Conversation("claude-x", 1000, HELLO, stops=("END",), effort=Effort(off=True)), "gpt-6-astra")
    )
    body = json.loads(sent.body)
    assert "stop" not in body
    assert "reasoning_effort" not in body
    assert [note for note in sent.notes if note.startswith("stop_sequences")]
