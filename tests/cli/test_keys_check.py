"""`keys check` and `keys prune` against providers on this machine: directly, with TLS, through proxies."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.console.taking_back import applied, changes
from claude_relay.cli.keyring.checking import FACTS, MEANING, check, meaning
from claude_relay.cli.keys import keys
from claude_relay.core.config import Provider, parse
from claude_relay.core.exchange import Failure, Key, Outcome
from claude_relay.core.retry.verdicts import MEANINGS, judge
from claude_relay.store.shared.state import State, create_state
from claude_relay.store.vault.records import CHECKS, NewKey, StoredKey
from claude_relay.store.vault.vault import Vault
from claude_relay.upstream import asking
from claude_relay.upstream.asking import ask
from wire.certs import Authority

pytestmark = pytest.mark.usefixtures("cheap_secrets")

MODELS = b'{"data": [{"type": "model", "id": "claude-sonnet-5"}], "has_more": true}'


def error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


NO_CREDIT = error("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "valid": (200, {}, MODELS),
    "limited": (429, {"retry-after": "600"}, error("rate_limit_error", "slow down")),
    "vague": (429, {}, error("rate_limit_error", "slow down")),
    "broke": (400, {}, NO_CREDIT),
    "revoked": (401, {}, error("authentication_error", "invalid x-api-key")),
    "disabled": (403, {}, error("permission_error", "This organization has been disabled.")),
    "forbidden": (403, {}, b"<html>a middlebox</html>"),
    "absent": (404, {}, error("not_found_error", "no such path")),
    "down": (529, {}, error("overloaded_error", "Overloaded")),
    "html": (200, {"content-type": "text/html"}, b"<html>sign in</html>"),
    "moved": (302, {"location": "http://127.0.0.1:1/"}, b""),
    "mistaken": (200, {}, error("authentication_error", "no")),
}
EXPECTED = {
    "valid": "valid",
    "limited": "limited",
    "vague": "limited",
    "broke": "no-credit",
    "revoked": "revoked",
    "disabled": "revoked",
    "forbidden": "unclear",
    "absent": "unclear",
    "down": "unreachable",
    "html": "unreachable",
    "moved": "unclear",
    "mistaken": "revoked",
}


def secret(name: str) -> str:
    return f"sk-ant-{name}-0123456789abcdef0123456789"


class Upstream(ThreadingHTTPServer):
    """Answers by the word in the key, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None, barrier: threading.Barrier | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.barrier = barrier
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that trusts nobody hangs up: nothing to say."""


class Answering(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers))
        if self.server.barrier:
            self.server.barrier.wait(4)
        words = f"{self.path} {headers}".split("sk-ant-", 1)[-1]
        status, more, body = ANSWERS.get(words.split("-")[0], ANSWERS["valid"])
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(body))} | more).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@contextmanager
def serving(server: Upstream) -> Iterator[Upstream]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with server:
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@contextmanager
def tunnelling(context: ssl.SSLContext | None = None, status: str = "200 Fine") -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that knows CONNECT; its port, and what it was asked."""
    heard: list[bytes] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(client)
            if context:
                client = stack.enter_context(context.wrap_socket(client, server_side=True))
            heard.append(client.recv(65536))
            client.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
            if not status.startswith("200"):
                return
            host, port = heard[-1].split(b" ")[1].decode().rsplit(":", 1)
            target = stack.enter_context(socket.create_connection((host, int(port)), 4))
            back = threading.Thread(target=pump, args=(target, client), daemon=True)
            back.start()
            pump(client, target)
            back.join(4)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that certifi vouches for."""
    authority = Authority(tmp_path / "ca")
    monkeypatch.setattr(certifi, "where", lambda: str(authority.ca_file))
    asking.context.cache_clear()
    yield authority
    asking.context.cache_clear()


def provider(base_url: str, **more: object) -> Provider:
    text = json.dumps({"providers": {"p": {"base_url": base_url, **more}}})
    return parse(text, environ={}).providers["p"]


def issued(name: str = "valid", proxy: str | None = None) -> Key:
    return Key("p", "v1", secret(name), "1", proxy=proxy)


# -- one request


def test_the_request(tmp_path: Path) -> None:
    with serving(Upstream()) as upstream:
        outcome = ask(provider(f"{upstream.url}/some/prefix"), issued(), timeout=4)
    assert (outcome.status, outcome.failure) == (200, None)
    [(path, headers)] = upstream.asked
    assert path == "/some/prefix/v1/models?limit=1"
    assert headers["x-api-key"] == secret("valid")
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["host"] == upstream.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("bearer", "authorization", "Bearer {}"),
        ("x-goog-api-key", "x-goog-api-key", "{}"),
        ({"header": "X-Team", "prefix": "Key "}, "x-team", "Key {}"),
        ({"cookie": "session"}, "cookie", "session={}"),
    ],
)
def test_where_the_key_goes(auth: object, header: str, value: str) -> None:
    with serving(Upstream()) as upstream:
        ask(provider(upstream.url, auth=auth), issued(), timeout=4)
    [(path, headers)] = upstream.asked
    assert headers[header] == value.format(secret("valid"))
    assert sum(secret("valid") in text for text in (path, *headers.values())) == 1


def test_a_key_in_the_query() -> None:
    odd = "sk-ant-valid-&=?#%/+0123456789"
    with serving(Upstream()) as upstream:
        ask(provider(upstream.url, auth={"query": "key"}), Key("p", "v1", odd, "1"), timeout=4)
    assert upstream.asked[0][0] == "/v1/models?limit=1&key=sk-ant-valid-%26%3D%3F%23%25%2F%2B0123456789"


@pytest.mark.parametrize("name", ANSWERS)
def test_what_answers_mean(name: str) -> None:
    with serving(Upstream()) as upstream:
        now = time.time()
        result = meaning(ask(provider(upstream.url), issued(name), timeout=4), now)
    assert result.status == EXPECTED[name]
    assert result.until == (pytest.approx(now + 600, abs=2) if name == "limited" else None)
    assert bool(result.reason) == (name != "valid")
    assert len(upstream.asked) == 1  # redirects are not followed


def test_meanings_are_verdicts_and_checks() -> None:
    assert MEANING.keys() <= MEANINGS.keys()
    assert set(MEANING.values()) | {"unclear"} == set(CHECKS)
    for failure in set(Failure) - {Failure.UNSUITED}:  # nothing is translated for a check
        outcome = Outcome(failure=failure)
        assert MEANING[judge(outcome, FACTS, now=0.0).name] == meaning(outcome, 0.0).status == "unreachable"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = ask(provider(f"http://127.0.0.1:{port}"), issued(), timeout=4)
    assert (outcome.failure, outcome.message) == (Failure.CONNECT, "Connection refused")
    assert ask(provider("https://nowhere.invalid"), issued(), timeout=4).message == "no such host"


def answering(*pieces: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)

    return answer


@contextmanager
def raw(answer: Callable[[socket.socket], None] | None) -> Iterator[str]:
    """Somebody who answers one connection in his own way; None: never."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if answer:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        if answer:
            thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        if answer:
            thread.join(5)


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ((), Failure.RESET),
        ((b"220 smtp.example ESMTP\r\n",), Failure.RESET),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",), Failure.GARBAGE),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",), Failure.EMPTY),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70000 + b"\r\n\r\n",), Failure.RESET),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",), Failure.RESET),
    ],
)
def test_answers_that_are_none(pieces: tuple[bytes, ...], failure: Failure) -> None:
    with raw(answering(*pieces)) as address:
        outcome = ask(provider(f"http://{address}"), issued(), timeout=4)
    assert outcome.failure is failure
    assert secret("valid") not in repr(outcome)


