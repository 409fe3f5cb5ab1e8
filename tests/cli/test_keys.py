"""`keys` as people and scripts use it: what goes in, what is told, which keys are meant, and that no key is ever printed."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.keyring.options import Proxy
from claude_relay.cli.keyring.showing import CELLS
from claude_relay.cli.keys import SUBCOMMANDS, keys
from claude_relay.core.keys.check_results import CheckResult
from claude_relay.store.db.database import connect
from claude_relay.store.shared.state import State, create_state
from claude_relay.store.vault.reading import read
from claude_relay.store.vault.records import FIELDS
from claude_relay.store.vault.vault import Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")

ONE, TWO, THREE, FOUR = (f"sk-ant-api03-{word}-0123456789abcdef" for word in ("one", "two", "three", "four"))
CONFIGURED = "sk-ant-api03-configured-0123456789abcdef"
CONFIG = """
providers:
  anthropic: {preset: anthropic, keys: ["${CONFIGURED}"]}
  glm: {preset: zhipu}
"""
FILE = f"""key,label,tier,weight,provider,concurrent
{ONE},team a,admin,2,,4
{TWO},team a,public,,,
{THREE},,,,glm,
"""


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIG)
    return path


type Run = Callable[..., Result]


@pytest.fixture
def run(config: Path) -> Run:
    """Run a sub-command; no key may appear in what it prints."""

    def run(*words: object, stdin: str | bytes = "", **environ: str) -> Result:
        variables = {"RELAY_CONFIG": str(config), "RELAY_SECRET": None, "CONFIGURED": None, "COLUMNS": "200", **environ}
        result = CliRunner().invoke(keys, [str(word) for word in words], input=stdin, env=variables)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "0123456789" not in result.output
        return result

    return run


@pytest.fixture
def filled(run: Run) -> Run:
    assert run("import", "--provider", "anthropic", stdin=FILE).exit_code == 0
    return run


def vault(run: Run, config: Path) -> Vault:
    return Vault(config.with_name("relay.db"), environ={})


def rows(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def listed(run: Run, *words: object, **environ: str) -> list[str]:
    return [str(row["name"]) for row in rows(run("list", *words, "--json", **environ))]


# -- list


def test_nothing_yet(run: Run, config: Path) -> None:
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "No key yet. Add one: scripts/keys add\n")
    assert rows(run("list", "--json")) == []
    assert [path.name for path in config.parent.iterdir()] == ["relay.yaml"]


def test_a_table(filled: Run) -> None:
    result = filled("list", CONFIGURED=CONFIGURED)
    lines = [line.split("  ") for line in result.stdout.splitlines() if "──" not in line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["key", "label", "mask", "tier", "weight", "limits", "state"],
        ["anthropic/v1", "team a", "sk-ant-…cdef", "admin", "2", "4 at once", "unchecked"],
        ["anthropic/v2", "team a", "sk-ant-…cdef", "public", "unchecked"],
        ["glm/v1", "sk-ant-…cdef", "unchecked"],
        ["anthropic/k1", "sk-ant-…cdef", "enabled"],
    ]


def test_json_tells_everything_but_the_key(filled: Run) -> None:
    first = rows(filled("list", "--json"))[0]
    assert first["name"] == "anthropic/v1"
    assert first["states"] == ["unchecked", "enabled"]
    assert (first["tier"], first["weight"], first["concurrent"], first["source"]) == ("admin", 2.0, 4, "vault")
    assert (first["cooldowns"], first["removed_at"]) == ([], None)
    assert set(FIELDS) <= set(first)
    assert not {"secret", "fingerprint"} & set(first)


def test_labels_are_no_markup_and_no_escape_sequences(run: Run) -> None:
    assert run("add", "--provider", "glm", "--label", "[red]not markup[/]", stdin=ONE).exit_code == 0
    assert "[red]not markup[/]" in run("list").stdout
    assert run("add", "--provider", "glm", "--label", "\x1b[31mred", stdin=TWO).exit_code == 2


def test_removed_keys_are_hidden_but_said(filled: Run) -> None:
    filled("remove", "glm/v1")
    result = filled("list")
    assert "glm/v1" not in result.stdout
    assert "1 removed; see them with --removed." in result.stderr
    assert listed(filled, "--removed") == ["anthropic/v1", "anthropic/v2", "glm/v1"]
    assert listed(filled, "--status", "removed") == listed(filled, "glm/v1") == ["glm/v1"]


def test_filters(filled: Run, config: Path) -> None:
    filled("disable", "anthropic/v1")
    assert listed(filled, "--status", "disabled") == ["anthropic/v1"]
    assert listed(filled, "--status", "enabled") == ["anthropic/v2", "glm/v1"]
    assert listed(filled, "--provider", "glm") == ["glm/v1"]
    assert listed(filled, "--provider", "glm", "--status", "disabled") == []
    assert filled("list", "--status", "sleepy").exit_code == 2
    result = filled("list", "--status", "revoked")
    assert result.stdout == "None of 3 keys fits.\n"


# -- add


def test_add(run: Run, config: Path) -> None:
    result = run("add", "--provider", "glm", "--tier", "admin", "--concurrent", "4", stdin=f" {ONE}\r\n")
    assert result.stdout == "Added glm/v1 sk-ant-…cdef\n"
    [key] = vault(run, config).issue()["glm"]
    assert (key.secret, key.tier, key.limits.concurrent) == (ONE, "admin", 4)


def test_add_asks_at_a_terminal_without_echo(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("claude_relay.cli.keyring.entering.at_terminal", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda text, **how: asked.append({"text": text, **how}) or ONE)
    assert run("add", "--provider", "glm").exit_code == 0
    assert asked == [{"text": "Key", "hide_input": True}]
    assert vault(run, config).issue()["glm"][0].secret == ONE


def test_a_key_that_is_there(filled: Run) -> None:
    result = filled("add", "--provider", "anthropic", stdin=ONE)
    assert (result.exit_code, result.stderr) == (1, "Error: it is known as anthropic/v1\n")
    filled("remove", "anthropic/v1")
    result = filled("add", "--provider", "anthropic", stdin=ONE)
    assert "bring it back: scripts/keys restore anthropic/v1" in result.stderr


@pytest.mark.parametrize(
    "given", ["", " \n", f"{ONE} {TWO}", "short", "sk-ant-placeholder-relay", "schlüssel-schlüssel"]
)
def test_what_is_no_key(run: Run, config: Path, given: str) -> None:
    result = run("add", "--provider", "glm", stdin=given)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert not config.with_name("relay.db").exists()


def test_which_provider(run: Run, config: Path) -> None:
    assert "--provider: anthropic, glm" in run("add", stdin=ONE).stderr
    assert "did you mean 'anthropic'" in run("add", "--provider", "antropic", stdin=ONE).stderr
    config.write_text("providers: {glm: {preset: zhipu}}")
    assert run("add", stdin=ONE).stdout.startswith("Added glm/v1")


@pytest.mark.parametrize(
    "words",
    [("add", ONE), ("add", "--provider", "glm", ONE), (ONE,), ("disable", ONE), ("import", ONE), ("list", "--x", ONE)],
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)  # which looks into all that was printed
    assert result.exit_code in (1, 2)
    if words[0] == "add":
        assert "Think of the one you just gave as exposed" in result.stderr


def test_a_proxy_has_a_name_of_relay_yaml(run: Run, config: Path) -> None:
    config.write_text(config.read_text() + "\nproxies: {office: {url: 'socks5://h'}}\n")
    assert run("add", "--provider", "glm", "--proxy", "office", stdin=ONE).exit_code == 0
    assert vault(run, config).issue()["glm"][0].proxy == "office"
    for words in (("add", "--provider", "glm"), ("edit", "v1"), ("import", "--provider", "glm")):
        result = run(*words, "--proxy", "offce", stdin=TWO)
        assert result.exit_code == 2
        assert "did you mean 'office'?" in result.output
    assert "office" in run("list").output


def test_a_proxy_with_a_password_comes_from_a_variable(run: Run, config: Path) -> None:
    url = "http://user:hunter2@proxy.example:3128"
    result = run("add", "--provider", "glm", "--proxy", url, stdin=ONE)
    assert result.exit_code == 2
    assert "hunter2" not in result.output
    assert run("add", "--provider", "glm", "--proxy", "${TEAM}", stdin=ONE, TEAM=url).exit_code == 0
    assert vault(run, config).issue()["glm"][0].proxy == url
    assert "hunter2" not in run("list", "--json").output
    assert "http://proxy.example:3128" in run("list").output
    assert run("add", "--provider", "glm", "--proxy", "${NOBODY}", stdin=TWO).exit_code == 2
    assert Proxy().convert("http://h:1", None, None) == "http://h:1"


# -- import


def test_forms_of_a_file() -> None:
    lines = f"# keys\n{ONE}\n\n{TWO}, {THREE}  # the last two\r\n"
    assert [(it.where, it.secret) for it in read(lines)] == [("line 2", ONE), ("line 4", TWO), ("line 4", THREE)]
    for delimiter in ",;\t":
        table = f'Label{delimiter}"API_KEY"\n"a {delimiter} b"{delimiter}{ONE}\n\n{delimiter}{TWO}\n'
        assert [(it.where, it.secret, it.fields["label"]) for it in read(table)] == [
            ("line 2", ONE, f"a {delimiter} b"),
            ("line 4", TWO, ""),
        ]
    document = json.dumps([ONE, {"key": TWO, "weight": 2, "provider": "glm"}])
    first, second = read(document)
    assert (first.where, first.secret, first.provider) == ("entry 1", ONE, None)
    assert (second.where, second.secret, second.provider, second.fields) == ("entry 2", TWO, "glm", {"weight": 2})
    assert [it.secret for it in read(json.dumps({"keys": [ONE, TWO]}))] == [ONE, TWO]
    assert [it.secret for it in read(json.dumps({"key": ONE}))] == [ONE]
    assert [it.secret for it in read(f"key\n{ONE}\n")] == [ONE]
    assert ONE not in repr(read(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"key,colour\n{ONE},red\n", "line 1: 'colour' is unknown; known: key, provider, label"),
        (f"key,api_key\n{ONE},{TWO}\n", "line 1: no name may come twice, and only one column may be called key"),
        (f"key,label\n{ONE},a,b\n", "line 2: more values than the header has names"),
        (f'key,label\n{ONE},"a\n', "no CSV"),
        ("key,label\n,a\n", "line 2: no key"),
        (f'["{ONE}"', "line 1: this is no JSON"),
        ("[" * 100_000, "this is no JSON"),
        ("[7]", "entry 1: neither a key nor an object"),
        ('{"keys": 7}', "this is no list"),
        ('[{"label": "a"}]', "entry 1: no column is called key; add it and fill the keys in"),
        ('[{"key": 7}]', "entry 1: no key"),
        (f"key,label\n{ONE},{ONE}\n", "line 2: label: this looks like a key"),
        (f"key,weight\n{ONE},heavy\n", "line 2: weight is a number"),
        (f"key,provider\n{ONE},gml\n", "line 2: relay.yaml has no provider 'gml'; did you mean 'glm'?"),
        ("<!DOCTYPE html>\n<p>not found</p>\n", "line 1: a key has 8 to"),
        ("", "there is no key in it"),
        ("\n# none\n", "there is no key in it"),
    ],
)
def test_a_file_with_a_mistake_adds_nothing(run: Run, config: Path, text: str, said: str) -> None:
    result = run("import", "--provider", "anthropic", stdin=text)
    assert result.exit_code == 1
    assert "Nothing was added" in result.stderr
    assert said in result.stderr
    assert not config.with_name("relay.db").exists()


def test_every_mistake_is_named_up_to_a_number(run: Run) -> None:
    result = run("import", "--provider", "glm", stdin="".join(f"bad{n}\n" for n in range(30)))
    assert result.stderr.count("  line ") == 20
    assert "… and 10 more" in result.stderr


def test_bytes_that_are_no_text(run: Run, tmp_path: Path) -> None:
    assert "is no UTF-8 text" in run("import", "--provider", "glm", stdin=b"\xff\xfes\x00k\x00").stderr
    (tmp_path / "keys.txt").write_bytes(b"\xef\xbb\xbf" + ONE.encode())
    assert run("import", tmp_path / "keys.txt", "--provider", "glm").exit_code == 0


def test_quotes_around_keys_are_left_out(run: Run, config: Path) -> None:
    assert run("add", "--provider", "glm", stdin=f'"{ONE}"\n').exit_code == 0
    assert run("import", "--provider", "glm", stdin=f"'{TWO}', \"{THREE}\"\n").exit_code == 0
    assert [key.secret for key in vault(run, config).issue()["glm"]] == [ONE, TWO, THREE]


def test_import_tells_duplicates_and_goes_on(filled: Run, config: Path) -> None:
    result = filled("import", "--provider", "anthropic", stdin=f"{TWO}\n{FOUR}\n{FOUR}\n")
    assert result.exit_code == 0
    assert result.stderr == "line 1 is known as anthropic/v2\nline 3 is known as anthropic/v3\n"
    assert result.stdout == "1 key added; 2 known already: anthropic/v3\n"


def test_options_are_for_those_that_say_nothing(run: Run, config: Path) -> None:
    run("import", "--provider", "anthropic", "--tier", "public", "--label", "bought", stdin=FILE)
    told = [(key.label, key.tier) for key in vault(run, config).list()]
    assert told == [("team a", "admin"), ("team a", "public"), ("bought", "public")]


def test_thousands(run: Run, config: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("".join(f"sk-ant-api03-{n:012d}-abcdef\n" for n in range(3000)))
    result = run("import", tmp_path / "keys.txt", "--provider", "anthropic")
    assert result.stdout.startswith("3000 keys added: anthropic/v1, anthropic/v2")
    assert result.stdout.endswith("and 2990 more\n")
    assert "3000 keys disabled" in run("disable", "--all").stdout
    assert vault(run, config).issue() == {}


# -- export


def test_an_export_goes_back_in_with_its_keys_filled_in(filled: Run, config: Path) -> None:
    filled("edit", "anthropic/v1", "--notes", "=1+1", "--label", "a, b")
    filled("remove", "anthropic/v2")
    result = filled("export", "--csv")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["name"] for row in table] == ["anthropic/v1", "anthropic/v2", "glm/v1"]
    assert table[0]["notes"] == "'=1+1"  # no formula in a spreadsheet
    for row, secret in zip(table, (ONE, TWO, THREE), strict=True):
        row["key"] = secret
    filled("remove", "--all", "--forever", "--yes")
    filled("remove", "--all", "--status", "removed", "--forever", "--yes")
    out = io.StringIO()
    writer = csv.DictWriter(out, table[0])
    writer.writeheader()
    writer.writerows(table)
    assert filled("import", stdin=out.getvalue()).exit_code == 0
    first = vault(filled, config).list()[0]
    assert (first.label, first.tier, first.weight, first.limits.concurrent) == ("a, b", "admin", 2.0, 4)
    assert [row["name"] for row in rows(filled("export"))] == ["anthropic/v3", "anthropic/v4", "glm/v2"]


# -- which keys are meant


def test_ids_aliases_labels(filled: Run, config: Path) -> None:
    id = vault(filled, config).list()[0].id
    assert filled("disable", id).stdout == "1 key disabled: anthropic/v1\n"
    assert filled("disable", "v2").stdout == "1 key disabled: anthropic/v2\n"
    assert filled("enable", "team a").stdout == "2 keys enabled: anthropic/v1, anthropic/v2\n"
    assert filled("disable", "team a", "anthropic/v1", id).stdout == "2 keys disabled: anthropic/v1, anthropic/v2\n"
    assert filled("disable", "team a").stdout == (
        "No key was disabled: nothing to do for anthropic/v1, anthropic/v2.\n"
    )
    assert filled("disable", "v1", "--provider", "glm").stdout == "1 key disabled: glm/v1\n"
    assert filled("enable", "--all", "--provider", "anthropic", "--status", "disabled").stdout.startswith("2 keys")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Name keys (id, alias or label), or say --all"),
        (("--provider", "glm"), "or say --all"),
        (("v2", "--all"), "not both"),
        (("v1",), "'v1' may be anthropic/v1 or glm/v1; say which."),
        (("nobody", "v2"), "No key is called 'nobody'"),
        (("",), "No key is called ''"),
        (("anthropic/k1",), "anthropic/k1 comes from relay.yaml; change it there."),
    ],
)
def test_what_means_no_key_changes_none(filled: Run, words: tuple[str, ...], said: str) -> None:
    before = rows(filled("list", "--json"))
    for command in ("disable", "enable", "remove", "restore"):
        result = filled(command, *words, CONFIGURED=CONFIGURED)
        assert result.exit_code == 2
        assert said in result.stderr
        assert rows(filled("list", "--json")) == before, command


def test_an_alias_before_a_label_that_looks_like_it(filled: Run) -> None:
    filled("edit", "glm/v1", "--label", "anthropic/v2")
    assert filled("disable", "anthropic/v2").stdout == "1 key disabled: anthropic/v2\n"


def test_a_label_means_those_with_which_it_can_be_done(filled: Run) -> None:
    filled("remove", "anthropic/v1")
    assert filled("disable", "team a").stdout == "1 key disabled: anthropic/v2\n"
    assert "was removed; bring it back" in filled("disable", "anthropic/v1").stderr
    assert filled("restore", "team a").stdout == "1 key restored: anthropic/v1\n"


# -- changing


def test_edit(filled: Run, config: Path) -> None:
    assert (
        filled("edit", "v2", "--tier", "admin", "--tokens-per-minute", "1000").stdout == "1 key changed: anthropic/v2\n"
    )
    key = vault(filled, config).list()[1]
    assert (key.tier, key.limits.tokens_per_minute, key.label) == ("admin", 1000, "team a")
    filled("edit", "--all", "--no-limits", "--weight", "3")
    assert {(key.limits.tokens_per_minute, key.weight) for key in vault(filled, config).list()} == {(None, 3.0)}
    assert "Say what to change" in filled("edit", "v2").stderr
    assert "weight is a number" in filled("edit", "v2", "--weight", "0").stderr


def test_groups_of_keys(filled: Run, config: Path) -> None:
    assert filled("add", "--provider", "glm", "--group", "research", stdin=FOUR).exit_code == 0
    assert filled("edit", "anthropic/v2", "--group", "ops").stdout == "1 key changed: anthropic/v2\n"
    assert listed(filled, "--group", "research") == ["glm/v2"]
    assert listed(filled, "--group", "") == ["anthropic/v1", "glm/v1"]
    assert "group" in filled("list").stdout.splitlines()[0]
    assert filled("disable", "--all", "--group", "research").stdout == "1 key disabled: glm/v2\n"
    assert filled("edit", "--all", "--in-group", "ops", "--group", "").stdout == "1 key changed: anthropic/v2\n"
    assert [key.group for key in vault(filled, config).list()] == ["", "", "", "research"]
    assert "group is a word" in filled("edit", "v1", "--group", "two words").stderr


def test_groups_come_in_and_go_out_with_files(run: Run, config: Path) -> None:
    table = f"key,group\n{ONE},ops\n{TWO},\n"
    assert run("import", "--provider", "glm", "--group", "research", stdin=table).exit_code == 0
    listing = json.dumps([{"key": THREE, "group": "ops"}])
    assert run("import", "--provider", "glm", stdin=listing).exit_code == 0
    out = run("export", "--csv", "--group", "ops").stdout
    assert [(row["name"], row["group"]) for row in csv.DictReader(io.StringIO(out))] == [
        ("glm/v1", "ops"),
        ("glm/v3", "ops"),
    ]
    assert [row["group"] for row in rows(run("export"))] == ["ops", "research", "ops"]


def test_remove_and_restore(filled: Run, config: Path) -> None:
    result = filled("remove", "--all", "--provider", "anthropic", "--yes")
    assert result.stdout == "2 keys removed: anthropic/v1, anthropic/v2\n"
    assert list(vault(filled, config).issue()) == ["glm"]
    assert filled("restore", "--all").stdout == "2 keys restored: anthropic/v1, anthropic/v2\n"
    assert "was not removed" in filled("restore", "glm/v1").stderr


def test_an_export_needs_its_keys_filled_in(filled: Run, config: Path) -> None:
    """One complaint, not one about each value."""
    exported = filled("export", "--csv").stdout
    for text in (exported, exported.replace(",", ";"), "label,tier,notes\na,admin,b\n"):
        result = filled("import", "--provider", "anthropic", stdin=text)
        assert result.exit_code == 1
        assert result.stderr == (
            "Error: Nothing was added: line 1: no column is called key; add it and fill the keys in (an export is without them)\n"
        )


@pytest.mark.parametrize("command", ["enable", "disable", "remove", "restore", "edit", "reset", "check", "prune"])
def test_nothing_is_no_number(run: Run, command: str) -> None:
    result = run(command, "--all", *(["--weight", "2"] if command == "edit" else []))
    assert result.exit_code == 0
    assert result.stdout.startswith(("No key was", "No cooldown", "There is no key"))
    assert "scripts/keys list" in result.stdout
    assert "0 key" not in result.stdout


def test_a_tier_is_one_that_means_something(filled: Run, config: Path) -> None:
    for command in (("edit", "v1"), ("add", "--provider", "glm")):
        result = filled(*command, "--tier", "wrong", stdin=THREE)
        assert result.exit_code == 2
        assert "tier is admin or public" in result.stderr
    assert "tier is admin or public" in filled("import", "--provider", "glm", stdin=f"key,tier\n{FOUR},admn\n").stderr
    assert (
        filled("edit", "anthropic/v1", "--tier", "Public").exit_code
        == filled("edit", "v2", "--tier", "").exit_code
        == 0
    )
    assert [key.tier for key in vault(filled, config).list()][:2] == ["public", ""]


def test_to_remove_all_asks(filled: Run) -> None:
    result = filled("remove", "--all", stdin="n\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Remove 3 keys: anthropic/v1, anthropic/v2, glm/v1?" in result.stderr
    assert "say --yes" in filled("remove", "--all").stderr  # nobody there to answer
    assert listed(filled) == ["anthropic/v1", "anthropic/v2", "glm/v1"]
    assert filled("remove", "anthropic/v1", "v2").stdout == "2 keys removed: anthropic/v1, anthropic/v2\n"
    assert filled("remove", "--all", stdin="y\n").stdout == "1 key removed: glm/v1\n"


def test_remove_for_good_asks(filled: Run) -> None:
    result = filled("remove", "v2", "--forever", stdin="n\n")
    assert result.exit_code == 1
    assert "Delete 1 key for good: anthropic/v2?" in result.stderr
    assert filled("remove", "v2", "--forever", stdin="y\n").stdout.endswith("1 key deleted: anthropic/v2\n")
    assert listed(filled, "--removed") == ["anthropic/v1", "glm/v1"]


def test_reset_lifts_cooldowns_of_both_kinds_of_keys(filled: Run, config: Path) -> None:
    path = config.with_name("relay.db")
    with closing(connect(path, patience=1)) as connection:
        create_state(connection)
    environ = {"CONFIGURED": CONFIGURED}
    ids = [
        row["id"]
        for row in rows(filled("list", "--json", **environ))
        if row["name"] in ("anthropic/v1", "anthropic/k1")
    ]
    plain = {"scope": "", "since": 1.0, "opens": None, "careful": 1, "stated": 0, "streak": 0, "lifted": -1.0}
    with closing(State(path)) as state:
        state.save_cooldowns(
            [
                {"provider": "anthropic", "key_id": id, "until": until, "reason": "401: no", **plain}
                for id, until in zip(ids, (None, 4e9), strict=True)
            ]
        )
    assert listed(filled, "--status", "out", **environ) == ["anthropic/v1"]
    assert listed(filled, "--status", "cooldown", **environ) == ["anthropic/k1"]
    table = filled("list", **environ).stdout
    assert "cooldown until 2096-10-02" in table
    assert "401: no" in table
    assert filled("reset", "anthropic/v1", "k1", **environ).stdout == "2 cooldowns lifted of 2 keys\n"
    assert listed(filled, "--status", "out", **environ) == listed(filled, "--status", "cooldown", **environ) == []


def test_reset_lifts_cooldowns_of_clients_own_credentials(filled: Run, config: Path) -> None:
    plain = {"scope": "", "since": 1.0, "opens": None, "careful": 1, "stated": 0, "streak": 0, "lifted": -1.0}
    with closing(State(config.with_name("relay.db"))) as state:
        state.save_cooldowns(
            [
                {"provider": name, "key_id": id, "until": None, "reason": "401: no", **plain}
                for name, id in (("anthropic", "own:0"), ("glm", "own:0"), ("anthropic", "another"))
            ]
        )
    assert filled("reset", "--own", "--provider", "glm").stdout == "1 cooldown lifted of clients' own credentials\n"
    assert filled("reset", "--own").stdout == "1 cooldown lifted of clients' own credentials\n"
    assert filled("reset", "--own").stdout == "No cooldown to lift of clients' own credentials\n"
    with closing(State(config.with_name("relay.db"))) as state:
        assert [row["key_id"] for row in state.load_cooldowns() if row["since"] > row["lifted"]] == ["another"]
    assert "--provider alone" in filled("reset", "--own", "--all").stderr


# -- the secret


def test_rotate_in_the_file(filled: Run, config: Path) -> None:
    before = config.with_name("relay.db.secret").read_text()
    result = filled("rotate-secret")
    assert result.stdout.startswith("All keys are sealed with a new secret. It is in ")
    assert config.with_name("relay.db.secret").read_text() != before
    assert len(vault(filled, config).issue()["anthropic"]) == 2


def test_rotate_to_the_variable_and_on(filled: Run, config: Path) -> None:
    first, second = "the first of two secrets", "the second of two secrets"
    result = filled("rotate-secret", RELAY_SECRET=first)
    assert result.stdout == "All keys are sealed with a new secret. It is the value of RELAY_SECRET.\n"
    assert not config.with_name("relay.db.secret").exists()
    result = filled("rotate-secret", stdin=f"{second}\n", RELAY_SECRET=first)
    assert "Now set RELAY_SECRET to the new secret" in result.stdout
    assert second not in result.output
    path = config.with_name("relay.db")
    assert len(Vault(path, environ={"RELAY_SECRET": second}).issue()["anthropic"]) == 2


def test_a_new_secret_needs_the_old_and_is_another_one(run: Run) -> None:
    first = "the first of two secrets"
    assert run("add", "--provider", "glm", stdin=ONE, RELAY_SECRET=first).exit_code == 0
    assert "give another one" in run("rotate-secret", stdin=first, RELAY_SECRET=first).stderr
    result = run("rotate-secret", stdin="another one of good length", RELAY_SECRET=first[::-1])
    assert result.exit_code == 1
    assert "RELAY_SECRET is not the secret" in result.stderr


def test_a_new_secret_that_is_too_short(filled: Run) -> None:
    result = filled("rotate-secret", "--to", "environment", stdin="short")
    assert (result.exit_code, "16 characters or more" in result.stderr) == (1, True)
    assert filled("rotate-secret", "--to", "keyring").exit_code == 1


def test_without_the_secret_all_but_keys_themselves_can_be_had(filled: Run, config: Path) -> None:
    config.with_name("relay.db.secret").unlink()
    result = filled("add", "--provider", "glm", stdin=FOUR)
    assert (result.exit_code, "bring it back" in result.stderr) == (1, True)
    assert listed(filled) == ["anthropic/v1", "anthropic/v2", "glm/v1"]
    assert filled("disable", "--all").exit_code == 0
    assert filled("check", "--all").exit_code == 1
    assert filled("remove", "--all", "--forever", "--yes").exit_code == 0
    assert filled("add", "--provider", "glm", stdin=FOUR).exit_code == 0


# -- help


def test_every_command_has_an_example() -> None:
    for command in SUBCOMMANDS:
        result = CliRunner().invoke(keys, [str(command.name), "--help"])
        assert result.exit_code == 0
        assert f"scripts/keys {command.name}" in result.output


def test_a_broken_configuration_is_told(run: Run, config: Path) -> None:
    config.write_text("wat: 1")
    assert (run("list").exit_code, "wat" in run("list").stderr) == (2, True)


def test_checked_keys_in_a_table(filled: Run, config: Path) -> None:
    with closing(vault(filled, config)) as opened:
        first, second, _ = (key.id for key in opened.list())
        opened.record(
            {first: CheckResult("limited", 4e9, "429: slow"), second: CheckResult("revoked", None, "401: no")}
        )
    table = filled("list").stdout
    assert "limited until 2096-10-02" in table
    assert "revoked" in table
    assert "429: slow" in table
    assert set(CELLS) >= {"why", "used", "last used"}


def test_a_chosen_key_is_named(filled: Run) -> None:
    assert "goes before the others" in filled("choose", "v2").output
    assert [row["name"] for row in rows(filled("list", "--json")) if row["chosen"]] == ["anthropic/v2"]
    assert "chosen" in filled("list").output
    assert "already" in filled("choose", "v2").output
    assert filled("choose").exit_code == filled("choose", "v2", "--none").exit_code == 2
    filled("disable", "anthropic/v1")
    assert "is disabled" in filled("choose", "anthropic/v1").output
    assert "No key of anthropic" in filled("choose", "--none", "--provider", "anthropic").output
    assert not any(row["chosen"] for row in rows(filled("list", "--json")))
