"""Files with recorded requests: flows as mitmproxy writes them, and HTTP archives."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http, io
from mitmproxy.io import tnetstring as theirs
from mitmproxy.test.tflow import tflow, ttcpflow

from claude_relay.core.recordings import tnetstring
from claude_relay.core.recordings.files import read
from claude_relay.core.recordings.recorded import Unusable

BODY = b'{"model": "m", "messages": []}'


def flow(url: str = "https://api.anthropic.com/v1/messages", body: bytes = BODY, comment: str = "") -> http.HTTPFlow:
    found = tflow()
    found.request = http.Request.make("POST", url, body, {"x-api-key": "sk-secret", "anthropic-beta": "one"})
    found.comment = comment
    return found


def written(path: Path, *flows: mitmproxy_flow.Flow) -> bytes:
    with path.open("wb") as file:
        for one in flows:
            io.FlowWriter(file).add(one)
    return path.read_bytes()


def archive(*requests: dict[str, Any]) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": [{"request": request} for request in requests]}}).encode()


def entry(text: str = BODY.decode(), **more: Any) -> dict[str, Any]:
    head = [{"name": "Authorization", "value": "Bearer secret"}, {"name": "Content-Encoding", "value": "gzip"}]
    url = "https://api.anthropic.com/v1/messages"
    return {"method": "POST", "url": url, "headers": head, "postData": {"mimeType": "", "text": text}} | more


def test_flows(tmp_path: Path) -> None:
    flows = (flow(), ttcpflow(), flow("https://example.com/"), flow(body=b'{"model": "n"}'))
    found = read(written(tmp_path / "a.flow", *flows), "a.flow")
    assert [(one.name, one.model) for one in found.requests] == [("a.flow 1", "m"), ("a.flow 3", "n")]
    assert found.left_out == ("a.flow 2: POST / asks no model as the Claude API has it",)
    assert "secret" not in str(found)


def test_attempts_that_were_saved_beside_their_request_are_left_out(tmp_path: Path) -> None:
    data = written(tmp_path / "a.flow", flow(), flow(comment="attempt 1 · anthropic/k1 · overloaded"))
    assert len(read(data, "a.flow").requests) == 1


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n  "])
def test_archives(mark: bytes) -> None:
    packed = {"text": base64.b64encode(BODY).decode(), "encoding": "base64"}
    found = read(mark + archive(entry(), entry(postData=packed), entry(method="GET", postData=None)), "a.har")
    assert [one.body for one in found.requests] == [BODY, BODY]
    assert len(found.left_out) == 1
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "there is no request in it"),
        (b"hello", "no file of flows, or a damaged one"),
        (b"{}", "no HTTP archive"),
        (b'{"log": {"entries": {}}}', "no HTTP archive"),
        (archive(), "there is no request in it"),
        (archive(entry(method="GET")), "asks no model"),
        (archive(entry(postData={"text": "!", "encoding": "base64"})), "no Base64"),
        (b"4:true!4:true!", "there is no request in it"),
    ],
)
def test_nothing_that_can_be_sent_again(data: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        read(data, "a")


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    data = written(tmp_path / "a.flow", flow(), flow())
    with pytest.raises(Unusable, match="damaged"):
        read(data[:-10], "a.flow")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_are_read_as_mitmproxy_reads_them(value: Any) -> None:
    assert list(tnetstring.values(theirs.dumps(value) * 2)) == [theirs.loads(theirs.dumps(value))] * 2


@given(st.binary())
def test_whatever_comes_it_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(tnetstring.values(data))


def test_too_deep() -> None:
    value: Any = None
    for _ in range(100):
        value = [value]
    with pytest.raises(ValueError, match="too deep"):
        list(tnetstring.values(theirs.dumps(value)))
