"""`accounts` as people and scripts use it: logging in over real sockets, what is shown, what is renewed, and that no token is printed."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.accounts import SUBCOMMANDS, accounts
from claude_relay.cli.keys import keys
from claude_relay.cli.login_checks import logins
from claude_relay.core.bodies.ratelimits import Window
from claude_relay.core.config import parse
from claude_relay.store.shared.key_windows import Seen, StoredWindows
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.vault import Vault
from upstream.oauth_server import OAuthServer
from upstream.providers import Upstream, serving
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")

PACKAGE = str(Path(sys.modules["claude_relay.cli.accounts"].__file__ or "").parents[2])
TOKEN = re.compile(r"(oat|ort|device|code)-[0-9A-Za-z_-]{8,}")


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer()) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


@pytest.fixture
def api() -> Iterator[Upstream]:
    with serving(Upstream()) as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, server: OAuthServer, api: Upstream) -> Path:
    return written(tmp_path, server, api)


def written(folder: Path, server: OAuthServer, api: Upstream, **oauth: object) -> Path:
    path = folder / "relay.yaml"
    providers = {"anthropic": {"base_url": api.url, "oauth": server.section(**oauth)}, "glm": {"preset": "zhipu"}}
    path.write_text(json.dumps({"database": "relay.db", "providers": providers}))
    return path


type Run = Callable[..., Result]


@pytest.fixture
def run(config: Path) -> Run:
    """Run a sub-command; no token may appear in what it prints."""

    def run(*words: object, stdin: str = "", columns: int = 200) -> Result:
        variables = {"RELAY_CONFIG": str(config), "RELAY_SECRET": None, "COLUMNS": str(columns)}
        result = CliRunner().invoke(accounts, [str(word) for word in words], input=stdin, env=variables)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert not TOKEN.search(result.output), result.output
        return result

    return run


class Child:
    """A command that a person talks with."""

    def __init__(self, config: Path, *words: str) -> None:
        environ = {**os.environ, "PYTHONPATH": PACKAGE, "RELAY_CONFIG": str(config)}
        environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
        program = "import sys; from claude_relay.cli.main import load; load('accounts')(prog_name='accounts')"
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
        )
        assert self.process.stdout is not None
        self.lines = iter(self.process.stdout.readline, "")

    def line(self, containing: str) -> str:
        return next(line for line in self.lines if containing in line).strip()

    def end(self) -> tuple[int, str]:
        rest = self.process.communicate(timeout=PATIENCE)[0]
        return self.process.returncode, rest.strip()


@pytest.fixture
def talk(config: Path) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def begin(*words: str) -> Child:
        children.append(Child(config, *words))
        return children[-1]

    yield begin
    for child in children:
        child.process.kill()
        child.process.communicate()


def got(url: str, host: str = "") -> tuple[int, str]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def back(url: str, code: str, state: str | None = None) -> str:
    """Where the browser is sent to."""
    said = parse_qs(urlsplit(url).query)
    return f"{said['redirect_uri'][0]}?code={code}&state={state or said['state'][0]}"


def stored(config: Path) -> list[Any]:
    with closing(Vault(config.with_name("relay.db"), environ={})) as vault:
        return list(Accounts(vault).list())


def secrets(config: Path) -> list[str]:
    with closing(Vault(config.with_name("relay.db"), environ={})) as vault:
        return [key.secret for key in vault.issue({one.id for one in Accounts(vault).list()}).get("anthropic", ())]


def imported(run: Run, config: Path, server: OAuthServer, *words: str, **more: Any) -> Result:
    first = server.login()
    file = config.with_name("mine.json")
    file.write_text(json.dumps({**first, "account": "me@example.com", "expires_in": 28800, **more}))
    return run("import", file, *(words or ("--yes",)))


# -- logging in


def test_the_browser_brings_the_code(talk: Callable[..., Child], config: Path, server: OAuthServer) -> None:
    child = talk("login")
    url = child.line("/authorize")
    said = parse_qs(urlsplit(url).query)
    assert (said["code"], said["client_id"], said["scope"]) == (["true"], ["a-client-of-our-own"], ["user:inference"])
    redirect = said["redirect_uri"][0]
    assert redirect.startswith("http://127.0.0.1:")
    assert redirect.endswith("/callback")
    good = back(url, server.code(url))
    assert got(redirect.replace("/callback", "/favicon.ico"))[0] == 404
    assert got(good, host="evil.example")[0] == 404
    assert got(back(url, "code-of-a-stranger", "their-state"))[0] == 400
    status, page = got(good)
    assert (status, "close this page" in page) == (200, True)
    code, rest = child.end()
    assert (code, rest.splitlines()[-1]) == (
        0, "Added anthropic/v1 (me@example.com), its token ends in 8h; renewed by the relay",
    )  # fmt: skip
    assert server.knows(secrets(config)[0])
    assert not TOKEN.search(rest)


def test_the_page_says_no(talk: Callable[..., Child], config: Path) -> None:
    child = talk("login")
    url = child.line("/authorize")
    said = parse_qs(urlsplit(url).query)
    assert got(f"{said['redirect_uri'][0]}?error=access_denied&state={said['state'][0]}")[0] == 400
    code, rest = child.end()
    assert code == 1
    assert "access_denied" in rest
    assert not config.with_name("relay.db").exists() or stored(config) == []


@pytest.mark.parametrize("form", ["CODE#STATE", "address"])
def test_a_code_is_pasted(talk: Callable[..., Child], config: Path, server: OAuthServer, form: str) -> None:
    child = talk("login", "--paste", "--label", "my plan")
    url = child.line("/authorize")
    code, state = server.code(url), parse_qs(urlsplit(url).query)["state"][0]
    assert child.process.stdin is not None
    child.process.stdin.write(f"{code}#{state}\n" if form == "CODE#STATE" else back(url, code) + "\n")
    status, rest = child.end()
    assert (status, rest.splitlines()[-1].split(" ")[:2]) == (0, ["Added", "anthropic/v1"])
    assert [one.label for one in stored(config)] == ["my plan"]


@pytest.mark.parametrize(
    ("pasted", "why"), [("code-1#another-state", "of another login"), ("code-1", "of another login"), ("", "no")]
)
def test_what_is_no_code_of_this_login_is_refused(
    talk: Callable[..., Child], config: Path, server: OAuthServer, pasted: str, why: str
) -> None:
    child = talk("login", "--paste")
    child.line("/authorize")
    assert child.process.stdin is not None
    child.process.stdin.write(pasted + "\n")
    code, rest = child.end()
    assert code == 1
    assert why in rest
    assert "Nothing was added" in rest
    assert server.requests == []


def test_a_code_is_good_once(talk: Callable[..., Child], server: OAuthServer) -> None:
    first, second = talk("login", "--paste"), talk("login", "--paste")
    url = first.line("/authorize")
    answer = server.code(url)
    server.codes.clear()  # somebody has used it already
    assert first.process.stdin is not None
    first.process.stdin.write(back(url, answer) + "\n")
    code, rest = first.end()
    assert code == 1
    assert "invalid_grant" in rest
    assert not TOKEN.search(rest)
    other = second.line("/authorize")
    assert parse_qs(urlsplit(url).query)["code_challenge"] != parse_qs(urlsplit(other).query)["code_challenge"]


def test_a_device(talk: Callable[..., Child], config: Path, server: OAuthServer) -> None:
    child = talk("login", "--device")
    line = child.line("type in")
    assert line == f"Open {server.url}/activate and type in: WDJB-MJHT"
    for code in server.devices:
        server.devices[code] = "confirmed"
    assert child.end()[0] == 0
    assert len(stored(config)) == 1


def test_a_device_that_is_turned_away(talk: Callable[..., Child], server: OAuthServer) -> None:
    child = talk("login", "--device")
    child.line("type in")
    for code in server.devices:
        server.devices[code] = "denied"
    code, rest = child.end()
    assert code == 1
    assert "access_denied" in rest


def test_logging_in_again_keeps_the_name(
    talk: Callable[..., Child], run: Run, config: Path, server: OAuthServer
) -> None:
    assert imported(run, config, server).exit_code == 0
    before = stored(config)[0]
    server.accounts[0].revoked = True
    assert run("refresh", "v1").exit_code == 1
    assert stored(config)[0].state(time.time()) == "revoked"
    child = talk("login", "--account", "anthropic/v1")
    url = child.line("/authorize")
    got(back(url, server.code(url)))
    assert child.end()[0] == 0
    (after,) = stored(config)
    assert (after.id, after.state(time.time())) == (before.id, "active")
    assert server.knows(secrets(config)[0])


def test_without_a_client_id_nothing_is_shown(tmp_path: Path, server: OAuthServer, api: Upstream) -> None:
    written(tmp_path, server, api, client_id=None, client_secret=None)
    variables = {"RELAY_CONFIG": str(tmp_path / "relay.yaml"), "CLAUDE_CLIENT_ID": None}
    result = CliRunner().invoke(accounts, ["login"], env=variables)
    assert result.exit_code == 1
    assert "CLAUDE_CLIENT_ID" in result.output
    assert "/authorize" not in result.output


# -- files


def test_importing_warns_and_asks(run: Run, config: Path, server: OAuthServer) -> None:
    result = imported(run, config, server, "--label", "x")
    assert (result.exit_code, "may be logged out" in result.output) == (1, True)
    assert not config.with_name("relay.db").exists() or stored(config) == []
    result = run("import", config.with_name("mine.json"), stdin="y\n")
    assert result.exit_code == 0
    assert "Added anthropic/v1 (me@example.com)" in result.output
    again = run("import", config.with_name("mine.json"), "--yes")
    assert again.exit_code == 1
    assert "this is anthropic/v1 already" in again.output


def test_a_file_of_claude_code(run: Run, config: Path, server: OAuthServer) -> None:
    first = server.login()
    own = {
        "accessToken": first["access_token"],
        "refreshToken": first["refresh_token"],
        "expiresAt": int((time.time() + 7200) * 1000),
        "scopes": ["user:inference"],
    }
    file = config.with_name("credentials.json")
    file.write_text(json.dumps({"claudeAiOauth": own}))
    result = run("import", file, "--no-refresh")
    assert result.exit_code == 0
    assert "cannot be renewed" in result.output
    assert "logged out" not in result.output
    (account,) = stored(config)
    assert (account.renews, account.scopes) == (False, ("user:inference",))
    assert 7100 < account.expires_at - time.time() <= 7200


@pytest.mark.parametrize("text", ["", "{}", "[]", "sk-ant-oat01-0123456789", '{"claudeAiOauth": {}}', "\xff"])
def test_what_is_no_file_of_credentials(run: Run, config: Path, text: str) -> None:
    file = config.with_name("mine.json")
    file.write_text(text, "latin-1")
    result = run("import", file, "--yes")
    assert result.exit_code == 1
    assert "is JSON" in result.output
    assert "0123456789" not in result.output


# -- looking


def test_nothing_yet(run: Run, config: Path) -> None:
    assert run("list").output == "No account yet. Log in: scripts/accounts login\n"
    assert json.loads(run("list", "--json").stdout) == []
    assert not config.with_name("relay.db").exists()


def test_a_list_fits_into_80_columns(run: Run, config: Path, server: OAuthServer) -> None:
    imported(run, config, server)
    (account,) = stored(config)
    now = time.time()
    windows = (Window("5h", "allowed", now + 3600, 0.25), Window("7d", "allowed", now - 5, 0.9))
    with closing(StoredWindows(config.with_name("relay.db"))) as known:
        known.exchange([Seen("anthropic", account.id, windows, now)])
    result = run("list", columns=80)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "active" in result.stdout
    assert "5h 25%" in result.stdout
    (row,) = json.loads(run("list", "--json").stdout)
    assert (row["name"], row["state"], row["account"], row["renews"]) == (
        "anthropic/v1",
        "active",
        "me@example.com",
        True,
    )
    assert [(window["window"], window["used"]) for window in row["windows"]] == [("5h", 0.25), ("7d", 0.0)]
    shown = run("show", "me@example.com").stdout
    assert "state      active" in shown
    assert "window     5h 25%" in shown
    assert json.loads(run("show", "v1", "--json").stdout)["name"] == "anthropic/v1"


def test_words_that_mean_nothing(run: Run, config: Path, server: OAuthServer) -> None:
    imported(run, config, server)
    for words, why in (
        (("show", "v9"), "No account is called 'v9'"),
        (("disable",), "Name accounts"),
        (("disable", "v1", "--all"), "Name accounts"),
        (("restore", "v1"), "was not removed"),
        (("login", "--provider", "glm"), "has no `oauth`"),
        (("login", "--provider", "glmm"), "is no provider"),
        (("login", "--device", "--paste"), "goes without"),
    ):
        result = run(*words)
        assert (result.exit_code, why in result.output) == (2, True), result.output


# -- renewing


def test_refresh(run: Run, config: Path, server: OAuthServer) -> None:
    imported(run, config, server)
    imported(run, config, server)
    result = run("refresh", "--all")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["anthropic/v1 has new tokens", "anthropic/v2 has new tokens"],
    )
    assert all(map(server.knows, secrets(config)))
    server.plan.append(503)
    failed = run("refresh", "v1", "--json")
    assert failed.exit_code == 1
    (row,) = json.loads(failed.stdout)
    assert row["outcome"] == "failed"
    assert "503" in row["reason"]
    assert "503" in run("list").stdout


def test_check_exchanges_what_is_over_first(run: Run, config: Path, server: OAuthServer, api: Upstream) -> None:
    imported(run, config, server, expires_in=1)
    time.sleep(1.1)
    result = run("check", "--all", "--json")
    assert (result.exit_code, json.loads(result.stdout)[0]["status"]) == (0, "valid")
    assert server.accounts[0].renewals == 1
    headers = api.requests[-1][1]
    assert headers["authorization"] == f"Bearer {secrets(config)[0]}"
    assert (headers["anthropic-beta"], "x-api-key" in headers) == ("oauth-of-a-test", False)


def test_a_check_of_keys_takes_no_account_for_revoked_whose_token_is_only_over(
    run: Run, config: Path, server: OAuthServer, api: Upstream
) -> None:
    """`keys prune` would remove it."""
    words = ["check", "--all", "--json", "--config", str(config)]
    first = server.login() | {"access_token": "sk-ant-revoked-0123456789abcdef"}
    config.with_name("mine.json").write_text(json.dumps(first))
    assert run("import", config.with_name("mine.json"), "--yes").exit_code == 0
    result = CliRunner().invoke(keys, words, env={"RELAY_SECRET": None})
    assert json.loads(result.stdout)[0]["status"] == "unclear"
    assert "scripts/accounts check" in json.loads(result.stdout)[0]["reason"]
    assert json.loads(run("check", "v1", "--json").stdout)[0]["status"] == "revoked"


# -- switching


def test_on_and_off(run: Run, config: Path, server: OAuthServer) -> None:
    imported(run, config, server)
    for words, done in (
        (("disable", "v1"), "1 account disabled: anthropic/v1"),
        (("disable", "v1"), "No account was disabled: nothing to do for anthropic/v1."),
        (("enable", "v1"), "1 account enabled: anthropic/v1"),
        (("remove", "v1"), "1 account removed: anthropic/v1"),
        (("restore", "v1"), "1 account restored: anthropic/v1"),
        (("remove", "v1", "--forever", "--yes"), "1 account deleted: anthropic/v1"),
    ):
        result = run(*words)
        assert (result.exit_code, result.stdout.strip()) == (0, done)
    assert stored(config) == []


def test_every_sub_command_has_an_example() -> None:
    for command in SUBCOMMANDS:
        assert f"scripts/accounts {command.name}" in (command.help or "")


# -- doctor


def test_doctor_names_accounts_that_nobody_can_renew(run: Run, config: Path, server: OAuthServer) -> None:
    def says() -> list[tuple[str, str, str]]:
        parsed = parse(config.read_text(), environ={}, where=str(config))
        return [(check.status, check.found, check.remedy) for check in logins(parsed)]

    assert says() == []
    imported(run, config, server)
    assert says() == [("ok", "1 account active", "")]
    server.accounts[0].revoked = True
    assert run("refresh", "v1").exit_code == 1
    ((status, found, remedy),) = says()
    assert (status, found.startswith("anthropic/v1 is revoked: invalid_grant")) == ("warn", True)
    assert remedy == "log in again: scripts/accounts login --account anthropic/v1"
    imported(run, config, server)
    server.plan.append(500)
    assert run("refresh", "v2").exit_code == 1
    assert "could not be renewed" in says()[1][1]
    config.write_text(json.dumps({"database": "relay.db", "providers": {"anthropic": {"preset": "anthropic"}}}))
    assert "has no `oauth`" in says()[1][1]


def test_doctor_says_which_provider_has_no_client(tmp_path: Path) -> None:
    oauth = {"authorize_url": "https://a.example/authorize", "token_url": "https://a.example/token"}
    text = json.dumps(
        {"database": str(tmp_path / "none.db"), "providers": {"anthropic": {"preset": "anthropic", "oauth": oauth}}}
    )
    (found,) = logins(parse(text, environ={}))
    assert (found.status, found.found) == (
        "warn",
        "accounts of anthropic can neither log in nor be renewed: no client id",
    )
    assert not list(logins(parse(text, environ={"CLAUDE_CLIENT_ID": "mine"})))
