import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.tools import cmdline
from mitmproxy.tools.dump import DumpMaster
from mitmproxy.tools.web.master import WebMaster

from claude_relay.cli import main
from claude_relay.cli.checks import is_relay
from claude_relay.cli.command_line import LONG, SHORT, has_mode, objection, parts
from claude_relay.cli.console.common import addon_script, load_config
from claude_relay.cli.console.taking_back import applied, changes
from claude_relay.cli.relay import relay, undo_env
from claude_relay.core.config import Address, parse
from claude_relay.core.config.listening import modes
from claude_relay.store import authority
from waiting import PATIENCE
from wire.relay import free_ports

ROOT = Path(__file__).parents[2]
RUN = ROOT / "scripts" / "lib" / "run.py"


# -- the command line of mitmproxy


def test_the_listeners_as_mitmproxy_takes_them() -> None:
    text = "listen: {proxy: '[::1]:8080', base_url: 127.0.0.1:82}\nintercept: {hosts: [a.example, b.example]}"
    words = modes(parse(text, environ={}))
    assert words == ["regular@::1:8080", "reverse:http://a.example:443@127.0.0.1:82"]
    specs = [ProxyMode.parse(word) for word in words]
    assert [spec.transport_protocol for spec in specs] == ["tcp", "tcp"]
    assert [(spec.custom_listen_host, spec.custom_listen_port) for spec in specs] == [("::1", 8080), ("127.0.0.1", 82)]


def test_a_listener_that_is_off() -> None:
    assert modes(parse("listen: {proxy: null}", environ={}))[0].startswith("reverse:")
    assert len(modes(parse("listen: {base_url: null}", environ={}))) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--mode", "regular@1"], True),
        (["-m", "regular"], True),
        (["--mode=regular"], True),
        (["--set", "mode=regular"], True),
        (["-q", "--set", "modes=x"], False),
    ],
)
def test_a_mode_of_the_users_own_wins(words: list[str], expected: bool) -> None:
    assert has_mode(words) is expected


def test_an_options_value_is_told_from_a_word() -> None:
    words = ["-qp9", "-w", "f", "word", "--set=a=b", "--listen-po", "1", "--anticache", "-", "-p", "2"]
    found = [
        ("-q", ""),
        ("-p", "9"),
        ("-w", "f"),
        ("", "word"),
        ("--set", "a=b"),
        ("--listen-po", "1"),
        ("--anticache", ""),
        ("", "-"),
        ("-p", "2"),
    ]
    assert list(parts(words)) == found


def test_the_options_that_have_a_value_are_mitmproxys() -> None:
    async def valued(master: type[DumpMaster | WebMaster], parser: Callable[[Options], ArgumentParser]) -> set[str]:
        options = Options()
        master(options)
        return {name for action in parser(options)._actions if action.nargs != 0 for name in action.option_strings}

    found = asyncio.run(valued(DumpMaster, cmdline.mitmdump)) | asyncio.run(valued(WebMaster, cmdline.mitmweb))
    assert found == {*LONG, *(f"-{letter}" for letter in SHORT)}


@pytest.mark.parametrize(
    "words", [["-p", "9"], ["-qp9"], ["--listen-port=9"], ["--listen-host", "::1"], ["--port", "9"]]
)
def test_a_place_to_listen_is_for_relay_yaml(words: list[str]) -> None:
    result = CliRunner().invoke(relay, words)
    assert result.exit_code == 2
    assert "has no effect here" in result.stderr
    assert "listen.proxy and listen.base_url" in result.stderr
    assert objection(["--mode", "regular", *words]) == ""
    assert "--set listen_port has no effect" in objection(["--set", "listen_port=9"])


def test_a_bare_word_is_no_filter() -> None:
    result = CliRunner().invoke(relay, ["-w", "flows", "start"])
    assert result.exit_code == 2
    assert "'start' is no option" in result.stderr
    assert "~u start" in result.stderr
    assert objection(["-q", "~u", "start"]) == objection(["~u start"]) == ""


