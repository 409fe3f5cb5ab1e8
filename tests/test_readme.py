"""README says what the code does: commands, options, configuration, verdicts, tables."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from claude_relay.cli.main import COMMANDS, load
from claude_relay.core.config import Config, default, parse, presets
from claude_relay.core.config.models import STRATEGIES
from claude_relay.core.verdicts import MEANINGS
from claude_relay.proxy.options import OURS
from claude_relay.store.migrations import migrate
from claude_relay.store.tables import ATTEMPT, CHARGE, REQUEST

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
OF_OTHERS = {"--proxy", "--cacert", "--set", "--help"}
"""Options of curl, mitmproxy and click."""
SCRIPTS = sorted(set(re.findall(r"scripts/([a-z]+)", README + CHANGELOG + SECURITY)))


CHECKOUT_ONLY = {path.parent.name for path in (ROOT / "scripts" / "lib").glob("*/command.py")}
"""Commands that are no part of the package."""


def command(name: str) -> click.Command:
    """A script's command."""
    if name not in CHECKOUT_ONLY:
        return load(name)
    found: click.Command = getattr(importlib.import_module(f"{name}.command"), name)
    return found


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def invocations() -> list[tuple[str, list[str]]]:
    """Every `scripts/…` with its options: in code, inline or in blocks, up to a comment, a closing bracket or quote."""
    code = [*re.findall(r"`([^`\n]+)`", README), *"\n".join(text for _, text in BLOCKS).splitlines()]
    found = re.findall(r"scripts/([a-z]+)([^#)\"|>\n]*)", "\n".join(code))
    return [(name, shlex.split(rest)) for name, rest in found]


