"""Renewals over real sockets: in single flight over threads and processes, and through every way in which they fail.

The server is `upstream.oauth_server`, whose refresh tokens are good once, as the strictest providers have it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.config import WayOut
from claude_relay.core.oauth.grants import Answer, Granted, Tokens, answer_of
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts, Taken
from claude_relay.store.vault.lock import VaultError
from claude_relay.store.vault.renewing import Fetch, Outcome, Renewal, Renewer
from claude_relay.store.vault.vault import Vault
from claude_relay.upstream.token_endpoint import tokens_for_refresh
from upstream.oauth_server import CLIENT, OAuthServer
from upstream.providers import serving
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")

ROUNDS = int(os.environ.get("RENEWALS", "500"))
"""Renewals of which each is wanted by two at once: a thousand in all."""
TIME = float(os.environ.get("RENEWALS_TIME", "3"))
"""Seconds for as many of them as there is time for."""


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer()) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def account(path: Path, server: OAuthServer) -> Account:
    return added(path, server)


def added(path: Path, server: OAuthServer) -> Account:
    first = server.login()
    with closing(Vault(path, environ={})) as vault:
        tokens = Tokens(first["access_token"], first["refresh_token"], first.get("expires_in"))
        account = Accounts(vault).add("anthropic", tokens, time.time())
    assert isinstance(account, Account)
    return account


def renewer(path: Path, **more: object) -> Renewer:
    return Renewer(Accounts(Vault(path, environ={}, patience=PATIENCE)), **more)  # type: ignore[arg-type]


def asking(server: OAuthServer, timeout: float = PATIENCE) -> Fetch:
    provider = server.provider()
    return lambda taken: tokens_for_refresh(provider, taken.refresh, WayOut(), timeout=timeout)


def stored(path: Path) -> tuple[Account, str]:
    with closing(Vault(path, environ={})) as vault:
        (account,) = Accounts(vault).list()
        return account, vault.issue()["anthropic"][0].secret


def test_one_renewal(path: Path, server: OAuthServer, account: Account) -> None:
    assert renewer(path).renew(account.id, asking(server)) == Renewal(Outcome.RENEWED)
    after, secret = stored(path)
    assert after.generation != account.generation
    assert server.knows(secret)


def test_two_at_once_a_thousand_times(path: Path, server: OAuthServer, account: Account) -> None:
    """Each with a vault of its own, as two relays have; the provider takes each refresh token once."""
    outcomes: list[Outcome] = []
    ask, until, goes_on = quick(server), time.monotonic() + TIME, threading.Event()

    def another_round() -> None:
        if len(outcomes) >= 2 * ROUNDS or (outcomes and time.monotonic() > until):
            goes_on.clear()

    begin, go = threading.Barrier(2, another_round), threading.Barrier(2)
    goes_on.set()

    def relay() -> None:
        own = renewer(path)
        while begin.wait(PATIENCE) is not None and goes_on.is_set():
            seen = own.accounts.get(account.id)
            assert seen is not None
            go.wait(PATIENCE)
            outcomes.append(own.renew(account.id, ask, seen=seen.generation).outcome)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(relay) for _ in range(2)]:
            done.result(2 * PATIENCE)
    rounds = server.accounts[0].renewals
    assert rounds > 0
    assert outcomes.count(Outcome.RENEWED) == outcomes.count(Outcome.OTHERS) == rounds
    _, secret = stored(path)
    assert server.knows(secret)
    assert not server.accounts[0].revoked


def quick(server: OAuthServer) -> Fetch:
    """The same answers without a socket, which is what takes the time."""

    def ask(taken: Taken) -> Answer:
        fields = CLIENT | {"grant_type": "refresh_token", "refresh_token": taken.refresh}
        status, answer = server.answer("/token", fields)
        found = answer_of(status, {}, repr(answer).replace("'", '"').encode())
        assert isinstance(found, Granted), answer
        return found

    return ask


PROCESS = """
import sys, time
from pathlib import Path
from claude_relay.core.config import WayOut
from claude_relay.store.vault import sealing
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.renewing import Renewer
from claude_relay.store.vault.vault import Vault
from claude_relay.upstream.token_endpoint import tokens_for_refresh
sys.path.insert(0, sys.argv[4])
from upstream.oauth_server import CLIENT, OAuthServer
from claude_relay.core.config import parse
import json
path, url, account = sys.argv[1:4]
oauth = CLIENT | {"authorize_url": url, "token_url": url + "/token"}
text = json.dumps({"providers": {"p": {"base_url": "https://api.anthropic.com", "oauth": oauth}}})
provider = parse(text, environ={}).providers["p"]
renewer = Renewer(Accounts(Vault(Path(path), environ={}, patience=60.0)), lease=float(sys.argv[5]))
die = sys.argv[6]
real = renewer.accounts.renewed
def dies(step):
    if die == step:
        print(step, flush=True)
        time.sleep(60)
