"""Commands and options: all that the pages name exist, all that exist are named, and README shows what they print."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from claude_relay.cli.demonstration.cast import REQUESTS, ROLES
from claude_relay.cli.main import COMMANDS, load
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from wire.relay import Relay, free_ports, make_confdir

from .pages import ALL, CHANGELOG, DOCS, PAGES, README, ROOT, invocations, quoted

OF_OTHERS = {
    "--build",
    "--build-arg",
    "--proxy",
    "--cacert",
    "--set",
    "--help",
    "--user",
    "--now",
    "--timeout",
    "--mode",
    "--client-replay",
}
"""Options of curl, mitmproxy, click, systemctl and docker."""
SCRIPTS = sorted(set(re.findall(r"scripts/([a-z]+)\b(?!/)", ALL + CHANGELOG.text)) - {"lib"})


def options_of(command: click.Command) -> set[str]:
    """The options of a command and of those below it."""
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(options_of, below(command).values()))


def below(command: click.Command) -> dict[str, click.Command]:
    """The commands of a group by name; some are imported only when they are asked for."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    return {name: found for name in command.list_commands(context) if (found := command.get_command(context, name))}


def long_options(words: list[str]) -> list[str]:
    """Those before a `--`."""
    ours = words[: words.index("--")] if "--" in words else words
    return [word.partition("=")[0] for word in ours if word.startswith("--")]


