"""Every setting has its row with its true default, relay.yaml shows them all, and every example is a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from claude_relay.core.config import Config, default, parse
from claude_relay.core.config.doors import Tls
from claude_relay.core.config.filling import presets
from claude_relay.core.config.models import (
    FORMATS,
    STRATEGIES,
    Bodies,
    Budget,
    FaultRule,
    Match,
    Price,
    Provider,
    Route,
)
from claude_relay.core.config.oauth import OAuth
from claude_relay.core.config.values import AUTHS
from claude_relay.core.config.ways import Proxy, UpstreamTls
from claude_relay.core.config.yaml import read
from claude_relay.core.formats import MODULES
from claude_relay.core.formats.gemini import requests as gemini
from claude_relay.core.formats.openai import chat as openai_chat
from claude_relay.core.formats.openai import responses as openai_responses
from claude_relay.core.keys import selection as strategies
from claude_relay.proxy.running.options import OURS
from claude_relay.proxy.running.rulings import REFUSED

from .pages import DOCS, PAGES, ROOT, quoted

PAGE = DOCS["docs/configuration.md"]
RELAY_YAML = (ROOT / "relay.yaml").read_text("utf-8")
NEEDS: dict[type[BaseModel], dict[str, Any]] = {
    Route: {"to": ["x"]},
    Price: {"model": "x", "input": 1, "output": 1},
    Budget: {"per": "day", "usd": 1},
    FaultRule: {"fault": "stall"},
    OAuth: {"token_url": "https://example.com/token", "authorize_url": "https://example.com/authorize"},
    Proxy: {"url": "http://h"},
}
"""What must be there besides."""
LISTS: dict[str, type[BaseModel]] = {
    "providers": Provider,
    "proxies": Proxy,
    "routes": Route,
    "prices": Price,
    "budgets": Budget,
    "faults": FaultRule,
}
"""Sections that hold many of the kind: their keys have no prefix."""
IN_WORDS = {
    "base_url",
    "proxy",
    "routes",
    "name",
    "provider",
    "model",
    "since",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "authorize_url",
}
"""Defaults that follow from something else, or mean any; said in words."""


def below(annotation: object) -> type[BaseModel] | None:
    """The model that a field is of, whatever is around it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := below(part))), None)


def settings() -> Iterator[tuple[str, str, type[BaseModel], str]]:
    """Section of the page, key as the page has it, model, name of the field in it."""
    for name, field in Config.model_fields.items():
        yield "The file", name, Config, name
        if inner := LISTS.get(name) or below(field.annotation):
            yield from within(name, inner, "" if name in LISTS else f"{name}.")


def within(section: str, model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, type[BaseModel], str]]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield section, key, model, name
        if inner := below(field.annotation):
            yield from within(section, inner, f"{key}.")


SETTINGS = list(settings())


def rows(section: str) -> dict[str, list[str]]:
    text = PAGE.section("All settings").split(f"### {section}\n")[1].split("\n### ")[0]
    found = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.+) \|$", text, re.MULTILINE)
    return {key: [cell, says] for key, cell, says in found}


@pytest.mark.parametrize(("section", "key", "model", "name"), SETTINGS, ids=[f"{s} {k}" for s, k, *_ in SETTINGS])
def test_every_setting_has_a_row_with_its_default(section: str, key: str, model: type[BaseModel], name: str) -> None:
    cell, says = rows(section)[key]
    field = model.model_fields[name]
    assert len(says) > 3
    if field.is_required():
        assert cell == "required"
    elif words := re.fullmatch(r"`(.+)`", cell):
        assert default_of(model, name, field.alias or name, words[1]) == usual(model, name)
    elif cell == "see below":
        assert below(field.annotation) or name in LISTS
    else:
        assert (cell == "none" and not usual(model, name)) or name in IN_WORDS, f"{key}: {cell}"


def default_of(model: type[BaseModel], name: str, key: str, text: str) -> object:
    """What a text means as the value of a field."""
    value = read(f"value: {text}").data["value"]
    return getattr(model.model_validate(NEEDS.get(model, {}) | {key: value}), name)


def usual(model: type[BaseModel], name: str) -> object:
    return getattr(model.model_validate(NEEDS.get(model, {})), name)


def test_no_row_is_of_a_setting_that_is_not_there() -> None:
    known = {(section, key) for section, key, *_ in SETTINGS}
    sections = re.findall(r"^### (.+)$", PAGE.section("All settings"), re.MULTILINE)
    assert {(section, key) for section in sections for key in rows(section)} == known


def test_a_wrong_default_is_found() -> None:
    with pytest.raises((AssertionError, ValidationError)):
        assert default_of(Bodies, "keep", "keep", "8d") == usual(Bodies, "keep")