def ask(taken):
    dies("sending")
    answer = tokens_for_refresh(provider, taken.refresh, WayOut(), timeout=60.0)
    dies("answered")
    return answer
def renewed(*arguments):
    done = real(*arguments)
    dies("committed")
    return done
renewer.accounts.renewed = renewed
for line in sys.stdin:
    seen = renewer.accounts.get(account).generation
    print(renewer.renew(account, ask, seen=seen).outcome, flush=True)
"""
PACKAGE = str(Path(sys.modules["claude_relay.store.vault.vault"].__file__ or "").parents[3])
TESTS = str(Path(__file__).parents[2])


@pytest.fixture
def process(path: Path, server: OAuthServer, account: Account) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Another relay, so to speak."""
    children: list[subprocess.Popen[str]] = []

    def begin(die: str = "", lease: float = 120.0) -> subprocess.Popen[str]:
        words = [str(path), server.url, account.id, TESTS, str(lease), die]
        child = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PACKAGE, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"},
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def say(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_processes_at_once(path: Path, server: OAuthServer, process: Callable[..., subprocess.Popen[str]]) -> None:
    children = [process() for _ in range(2)]
    for _ in range(15):
        for child in children:
            say(child)
        assert {hear(child) for child in children} <= {"renewed", "others"}
    assert server.most_under_way == 1
    assert server.knows(stored(path)[1])


@pytest.mark.parametrize("step", ["sending", "answered", "committed"])
@pytest.mark.parametrize("grace", [0, 1])
def test_killed_at_each_step(
    path: Path,
    server: OAuthServer,
    account: Account,
    process: Callable[..., subprocess.Popen[str]],
    step: str,
    grace: int,
) -> None:
    """Nothing is lost, but where the provider gives each token once and its answer is lost with the process: then that is said."""
    server.grace = grace
    child = process(step, lease=0.2)
    say(child)
    assert hear(child) == step
    child.send_signal(signal.SIGKILL)
    child.wait(PATIENCE)
    found = renewer(path).renew(account.id, asking(server), seen=stored(path)[0].generation)
    after, secret = stored(path)
    if step == "answered" and not grace:
        assert found.outcome is Outcome.REVOKED
        assert "ended, or lost its connection, before it had the answer" in after.reason
    else:
        assert found.outcome is Outcome.RENEWED
        assert server.knows(secret)
        assert after.reason == ""


def test_what_was_cut_off_is_tried_again(path: Path, server: OAuthServer, account: Account) -> None:
    server.grace = 1
    server.plan.append("cut")
    own = renewer(path)
    found = own.renew(account.id, asking(server))
    assert (found.outcome, stored(path)[0].state(time.time())) == (Outcome.FAILED, "active")
    assert stored(path)[0].dispatched_at is not None
    later = renewer(path, wall=lambda: time.time() + 60)
    assert later.renew(account.id, asking(server)).outcome is Outcome.RENEWED


@pytest.mark.parametrize("meets", [500, 503, 429, 600.0])
def test_errors_of_the_server_change_nothing(path: Path, server: OAuthServer, account: Account, meets: float) -> None:
    server.plan.append(meets)
    found = renewer(path).renew(account.id, asking(server, timeout=0.3 if isinstance(meets, float) else PATIENCE))
    after, secret = stored(path)
    assert found.outcome is Outcome.FAILED
    assert "ort-" not in found.reason
    assert (after.generation, after.failures, after.state(time.time())) == (account.generation, 1, "active")
    assert server.knows(secret)


def test_the_pauses_grow(path: Path, server: OAuthServer, account: Account) -> None:
    pauses, wall = [], [time.time()]
    own = renewer(path, wall=lambda: wall[0])
    for _ in range(4):
        server.plan.append(500)
        assert own.renew(account.id, asking(server)).outcome is Outcome.FAILED
        after, _ = stored(path)
        assert after.retry_at is not None
        pauses.append(after.retry_at - wall[0])
        assert (
            own.renew(account.id, asking(server), hurry=False).reason
            == "it failed a moment ago; try again in some seconds"
        )
        wall[0] = after.retry_at + 1
    assert pauses[0] * 4 < pauses[3]
    assert not server.plan
    assert own.renew(account.id, asking(server), hurry=False).outcome is Outcome.RENEWED
    assert stored(path)[0].failures == 0


def test_a_revoked_account_says_so_and_is_not_asked_again(path: Path, server: OAuthServer, account: Account) -> None:
    server.accounts[0].revoked = True
    own = renewer(path)
    assert own.renew(account.id, asking(server)).outcome is Outcome.REVOKED
    asked = len(server.requests)
    assert own.renew(account.id, asking(server)).outcome is Outcome.REVOKED
    after, _ = stored(path)
    assert len(server.requests) == asked
    assert after.state(time.time()) == "revoked"
    assert "invalid_grant" in after.reason
    assert "ort-" not in after.reason


def test_a_refusal_of_a_token_that_was_replaced_meanwhile_counts_for_nothing(
    path: Path, server: OAuthServer, account: Account
) -> None:
    """Somebody logs in again while the old token is under way."""
    server.accounts[0].revoked = True
    ask = asking(server)

    def slowly(taken: Taken) -> Answer:
        answer, fresh = ask(taken), server.login()
        with closing(Vault(path, environ={})) as vault:
            tokens = Tokens(fresh["access_token"], fresh["refresh_token"], 3600.0)
            assert Accounts(vault).login_again(account.id, tokens, time.time())
        return answer

    assert renewer(path).renew(account.id, slowly).outcome is Outcome.OTHERS
    after, secret = stored(path)
    assert after.state(time.time()) == "active"
    assert server.knows(secret)


def test_whoever_waits_uses_what_the_other_one_got(path: Path, server: OAuthServer, account: Account) -> None:
    server.plan.append("wait")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(renewer(path).renew, account.id, asking(server))
        assert server.came.acquire(timeout=PATIENCE)
        second = threads.submit(renewer(path).renew, account.id, asking(server), refused=stored(path)[1])
        server.go_on.set()
        assert first.result(PATIENCE).outcome is Outcome.RENEWED
        assert second.result(PATIENCE).outcome is Outcome.OTHERS
    assert server.accounts[0].renewals == 1


def test_nobody_waits_for_ever(path: Path, server: OAuthServer, account: Account) -> None:
    own = renewer(path)
    assert isinstance(own.accounts.take(account.id, "another", time.time(), time.monotonic(), lease=30), Taken)
    found = own.renew(account.id, asking(server), patience=0.05)
    assert (found.outcome, len(server.requests)) == (Outcome.FAILED, 0)
    assert "another process" in found.reason


def test_tokens_that_cannot_be_written_are_kept_in_memory(
    path: Path, server: OAuthServer, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is held by somebody just when they come: the refresh token before is worth nothing by then."""
    own = Renewer(Accounts(Vault(path, environ={}, patience=0.05)), sleep=lambda seconds: time.sleep(0.01))
    monkeypatch.setattr("claude_relay.store.vault.renewing.KEEPING", 0.3)
    ask, held = asking(server), []

    def ask_and_lock(taken: Taken) -> Answer:
        answer = ask(taken)
        held.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        held[0].execute("BEGIN IMMEDIATE")
        return answer

    found = own.renew(account.id, ask_and_lock)
    assert found.outcome is Outcome.FAILED
    assert "written down" in found.reason
    with pytest.raises(VaultError):
        own.keep_unkept()
    held[0].execute("ROLLBACK")
    held[0].close()
    own.keep_unkept()
    assert not own.holds_unkept
    after, secret = stored(path)
    assert after.generation != account.generation
    assert server.knows(secret)