def test_first_lines_are_the_first_commands() -> None:
    lines = [line.partition("#")[0].strip() for text in blocks("sh")[:2] for line in text.splitlines()]
    assert lines == ["export ANTHROPIC_API_KEYS=sk-ant-…,sk-ant-…", "scripts/relay", "scripts/env -- claude"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_there(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.is_file()
    assert os.access(script, os.X_OK)
    assert re.search(rf"^start {name} requirements(-dev)?\.lock", script.read_text("utf-8"), re.MULTILINE)


def test_all_commands_are_named() -> None:
    assert set(COMMANDS) <= set(SCRIPTS)
    named = set(re.findall(r"^\| `scripts/(\w+)` \|", section("Commands"), re.MULTILINE))
    assert named - CHECKOUT_ONLY == set(COMMANDS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name: str) -> None:
    """Each has an example, and starts it as people do."""
    result = CliRunner().invoke(command(name), ["--help"])
    assert result.exit_code == 0, result.output
    assert re.search(rf"Examples?:\n(.*\n)*?.*scripts/{name}", result.output)


def test_options_exist() -> None:
    used = [(name, word) for name, words in invocations() for word in options(words)]
    assert len(used) > 5
    for name, word in used:
        found = command(name)
        known = options_of(found)
        assert word in known or found.context_settings.get("ignore_unknown_options"), f"scripts/{name} {word}"


def test_options_in_passing_exist() -> None:
    ours = {option for name in (*COMMANDS, *CHECKOUT_ONLY) for option in options_of(command(name))}
    assert set(re.findall(r"(?<!\S)[`(]?(--[a-z][a-z-]+)", README)) <= ours | OF_OTHERS


def options_of(found: click.Command) -> set[str]:
    """The options of a command and of those below it."""
    below = found.commands.values() if isinstance(found, click.Group) else ()
    return {option for parameter in found.params for option in parameter.opts} | {
        o for c in below for o in options_of(c)
    }


def options(words: list[str]) -> list[str]:
    """The long options before a `--`."""
    ours = words[: words.index("--")] if "--" in words else words
    return [word.partition("=")[0] for word in ours if word.startswith("--")]


def test_values_of_options_are_taken() -> None:
    """Those of usage and env, which name choices."""
    for name, words in invocations():
        if name in ("usage", "env") and words:
            load(name).make_context(name, list(words))


def test_choices_of_usage() -> None:
    named = re.search(r"scripts/usage --by (\w+).*# also: ([\w, ]+);", README)
    by = next(parameter for parameter in load("usage").params if parameter.name == "by")
    assert named is not None
    assert isinstance(by.type, click.Choice)
    assert {named[1], "model", *named[2].split(", ")} == set(by.type.choices)


def example(variables: dict[str, str]) -> Config:
    text = section("relay.yaml").partition("```yaml\n")[2].partition("```")[0]
    return parse(text, environ=variables)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_yaml_is_a_configuration(text: str) -> None:
    assert parse(text, environ={}).providers


def test_yaml_is_a_configuration() -> None:
    config = example({"ANTHROPIC_API_KEYS": "a,b"})
    assert [key.alias for key in config.providers["anthropic"].key_list("anthropic")] == ["k1", "k2"]
    assert config.providers["glm"].models == {"claude-*": "glm-4.6"}
    assert config.routes[0].to == ("glm", "anthropic")


def test_yaml_shows_the_defaults() -> None:
    shown, usual = example({}), default({})
    assert shown.listen == usual.listen
    assert shown.intercept == usual.intercept
    assert shown.retry == usual.retry
    assert shown.ledger == usual.ledger
    assert shown.database == usual.database
    anthropic = shown.providers["anthropic"].model_dump(exclude={"preset"})
    assert anthropic == usual.providers["anthropic"].model_dump(exclude={"preset"})


def test_every_setting_is_shown() -> None:
    text = section("relay.yaml")
    for name in settings():
        assert re.search(rf"\b{name}\b", text), name


def settings() -> set[str]:
    """The keys of all sections, from the schema."""
    schema = Config.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    return (
        {name for model in models for name in model.get("properties", {})}
        - {"required", "clients", "prefix"}
        - {
            "sticky",
            "ttl",
            "short_wait",
        }
    )


def test_words_of_the_configuration() -> None:
    text = section("relay.yaml")
    assert set(re.findall(r"`([a-z-]+)`", text.partition("- Strategies: ")[2].partition("\n- ")[0])) - {
        "anthropic-ratelimit-"
    } == set(STRATEGIES)
    named = text.partition("- Presets: ")[2].partition(". ")[0]
    assert re.findall(r"`([a-z-]+)`", named) == list(presets())


def test_mitmproxy_options() -> None:
    assert set(re.findall(r"\brelay_\w+", README)) == {name for name, *_ in OURS}
    for name, _, value, _ in OURS:
        if isinstance(value, int):
            assert f"`{name}` ({value:,})" in README


def test_verdicts() -> None:
    rows = re.findall(r"^\|[^|]*\| `(\w+)` \|", section("What a failed attempt means"), re.MULTILINE)
    assert sorted(rows) == sorted(MEANINGS)


def test_columns() -> None:
    listed = dict(re.findall(r"^- `(\w+)`: ((?:[\w, ]|\n  )+)", section("The ledger"), re.MULTILINE))
    for table, names in (("requests", REQUEST), ("attempts", ATTEMPT), ("charges", CHARGE)):
        assert re.split(r",\s+", listed[table].strip()) == DESIGN_ORDER[table]
        assert set(DESIGN_ORDER[table]) == set(names)


def columns(table: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection)
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


DESIGN_ORDER = {table: columns(table) for table in ("requests", "attempts", "charges")}


def test_queries_run() -> None:
    queries = re.findall(r'sqlite-utils relay\.db "([^"]+)"', README)
    assert len(queries) >= 2
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        for query in queries:
            connection.execute(query).fetchall()


def test_paths_are_there() -> None:
    named = set(re.findall(r"\b((?:addon|tests)/[\w./-]*)", README)) | set(
        re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    )
    missing = [path for path in named if not (ROOT / path.rstrip(".")).exists()]
    assert not missing


def test_map_of_one_request_names_modules_that_exist() -> None:
    text = (ROOT / "addon" / "claude_relay" / "__init__.py").read_text("utf-8")
    named = set(re.findall(r"\b((?:core|store|proxy|cli)(?:/\w+)+)\b", text))
    assert len(named) > 12
    assert not [name for name in named if not (ROOT / "addon" / "claude_relay" / f"{name}.py").is_file()]


def test_version_is_in_the_changelog() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert f"\n## {version[1]}" in CHANGELOG
