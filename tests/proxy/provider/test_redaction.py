"""Who gets to see which credential: the client its own, nobody the pool's, flows and tables none."""

from __future__ import annotations

import gzip
from base64 import b64encode

import pytest
from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.test import tflow

from claude_relay.core.config import OutboundProxy
from claude_relay.core.exchange import Key, Outcome
from claude_relay.proxy.messages.wire import CLIENT_ALIAS
from claude_relay.proxy.provider.redaction import LONGEST_NAME, Redaction, hide_refused, own_secrets
from claude_relay.store.ledger.ledger import ChargeRow
from store.rows import attempt, request

POOLS, CLIENTS = "sk-ant-api03-of-the-pool-0123456789", "sk-ant-api03-of-the-client-0123456789"
BOTH = f"the keys {POOLS} and {CLIENTS}".encode()


@pytest.fixture
def redaction() -> Redaction:
    found = Redaction(own_secrets(((b"x-api-key", CLIENTS.encode()),)))
    found.issue(Key("anthropic", "k2", POOLS, "id"), OutboundProxy.parse("http://me:pass-of-proxy@p:1"))
    return found


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"X-Api-Key", b" long-secret-key ", [b"long-secret-key"]),
        (b"authorization", b"Bearer long-secret-key", [b"long-secret-key"]),
        (
            b"authorization",
            b"Basic " + b64encode(b"me:long-secret-key"),
            [b64encode(b"me:long-secret-key"), b"me:long-secret-key", b"long-secret-key"],
        ),
        (b"authorization", b"Basic no-base-64", [b"no-base-64"]),
        (b"cookie", b"a=long-secret-key; b=short", [b"a=long-secret-key; b=short", b"long-secret-key"]),
        (b"x-any", b"sk-ant-hidden-in-any-field", [b"sk-ant-hidden-in-any-field"]),
        (b"x-any", b"long-secret-key", []),
        (b"x-api-key", b"short", []),
    ],
)
def test_what_a_client_sends_that_is_a_credential(name: bytes, value: bytes, expected: list[bytes]) -> None:
    assert own_secrets(((name, value),)) == tuple((secret, CLIENT_ALIAS) for secret in expected)


def test_a_head_as_it_is_shown_and_as_the_client_gets_it(redaction: Redaction) -> None:
    answer = http.Response.make(400, b"", {"x-echo": BOTH.decode(), f"x-{POOLS}": "1", "x-plain": "2"})
    answer.reason = f"no {CLIENTS}"
    redaction.hide_in_head(answer)
    shown = dict(answer.headers.items())
    assert POOLS not in str(shown) + answer.reason
    assert CLIENTS not in str(shown) + answer.reason
    assert shown["x-plain"] == "2"
    to_client = dict(redaction.unmasked(answer.data.headers.fields))
    assert to_client[b"x-echo"] == f"the keys relay:anthropic/k2 and {CLIENTS}".encode()


def test_a_head_without_a_credential_stays_the_same_object(redaction: Redaction) -> None:
    answer = http.Response.make(200, b"", {"x": "y"})
    before = answer.data.headers.fields
    redaction.hide_in_head(answer)
    assert answer.data.headers.fields is before


def test_cookies_of_a_sign_in_are_shown_nowhere() -> None:
    side, answer = Redaction(side=True), http.Response.make(200, b"token", {"set-cookie": "session=abc"})
    side.hide_in_head(answer)
    assert answer.headers["set-cookie"].startswith("relay:cookie/")
    assert dict(side.unmasked(answer.data.headers.fields))[b"set-cookie"] == b"session=abc"
    assert side.for_show(answer, b"token") == b""


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_bodies(redaction: Redaction, encoding: str) -> None:
    headers = {"content-encoding": encoding} if encoding else {}
    body = gzip.compress(BOTH) if encoding else BOTH
    answer = http.Response.make(400, b"", headers)
    shown = redaction.for_show(answer, body)
    assert POOLS.encode() not in shown
    assert CLIENTS.encode() not in shown
    assert b"relay:anthropic/k2" in shown
    assert "content-encoding" not in answer.headers
    if encoding:
        answer = http.Response.make(400, b"", headers)
        to_client = redaction.for_client(answer, body, encoding)
        assert POOLS.encode() not in to_client
        assert CLIENTS.encode() in to_client
        assert "content-encoding" not in answer.headers


def test_a_compressed_body_without_one_stays_as_it_is(redaction: Redaction) -> None:
    body = gzip.compress(b"nothing")
    answer = http.Response.make(200, b"", {"content-encoding": "gzip"})
    assert redaction.for_client(answer, body, "gzip") is body
    assert redaction.for_show(answer, body) is body
    assert answer.headers["content-encoding"] == "gzip"


def test_words_outcomes_and_rows(redaction: Redaction) -> None:
    assert redaction.text("via me:pass-of-proxy") == "via relay:proxy"
    plain = Outcome(400, body=b"x", message="y")
    assert redaction.outcome(plain) is plain
    told = redaction.outcome(Outcome(400, body=BOTH, message=BOTH.decode()))
    assert POOLS not in told.message + told.body.decode()
    row = request(served_model=f"m-{POOLS}", client=CLIENTS)
    record = attempt(
        row, error=BOTH.decode(), charges=(ChargeRow(request=row.id, attempt=1, n=1, kind="advisor", model=POOLS),)
    )
    shown, (other,) = redaction.rows(row, [record])
    assert POOLS not in repr((shown, other))
    assert CLIENTS not in repr((shown, other))
    assert redaction.rows(request(), [])[1] == []


def test_a_name_that_was_cut_off_within_a_secret(redaction: Redaction) -> None:
    name = ("x" * (LONGEST_NAME - 20) + POOLS)[:LONGEST_NAME]
    shown, _ = redaction.rows(request(served_model=name), [])
    assert "sk-ant" not in (shown.served_model or "")


def test_what_a_client_sent_is_forgotten_at_the_end(redaction: Redaction) -> None:
    redaction.forget_own()
    assert redaction.text(CLIENTS) == CLIENTS
    assert POOLS not in redaction.text(POOLS)


def test_trailers(redaction: Redaction) -> None:
    fields = http.Headers([(b"x-one", BOTH), (b"connection", b"close"), (POOLS.encode(), b"1")])
    assert redaction.hide_in_trailers(fields) == http.Headers(
        [(b"x-one", b"the keys relay:anthropic/k2 and relay:client")]
    )
    assert redaction.hide_in_trailers(http.Headers([(b"te", b"x")])) is None


def test_a_request_that_was_refused_shows_why_and_no_credential() -> None:
    flow = tflow.tflow()
    flow.request.headers = http.Headers([(b"Host", b"h"), (b"content-length", b"x"), (b"x-any", b"Bearer abcdef")])
    flow.error = mitmproxy_flow.Error("invalid header: Bearer abcdef")
    hide_refused(flow)
    assert [(n, v) for n, v in flow.request.headers.fields] == [
        (b"Host", b"h"),
        (b"content-length", b"x"),
        (b"x-any", CLIENT_ALIAS),
    ]
    assert "abcdef" not in flow.error.msg
