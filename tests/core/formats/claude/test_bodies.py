"""Bodies in Claude's own format: thoughts taken out of requests, the model's name put back into answers."""

import doctest
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.bodies.facts import read_facts
from claude_relay.core.exchange import Endpoint
from claude_relay.core.formats.answer_blocks import FOREIGN, SEARCH_ID
from claude_relay.core.formats.claude import bodies as anthropic
from claude_relay.core.formats.claude.bodies import (
    ModelBack,
    without_foreign_thinking,
    without_tags,
    without_thinking,
)
from claude_relay.core.formats.sources import Source

OWN = {"type": "thinking", "thinking": "Hm, [{", "signature": "EqoB"}
ALIEN = {"type": "thinking", "thinking": f'so "{FOREIGN}", ]', "signature": FOREIGN + "-1"}
REDACTED = {"type": "redacted_thinking", "data": "Eq"}
SOURCE = Source("https://a.org", "A")
SEARCHED = {"type": "server_tool_use", "id": SEARCH_ID + "0190a_0", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": SEARCHED["id"], "content": [SOURCE.result()]}
CITED = {"type": "text", "text": "So.", "citations": [SOURCE.citation()]}
OWN_SEARCH = SEARCHED | {"id": "srvtoolu_01"}
OWN_FOUND = FOUND | {"tool_use_id": "srvtoolu_01", "content": [SOURCE.result() | {"encrypted_content": "EqEq"}]}
OWN_CITED = CITED | {"citations": [SOURCE.citation() | {"encrypted_index": "Eo8B"}]}
TEXT = {"type": "text", "text": f'] "{FOREIGN}" \\ ü'}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"content": [ALIEN], "messages": []}}
HELLO = {"role": "user", "content": f"Hi, {FOREIGN}"}
TRANSCRIPTS = Path(__file__).parents[2] / "transcripts"


def request(*turns, indent=None):
    messages = [{"role": "assistant", "content": turn} if isinstance(turn, list) else turn for turn in turns]
    return json.dumps({"model": "m", "messages": messages, "max_tokens": 9}, indent=indent).encode()


CUT = [
    ([HELLO, [ALIEN, TEXT, USE], HELLO], [HELLO, [TEXT, USE], HELLO]),
    ([HELLO, [OWN, ALIEN, TEXT, ALIEN, USE, ALIEN]], [HELLO, [OWN, TEXT, USE]]),
    ([HELLO, [ALIEN, ALIEN], HELLO], [HELLO, HELLO]),
    ([[ALIEN], HELLO, [ALIEN]], [HELLO]),
    ([HELLO, [OWN, REDACTED, TEXT]], [HELLO, [OWN, REDACTED, TEXT]]),
    ([HELLO, [SEARCHED, FOUND, CITED, USE], HELLO], [HELLO, [CITED | {"citations": None}, USE], HELLO]),
    ([HELLO, [OWN_SEARCH, OWN_FOUND, OWN_CITED, ALIEN]], [HELLO, [OWN_SEARCH, OWN_FOUND, OWN_CITED]]),
    ([HELLO, {"role": "assistant", "content": []}, [ALIEN]], [HELLO, {"role": "assistant", "content": []}]),
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(("before", "after"), CUT)
def test_the_thoughts_of_other_models_are_taken_out(before, after, indent):
    cut = without_foreign_thinking(request(*before, indent=indent))
    assert json.loads(cut) == json.loads(request(*after))


@pytest.mark.parametrize("indent", [None, 2])
def test_every_thought_is_taken_out(indent):
    cut = without_thinking(request(HELLO, [OWN, REDACTED, TEXT], HELLO, [ALIEN, REDACTED], HELLO, indent=indent))
    assert json.loads(cut) == json.loads(request(HELLO, [TEXT], HELLO, HELLO))


def test_the_other_bytes_stay():
    body = b'{ "x":1.0e2,"messages" : [ {"role":"assistant", "content":[%b , {"type":"text", "text":"\\u00fc"}] }, {} ],"y" :"\\/"}'
    cut = without_foreign_thinking(body % json.dumps(ALIEN).encode())
    assert cut == body.replace(b"%b , ", b"")


def test_without_foreign_thoughts_the_same_object_comes_back():
    body = request([OWN, USE], HELLO).replace(FOREIGN.encode(), b"")
    assert without_foreign_thinking(body) is body
    untouched = request(HELLO, [TEXT])
    assert without_thinking(untouched) is untouched


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"messages": [{"content": [{"type": "thinking"}]}',
        b'{"messages": {"content": [{"type": "thinking"}]}}',
        b'{"messages": [7, null, "a", {"content": 7}, {"content": ["thinking", 7, {"type": ["thinking"]}]}]}',
        b'{"messages": ' + b"[" * 9000 + b"]" * 9000 + b"}",
    ],
)
def test_odd_requests_pass_untouched(body):
    marked = body + b" " if FOREIGN.encode() in body else body
    assert without_thinking(marked) == body
    assert without_foreign_thinking(body + FOREIGN.encode()) == body + FOREIGN.encode()


