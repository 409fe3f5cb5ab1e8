import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import certifi
import pytest
from click.testing import CliRunner, Result

from claude_relay.cli import certificates
from claude_relay.cli.console.common import mitm_option
from claude_relay.cli.console.taking_back import RECORD
from claude_relay.cli.env import credential, env, no_proxy, with_lower_case
from claude_relay.core.clients.credentials import PLACEHOLDER
from claude_relay.core.config import default, parse
from claude_relay.core.shells import ADDING, REPLACING, lines
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")

RUN = Path(__file__).parents[2] / "scripts" / "lib" / "run.py"
NASTY = ["plain", "it's", 'a "b" $HOME `id` \\ !x', "two\nlines", "", "* ? [a]", "é; rm -rf ~", "--flag=x"]
CLEAN = dict.fromkeys(
    (
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEYS"),
        *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ANTHROPIC_BASE_URL", "RELAY_ENV"),
        *(*ADDING, *REPLACING, "RELAY_CONFIG"),
    )
)


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for mitmproxy, with a blank and a quote in its name; mitmproxy never ran there."""
    folder = tmp_path_factory.mktemp("conf") / "it's mine"
    certificates.ensure_bundle(folder)
    return folder


def run(confdir: Path, *arguments: str, config: str = "", **environ: str) -> Result:
    file = confdir.parent / "relay.yaml"
    file.write_text(config, "utf-8")
    words = ["--config", str(file), "--set", f"confdir={confdir}", *arguments]
    return CliRunner().invoke(env, words, env=CLEAN | environ)


def assigned(result: Result) -> dict[str, str]:
    """What a shell that evaluates the output holds afterwards."""
    assert result.exit_code == 0, result.output
    script = f"{result.stdout}\n{shlex.quote(sys.executable)} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.defpath}, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: value for name, value in found.items() if name in result.stdout and name != RECORD}


def test_the_lines_of_the_proxy(confdir: Path) -> None:
    found = assigned(run(confdir))
    assert found.pop("NODE_EXTRA_CA_CERTS") == str(confdir / certificates.CA)
    assert {found.pop(name) for name in REPLACING} == {str(confdir / certificates.BUNDLE)}
    assert found == {"HTTPS_PROXY": "http://127.0.0.1:8080", "NO_PROXY": "localhost,127.0.0.1,::1"}


def test_the_lines_of_the_base_url(confdir: Path) -> None:
    found = assigned(run(confdir, "--base-url", config="listen: {base_url: '0.0.0.0:9'}"))
    assert found == {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.1,::1"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"ANTHROPIC_API_KEYS": "k"}, True),
        ({"ANTHROPIC_API_KEYS": "k", "ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": ""}, True),
        ({"ANTHROPIC_API_KEYS": "k", "ANTHROPIC_AUTH_TOKEN": PLACEHOLDER}, True),
        ({"ANTHROPIC_API_KEYS": "k", "ANTHROPIC_API_KEY": "own"}, False),
        ({"ANTHROPIC_API_KEYS": "k", "ANTHROPIC_AUTH_TOKEN": "own"}, False),
        ({"ANTHROPIC_API_KEYS": "k", "CLAUDE_CODE_OAUTH_TOKEN": "own"}, False),
    ],
)
def test_a_placeholder_only_where_the_relay_has_keys_and_the_client_none(
    confdir: Path, environ: dict[str, str], expected: bool
) -> None:
    result = run(confdir, **environ)
    assert ("export ANTHROPIC_AUTH_TOKEN=sk-ant-placeholder-relay" in result.stdout) is expected
    assert "export ANTHROPIC_API_KEY=" not in result.stdout
    assert "own" not in result.output


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_values_survive_the_shell(shell: str, confdir: Path) -> None:
    variables = {f"V{n}": value for n, value in enumerate(NASTY)}
    script = "\n".join(lines(variables, "sh")) + "\nprintf '%s\\0' " + " ".join(f'"$V{n}"' for n in range(len(NASTY)))
    if subprocess.run(["sh", "-c", f"command -v {shell}"], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == NASTY


def test_other_shells_quote_in_their_own_way() -> None:
    assert lines({"A": "it's \\ $x"}, "fish") == [r"set -gx A 'it\'s \\ $x'"]
    assert lines({"A": "it's \\ $x"}, "powershell") == [r"$env:A = 'it''s \ $x'"]
    assert lines({"A": None}, "fish") == ["set -e A"]
    assert lines({"A": None}, "pwsh") == ["Remove-Item Env:A -ErrorAction SilentlyContinue"]


def test_the_bundle_holds_the_worlds_cas_and_ours(confdir: Path) -> None:
    content = (confdir / certificates.BUNDLE).read_bytes()
    assert Path(certifi.where()).read_bytes().strip() in content
    assert (confdir / certificates.CA).read_bytes().strip() in content
    assert (confdir / certificates.BUNDLE).stat().st_mode & 0o777 == 0o644
    assert (confdir / "mitmproxy-ca.pem").stat().st_mode & 0o077 == 0


def test_the_bundle_follows_the_ca(confdir: Path, tmp_path: Path) -> None:
    certificate = (confdir / certificates.CA).read_bytes()
    (tmp_path / certificates.CA).write_bytes(b"old")
    bundle = certificates.ensure_bundle(tmp_path)
    before = bundle.stat().st_mtime_ns
    assert certificates.ensure_bundle(tmp_path).stat().st_mtime_ns == before
    (tmp_path / certificates.CA).write_bytes(certificate)
    assert certificate.strip() in certificates.ensure_bundle(tmp_path).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [certificates.CA, certificates.BUNDLE]


def test_no_module_of_the_working_directory_runs_when_the_ca_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned repository may hold files with the names of modules."""
    (tmp_path / "mitmproxy.py").write_text("open('witness', 'w')\n")
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path / "conf")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "conf" / certificates.CA).is_file()
    assert not (tmp_path / "witness").exists()