def test_relay_yaml_shows_every_setting_with_its_default() -> None:
    """Those of sections and of the one provider there is, also where they are commented out."""
    text = re.sub(r"^    # (?=\w+: )", "    ", RELAY_YAML, flags=re.MULTILINE)
    assert text != RELAY_YAML
    assert parse(text, environ={}, folder=ROOT) == default({}, folder=ROOT)
    data = read(text).data
    for section, key, model, name in SETTINGS:
        if section in ("proxies", "routes", "prices", "budgets", "faults") or model in (
            Bodies,
            Match,
            OAuth,
            Tls,
            UpstreamTls,
        ):
            assert re.search(rf"\b{name}\b", RELAY_YAML), name
        elif model is Provider:
            assert name in data["providers"]["anthropic"], name
        else:
            found = data
            for part in key.split("."):
                assert part in found, key
                found = found[part]


def test_relay_yaml_explains_each_line() -> None:
    keys = [
        line for line in RELAY_YAML.splitlines() if re.match(r" *(# )?\w+: +\S", line) and "preset: ollama" not in line
    ]
    assert len(keys) > 45
    assert [line for line in keys if "  #" not in line and "} #" not in line and " # " not in line.strip("# ")] == [
        line
        for line in keys
        if line.strip(" #") in ('keys: ["${ZHIPU_API_KEYS}"]', 'models: {"*": qwen3-coder}')
        or line.startswith("  #   to: ")
    ]


BLOCKS = [(name, text) for name, page in PAGES.items() for text in page.blocks("yaml")]


@pytest.mark.parametrize(("page", "text"), BLOCKS, ids=[f"{name} {n}" for n, (name, _) in enumerate(BLOCKS)])
def test_every_yaml_is_a_configuration(page: str, text: str) -> None:
    assert parse(text, environ={}).providers


def test_the_example_means_what_it_says() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.section("An example"), re.DOTALL)
    config = parse(text, environ={"ANTHROPIC_API_KEYS": "a,b"})
    assert [key.alias for key in config.providers["anthropic"].key_list("anthropic")] == ["k1", "k2"]
    assert config.providers["glm"].models == {"claude-*": "glm-4.6"}
    assert config.routes[0].to == ("glm", "anthropic")
    assert str(config.providers["glm"].proxy) == "http://127.0.0.1:3128"


def test_strategies() -> None:
    assert {row[0].strip("`") for row in DOCS["docs/keys.md"].table("strategy")} == set(STRATEGIES)
    assert set(strategies.STRATEGIES) == set(STRATEGIES)


def test_presets() -> None:
    table = DOCS["docs/providers.md"].table("preset")
    assert [row[0].strip("`") for row in table] == list(presets())
    for name, form, needs in table:
        preset = presets()[name.strip("`")]
        assert form.strip("`") == preset["format"]
        assert ("`base_url`" in needs) is (preset["base_url"] is None)
        assert (needs == "no key") is bool(preset.get("keyless"))


def test_formats() -> None:
    [row] = [says for key, (_, says) in rows("providers").items() if key == "format"]
    assert quoted(row) == list(FORMATS)
    [text] = re.findall(r"^`auth` is (.+?)\n\n", PAGE.text, re.MULTILINE | re.DOTALL)
    assert {word for word in quoted(text) if not word.startswith("{")} == set(AUTHS)


@pytest.mark.parametrize("module", [openai_chat, openai_responses, gemini])
def test_options_of_formats(module: Any) -> None:
    """Those that the module's first lines explain."""
    [name] = [name for name, known in MODULES.items() if module.__name__.endswith(f".{known}")]
    text = DOCS["docs/providers.md"].section("Options of a format").partition(f"`{name}`:\n")[2]
    table = text.lstrip("\n").partition("\n\n")[0]
    shown = {word for line in table.splitlines() for word in quoted(line.split("|")[1])}
    explained = re.findall(r"^    (\w+(?:, \w+)*)  +\S", module.__doc__, re.MULTILINE)
    assert shown == {word for words in explained for word in words.split(", ")}


def test_options_of_mitmproxy() -> None:
    table = {row[0].strip("`"): row[1] for row in PAGE.table("option") if row[0].startswith("`relay_")}
    assert set(table) == {name for name, *_ in OURS}
    for name, _, value, _ in OURS:
        assert table[name] == (f"{value:,}" if isinstance(value, int) else "")
        if isinstance(value, int):
            assert f"`{name}` ({value:,})" in DOCS["docs/inspecting.md"].text
    [text] = re.findall(r"break a promise \((.+?) and the like\)", PAGE.text, re.DOTALL)
    assert set(quoted(text)) <= REFUSED