@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b'"messages"', b":", b"[", b"]", b"{", b"}", b",", b'"content"', b'"type"', b'"thinking"']),
        max_size=40,
    ).map(b"".join)
)
def test_no_request_makes_it_raise(body):
    without_thinking(body)


def stream_of(data, back, size):
    pieces = [back.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join([*pieces, back.end()])


@pytest.mark.parametrize(
    "name", ["text.sse", "tool_use.sse", "crlf.sse", "pings.sse", "server_tools.sse", "thinking.sse"]
)
def test_the_model_of_a_stream_is_put_back(name):
    data = (TRANSCRIPTS / name).read_bytes()
    served = (
        json.loads(data[data.index(b'{"type":"message_start"') :].splitlines()[0])["message"]["model"]
        if b'{"type":"message_start"' in data
        else None
    )
    for size in (1, 7, 64, len(data)):
        back = ModelBack("claude-client", stream=True)
        changed = stream_of(data, back, size)
        assert back.served_model is not None
        assert served in (None, back.served_model)
        assert changed == data.replace(json.dumps(back.served_model).encode(), b'"claude-client"', 1)


START = b'event: message_start\ndata: {"type": "message_start", "message": {"model": "glm-5", "content": [{"model": "glm-5"}]}}\n\n'


def test_a_stream_is_held_only_until_its_first_event_is_whole():
    back = ModelBack("claude-client", stream=True)
    assert back.feed(START[:-1]) == b""
    assert back.feed(b"\nevent: ") == START.replace(b'"glm-5"', b'"claude-client"', 1) + b"event: "
    assert back.feed(b"x") == b"x"
    assert back.end() == b""
    assert back.served_model == "glm-5"


def test_a_ping_before_the_first_event_does_not_matter():
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert stream_of(ping + START + ping, ModelBack("claude-client", stream=True), 5) == (
        ping + START.replace(b'"glm-5"', b'"claude-client"', 1) + ping
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        START[:-1],
        START.replace(b'"message": ', b'"massage": '),
        START.replace(b'"glm-5"', b"7", 1),
        START.replace(b'"message": {', b'"message": 7, "x": {'),
        START.replace(b"}}\n\n", b"\n\n"),
        START.replace(b', "message"', b',\ndata: "message"'),
        b'event: error\ndata: {"type": "error", "error": {"type": "api_error", "message": "model"}}\n\n' + START,
        b"<html>" * 100,
        b"\xff\n\n" * 9,
    ],
)
def test_odd_streams_pass_untouched(data):
    for size in (1, 1000):
        assert stream_of(data, ModelBack("claude-client", stream=True), size) == data


def test_the_model_of_an_answer_is_put_back():
    data = (TRANSCRIPTS / "tool_use.json").read_bytes()
    served = json.loads(data)["model"]
    back = ModelBack("claude-client", stream=False)
    assert back.feed(data[:20]) == b""
    assert back.feed(data[20:]) == b""
    assert back.end() == data.replace(json.dumps(served).encode(), b'"claude-client"', 1)
    assert back.served_model == served
    assert back.end() == b""


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"model": 7}', b'{"input_tokens": 7}', b'{"type": "error", "error": {"model": "a"}}']
)
def test_odd_answers_pass_untouched(data):
    back = ModelBack("claude-client", stream=False)
    assert back.feed(data) + back.end() == data
    assert back.served_model is None


def test_the_examples_in_the_docstring():
    assert doctest.testmod(anthropic).failed == 0


# -- labels for a gateway


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b'{"tags": {"team": "a"} , "model": "m"}', b'{ "model": "m"}'),
        (b'{ "model" : "m" ,  "tags":["a,b"], "stream":true }', b'{ "model" : "m", "stream":true }'),
        (b'{"model":"m","tags":null}', b'{"model":"m"}'),
        (b'{"tags":1,"a":2,"tags":[{"tags":1}],"b":3,"tags":4}\n', b'{"a":2,"b":3}\n'),
        (b'{"tags":1}', b"{}"),
        (b'{"tools":[{"input_schema":{"properties":{"tags":{}}}}],"x":"\\"tags\\":"}', None),
        (b'{"model":"m"}', None),
        (b'["tags"]', None),
        (b'{"tags":', None),
        (b"", None),
    ],
)
def test_labels_are_cut_out(body: bytes, left: bytes | None) -> None:
    found = without_tags(body)
    assert found == (body if left is None else left)
    if left is not None:
        assert read_facts(Endpoint.MESSAGES, {}, body).tagged


@given(
    st.lists(st.tuples(st.sampled_from(["tags", "a", "b", "ü"]), st.integers() | st.text() | st.lists(st.text()))),
    st.sampled_from([None, 1]),
)
def test_all_but_labels_stays(found: list[tuple[str, object]], indent: int | None) -> None:
    numbered = [(f"{name}-{n}" if name != "tags" else name, value) for n, (name, value) in enumerate(found)]
    whole = "{" + ",".join(f"{json.dumps(n)}:{json.dumps(v, indent=indent)}" for n, v in numbered) + "}"
    kept = "{" + ",".join(f"{json.dumps(n)}:{json.dumps(v, indent=indent)}" for n, v in numbered if n != "tags") + "}"
    assert without_tags(whole.encode()) == kept.encode()
