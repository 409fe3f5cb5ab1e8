"""`doctor --proxies`: every way out, tried with real proxies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from claude_relay.cli import ways_out
from claude_relay.cli.checks import FAIL, OK, WARN, Check
from claude_relay.cli.doctor import doctor
from claude_relay.core.config import Config, parse
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.vault.vault import NewKey, Vault
from upstream.providers import answering, raw
from wire.certs import Authority
from wire.company import CompanyProxy
from wire.socks import GREETED, hostile, microsocks
from wire.upstream import FakeUpstream, refusing_port

SECRET = "hunter2"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as found:
        yield found


def configured(
    folder: Path, proxies: dict[str, object], url: str = "http://h.example", proxy: str | None = None
) -> Config:
    provider = {"base_url": url} | ({"proxy": proxy} if proxy else {})
    return parse(json.dumps({"providers": {"p": provider}, "proxies": proxies}), environ={}, folder=folder)


def tried(config: Config, echo: str | None = None, environ: dict[str, str] | None = None) -> list[Check]:
    return [*ways_out.proxies(config, echo, environ or {})]


def test_a_proxy_that_works(tmp_path: Path, upstream: FakeUpstream, stack: ExitStack) -> None:
    proxy = stack.enter_context(microsocks("me", SECRET))
    echo = stack.enter_context(raw(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n192.0.2.7\x1b\n\n")))
    named = {"office": {"url": proxy.url_for("me", SECRET), "direct": True}}
    config = configured(tmp_path, named, upstream.url, "office")
    [check] = tried(config, f"http://{echo}/ip")
    assert (check.name, check.status) == ("proxy office", OK)
    assert f"{proxy.url} (office) leads to 127.0.0.1 in " in check.found
    assert "for p" in check.found
    assert "sees 192.0.2.7" in check.found
    assert "\x1b" not in check.found
    assert "while it fails, directly" in check.found
    assert SECRET not in check.found
    assert upstream.requests == []


def test_what_went_through_it(tmp_path: Path, upstream: FakeUpstream, stack: ExitStack) -> None:
    proxy = stack.enter_context(microsocks())
    config = configured(tmp_path, {"office": {"url": proxy.url}}, upstream.url, "office")
    with closing(connect(config.database, patience=1)) as connection:
        migrate(connection)
        _fill(connection)
    [check] = tried(config)
    assert "1 request in 7 days, 1 attempt without a way" in check.found


def _fill(connection: sqlite3.Connection) -> None:
    now = connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')").fetchone()[0]
    columns = [row[1:4:2] for row in connection.execute("PRAGMA table_info(requests)")]
    needed = {name: 0 for name, required in columns if required} | {"id": "r", "started_at": now, "proxy": "office"}
    needed |= {"method": "POST", "path": "/", "finished": "complete", "origin": "client"}
    names = ", ".join(needed)
    with connection:
        connection.execute("BEGIN")
        connection.execute(
            f"INSERT INTO requests ({names}) VALUES ({', '.join('?' * len(needed))})", [*needed.values()]
        )
        for n, verdict in enumerate(("ok", "proxy_failed", "ok"), 1):
            connection.execute(
                "INSERT INTO attempts (request, n, provider, verdict, started_at, proxy) VALUES ('r', ?, 'p', ?, ?, 'office')",
                [n, verdict, now],
            )


CASES = {
    "wrong password": ("refused the user or the password", "correct user and password"),
    "no password": ("wants a user and a password", "put both into"),
    "nobody there": ("the proxy cannot be reached: Connection refused", "check its URL"),
    "HTTP": ("write http://", "write http://"),
    "not allowed": ("does not allow connections", "allow this host"),
    "407": ("the proxy answered 407", "put a user and a password"),
}


@pytest.mark.parametrize("case", CASES)
def test_cases_are_told_apart(tmp_path: Path, stack: ExitStack, case: str) -> None:
    words, remedy = CASES[case]
    match case:
        case "wrong password":
            url = stack.enter_context(microsocks("me", SECRET)).url_for("me", "wrong")
        case "no password":
            url = stack.enter_context(microsocks("me", SECRET)).url
        case "nobody there":
            url = f"socks5://127.0.0.1:{stack.enter_context(refusing_port())}"
        case "HTTP":
            url = stack.enter_context(hostile(b"HTTP/1.1 400 Bad Request\r\n\r\n")).url
        case "not allowed":
            url = stack.enter_context(hostile(GREETED, b"\x05\x02\x00\x01" + bytes(6))).url
        case _:
            url = stack.enter_context(CompanyProxy({}, users={"me": SECRET})).url
    [check] = tried(configured(tmp_path, {"office": {"url": url, "direct": True}}))
    assert check.status == FAIL
    assert words in check.found
    assert remedy in check.remedy
    assert "no provider uses it" in check.found


def test_who_opens_tls_on_the_way(tmp_path: Path, stack: ExitStack) -> None:
    """A proxy with a certificate of the company's, and one that leads to somebody else than the provider."""
    company = Authority(tmp_path / "company")
    stranger = stack.enter_context(FakeUpstream(company.server_context("h.example")))
    hosts = {"h.example:443": stranger.port}
    open_one = stack.enter_context(CompanyProxy(hosts))
    closed = stack.enter_context(CompanyProxy(hosts, context=company.server_context()))
    named = {"open": {"url": open_one.url}, "closed": {"url": closed.url}}
    found = {check.name: check for check in tried(configured(tmp_path, named, "https://h.example"))}
    assert "the proxy cannot be reached: its certificate is not trusted" in found["proxy closed"].found
    assert "name the proxy's authority" in found["proxy closed"].remedy
    assert "its certificate is not trusted" in found["proxy open"].found
    assert "somebody on the way opens TLS" in found["proxy open"].remedy
    named["closed"]["ca"] = str(company.ca_file)
    text = {
        "providers": {"p": {"base_url": "https://h.example", "tls": {"ca": str(company.ca_file)}}},
        "proxies": named,
    }
    checks = tried(parse(json.dumps(text), environ={}, folder=tmp_path))
    assert [check.status for check in checks] == [OK, OK]


