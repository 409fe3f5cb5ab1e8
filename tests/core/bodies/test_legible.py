"""All readers of a request agree on what it says, however it is written or damaged."""

import doctest
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.bodies import legible as legible_module
from claude_relay.core.bodies.facts import members, read_facts, rename_model
from claude_relay.core.bodies.legible import legible, utf8, whole, written_as
from claude_relay.core.bodies.resources import named
from claude_relay.core.exchange import Endpoint
from claude_relay.core.formats.answer_blocks import FOREIGN
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.claude import reader as reading
from claude_relay.core.formats.claude.bodies import without_foreign_thinking, without_thinking
from linear import TOO_MUCH, growth

CHARSETS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
THOUGHT = json.dumps({"type": "thinking", "thinking": "Hm", "signature": FOREIGN + "1"})
SEEDS = [
    '{"model":"claude-a","max_tokens":9,"messages":[{"role":"user","content":"Hi, \\u00fc \\ud83d\\ude00"}],"stream":true}',
    '{\n "model" : "claude-a", "stream": false,"max_tokens":100, "messages": [ {"role": "user", "content": "a\\\\b\\n"} ] }',
    '{"messages":[{"role":"user","content":"é"},{"role":"assistant","content":[THOUGHT,{"type":"text","text":"x"}]},'
    '{"role":"user","content":"y"}],"max_tokens":5,"model":"a","model":"claude-b","stream":true,"metadata":{}}'.replace(
        "THOUGHT", THOUGHT
    ),
    '{"max_tokens":7,"model":"claude-a","stream":null,"messages":[{"role":"user","content":"z"}],"x":[-Infinity,NaN,1e999,'
    + "9" * 30
    + "]}",
]
ODD = b"\xff \xed\xa0\x80 \xc3 \x00 \\ud800 \\udc00 \\ \" { } [ ] , : NaN Infinity - 1e999 \xef\xbb\xbf true null \\u006d /**/ '".split(
    b" "
)
MEMBERS = [b'"model":"other",', b'"stream":false,', b'"file_id":"file_0123456",']
PIECES = st.sampled_from([*ODD, *MEMBERS, b" ", b"\n", b"\t", b"9" * 40, b"[" * 3000])
CHANGE = st.tuples(
    st.sampled_from(["flip", "cut", "drop", "insert", "twice"]), st.integers(0, 700), PIECES, st.integers(1, 255)
)


def changed(body, change):
    what, place, piece, bits = change
    place %= len(body) + 1
    match what:
        case "flip":
            return body[:place] + bytes(byte ^ bits for byte in body[place : place + 1]) + body[place + 1 :]
        case "cut":
            return body[:place]
        case "drop":
            return body[:place] + body[place + bits % 9 :]
        case "twice":
            return body[:place] + body[max(0, place - bits) :]
    return body[:place] + piece + body[place:]


@st.composite
def mutated(draw):
    body = draw(st.sampled_from(SEEDS)).encode(draw(st.sampled_from(["utf-8", "utf-8", *CHARSETS])))
    for change in draw(st.lists(CHANGE, max_size=4)):
        body = changed(body, change)
    return body


def renamed(body):
    try:
        return rename_model(body, "new")
    except ValueError:
        return None


def translated(body):
    """What a translation reads: None when the body is broken JSON, "" when it is refused for what it says."""
    try:
        found = reading.read(body)
    except Unsuited as error:
        return None if str(error).startswith("body: ") else ""
    return found


@settings(max_examples=150)
@given(mutated())
def test_all_readers_agree(body):
    facts = read_facts(Endpoint.MESSAGES, {}, body)
    strict = read_facts(Endpoint.MESSAGES, {"x-relay-session": "s"}, body)  # does not look at the messages
    assert (strict.model, strict.stream, strict.unread) == (facts.model, facts.stream, facts.unread)
    assert isinstance(facts.input_estimate, int)
    named("/v1/messages", body)
    conversation = translated(body)
    assert (conversation is None) is facts.unread
    if conversation:
        assert (conversation.model, conversation.stream) == (facts.model, facts.stream)
    new = renamed(body)
    if new is not None:
        again = read_facts(Endpoint.MESSAGES, {}, new)
        assert (again.model, again.stream, again.unread) == ("new", facts.stream, False)
        assert without_models(new) == without_models(body)
    assert new is not None or not facts.model
    assert not (facts.unread and new)
    for cut in (without_thinking(body), without_foreign_thinking(body)):
        after = read_facts(Endpoint.MESSAGES, {}, cut)
        assert (after.model, after.stream, after.unread) == (facts.model, facts.stream, facts.unread)
        assert cut is body or cut != body


def without_models(body):
    """All but the values of models."""
    plain, done, kept = utf8(body), 0, []
    for name, start, end in members(plain):
        if name == "model":
            kept.append(plain[done:start])
            done = end
    return [*kept, plain[done:]]


@settings(max_examples=100)
@given(mutated())
def test_what_is_legible_is_as_long_and_stays(body):
    text = legible(body)
    assert len(text) == len(body)
    assert legible(text) == text
    assert written_as(body, utf8(body)) == body


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_way_to_write_it(seed, charset):
    body = seed.encode(charset)
    facts = read_facts(Endpoint.MESSAGES, {}, body)
    expected = json.loads(seed)
    assert (facts.model, facts.stream, facts.unread) == (expected["model"], expected["stream"] is True, False)
    assert translated(body).model == expected["model"]
    assert json.loads(rename_model(body, "new")) | {"x": 0} == expected | {"model": "new", "x": 0}
    assert FOREIGN not in utf8(without_foreign_thinking(body)).decode()
    assert (without_foreign_thinking(body) is body) is (FOREIGN not in seed)


def test_a_translation_gets_the_text_as_it_is():
    body = b'\xef\xbb\xbf{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"a\n\tb\\ud800c\xffd"}],"temperature":NaN}'
    found = reading.read(body)
    assert found.turns[0].parts[0].text == "a\n\tb\ufffdc?d"
    assert found.temperature is None


def test_numbers_of_any_size_can_be_written_again():
    found, strictly = whole(b'{"a": 1e999, "b": ' + b"9" * 5000 + b', "c": 12345678901234567890, "d": -1}')
    assert not strictly
    assert msgspec.json.encode(found) == b'{"a":null,"b":null,"c":12345678901234567890,"d":-1}'


def test_thoughts_go_out_of_a_body_that_is_not_quite_json():
    body = b'{"x":NaN,"messages":[{"role":"assistant","content":[%b, {"type":"text","text":"\\ud800\xff\n"}]}]}'
    assert without_foreign_thinking(body % THOUGHT.encode()) == body.replace(b"%b, ", b"")


@pytest.mark.parametrize(
    "odd", [b'"' + b'\\"' * 300_000, b'"' * 300_001, b"NaN " * 200_000, b"[" * 500_000, b"\\ud800" * 100_000]
)
def test_no_body_takes_long(odd):
    """A megabyte of strings that never end would take minutes, if each of their quotes was followed to the end."""

    def read(size: int) -> None:
        assert read_facts(Endpoint.MESSAGES, {}, b'{"model":"m","x":' + odd[:size]).unread

    assert growth(read, lambda size: size, (len(odd) // 64, len(odd) // 16, len(odd) // 4, len(odd))) < TOO_MUCH


def test_examples_in_the_documentation():
    assert doctest.testmod(legible_module).failed == 0