def test_a_companys_ca_stays_trusted(confdir: Path, tmp_path: Path) -> None:
    (tmp_path / "company.pem").write_text("-----COMPANY-----")
    found = assigned(run(confdir, NODE_EXTRA_CA_CERTS=str(tmp_path / "company.pem"), SSL_CERT_FILE="/no/such/file"))
    assert found["NODE_EXTRA_CA_CERTS"] == found["SSL_CERT_FILE"] == str(confdir / certificates.BUNDLE)
    assert "-----COMPANY-----" in (confdir / certificates.BUNDLE).read_text()
    again = run(confdir, **{name: found[name] for name in (*ADDING, *REPLACING)})
    assert assigned(again)["NODE_EXTRA_CA_CERTS"] == str(confdir / certificates.CA)


def test_hosts_that_bypass_proxies_still_do_but_for_the_intercepted() -> None:
    config = default({})
    assert no_proxy(config, {"NO_PROXY": "intra.example, .corp,localhost"}) == (
        "localhost,127.0.0.1,::1,intra.example,.corp"
    )
    both = {"NO_PROXY": "intra.example", "no_proxy": ".corp intra.example"}  # some programs read only one
    assert no_proxy(config, both) == "localhost,127.0.0.1,::1,intra.example,.corp"
    for entry in (
        "*",
        "api.anthropic.com",
        ".anthropic.com",
        "anthropic.com",
        "*.anthropic.com",
        "api.anthropic.com:443",
    ):
        assert no_proxy(config, {"no_proxy": entry}) == "localhost,127.0.0.1,::1", entry
    assert no_proxy(config, {"NO_PROXY": "notanthropic.com"}).endswith("notanthropic.com")


def test_lower_case_twins_are_overridden() -> None:
    assert with_lower_case({"HTTPS_PROXY": "a", "SSL_CERT_FILE": "b"}, {"https_proxy": "old"}) == {
        "HTTPS_PROXY": "a",
        "SSL_CERT_FILE": "b",
        "https_proxy": "a",
    }


