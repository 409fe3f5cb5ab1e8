"""TLS with providers and proxies that are trusted in ways of their own: a company's authority, a certificate of the relay's own."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from claude_relay.cli.reach import knock
from claude_relay.core.config import ConfigError, parse
from claude_relay.proxy.running.runtime import Draft
from claude_relay.upstream.connection import Connection
from waiting import PATIENCE

from . import steps
from .certs import Authority
from .clients import RawClient, messages_body
from .company import CompanyProxy
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream

QUICK = {"attempts": 1, "max_wait": "1s", "first_byte": "5s"}


@pytest.fixture
def company(tmp_path: Path) -> Authority:
    """An authority that nobody else knows."""
    return Authority(tmp_path / "company", "Company CA")


def wants_certificate(company: Authority, *names: str) -> ssl.SSLContext:
    """Of a server that serves who shows a certificate of the company's."""
    context = company._make_context(names or ("127.0.0.1", "localhost"), ("http/1.1",), False)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(company.ca_file)
    return context


def ask(relay: Relay) -> Any:
    with RawClient(relay.base_port) as client:
        return client.ask("POST", "/v1/messages", body=messages_body())


def one(url: str, **more: Any) -> dict[str, Any]:
    return config(providers={"p": provider(url, ["good-1"], **more)}, retry=QUICK)


@pytest.mark.parametrize("where", ["provider", "everywhere", "nowhere"])
def test_a_companys_authority_is_trusted_beside_the_usual(
    start: StartRelay, authority: Authority, company: Authority, stack: ExitStack, where: str
) -> None:
    """By one provider, or by all; the other provider's certificate is of the usual authority."""
    theirs = stack.enter_context(FakeUpstream(company.server_context("localhost")))
    usual = stack.enter_context(FakeUpstream(authority.server_context("localhost")))
    urls = {"theirs": f"https://localhost:{theirs.port}", "usual": f"https://localhost:{usual.port}"}
    routes = [{"match": {"model": name}, "to": [name]} for name in urls] + [{"to": ["usual"]}]
    ca = {"ca": str(company.ca_file)}
    own = {"tls": ca} if where == "provider" else {}
    providers = {name: provider(url, ["good-1"], **own) for name, url in urls.items()}
    relay = start(
        config(providers=providers, routes=routes, retry=QUICK, **({"upstream": ca} if where == "everywhere" else {}))
    )
    with RawClient(relay.base_port) as client:
        status = {name: client.ask("POST", "/v1/messages", body=messages_body(model=name)).status for name in urls}
    assert status == {"theirs": 502 if where == "nowhere" else 200, "usual": 200}


def test_another_name_is_not_trusted_all_the_same(start: StartRelay, company: Authority, stack: ExitStack) -> None:
    upstream = stack.enter_context(FakeUpstream(company.server_context("somewhere.example")))
    relay = start(one(f"https://localhost:{upstream.port}", tls={"ca": str(company.ca_file)}))
    answer = ask(relay)
    assert answer.status == 502
    assert "ertificate" in answer.json()["error"]["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("together", [True, False])
def test_a_certificate_of_the_relays_own(
    start: StartRelay, company: Authority, stack: ExitStack, tmp_path: Path, together: bool
) -> None:
    upstream = stack.enter_context(FakeUpstream(wants_certificate(company)))
    key = None if together else tmp_path / "me-key.pem"
    company.write_pair(tmp_path / "me.pem", "me.example", key_file=key, client=True)
    tls = {"ca": str(company.ca_file), "cert": str(tmp_path / "me.pem")} | ({"key": str(key)} if key else {})
    url = f"https://localhost:{upstream.port}"
    text = one(url, tls=tls)
    assert ask(start(text)).status == 200
    [found] = [*parse(relay_text(text), environ={}, folder=tmp_path).providers.values()]
    with Connection(url, None, 5.0, found.trust) as connection:  # the relay's own requests, too
        assert connection.request("GET", "/v1/models", {}).status == 200


def relay_text(text: dict[str, Any]) -> str:
    import json

    return json.dumps({"providers": text["providers"]})


def test_without_it_the_provider_serves_nobody(start: StartRelay, company: Authority, stack: ExitStack) -> None:
    upstream = stack.enter_context(FakeUpstream(wants_certificate(company)))
    relay = start(one(f"https://localhost:{upstream.port}", tls={"ca": str(company.ca_file)}))
    assert ask(relay).status == 502
    assert upstream.requests == []


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "hangs up"])
@pytest.mark.parametrize(
    ("certificate", "said"),
    [("none", "wants a certificate of the relay's own"), ("strange", "does not take the relay's certificate")],
)
def test_a_certificate_that_is_refused_after_the_handshake(
    start: StartRelay, company: Authority, tmp_path: Path, certificate: str, said: str, stays: bool
) -> None:
    """As TLS 1.3 has it. The server says so, and then may or may not hang up."""
    tls = {"ca": str(company.ca_file)}
    if certificate == "strange":
        file, _ = Authority(tmp_path / "strange", "Strange CA").write_pair(tmp_path / "me.pem", "me", client=True)
        tls |= {"cert": str(file), "key": str(file)}
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        refused = threads.submit(refuse, listening, wants_certificate(company), stack, stays)
        url = f"https://localhost:{listening.getsockname()[1]}"
        text = one(url, tls=tls)
        answer = ask(start(text))
        assert refused.result(PATIENCE)
        refused = threads.submit(refuse, listening, wants_certificate(company), stack, stays)
        assert said in knock(parse(relay_text(text), environ={}, folder=tmp_path).providers["p"])
        assert refused.result(PATIENCE)
    assert answer.status == 502
    assert f"p: tls: it {said}." in answer.json()["error"]["message"]


