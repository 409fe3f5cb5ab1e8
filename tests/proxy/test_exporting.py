"""Flows as files: no secret of any shape is in them, whatever a flow holds; what `relay.export` does is in tests/wire/test_exporting."""

from __future__ import annotations

import io as streams
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import exceptions, http, io
from mitmproxy.connection import Client, Server
from mitmproxy.flow import Error
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.proxy.exporting import FORMS as WRITTEN
from claude_relay.proxy.exporting import exchange_of, export, flow_of, refuse_unfit, secrets_of
from claude_relay.proxy.running.runtime import Runtime
from core.redacting.secrets_of_all_shapes import ANY, FORMS, UNMISTAKABLE, survives


def flow_with(secret: str, written: str) -> http.HTTPFlow:
    """At every place of a flow that holds text."""
    flow = http.HTTPFlow(
        Client(peername=("203.0.113.7", 1), sockname=("127.0.0.1", 2)), Server(address=("a.test", 443))
    )
    flow.client_conn.sni = flow.server_conn.sni = written
    flow.server_conn.via = None
    field = written.replace("\n", "").encode()
    body = json.dumps(
        {"model": "m", "api_key": secret, "messages": [{"role": "user", "content": f"so {written} it is"}]}
    ).encode()
    headers = http.Headers(
        [
            (b"host", b"a.test"),
            (b"x-api-key", secret.encode()),
            (b"user-agent", field),
            (b"cookie", b"a=" + secret.encode()),
        ]
    )
    flow.request = http.Request(
        "a.test",
        443,
        b"POST",
        b"https",
        b"",
        f"/v1/messages?key={secret}".encode(),
        b"HTTP/1.1",
        headers,
        body,
        http.Headers([(b"x-late", field)]),
        1.0,
        2.0,
    )
    answer = http.Headers(
        [(b"set-cookie", b"sid=" + secret.encode()), (b"anthropic-organization-id", field), (b"server", field)]
    )
    flow.response = http.Response(
        b"HTTP/1.1", 401, b"No " + field[:50], answer, f"no such key: {secret}; {written}".encode(), None, 3.0, 4.0
    )
    flow.error = Error(f"cannot: {written}")
    flow.comment, flow.marked = written, written
    flow.metadata |= {"relay_session": written, "relay_key": secret, "other": secret}
    return flow


@settings(max_examples=40, deadline=None)
@given(secret=UNMISTAKABLE, form=st.sampled_from(sorted(FORMS)), texts=st.booleans())
def test_no_secret_survives(tmp_path_factory: pytest.TempPathFactory, secret: str, form: str, texts: bool) -> None:
    folder = tmp_path_factory.mktemp("exported")
    flow = flow_with(secret, FORMS[form](secret))
    for kind in WRITTEN:
        said = export(WRITTEN[kind], lambda: [flow, tflow.ttcpflow()], folder / kind, (), texts)
        data = (folder / kind).read_bytes()
        assert not survives(secret, data), kind
        assert b"203.0.113.7" not in data
        assert "left out: 1 that are no HTTP" in said
    (again,) = io.FlowReader(streams.BytesIO((folder / "flows").read_bytes())).stream()
    assert isinstance(again, http.HTTPFlow)
    assert (again.request.method, again.request.pretty_host, again.response and again.response.status_code) == (
        "POST",
        "a.test",
        401,
    )


@settings(max_examples=20, deadline=None)
@given(secret=ANY, other=ANY)
def test_what_the_configuration_holds_is_known(secret: str, other: str) -> None:
    providers = f'{{a: {{base_url: "https://a.test", keys: ["{secret}"], proxy: "http://me:{other}@proxy.test:1"}}}}'
    text = f'providers: {providers}\nnotices: {{webhook: "https://hooks.test/{other}", secret: "{other}"}}'
    known = dict(secrets_of(Runtime.of(parse(text, environ={}))))
    assert {
        secret.encode(),
        other.encode(),
        f"me:{other}".encode(),
        f"https://hooks.test/{other}".encode(),
    } <= known.keys()


def test_a_flow_comes_through_whole() -> None:
    flow = tflow.tflow(resp=True)
    flow.request.url = "http://a.test:8080/v1/messages?beta=true"
    again = flow_of(exchange_of(flow))
    assert again.request.url == flow.request.url
    assert again.request.content == flow.request.content
    assert again.response is not None
    assert again.response.content == flow.response.content
    assert again.response.headers.fields == flow.response.headers.fields


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "there").touch()
    for name, why in (("there", "there already"), ("dangling", "there already"), ("no/such", "no folder")):
        with pytest.raises(exceptions.CommandError, match=why):
            refuse_unfit(tmp_path / name)