def test_a_listener_that_is_off(confdir: Path) -> None:
    result = run(confdir, config="listen: {proxy: null}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--base-url" in result.stderr
    result = run(confdir, "--base-url", config="listen: {base_url: null}")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_broken_configuration_prints_nothing_to_evaluate(confdir: Path) -> None:
    result = run(confdir, config="wat: 1\nwot: 2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "relay.yaml:1: wat: unknown key" in result.stderr
    assert "relay.yaml:2: wot: unknown key" in result.stderr


# -- running one command


def command(*words: str, confdir: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(confdir.parent), **environ}
    start = [sys.executable, str(RUN), "env", "--set", f"confdir={confdir}"]
    return subprocess.run([*start, *words], env=own, capture_output=True, text=True, cwd=confdir, check=False)


def test_a_command_gets_the_variables_and_its_status_comes_back(confdir: Path) -> None:
    script = 'echo "$HTTPS_PROXY|$1|$PYTHONPATH"; exit 7'
    done = command("--", "sh", "-c", script, "-", "two words", confdir=confdir, PYTHONPATH="/mine")
    assert (done.stdout, done.returncode) == ("http://127.0.0.1:8080|two words|/mine\n", 7)
    done = command("sh", "-c", 'echo "$1"', "-", "--help", confdir=confdir)
    assert (done.stdout, done.returncode) == ("--help\n", 0)


def test_a_command_that_does_not_exist(confdir: Path) -> None:
    done = command("--", "no-such-program-here", confdir=confdir)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (127, "no-such-program-here: no such program")


def test_options_of_mitmproxy_in_a_command_line() -> None:
    words = ["--set", "confdir=/a", "-q", "--set=confdir=/b=c", "--set", "other=1"]
    assert mitm_option(words, "confdir") == "/b=c"
    assert mitm_option(words, "conf") is None
    assert mitm_option(["--set"], "x") is None


def test_mitmproxys_commands_are_where_they_are_looked_for() -> None:
    """The contract with mitmproxy's packaging."""
    scripts = {
        entry.name: entry for entry in distribution("mitmproxy").entry_points if entry.group == "console_scripts"
    }
    assert callable(scripts["mitmdump"].load())
    assert callable(scripts["mitmweb"].load())


# -- taking it back

COMPANY = {
    "HTTPS_PROXY": "http://me:secret@proxy.example:3128",
    "https_proxy": "http://me:secret@proxy.example:3128",
    "NO_PROXY": "intra.example",
    "SSL_CERT_FILE": "",
    "UNTOUCHED": "it's\nmine",
}


def evaluated(confdir: Path, script: str, environ: dict[str, str], shell: str = "sh") -> dict[str, str]:
    """The environment of a shell that was told this; `ENV` in it stands for scripts/env."""
    file = confdir.parent / "evaluated.yaml"
    file.write_text("listen: {proxy: '127.0.0.1:9'}")
    call = shlex.join([sys.executable, str(RUN), "env", "--config", str(file), "--set", f"confdir={confdir}"])
    dump = f"{shlex.quote(sys.executable)} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    own = {"PATH": os.environ["PATH"], "HOME": str(confdir.parent), **environ}
    words = [shell, "-c", f"{script.replace('ENV', call)}\n{dump}"]
    done = subprocess.run(words, env=own, capture_output=True, text=True, cwd=confdir, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: value for name, value in found.items() if name not in ("PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE")}


@pytest.mark.parametrize("environ", [{}, COMPANY, {"ANTHROPIC_API_KEYS": "k"}])
def test_everything_is_as_it_was_after_unset(environ: dict[str, str], confdir: Path) -> None:
    before = evaluated(confdir, "", environ)
    during = evaluated(confdir, 'eval "$(ENV)"', environ)
    assert during["HTTPS_PROXY"] == "http://127.0.0.1:9"
    for script in ("ENV", "ENV; eval ENV", "ENV --base-url"):
        twice = f'eval "$(ENV)"; eval "$({script})"; eval "$(ENV --unset)"'
        assert evaluated(confdir, twice, environ) == before
    assert evaluated(confdir, 'eval "$(ENV --unset)"', environ) == before


def test_the_second_time_knows_what_was_before_the_first(confdir: Path, tmp_path: Path) -> None:
    (tmp_path / "company.pem").write_text("-----COMPANY-----")
    environ = COMPANY | {"NODE_EXTRA_CA_CERTS": str(tmp_path / "company.pem")}
    once, twice = (evaluated(confdir, 'eval "$(ENV)";' * n, environ) for n in (1, 2))
    assert once == twice
    assert once["NO_PROXY"].endswith(",intra.example")
    assert "-----COMPANY-----" in Path(once["NODE_EXTRA_CA_CERTS"]).read_text()
    other = evaluated(confdir, 'eval "$(ENV)"; eval "$(ENV --base-url)"', environ)
    assert (other["HTTPS_PROXY"], other["ANTHROPIC_BASE_URL"]) == (COMPANY["HTTPS_PROXY"], "http://127.0.0.1:8082")


def test_what_the_person_changed_since_is_left_alone(confdir: Path) -> None:
    script = 'eval "$(ENV)"; export HTTPS_PROXY=http://own:1; unset NO_PROXY; eval "$(ENV --unset)"'
    after = evaluated(confdir, script, {})
    assert after["HTTPS_PROXY"] == "http://own:1"
    assert not {"NO_PROXY", "SSL_CERT_FILE", RECORD} & after.keys()


def test_a_placeholder_goes_when_the_relay_has_no_keys_any_more(confdir: Path) -> None:
    script = 'eval "$(ANTHROPIC_API_KEYS=k ENV)"'
    assert evaluated(confdir, script, {})["ANTHROPIC_AUTH_TOKEN"] == PLACEHOLDER
    assert "ANTHROPIC_AUTH_TOKEN" not in evaluated(confdir, script + '; eval "$(ENV)"', {})


def test_unset_needs_no_configuration_and_runs_commands_too(confdir: Path) -> None:
    result = CliRunner().invoke(env, ["--unset"], env=CLEAN | {"RELAY_CONFIG": "/no/such/file"})
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to take back" in result.stderr
    inner = shlex.join([sys.executable, str(RUN), "env", "--unset", "--", "sh", "-c", 'echo "[$HTTPS_PROXY]"'])
    done = command("--", "sh", "-c", inner, confdir=confdir, HTTPS_PROXY="http://company.example:1")
    assert done.stdout == "[http://company.example:1]\n"


@pytest.mark.parametrize("record", ["", "x", "[]", '{"A": 1}', '{"A": ["b"]}', "null"])
def test_a_record_of_somebody_elses_is_none(confdir: Path, record: str) -> None:
    found = assigned(run(confdir, RELAY_ENV=record, A="b"))
    assert found["HTTPS_PROXY"] == "http://127.0.0.1:8080"


def test_powershells_lines_take_back_too(confdir: Path) -> None:
    set_by = json.dumps({"HTTPS_PROXY": ["http://127.0.0.1:9", "http://it's:1"], "NO_PROXY": ["x", None]})
    environ = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "x", RECORD: set_by}
    result = CliRunner().invoke(env, ["--unset", "--shell", "pwsh"], env=CLEAN | environ)
    assert sorted(result.stdout.splitlines()) == [
        "$env:HTTPS_PROXY = 'http://it''s:1'",
        "Remove-Item Env:NO_PROXY -ErrorAction SilentlyContinue",
        "Remove-Item Env:RELAY_ENV -ErrorAction SilentlyContinue",
    ]


# -- what it says


def test_a_companys_proxy_is_named_without_its_password(confdir: Path) -> None:
    result = run(confdir, HTTPS_PROXY="http://me:secret@proxy.example:3128")
    assert "HTTPS_PROXY (http://proxy.example:3128) is replaced by the relay's" in result.stderr
    assert "secret" not in result.stderr
    for same in ({}, {"HTTPS_PROXY": "http://127.0.0.1:8080/"}, {"HTTPS_PROXY": ""}):
        assert "replaced" not in run(confdir, **same).stderr
    assert "replaced" not in run(confdir, "--base-url", HTTPS_PROXY="http://proxy.example:3128").stderr
    done = command("--", "true", confdir=confdir, https_proxy="proxy.example:3128")
    assert "https_proxy (http://proxy.example:3128) is replaced by the relay's; for this program only" in done.stderr


def test_without_a_relay_the_lines_are_printed_and_that_is_said(confdir: Path) -> None:
    result = run(confdir, config="listen: {proxy: '127.0.0.1:9'}")
    file = shlex.quote(str(confdir.parent / "relay.yaml"))
    said = " ".join(result.stderr.split())  # in two lines when it is long
    assert said == f"no relay runs at http://127.0.0.1:9; start it: RELAY_CONFIG={file} scripts/relay"
    assert "export HTTPS_PROXY=http://127.0.0.1:9" in result.stdout


@pytest.mark.parametrize("mode", ["first", "last", "never"])
def test_a_login_that_takes_part_is_not_hidden(confdir: Path, mode: str) -> None:
    text = f"providers: {{anthropic: {{preset: anthropic, keys: ['${{A}}'], own_credential: {mode}}}}}"
    assert ("ANTHROPIC_AUTH_TOKEN" in run(confdir, config=text, A="k").stdout) is (mode == "never")


def test_a_login_that_a_provider_without_key_needs_is_not_hidden(confdir: Path) -> None:
    text = "providers: {anthropic: {preset: anthropic, keys: ['${A}']}, local: {preset: ollama}}\nroutes: [{to: [%s]}]"
    result = run(confdir, config=text % "local, anthropic")
    assert "ANTHROPIC_AUTH_TOKEN" not in result.stdout
    assert "anthropic: a client's own login goes there" in result.stderr
    assert "ANTHROPIC_AUTH_TOKEN" in run(confdir, config=text % "local").stdout
    assert "ANTHROPIC_AUTH_TOKEN" in run(confdir, config=text % "local, anthropic", A="k").stdout


def test_variables_that_only_the_relay_needs_may_be_missing(confdir: Path) -> None:
    text = "listen: {proxy: '127.0.0.1:9'}\nproviders: {p: {base_url: '${WHERE}'}}"
    result = run(confdir, config=text)
    assert assigned(result)["HTTPS_PROXY"] == "http://127.0.0.1:9"
    for needed in ("database: '${DB}/x.db'", "listen: {proxy: '127.0.0.1:${PORT}'}"):
        result = run(confdir, config=needed)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "is not set" in result.stderr
        assert "as in the terminal where the relay runs" in result.stderr


@pytest.mark.parametrize("words", [(), ("--", "true")])
def test_a_home_that_cannot_be_written_to(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "file")}
    done = subprocess.run(
        [sys.executable, str(RUN), "env", *words], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path / 'file' / '.mitmproxy'} cannot be used: Not a directory" in done.stderr
    assert "--set confdir=DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_intercepted_host_of_ones_own_does_not_bypass() -> None:
    config = parse("intercept: {hosts: [h.example]}", environ={})
    assert no_proxy(config, {"NO_PROXY": "h.example"}) == "localhost,127.0.0.1,::1"


def test_keys_of_the_vault_count_for_the_placeholder(tmp_path: Path) -> None:
    """A client without a key of its own needs one, whatever it says, or it does not start."""
    config = parse("", environ={}, folder=tmp_path)
    assert credential(config, {}) == {}
    vault = Vault(config.database, environ={"RELAY_SECRET": "a long secret of the tests"})
    (key,) = vault.import_many([NewKey("anthropic", "sk-ant-api03-vault-of-the-tests")]).added
    assert credential(config, {}) == {"ANTHROPIC_AUTH_TOKEN": PLACEHOLDER}
    assert credential(config, {"ANTHROPIC_AUTH_TOKEN": "mine"}) == {}
    vault.disable([key.id])
    assert credential(config, {}) == {}


def test_who_needs_a_client_key_is_told_so(confdir: Path) -> None:
    config, key = "clients: {required: true}", "rk-0123456789abcdef"
    without = run(confdir, "--base-url", config=config)
    assert "serves only who has a client key: export ANTHROPIC_AUTH_TOKEN=rk-…" in without.stderr
    assert "client key" not in run(confdir, "--base-url", config=config, ANTHROPIC_AUTH_TOKEN=key).stderr
    assert "client key" not in run(confdir, "--base-url").stderr