@pytest.mark.parametrize("words", [["--web", "--confg", "x"], ["-Q"], ["--flow-detail", "much"]])
def test_what_mitmproxy_does_not_know_is_answered_in_the_relays_words(tmp_path: Path, words: list[str]) -> None:
    environ = os.environ | {"HOME": str(tmp_path), "RELAY_CONFIG": str(quiet(tmp_path))}
    done = subprocess.run([sys.executable, str(RUN), "relay", *words], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: mitm" not in done.stderr
    assert words[-1].strip("x") in done.stderr
    assert "scripts/relay --options" in done.stderr


def test_the_configuration_is_named_as_for_other_commands(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("wat: 1")
    result = CliRunner().invoke(relay, ["--config", str(tmp_path / "r.yaml")])
    assert result.exit_code == 2
    assert "r.yaml:1: wat: unknown key" in result.stderr
    result = CliRunner().invoke(relay, ["--config", "a.yaml", "--set", "relay_config=b.yaml"])
    assert "keep one" in result.stderr


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_names_all_versions(name: str) -> None:
    result = CliRunner().invoke(main.main, [name, "--version"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["Claude", "mitmproxy", "Python", "system"]
    assert result.stdout == CliRunner().invoke(main.main, ["--version"]).stdout


def test_the_addon_is_found_in_a_checkout_and_in_the_package() -> None:
    assert addon_script() == ROOT / "addon" / "relay.py"
    packaged = ROOT / "addon" / "claude_relay" / "cli" / "script" / "relay.py"
    assert packaged.read_text().split('"""')[2] == addon_script().read_text().split('"""')[2]


# -- before mitmproxy starts


def test_a_broken_configuration_ends_with_every_problem(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("wat: 1\nlisten: {proxi: 1}")
    result = CliRunner().invoke(relay, ["--set", f"relay_config={tmp_path / 'r.yaml'}"])
    assert result.exit_code == 2
    assert "r.yaml:1: wat: unknown key" in result.stderr
    assert "r.yaml:2: listen.proxi: unknown key" in result.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(relay, [], env={"RELAY_CONFIG": str(tmp_path / "gone.yaml")})
    assert result.exit_code == 2
    assert "gone.yaml: No such file" in result.stderr


def test_taken_ports_are_named_with_their_lines(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
        text = f"listen:\n  proxy: 127.0.0.1:{ports[0]}\n  base_url: 127.0.0.1:{ports[1]}\n"
        (tmp_path / "r.yaml").write_text(text)
        result = CliRunner().invoke(relay, [], env={"RELAY_CONFIG": str(tmp_path / "r.yaml")})
    assert result.exit_code == 1
    for line, (name, port) in enumerate(zip(("proxy", "base_url"), ports, strict=True), 2):
        [said] = [text for text in result.stderr.splitlines() if f"r.yaml:{line}: " in text]
        assert f"cannot listen on 127.0.0.1:{port}: another program listens there" in said
        assert said.endswith(f", or set listen.{name} to another address")


def test_other_commands_read_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "relay.yaml").write_text("retry: {attempts: 3}")
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert load_config(None).retry.attempts == 5  # the one beside addon/
    monkeypatch.setenv("RELAY_CONFIG", "./relay.yaml")
    config = load_config(None)
    assert (config.retry.attempts, config.database) == (3, tmp_path / "relay.db")
    (tmp_path / "other.yaml").write_text("retry: {attempts: 4}")
    assert load_config(str(tmp_path / "other.yaml")).retry.attempts == 4


# -- the real thing


@contextmanager
def running(
    folder: Path, *words: str, run: Path = RUN, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The relay as scripts/relay starts it; its lines, at least up to the first of the banner's end."""
    own = {"PYTHONUNBUFFERED": "1", "HOME": str(folder), "RELAY_CONFIG": "", "ANTHROPIC_API_KEYS": ""}
    environ = os.environ | own | environ
    start = [sys.executable, str(run), "relay", "--set", f"confdir={folder / 'conf'}", *words]
    process = subprocess.Popen(
        start, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if "next" in line:
                break
        yield process, lines
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_it_starts_listens_says_so_and_stops(tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    proxy, base_url = free_ports(2)
    text = f"listen: {{proxy: '127.0.0.1:{proxy}', base_url: '127.0.0.1:{base_url}', panel: null, status: null}}\n"
    (folder / "relay.yaml").write_text(text)
    with running(folder, RELAY_CONFIG="relay.yaml") as (process, lines):
        said = "\n".join(lines)
        assert "not ./relay.yaml" not in said
        assert f"next      RELAY_CONFIG='{folder / 'relay.yaml'}' scripts/env -- claude" in said
        assert f"http://127.0.0.1:{proxy}" in said
        assert f"http://127.0.0.1:{base_url}" in said
        assert is_relay("proxy", Address("127.0.0.1", proxy), "api.anthropic.com")
        assert is_relay("base_url", Address("127.0.0.1", base_url), "api.anthropic.com")
        assert (folder / "relay.db").is_file()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("by", ["scripts/relay", "mitmdump"])
def test_its_ca_is_its_own_and_mitmproxys_folder_stays_free(tmp_path: Path, by: str) -> None:
    """Whoever uses mitmproxy for other work later gets a CA there that is for all hosts."""
    start = [str(RUN), "relay"] if by == "scripts/relay" else ["-c", MITMDUMP, "-s", str(ROOT / "addon" / "relay.py")]
    environ = os.environ | {"HOME": str(tmp_path), "RELAY_CONFIG": str(quiet(tmp_path)), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, *start, *(["-p", "0"] if by == "mitmdump" else [])]
    with subprocess.Popen(words, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            assert any("next " in line for line in process.stdout)
        finally:
            process.kill()
    own = tmp_path / ".mitmproxy" / "claude-relay"
    assert not list((tmp_path / ".mitmproxy").glob("*.*"))
    assert authority.is_constrained(authority.certificate(own))
    assert authority.usual_folder(environ) == own


def test_what_it_says_reaches_a_file_at_once(tmp_path: Path) -> None:
    """Not when some pages are full: somebody looks at a service's log to see whether it runs."""
    with running(tmp_path, PYTHONUNBUFFERED="", RELAY_CONFIG=str(quiet(tmp_path))) as (process, lines):
        assert "next" in lines[-1]
        assert process.poll() is None


def quiet(folder: Path) -> Path:
    """A relay.yaml without fixed ports."""
    file = folder / "quiet.yaml"
    file.write_text("listen: {proxy: '127.0.0.1:0', base_url: null, panel: null, status: null}\n")
    return file


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A program that finds the package as an installed one: not below a folder `addon`."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "claude_relay").symlink_to(ROOT / "addon" / "claude_relay")
    program = tmp_path / "claude-relay.py"
    program.write_text(
        f"import sys; sys.path[0] = {str(packages)!r}\nfrom claude_relay.cli.main import main; main(prog_name='claude-relay')\n"
    )
    return program


def test_installed_it_uses_the_users_folders_and_nothing_of_the_working_directory(
    tmp_path: Path, installed: Path
) -> None:
    """A relay.yaml of a cloned repository could run Python of its own."""
    proxy, base_url = free_ports(2)
    listen = f"listen: {{proxy: '127.0.0.1:{proxy}', base_url: '127.0.0.1:{base_url}', panel: null, status: null}}\n"
    mine = tmp_path / ".config" / "claude-relay" / "relay.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(listen)
    (tmp_path / "stranger.py").write_text("import pathlib; pathlib.Path('witness').touch()\n")
    (tmp_path / "relay.yaml").write_text("providers: {p: {format: stranger.py, base_url: 'http://127.0.0.1:9'}}\n")
    xdg = {"XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "state", "PYTHONPATH": ""}
    with running(tmp_path, run=installed, **xdg) as (_, lines):
        said = "\n".join(lines)
        assert f"config    {mine}" in said
        assert "            not ./relay.yaml; for it: RELAY_CONFIG=./relay.yaml" in said
        assert "next      claude-relay env -- claude" in said
        folder = tmp_path / ".local" / "state" / "claude-relay"
        assert (folder / "relay.db").is_file()
        assert folder.stat().st_mode & 0o777 == 0o700
        words = [sys.executable, str(installed), "env", "--base-url"]
        environ = os.environ | {"HOME": str(tmp_path), "RELAY_CONFIG": ""} | xdg
        done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
        assert f"export ANTHROPIC_BASE_URL=http://127.0.0.1:{base_url}" in done.stdout
        assert done.stderr == ""
    assert not (tmp_path / "witness").exists()
    assert not (tmp_path / "relay.db").exists()


ALL_HELP = """
import click
from click.testing import CliRunner

def show(command, *words):
    print(CliRunner().invoke(main, [*words, "--help"], prog_name="claude-relay", catch_exceptions=False).output)
    if isinstance(command, click.Group):
        for name in command.list_commands(context := click.Context(command)):
            show(command.get_command(context, name), *words, name)

show(main)
"""


def test_installed_it_names_the_command_that_is_installed(tmp_path: Path, installed: Path) -> None:
    """There is no folder `scripts`."""
    environ = os.environ | {"HOME": str(tmp_path), "RELAY_CONFIG": "", "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}
    helping = tmp_path / "all_help.py"
    helping.write_text(installed.read_text().replace("main(prog_name='claude-relay')\n", ALL_HELP))
    said = {}
    for words in ("", "keys list", "env --unset", "demo keys", "test", "usage", "doctor", "relay --with parquet"):
        start = [sys.executable, str(installed if words else helping), *words.split()]
        done = subprocess.run(
            start, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        said[words] = done.stdout + done.stderr
        assert "Traceback" not in said[words]
    for words in ("env -- claude", "keys add", "usage reprice --since", "ledger export attempts.parquet"):
        assert f"  claude-relay {words}" in said[""]
    assert [line for line in said[""].splitlines() if len(line) > 80] == []
    assert "Add one: claude-relay keys add" in said["keys list"]
    assert "'claude-relay demo keys' needs a checkout" in said["demo keys"]
    assert (
        "--with is for a checkout; here: pip install 'mitmproxy-claude-relay[parquet]'" in said["relay --with parquet"]
    )
    assert [line for text in said.values() for line in text.splitlines() if "scripts/" in line] == []


def test_installed_it_has_the_schema_and_the_dashboard(tmp_path: Path, installed: Path) -> None:
    for option, file in (
        ("--schema", ROOT / "relay.schema.json"),
        ("--dashboard", ROOT / "addon/claude_relay/cli/grafana.json"),
    ):
        start = [sys.executable, str(installed), "relay", option]
        done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (file.read_text("utf-8"), "")


MITMDUMP = "from mitmproxy.tools.main import mitmdump; mitmdump()"


@pytest.mark.parametrize(
    "start", [[str(RUN), "relay"], ["-c", MITMDUMP, "-s", str(ROOT / "addon" / "relay.py"), "-p", "0"]]
)
def test_a_home_that_cannot_be_written_to(tmp_path: Path, start: list[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "r.yaml").write_text("listen: {proxy: '127.0.0.1:0', base_url: null, panel: null, status: null}\n")
    environ = os.environ | {"HOME": str(tmp_path / "file"), "RELAY_CONFIG": str(tmp_path / "r.yaml")}
    words = [sys.executable, *start]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert f"no CA can be made in {tmp_path / 'file' / '.mitmproxy'}: Not a directory" in done.stdout
    assert "--set confdir=DIR" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


# -- the group of commands


def test_help_lists_every_command_without_importing_one() -> None:
    code = "import sys; from claude_relay.cli.main import main; main(['--help'], standalone_mode=False)"
    code += "; print([name for name in sys.modules if name in ('pydantic', 'mitmproxy', 'rich', 'ruamel.yaml')])"
    environ = os.environ | {"PYTHONPATH": str(ROOT / "addon")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in main.COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["relay", "env", "doctor", "test", "usage"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(main.main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.output


def test_a_part_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.COMMANDS, "nothing", "There is no such module.")
    result = CliRunner().invoke(main.main, ["nothing"])
    assert (result.exit_code, result.stderr) == (1, "Error: 'nothing' is not part of this version.\n")
    with pytest.raises(SystemExit):
        main.script("nothing", [])
    with pytest.raises(click.ClickException):
        main.load("nothing")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "claude_relay.cli.certificates", raising=False)
    monkeypatch.delitem(sys.modules, "claude_relay.cli.env", raising=False)
    monkeypatch.delattr("claude_relay.cli.certificates", raising=False)
    monkeypatch.setitem(sys.modules, "certifi", None)
    result = CliRunner().invoke(main.main, ["env"])
    assert result.exit_code == 1
    assert "'certifi' is missing" in result.stderr


def test_a_relay_in_a_shell_that_is_led_through_it_goes_out_as_the_shell_did_before() -> None:
    shell = {"HTTPS_PROXY": "http://company:3128", "PATH": "/bin"}
    led = applied(changes({"HTTPS_PROXY": "http://127.0.0.1:8080", "SSL_CERT_FILE": "/ours"}, shell), shell)
    undo_env(led)
    assert led == shell


def test_extras_come_first() -> None:
    """Where they do, setup.sh has taken them out."""
    result = CliRunner().invoke(main.load("relay"), ["--web", "--with", "telemetry"])
    assert result.exit_code == 2
    assert "Error: --with comes first: scripts/relay --with telemetry" in result.stderr
