"""At one outbound proxy, each credential has connections of its own: what was opened with one carries no request of another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from claude_relay.store.vault.vault import NewKey, Vault

from .certs import Authority
from .clients import H2Client, RawClient, messages_body
from .company import CompanyProxy
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream

CLAUDE = "api.anthropic.com:443"
PLAIN = "models.example:8000"
USERS = {"me": "pa:ss", "you": "another-secret", "all": "the-environments"}
SECRET = {"RELAY_SECRET": "a secret for tests"}
QUICK = {"attempts": 2, "max_wait": "1s", "first_byte": "2s"}
ENDS = {"http/1.1": ("http/1.1",), "h2": ("h2", "http/1.1"), "plain": ()}
Ask = Callable[[], str]


@pytest.fixture(params=ENDS)
def far(request: pytest.FixtureRequest, authority: Authority) -> Iterator[FakeUpstream]:
    """The provider: HTTP/1.1 or HTTP/2 in TLS, or without TLS."""
    alpn = ENDS[request.param]
    context = authority.server_context("api.anthropic.com", alpn=alpn) if alpn else None
    with FakeUpstream(context) as found:
        yield found


@pytest.fixture
def company(far: FakeUpstream, stack: ExitStack) -> CompanyProxy:
    return stack.enter_context(CompanyProxy({CLAUDE: far.port, PLAIN: far.port}, users=USERS))


def url_of(far: FakeUpstream) -> str:
    return f"http://{PLAIN}" if far.url.startswith("http:") else "https://api.anthropic.com"


@pytest.fixture(params=["base url", "proxy h2"])
def asker(request: pytest.FixtureRequest, stack: ExitStack) -> Callable[[Relay], Ask]:
    """Asks again and again on one connection of a client."""

    def connect(relay: Relay) -> Ask:
        client: Any = stack.enter_context(
            RawClient(relay.base_port)
            if request.param == "base url"
            else H2Client.through(relay.proxy_port, relay.ca_file)
        )

        def ask() -> str:
            answer = client.ask("POST", "/v1/messages", body=messages_body())
            assert answer.status == 200
            return str(answer.header("x-relay-key"))

        return ask

    return connect


def users_of_connections(company: CompanyProxy, far: FakeUpstream) -> None:
    """Every connection at the provider has carried the keys of one user."""
    carried: dict[object, set[str]] = {}
    for key, request in zip(far.used_keys(), far.requests, strict=True):
        carried.setdefault(request.connection, set()).add(key)
    assert all(len(keys) == 1 for keys in carried.values()), carried


def test_keys(
    start: StartRelay, company: CompanyProxy, far: FakeUpstream, tmp_path: Path, asker: Callable[[Relay], Ask]
) -> None:
    """Of one provider, each with a proxy of its own, with that of the provider, or with the environment's."""
    with closing(Vault(tmp_path / "relay.db", environ=SECRET)) as vault:
        vault.import_many([NewKey("p", f"sk-of-{user}", proxy=company.url_for(user)) for user in ("me", "you")])
        vault.import_many([NewKey("p", "sk-of-all")])
    environ = {"HTTPS_PROXY": company.url_for("all"), "HTTP_PROXY": company.url_for("all")}
    relay = start(config(providers={"p": provider(url_of(far))}, retry=QUICK), relay={"environ": SECRET | environ})
    ask = asker(relay)
    assert len({ask() for _ in range(6)}) == 3
    assert sorted(far.used_keys()) == sorted([f"sk-of-{user}" for user in USERS] * 2)
    assert {asked.user for asked in company.requests} == set(USERS)
    users_of_connections(company, far)


def test_an_edit_of_relay_yaml(
    start: StartRelay, company: CompanyProxy, far: FakeUpstream, asker: Callable[[Relay], Ask]
) -> None:
    """The connection that was opened before waits for further requests; nobody's with the new credential goes through it."""

    def text(user: str) -> dict[str, Any]:
        proxy = company.url_for(user).replace("127.0.0.1", "LocalHost")
        return config(providers={"p": provider(url_of(far), [f"sk-of-{user}"], proxy=proxy)}, retry=QUICK)

    relay = start(text("me"))
    ask = asker(relay)
    ask()
    for edits, user in enumerate(("you", "me"), 1):
        relay.write_config(text(user))
        relay.wait_for_log("was read again and applies from now on", edits)
        ask()
        assert far.used_keys()[-1] == f"sk-of-{user}"
    users_of_connections(company, far)
    assert {asked.user for asked in company.requests} == {"me", "you"}


def test_all_at_once(start: StartRelay, company: CompanyProxy, far: FakeUpstream, stack: ExitStack) -> None:
    """Streams of one connection wait for their tunnels at the same time."""
    providers = {
        user: provider(url_of(far), [f"sk-of-{user}"], proxy=company.url_for(user), models={"*": user})
        for user in USERS
    }
    routes = [{"match": {"model": user}, "to": [user]} for user in USERS]
    relay = start(config(providers=providers, routes=[*routes, {"to": ["me"]}], retry=QUICK))
    client = stack.enter_context(H2Client.through(relay.proxy_port, relay.ca_file))
    for _ in range(2):
        streams = [client.request("POST", "/v1/messages", body=messages_body(model=user)) for user in USERS]
        assert {client.answer(stream).status for stream in streams} == {200}
    assert {asked.user for asked in company.requests} == set(USERS)
    users_of_connections(company, far)
