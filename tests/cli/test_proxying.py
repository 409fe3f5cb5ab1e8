"""`keys proxies` as people use it: with real proxies, and without a password in anything that is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.keys import keys
from claude_relay.cli.ways_out import proxies as ways_out
from claude_relay.core.config import parse
from claude_relay.store.vault.vault import Vault
from upstream.providers import answering, raw
from wire.socks import microsocks
from wire.upstream import FakeUpstream

PASSWORD = "hunter2"
SECRET = {"RELAY_SECRET": "a secret for tests"}
URL = f"socks5://me:{PASSWORD}@proxy.example:1080"
pytestmark = pytest.mark.usefixtures("cheap_secrets")
type Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "relay.yaml"
    path.write_text(
        "providers: {p: {base_url: 'http://p.example'}}\nproxies: {mine: {url: 'http://mine.example:3128'}}"
    )
    return path


@pytest.fixture
def run(file: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a sub-command of `proxies`, or of `keys` where the first word begins with a dot."""
    monkeypatch.setitem(sys.modules, "keyring", None)

    def call(*words: str, stdin: str = "", **environ: str) -> Result:
        path = [words[0][1:]] if words[0].startswith(".") else ["proxies", words[0]]
        arguments = [*path, *words[1:], "--config", str(file)]
        found = CliRunner().invoke(keys, arguments, input=stdin, env=SECRET | environ)
        assert PASSWORD not in found.output
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return found

    return call


def test_from_a_pipe_to_a_key_and_away(run: Run) -> None:
    assert "Added office socks5://proxy.example:1080" in run("add", "office", "--direct", stdin=f"{URL}\n").output
    assert run(".add", "--proxy", "office", stdin="sk-ant-api03-one-0123456789abcdef").exit_code == 0
    [mine, office] = json.loads(run("list", "--json").stdout)
    assert (mine["name"], mine["source"]) == ("mine", "relay.yaml")
    assert (office["keys"], office["signed_in"], office["direct"]) == (["p/v1"], True, True)
    refused = run("remove", "office", "--yes")
    assert (refused.exit_code, "p/v1" in refused.output) == (1, True)
    assert run(".edit", "v1", "--no-proxy").exit_code == 0
    assert run("remove", "office").exit_code == 1  # nobody can answer
    assert run("remove", "office", "--yes").exit_code == 0
    assert "office" not in run("list").output


def test_a_password_is_never_on_the_command_line(run: Run) -> None:
    refused = run("add", "office", "--url", URL)
    assert (refused.exit_code, "--url '${TEAM_PROXY}'" in refused.output) == (2, True)
    assert run("add", "office", "--url", "${OFFICE}", OFFICE=URL).exit_code == 0
    added = run("add", "two", "--url", "socks5://proxy.example:1080", "--user", "me", stdin=PASSWORD)
    assert added.exit_code == 0
    assert [one["signed_in"] for one in json.loads(run("list", "--json").stdout)] == [False, True, True]


def test_what_cannot_be_added(run: Run) -> None:
    for words, stdin, said in (
        (("add", "mine"), URL, "relay.yaml has a proxy mine already"),
        (("add", "direct"), URL, "is not 'direct'"),
        (("add", "office"), "", "no URL on standard input"),
        (("add", "office"), f"socks4://me:{PASSWORD}@h:1", "version 5"),
        (("add", "office", "--user", "me"), PASSWORD, "--url"),
        (("add", "office", "--url", "office"), "", "http://"),
        (("add", "office", "--timeout", "0"), URL, "5s"),
        (("edit", "office"), "", "Say what to change"),
        (("edit", "office", "--direct"), "", "no proxy 'office'"),
        (("edit", "mine", "--direct"), "", "change it there"),
        (("remove", "mine", "--yes"), "", "change it there"),
        (("test", "office"), "", "no proxy 'office'"),
    ):
        result = run(*words, stdin=stdin)
        assert result.exit_code in (1, 2), words
        assert said in result.output, words


def test_an_edit(run: Run, file: Path) -> None:
    run("add", "office", stdin=URL)
    assert run("edit", "office", "--timeout", "2s", "--notes", "slow").exit_code == 0
    assert "other.example" in run("edit", "office", "--ask", stdin="https://other.example").output
    [_, office] = json.loads(run("list", "--json").stdout)
    assert (office["address"], office["timeout"], office["notes"]) == ("https://other.example:443", 2.0, "slow")


def test_a_name_in_both(run: Run, file: Path) -> None:
    """relay.yaml's is used, and everybody says so."""
    run("add", "office", stdin=URL)
    run(".add", "--proxy", "office", stdin="sk-ant-api03-one-0123456789abcdef")
    file.write_text(file.read_text().replace("mine:", "office:"))
    assert "office is in relay.yaml, too" in run("list").output
    config = parse(file.read_text(), environ={}, folder=file.parent)
    said = [check for check in ways_out(config, environ=SECRET) if "both have one" in check.found]
    assert [(check.name, check.status) for check in said] == [("proxy office", "warn")]
    assert run("remove", "office", "--yes").exit_code == 0  # its key has relay.yaml's


def test_they_are_tried(run: Run, file: Path) -> None:
    with ExitStack() as stack:
        proxy, upstream = stack.enter_context(microsocks("me", PASSWORD)), stack.enter_context(FakeUpstream())
        echo = stack.enter_context(raw(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n192.0.2.7")))
        file.write_text(f"providers: {{p: {{base_url: '{upstream.url}'}}}}")
        run("add", "office", stdin=proxy.url_for("me", PASSWORD))
        good = run("test", "--echo", f"http://{echo}/")
        assert (good.exit_code, "leads to 127.0.0.1 in" in good.output) == (0, True)
        assert "sees 192.0.2.7" in good.output
        run("edit", "office", "--ask", stdin=proxy.url_for("me", "hunter23"))
        bad = run("test", "office", "--json")
        assert (bad.exit_code, "refused the user" in json.loads(bad.stdout)[0]["reason"]) == (1, True)
        run(".add", "--proxy", "office", stdin="sk-ant-api03-one-0123456789abcdef")
        config = parse(file.read_text(), environ={}, folder=file.parent)
        with closing(Vault(config.database, environ=SECRET)):
            [check] = ways_out(config, environ=SECRET)
        assert (check.name, check.status) == ("proxy office", "fail")
        assert "for key p/v1" in check.found