def named(name: str, words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that an invocation names, or the one below it, and its words."""
    command = load(name)
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in below(command), f"scripts/{name} {words[0]}"
        return below(command)[words[0]], words[1:]
    return command, words


def test_first_lines_are_the_first_commands() -> None:
    blocks = README.blocks("sh")[:2]
    lines = [line.partition("#")[0].strip() for text in blocks for line in text.splitlines()]
    assert lines == [
        "git clone REPOSITORY claude-relay",
        "cd claude-relay",
        "export ANTHROPIC_API_KEYS=sk-ant-…,sk-ant-…",
        "scripts/relay",
        "scripts/env -- claude",
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_there(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.is_file()
    assert os.access(script, os.X_OK)
    assert re.search(rf"^start {name} requirements(-dev)?\.lock", script.read_text("utf-8"), re.MULTILINE)


def test_all_commands_are_named() -> None:
    assert set(COMMANDS) <= set(SCRIPTS)
    assert [row[0] for row in README.table("command")] == [f"`scripts/{name}`" for name in sorted(COMMANDS, key=order)]


def order(name: str) -> int:
    return README.text.index(f"| `scripts/{name}` |")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name: str) -> None:
    """Each has an example, and starts it as people do."""
    result = CliRunner().invoke(load(name), ["--help"])
    assert result.exit_code == 0, result.output
    assert re.search(rf"Examples?:\n(.*\n)*?.*scripts/{name}", result.output)


def test_options_exist() -> None:
    used = [(name, words, word) for name, words in invocations() for word in long_options(words)]
    assert len(used) > 20
    for name, words, word in used:
        command, _ = named(name, words)
        known = options_of(command)
        assert word in known or command.context_settings.get("ignore_unknown_options"), f"scripts/{name} {word}"


def test_options_in_passing_exist() -> None:
    ours = {option for name in COMMANDS for option in options_of(load(name))}
    for page in PAGES.values():
        assert set(re.findall(r"(?<!\S)[`(]?(--[a-z][a-z0-9-]+)", page.text)) <= ours | OF_OTHERS, page.name


@pytest.mark.parametrize("name", ["clients", "keys", "ledger", "usage"])
def test_commands_below_are_named(name: str) -> None:
    """Every one of `keys` has its row; of the others each is shown."""
    commands = below(load(name))
    shown = {words[0] for found, words in invocations() if found == name and words and not words[0].startswith("-")}
    assert shown == set(commands)
    if name == "keys":
        rows = [word for row in DOCS["docs/keys.md"].table("command") for word in quoted(row[0])]
        assert sorted(rows) == sorted(f"scripts/keys {command}" for command in commands)


def test_what_is_shown_is_taken() -> None:
    """Options and choices parse; what stands for something else (…, capitals) is left out."""
    tried = 0
    for name, words in invocations():
        if name not in ("usage", "env", "ledger", "keys", "bench", "doctor", "demo", "clients", "audit") or re.search(
            r"…|[A-Z]{2}", str(words)
        ):
            continue
        command, rest = named(name, words)
        if not rest:  # only its name
            continue
        command.make_context(name, list(rest), resilient_parsing=False).close()
        tried += 1
    assert tried > 25


def test_choices_of_usage() -> None:
    by = next(parameter for parameter in load("usage").params if parameter.name == "by")
    assert isinstance(by.type, click.Choice)
    text = DOCS["docs/ledger.md"].section("Reports").partition("- `--by` takes ")[2].partition("\n- ")[0]
    assert set(quoted(text)) == set(by.type.choices)


def test_filters_of_usage() -> None:
    text = DOCS["docs/ledger.md"].section("Reports").partition("- `--model`, ")[2].partition("\n- ")[0] + "--model"
    others = {"--by", "--json", "--csv", "--watch", "--database", "--config", "--with", "--version"}
    filters = {option for parameter in load("usage").params for option in parameter.opts} - others
    assert set(re.findall(r"--[a-z-]+", text)) == filters


# -- shown commands are run, where that is cheap


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relay.yaml over a database of this version, in force for every command; no relay runs with it."""
    with closing(connect(tmp_path / "relay.db", patience=1.0)) as connection:
        migrate(connection)
    one, two = free_ports(2)
    listen = f"{{proxy: '127.0.0.1:{one}', base_url: '127.0.0.1:{two}', panel: null, status: null}}"
    (tmp_path / "relay.yaml").write_text(f"listen: {listen}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "relay.yaml"))
    return tmp_path


def test_reports_run(config: Path) -> None:
    shown = [
        words
        for name, words in invocations()
        if name == "usage" and not {"show", "capsule", "--watch", "reprice", "reconcile"} & {*words}
    ]
    for words in shown:
        result = CliRunner().invoke(load("usage"), words)
        assert result.exit_code == 0, (words, result.output)
        assert re.match("No (requests|sessions) ", result.output)
    assert len(shown) > 5


def test_lines_for_shells_run(config: Path) -> None:
    make_confdir(config / "conf")
    shown = [words for name, words in invocations() if name == "env" and "--" not in words]
    for words in shown:
        result = CliRunner().invoke(load("env"), ["--set", f"confdir={config / 'conf'}", *words])
        assert result.exit_code == 0, (words, result.output)
    assert ["--shell", "fish"] in shown


def test_what_env_sets(config: Path) -> None:
    """The variables of both ways are those of the table, but for the token, which only a relay with keys has set."""
    make_confdir(config / "conf")
    for column, words in ((1, []), (2, ["--base-url"])):
        result = CliRunner().invoke(load("env"), ["--set", f"confdir={config / 'conf'}", *words])
        table = DOCS["docs/clients.md"].table("what it sets")
        said = {name for row in table if row[column] for name in quoted(row[0])} - {"ANTHROPIC_AUTH_TOKEN"}
        assert set(re.findall(r"^export (\w+)=", result.stdout, re.MULTILINE)) == said


def test_the_ledgers_commands_run(config: Path) -> None:
    """Into a folder of their own, and without the one that asks for a request."""
    shown = [
        words
        for name, words in invocations()
        if name == "ledger" and words[1:] and "…" not in words[1] and words[1] != "FILE"
    ]
    (config / "out").mkdir()
    for words in shown:
        there = [re.sub(r"^.*/|^(?=november|attempts\.)", f"{config}/out/", w) if "." in w else w for w in words]
        if there[0] == "prune":
            there.append("--yes")
        result = CliRunner().invoke(load("ledger"), there)
        assert result.exit_code == 0 or "pyarrow" in result.output, (there, result.output)
    assert len(shown) >= 4


# -- what README shows of their output


def test_the_banner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that a start prints, but for times, paths and the ports, which here are free ones."""
    [shown] = [text for _, text in README.split[1] if "] Claude Relay" in text.partition("\n")[0]]
    monkeypatch.chdir(tmp_path)  # in a checkout it would say that its relay.yaml is not used
    settings = {"providers": {"anthropic": {"preset": "anthropic", "keys": ["${SOME_KEYS}"]}}}
    with Relay(tmp_path, make_confdir(tmp_path / "conf"), settings, environ={"SOME_KEYS": "sk-a,sk-b"}) as relay:
        relay.wait_for_log("  next      ")
        said = [
            record.getMessage()
            for record in relay.logs.records
            if record.levelname == "ALERT" and record.name.startswith("claude_relay")
        ]
    changed = {
        f":{relay.proxy_port} ": ":8080 ",
        f":{relay.base_port} ": ":8082 ",
        f"RELAY_CONFIG={relay.config_file} scripts/env -- claude": "scripts/env -- claude   (in another terminal)",
        str(tmp_path): "/home/you/claude-relay",
    }
    for old, new in changed.items():
        said = [line.replace(old, new) for line in said]
    lines = [line.partition("] ")[2] for line in shown.splitlines()]
    lines.remove("  panel     http://127.0.0.1:8083")  # this one starts none
    assert said == lines


def test_the_demo() -> None:
    [shown] = [text for _, text in README.split[1] if text.startswith("A made-up Claude at ")]
    keys = re.findall(r"^   anthropic/k(\d)  (\S+) +(.+)$", shown, re.MULTILINE)
    assert [(key, says) for _, key, says in keys] == [(role.key, role.treatment.value) for role in ROLES]
    models = re.findall(r"^ *\d+  200  (base URL|proxy) +([\w-]+(?:, \w+)?)", shown, re.MULTILINE)
    assert models == [(request.way.value, request.title) for request in REQUESTS[: len(models)]]