def test_proxies_of_the_environment_and_of_providers(tmp_path: Path, stack: ExitStack, upstream: FakeUpstream) -> None:
    own, around = stack.enter_context(microsocks()), stack.enter_context(microsocks())
    config = configured(tmp_path, {}, upstream.url, own.url)
    checks = tried(config, environ={"ALL_PROXY": around.url, "AUTO_PROXY": "http://h/x.pac"})
    assert [check.status for check in checks] == [WARN, OK, OK]
    assert "PAC" in checks[0].found
    assert f"{around.url} (ALL_PROXY)" in checks[2].found


def test_each_user_of_a_proxy_is_tried_by_itself(tmp_path: Path, stack: ExitStack, upstream: FakeUpstream) -> None:
    server = stack.enter_context(microsocks("me", SECRET))
    urls = {"a": server.url_for("me", SECRET), "b": server.url_for("me", "wrong"), "c": server.url_for("me", SECRET)}
    providers = {name: {"base_url": upstream.url, "proxy": url} for name, url in urls.items()}
    works, fails = tried(parse(json.dumps({"providers": providers}), environ={}, folder=tmp_path))
    assert (works.status, fails.status) == (OK, FAIL)
    assert "for a, c" in works.found
    assert "refused the user or the password" in fails.found
    assert fails.found.endswith("for b")


def test_proxies_that_only_keys_have(tmp_path: Path) -> None:
    config = configured(tmp_path, {})
    vault = Vault(config.database, environ={"RELAY_SECRET": "a secret for tests"})
    vault.import_many(
        [NewKey("p", "sk-key-1", proxy="nowhere"), NewKey("p", "sk-key-2", proxy=f"socks5://me:{SECRET}@h.example:1")]
    )
    vault.close()
    lost, elsewhere = tried(config)
    assert (lost.name, lost.status) == ("proxy nowhere", FAIL)
    assert "cannot be used" in lost.found
    assert elsewhere.status == OK
    assert "socks5://h.example:1" in elsewhere.found
    assert SECRET not in elsewhere.found + lost.found


def test_none(tmp_path: Path) -> None:
    [check] = tried(configured(tmp_path, {}))
    assert check.found == "none: everything is reached directly"


def test_the_command(tmp_path: Path, stack: ExitStack, upstream: FakeUpstream) -> None:
    proxy = stack.enter_context(microsocks("me", SECRET))
    file = tmp_path / "relay.yaml"
    text = {"providers": {"p": {"base_url": upstream.url, "proxy": "office"}}}
    file.write_text(json.dumps(text | {"proxies": {"office": {"url": proxy.url_for("me", SECRET)}}}))
    found = CliRunner().invoke(doctor, ["--proxies", "--config", str(file), "--json"])
    assert (found.exit_code, json.loads(found.stdout)["healthy"]) == (0, True)
    assert SECRET not in found.output
    file.write_text(json.dumps(text | {"proxies": {"office": {"url": proxy.url_for("me", "wrong")}}}))
    assert CliRunner().invoke(doctor, ["--proxies", "--config", str(file)]).exit_code == 1
    assert CliRunner().invoke(doctor, ["--echo", "http://h"]).exit_code == 2