def refuse(listening: socket.socket, context: ssl.SSLContext, stack: ExitStack, stays: bool) -> bool:
    """A handshake with whoever comes first."""
    sock, _ = listening.accept()
    stack.callback(sock.close)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_side=True)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(out.read())
            into.write(sock.recv(65536))
        except ssl.SSLError:
            sock.sendall(out.read())
            if not stays:
                sock.shutdown(socket.SHUT_WR)
            return True


def test_providers_at_one_address_with_certificates_of_their_own_share_no_connection(
    start: StartRelay, company: Authority, stack: ExitStack, tmp_path: Path
) -> None:
    upstream = stack.enter_context(FakeUpstream(wants_certificate(company)))
    for who in ("me", "you"):
        company.write_pair(tmp_path / f"{who}.pem", f"{who}.example", client=True)
    providers = {
        who: provider(
            f"https://localhost:{upstream.port}",
            [f"key-of-{who}"],
            tls={"ca": str(company.ca_file), "cert": str(tmp_path / f"{who}.pem")},
        )
        for who in ("me", "you")
    }
    routes = [{"match": {"model": who}, "to": [who]} for who in providers] + [{"to": ["me"]}]
    relay = start(config(providers=providers, routes=routes, retry=QUICK))
    with RawClient(relay.base_port) as client:
        for who in (*providers, *providers):
            assert client.ask("POST", "/v1/messages", body=messages_body(model=who)).status == 200
    by_key = {key: {r.connection for r in upstream.requests if r.key == key} for key in ("key-of-me", "key-of-you")}
    assert [len(connections) for connections in by_key.values()] == [1, 1]
    assert not by_key["key-of-me"] & by_key["key-of-you"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_proxy_of_the_companys(
    start: StartRelay, upstream: FakeUpstream, company: Authority, stack: ExitStack, trusted: bool
) -> None:
    hosts = {"models.example:80": upstream.port}
    proxy = stack.enter_context(CompanyProxy(hosts, users={"me": "hunter2"}, context=company.server_context()))
    named = {"office": {"url": proxy.url_for("me")} | ({"ca": str(company.ca_file)} if trusted else {})}
    relay = start(one("http://models.example", proxy="office") | {"proxies": named})
    answer = ask(relay)
    assert answer.status == (200 if trusted else 502)
    if not trusted:
        said = answer.json()["error"]["message"]
        assert f"through {proxy.url} (office)" in said
        assert "ertificate" in said
    assert "hunter2" not in relay.log_text()


def test_several_attempts_on_one_connection(start: StartRelay, company: Authority, stack: ExitStack) -> None:
    upstream = stack.enter_context(FakeUpstream(company.server_context("localhost", alpn=("h2", "http/1.1"))))
    relay = start(
        config(
            providers={"p": provider(f"https://localhost:{upstream.port}", ["bad", "good-1"])},
            upstream={"ca": str(company.ca_file)},
            retry=QUICK | {"attempts": 3},
        )
    )
    upstream.script(steps.status(401))
    assert ask(relay).status == 200


FILES = {
    "missing": (None, "No such file or directory"),
    "text": ("hello", "holds no certificates"),
}


@pytest.mark.parametrize("place", ["upstream.ca", "providers.p.tls", "proxies.a.ca"])
@pytest.mark.parametrize("name", FILES)
def test_files_that_are_of_no_use(tmp_path: Path, place: str, name: str) -> None:
    content, words = FILES[name]
    if content is not None:
        (tmp_path / "x.pem").write_text(content)
    text = {
        "upstream.ca": "upstream: {ca: x.pem}",
        "providers.p.tls": "providers: {p: {preset: zhipu, tls: {ca: x.pem}}}",
        "proxies.a.ca": "proxies: {a: {url: 'https://h', ca: x.pem}}",
    }[place]
    with pytest.raises(ConfigError) as raised:
        Draft.of(parse(text, environ={}, folder=tmp_path), {})
    [problem] = raised.value.problems
    assert problem.path == place
    assert words in problem.what
    assert "x.pem" in problem.what


def test_a_certificate_without_its_key(tmp_path: Path, company: Authority) -> None:
    company.write_pair(tmp_path / "me.pem", "me", key_file=tmp_path / "me-key.pem")
    company.write_pair(tmp_path / "you.pem", "you", key_file=tmp_path / "you-key.pem")
    for tls in ("cert: me.pem", "cert: me.pem, key: you-key.pem"):
        with pytest.raises(ConfigError, match="holds no key"):
            Draft.of(parse(f"providers: {{p: {{preset: zhipu, tls: {{{tls}}}}}}}", environ={}, folder=tmp_path), {})