def test_silence() -> None:
    with raw(None) as address:
        outcome = ask(provider(f"http://{address}"), issued(), timeout=0.2)
    assert (outcome.failure, outcome.message) == (Failure.TIMEOUT, "no answer in time")


def test_an_answer_that_never_ends() -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n{"a": "')
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with raw(drip) as address:
        begun = time.monotonic()
        outcome = ask(provider(f"http://{address}"), issued(), timeout=0.3)
        stop.set()
    assert outcome.failure is Failure.TIMEOUT
    assert time.monotonic() - begun < 2


# -- TLS and proxies


def test_tls(authority: Authority) -> None:
    with serving(Upstream(authority.server_context())) as upstream:
        assert ask(provider(upstream.url), issued(), timeout=4).status == 200


def test_a_certificate_of_somebody_else(authority: Authority, tmp_path: Path) -> None:
    contexts = [
        Authority(tmp_path / "other").server_context(),
        authority.server_context(expired=True),
        authority.server_context("other.example"),
    ]
    for context in contexts:
        with serving(Upstream(context)) as upstream:
            outcome = ask(provider(upstream.url), issued(), timeout=4)
        assert (outcome.failure, upstream.asked) == (Failure.TLS, [])
        assert outcome.message.startswith("its certificate is not trusted: ")


def test_plain_text_on_a_tls_port(authority: Authority) -> None:
    with raw(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert ask(provider(f"https://{address}"), issued(), timeout=4).failure is Failure.TLS


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_through_a_proxy(authority: Authority, outer: bool, inner: bool) -> None:
    context = authority.server_context()
    with (
        serving(Upstream(context if inner else None)) as upstream,
        tunnelling(context if outer else None) as (port, heard),
    ):
        proxy = f"{'https' if outer else 'http'}://user:hunter2@127.0.0.1:{port}"
        of_provider = ask(provider(upstream.url, proxy=proxy), issued(), timeout=4)
        of_key = ask(provider(upstream.url, proxy="http://127.0.0.1:1"), issued("revoked", proxy), timeout=4)
    assert (of_provider.status, of_key.status) == (200, 401)
    assert len(upstream.asked) == len(heard) == 2
    for asked in heard:
        assert asked.startswith(f"CONNECT 127.0.0.1:{upstream.server_port} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n" in asked
        assert b"sk-ant" not in asked


def test_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with tunnelling(status="407 Who are you?") as (port, heard):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{port}")
        outcome = ask(provider("https://h.example"), issued(), timeout=4)
        near = ask(provider("https://h.invalid", proxy="direct"), issued(), timeout=4)
        of_key = ask(provider("https://h.invalid"), issued(proxy="direct"), timeout=4)
    assert outcome.message == f"the proxy answered 407, through http://127.0.0.1:{port} (HTTPS_PROXY)"
    assert near.message == of_key.message == "no such host"
    assert len(heard) == 1


def test_a_proxy_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    outcome = ask(provider("https://h.example", proxy=address), issued(), timeout=4)
    assert outcome.failure is Failure.CONNECT
    assert outcome.message == f"the proxy cannot be reached: Connection refused, through {address}"


def test_a_proxy_in_the_way_of_a_certificate(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other").server_context()
    with serving(Upstream(stranger)) as upstream, tunnelling(authority.server_context()) as (port, _):
        outcome = ask(provider(upstream.url, proxy=f"https://127.0.0.1:{port}"), issued(), timeout=4)
    assert (outcome.failure, upstream.asked) == (Failure.TLS, [])
    with tunnelling(stranger) as (port, heard):
        outcome = ask(provider("https://h.example", proxy=f"https://127.0.0.1:{port}"), issued(), timeout=4)
    assert (outcome.failure, heard) == (Failure.TLS, [])


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "nonsense"])
def test_a_proxy_that_refuses(status: str) -> None:
    with tunnelling(status=status) as (port, _):
        outcome = ask(provider("https://h.example", proxy=f"http://u:hunter2@127.0.0.1:{port}"), issued(), timeout=4)
    assert outcome.failure is Failure.CONNECT
    what = f"the proxy answered {status[:3]}" if status[0].isdigit() else "no proxy is there"
    assert outcome.message == f"{what}, through http://127.0.0.1:{port}"
    with raw(answering()) as address:
        outcome = ask(provider("http://h.example", proxy=f"http://{address}"), issued(), timeout=4)
    assert outcome.message == f"the proxy said nothing sensible, through http://{address}"


# -- many at once


def stored(n: int) -> StoredKey:
    return StoredKey(str(n), "p", f"v{n}", "…")


def test_they_are_asked_at_once() -> None:
    told: list[str] = []
    secrets = {str(n): Key("p", f"v{n}", secret("valid"), str(n)) for n in range(8)}
    with serving(Upstream(barrier=threading.Barrier(8))) as upstream:
        check(
            [stored(n) for n in range(8)],
            secrets,
            {"p": provider(upstream.url)},
            parallel=8,
            timeout=4,
            clock=time.time,
            done=lambda key, result: told.append(result.status),
        )
    assert told == ["valid"] * 8


def test_no_more_than_that_at_once_and_none_after_an_interruption() -> None:
    def interrupt(key: StoredKey, result: object) -> None:
        raise KeyboardInterrupt

    secrets = {str(n): Key("p", f"v{n}", secret("valid"), str(n)) for n in range(200)}
    every = [stored(n) for n in range(200)]
    with serving(Upstream()) as upstream:
        providers = {"p": provider(upstream.url)}
        with pytest.raises(KeyboardInterrupt):
            check(every, secrets, providers, parallel=2, timeout=4, clock=time.time, done=interrupt)
    assert len(upstream.asked) < 100


# -- the commands


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving(Upstream()) as upstream:
        yield upstream


@pytest.fixture
def room(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a provider on this machine and a vault with one key of each kind."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    (tmp_path / "relay.yaml").write_text(
        f"providers:\n  p: {{base_url: '{upstream.url}', keys: ['${{CONFIGURED}}']}}\n  other: {{base_url: '{upstream.url}'}}\n"
    )
    with closing(Vault(tmp_path / "relay.db", environ={})) as vault:
        vault.import_many([NewKey("p", secret(name)) for name in ANSWERS] + [NewKey("gone", secret("valid"))])
    return tmp_path


def run(room: Path, *words: str, **environ: str) -> Result:
    variables = {"RELAY_CONFIG": str(room / "relay.yaml"), "RELAY_SECRET": None, "CONFIGURED": None, "COLUMNS": "200"}
    result = CliRunner().invoke(keys, words, env=variables | environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "0123456789abcdef" not in result.output
    return result


def states(room: Path) -> list[str]:
    with closing(Vault(room / "relay.db", environ={})) as vault:
        return [key.states(time.time())[0] for key in vault.list() if key.provider == "p"]


def test_check(room: Path, upstream: Upstream) -> None:
    result = run(room, "check", "--all", "--json", CONFIGURED=secret("valid") + "-too")
    assert result.exit_code == 1
    found = {row["name"]: row for row in json.loads(result.stdout)}
    assert [found[f"p/v{n}"]["status"] for n in range(1, 13)] == list(EXPECTED.values())
    assert found["p/k1"]["status"] == "valid"
    assert found["gone/v1"] | {"id": ""} == {
        "name": "gone/v1",
        "id": "",
        "status": "unclear",
        "until": None,
        "reason": "relay.yaml has no provider of this name",
    }
    assert found["p/v2"]["until"].endswith("Z")
    assert len(upstream.asked) == 13
    assert states(room) == list(EXPECTED.values())


def test_check_goes_out_as_the_relay_does(room: Path) -> None:
    text = f"listen: {{proxy: '127.0.0.1:9'}}\nproviders: {{p: {{base_url: 'https://h.invalid', keys: [{secret('valid')}]}}}}"
    (room / "relay.yaml").write_text(text)
    with tunnelling(status="407 Who are you?") as (port, heard):
        url = f"http://user:hunter2@127.0.0.1:{port}"
        [found] = json.loads(run(room, "check", "p/k1", "--json", HTTPS_PROXY=url).stdout)
        led = applied(changes({"HTTPS_PROXY": "http://127.0.0.1:9"}, {"HTTPS_PROXY": url}), {"HTTPS_PROXY": url})
        [from_led_shell] = json.loads(run(room, "check", "p/k1", "--json", **led).stdout)
        [near] = json.loads(run(room, "check", "p/k1", "--json", HTTPS_PROXY="http://localhost:9").stdout)
    assert found["reason"] == f"connect: the proxy answered 407, through http://127.0.0.1:{port} (HTTPS_PROXY)"
    assert from_led_shell["reason"] == found["reason"]
    assert near["reason"] == "connect: no such host"  # the proxy is the relay itself: the way was a direct one
    assert len(heard) == 2


def test_check_shows_a_table(room: Path) -> None:
    result = run(room, "check", "v1", "v2", "p/v5", "--provider", "p")
    assert result.exit_code == 1
    assert "limited until " in result.stdout
    assert "invalid x-api-key" in result.stdout
    assert run(room, "check", "v1", "v2", "--provider", "p").exit_code == 0
    assert run(room, "check", "--all", "--provider", "other").stdout == "There is no key to check.\n"


def test_a_disabled_key_can_be_checked_and_stays_disabled(room: Path) -> None:
    run(room, "disable", "p/v1")
    assert run(room, "check", "p/v1").exit_code == 0
    assert states(room)[0] == "disabled"


def test_what_a_provider_repeats_of_a_key_is_not_told(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = "my-short-gate-key"
    body = error("authentication_error", f"the key {short} and {secret('echo')} are unknown")
    monkeypatch.setitem(ANSWERS, "valid", (401, {}, body))
    with closing(Vault(room / "relay.db", environ={})) as vault:
        added = vault.add(NewKey("p", short)).added[0]
    result = run(room, "check", added.id, "--json")
    assert "the key … and … are unknown" in result.stdout
    assert short not in result.stdout + run(room, "list").stdout


def test_a_damaged_key_is_told_and_the_others_are_checked(room: Path) -> None:
    with closing(Vault(room / "relay.db", environ={})) as vault, vault._file.writing() as connection:
        connection.execute("UPDATE keys SET secret = zeroblob(60) WHERE provider = 'p' AND alias = 'v2'")
    result = run(room, "check", "v1", "v2", "--provider", "p", "--json")
    assert [row["status"] for row in json.loads(result.stdout)] == ["valid", "unclear"]
    assert "damaged" in result.stdout


def test_a_valid_key_is_no_longer_out(room: Path) -> None:
    with closing(Vault(room / "relay.db", environ={})) as vault, closing(State(room / "relay.db")) as state:
        with vault._file.writing() as connection:
            create_state(connection)
        plain = {"provider": "p", "scope": "", "since": 1.0, "until": None, "opens": None, "reason": "401"}
        rest = plain | {"careful": 1, "stated": 0, "streak": 0, "lifted": -1.0}
        state.save_cooldowns([rest | {"key_id": key.id} for key in vault.list() if key.alias in ("v1", "v5")])
    assert [states(room)[n] for n in (0, 4)] == ["out", "out"]
    run(room, "check", "p/v1", "p/v5")
    assert [states(room)[n] for n in (0, 4)] == ["valid", "out"]


def test_prune(room: Path) -> None:
    result = run(room, "prune", "--all", "--dry-run")
    assert result.stdout == "3 keys revoked: p/v5, p/v6, p/v12\n"
    assert "removed" not in states(room)
    result = run(room, "prune", "--all")
    assert result.stdout == "3 keys removed: p/v5, p/v6, p/v12 (10 left as they were)\n"
    assert states(room).count("removed") == 3
    assert run(room, "restore", "--all").stdout.startswith("3 keys restored")


def test_an_interruption_keeps_what_was_found(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def once(provider: Provider, key: Key, *, timeout: float) -> Outcome:
        asked.append(key.alias)
        if len(asked) > 1:
            raise KeyboardInterrupt
        return ask(provider, key, timeout=timeout)

    monkeypatch.setattr("claude_relay.cli.keyring.checking.ask", once)
    result = run(room, "check", "p/v1", "p/v2", "--parallel", "1")
    assert result.exit_code == 1
    assert "Aborted!" in result.stderr
    assert states(room)[:2] == ["valid", "unchecked"]
