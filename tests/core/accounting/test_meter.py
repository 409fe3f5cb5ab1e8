"""What answers use, and where their end begins."""

import doctest
import gzip
import json
import re
import time
import zlib
from itertools import pairwise
from pathlib import Path

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.accounting import meter as usage_module
from claude_relay.core.accounting import tokens
from claude_relay.core.accounting.estimates import filled, output_tokens, roughly
from claude_relay.core.accounting.meter import BODY_LIMIT, Meter, Usage
from claude_relay.core.accounting.passed import SAMPLE, Passed
from claude_relay.core.accounting.terms import Terms
from claude_relay.core.accounting.tokens import Charge, Tally
from claude_relay.core.bodies import lenient, sniff
from claude_relay.core.bodies.zstd import zstd
from claude_relay.core.exchange import Endpoint

HERE = Path(__file__).parents[1] / "transcripts"
SONNET, OPUS = "claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101"

# (input, output, cache read, written for 5 minutes, for 1 hour, reasoning, server tools), model, stop reason, error, complete, content
PLAIN = (25, 15, 0, 0, 0, None, None)
TRANSCRIPTS = {
    "text.sse": (PLAIN, SONNET, "end_turn", None, True, True),
    "thinking.sse": ((25, 88, 0, 0, 0, 71, None), SONNET, "end_turn", None, True, True),
    "tool_use.sse": ((472, 89, 0, 0, 0, None, None), SONNET, "tool_use", None, True, True),
    "cache.sse": ((4, 12, 18233, 456, 1000, None, None), SONNET, "end_turn", None, True, True),
    "server_tools.sse": ((10682, 510, 0, 0, 0, None, 1), SONNET, "end_turn", None, True, True),
    "empty.sse": ((25, 2, 0, 0, 0, None, None), SONNET, "end_turn", None, True, False),
    "error_first.sse": ((None,) * 7, None, None, "overloaded_error", False, False),
    "error_after_start.sse": ((25, 1, 0, 0, 0, None, None), SONNET, None, "overloaded_error", False, False),
    "error_after_content.sse": ((25, 1, 77, 0, 0, None, None), SONNET, None, "api_error", False, True),
    "padded.sse": ((25, 7, 0, 0, 0, None, None), SONNET, "end_turn", None, True, True),
    "crlf.sse": ((25, 4096, 0, 0, 0, None, None), SONNET, "max_tokens", None, True, True),
    "pings.sse": ((25, 5, 0, 0, 0, None, None), SONNET, "end_turn", None, True, True),
    "cut.sse": ((900, 1, 0, 300, 0, None, None), SONNET, None, None, False, True),
    "compaction.sse": ((23000, 1000, 0, 0, 0, None, None), SONNET, "end_turn", None, True, True),
    "completion.sse": ((None,) * 7, "claude-2.1", "stop_sequence", None, True, True),
    "message.json": ((25, 12, 0, 0, 0, None, None), OPUS, "end_turn", None, True, True),
    "tool_use.json": ((345, 60, 1800, 0, 248, 20, 3), OPUS, "tool_use", None, True, True),
    "empty.json": ((25, 2, 0, 0, 0, None, None), OPUS, "end_turn", None, True, True),
    "error.json": ((None,) * 7, None, None, "overloaded_error", False, True),
    "count_tokens.json": ((None,) * 7, None, None, None, True, True),
    "models.json": ((None,) * 7, None, None, None, True, True),
}
ENDPOINTS = {
    "completion.sse": Endpoint.COMPLETE,
    "count_tokens.json": Endpoint.COUNT_TOKENS,
    "models.json": Endpoint.MODELS,
}
ENCODE = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}

everything = pytest.mark.parametrize("name", TRANSCRIPTS)


def test_the_table_knows_every_transcript():
    assert {path.name for path in HERE.iterdir()} == {*TRANSCRIPTS, ".gitattributes"}


def meter_for(name, coding=""):
    headers = {"content-encoding": coding} if coding else {}
    return Meter(headers, endpoint=ENDPOINTS.get(name, Endpoint.MESSAGES))


def read(pieces, name="text.sse", coding=""):
    """The meter after all pieces, and the place from which the answer is to be withheld."""
    meter, place, withheld = meter_for(name, coding), 0, None
    for piece in pieces:
        offset = meter.feed(piece)
        assert offset is None or 0 <= offset < max(len(piece), 1)
        if withheld is None and offset is not None:
            withheld = place + offset
        assert withheld is None or offset == max(withheld - place, 0)
        place += len(piece)
    meter.end()
    return meter, withheld


def reported(meter):
    usage = meter.usage
    numbers = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
        usage.server_tool_requests,
    )
    return numbers, meter.served_model, meter.stop_reason, meter.error, meter.complete, meter.content


def final_event(data):
    """Where the event begins that ends the stream."""
    ends = [match.start() for match in re.finditer(rb"event: (message_stop|error)\b", data)]
    ends += [data.rfind(b"event: completion")] if b"claude-2.1" in data else []
    return ends[0] if ends else None


def by_bytes(data):
    return [data[n : n + 1] for n in range(len(data))]


@everything
def test_whole_by_bytes_and_split_at_every_offset(name):
    data, expected = (HERE / name).read_bytes(), TRANSCRIPTS[name]
    final = final_event(data) if name.endswith(".sse") else None
    whole, withheld = read([data], name)
    assert (reported(whole), withheld) == (expected, final)
    for pieces in (by_bytes(data), *([data[:n], data[n:]] for n in range(len(data)))):
        meter, withheld = read(pieces, name)
        assert reported(meter) == expected
        assert meter.events == whole.events
        if final is None:
            assert withheld is None
        elif len(pieces[0]) < final and len(pieces) == 2:  # the piece that holds all of it is split there
            assert withheld == final
        else:  # no byte before it is withheld; what came of it before it was whole is gone
            assert final <= withheld <= len(data)


@pytest.mark.parametrize("coding", ENCODE)
@everything
def test_compressed(name, coding):
    data, expected = (HERE / name).read_bytes(), TRANSCRIPTS[name]
    packed = ENCODE[coding](data)
    whole = read([data], name)[0]
    for pieces in ([packed], by_bytes(packed), *([packed[:n], packed[n:]] for n in range(0, len(packed), 41))):
        meter, place = meter_for(name, coding), 0
        offsets = []
        for piece in pieces:
            offsets.append(meter.feed(piece))
            place += len(piece)
        meter.end()
        assert reported(meter) == expected
        assert meter.events == whole.events
        assert set(offsets) <= {None, 0}
        assert (offsets[-1] == 0) == (name.endswith(".sse") and final_event(data) is not None)


@everything
@given(cuts=st.lists(st.integers(0, 2500), max_size=8))
def test_any_split(name, cuts):
    data = (HERE / name).read_bytes()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert reported(read([data[a:b] for a, b in pairwise(edges)], name)[0]) == TRANSCRIPTS[name]


@pytest.mark.parametrize("name", ["text.sse", "cache.sse", "server_tools.sse"])
def test_an_aborted_stream_keeps_what_its_start_told(name):
    data = (HERE / name).read_bytes()
    start = data.index(b"\n\n") + 2
    usage = read([data[:start]], name)[0].usage
    for n in range(start, data.index(b"event: message_delta")):
        meter = read([data[:n]], name)[0]
        assert meter.usage == usage
        assert not meter.complete
        assert meter.error is None
    assert usage.input_tokens in (25, 4, 2679)


# -- numbers


def stream(*usages, first=None):
    """A stream with one message_start and a message_delta for each further usage."""
    events = [("message_start", {"message": {"model": "m", "usage": first}})] if first is not None else []
    events += [("message_delta", {"delta": {}, "usage": usage}) for usage in usages]
    return "".join(f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n" for name, data in events).encode()


def use(*usages, first=None):
    return read([stream(*usages, first=first)])[0].usage


def test_deltas_overwrite():
    assert use({"output_tokens": 5}, {"output_tokens": 9}, first={"input_tokens": 3, "output_tokens": 1}) == Usage(3, 9)
    assert use({"output_tokens": 5, "input_tokens": None}, first={"input_tokens": 3}) == Usage(3, 5)


WRITES = [
    ({"cache_creation_input_tokens": 7}, (7, 0)),
    ({"cache_creation_input_tokens": 7, "cache_creation": None}, (7, 0)),
    ({"cache_creation_input_tokens": 7, "cache_creation": {}}, (7, 0)),
    (
        {
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        },
        (3, 4),
    ),
    ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, (3, 4)),
    ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 4}}, (4, 3)),
    (
        {
            "cache_creation_input_tokens": 9,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        },
        (5, 4),
    ),
    (
        {
            "cache_creation_input_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        },
        (0, 2),
    ),
    ({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, (3, 4)),
    ({"cache_creation_input_tokens": 0}, (0, 0)),
    ({"cache_creation_input_tokens": None}, (None, None)),
    ({}, (None, None)),
]


@pytest.mark.parametrize(("usage", "writes"), WRITES)
def test_cache_writes(usage, writes):
    counted = use(first=usage)
    assert (counted.cache_write_5m_tokens, counted.cache_write_1h_tokens) == writes


def test_a_split_told_at_the_start_stays():
    split = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    counted = use(
        {"cache_creation_input_tokens": 17}, first={"cache_creation_input_tokens": 7, "cache_creation": split}
    )
    assert (counted.cache_write_5m_tokens, counted.cache_write_1h_tokens) == (13, 4)


def test_searches_are_counted_and_what_is_free_is_not():
    assert (
        use(
            {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 3, "new_requests": 1, "x": 9}}
        ).server_tool_requests
        == 2
    )
    assert (
        use(
            {"server_tool_use": {"web_search_requests": 2}}, {"server_tool_use": {"web_search_requests": 3}}
        ).server_tool_requests
        == 3
    )
    assert use({"server_tool_use": {"web_search_requests": 0}}).server_tool_requests == 0
    assert use({"server_tool_use": {}}).server_tool_requests is None
    assert use({"server_tool_use": None}).server_tool_requests is None


def tallied(*usages: object) -> Tally:
    tally = Tally()
    for usage in usages:
        tally.absorb(usage)
    return tally


def test_compactions_and_advisors_are_billed_beside_the_totals():
    compaction = {"type": "compaction", "input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 5}
    advisor = {"type": "advisor_message", "model": "other", "input_tokens": 1000, "output_tokens": 2000}
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "iterations": [compaction, advisor, compaction, {"type": "message", "input_tokens": 1}, 7],
    }
    tally = tallied(usage, {"output_tokens": 3})
    assert tally.usage == Usage(1, 3)
    beside = Charge("compaction", None, Usage(100, 10, None, 5, 0))
    assert tally.charges == (beside, Charge("advisor", "other", Usage(1000, 2000)), beside)


def test_a_list_that_is_told_again_takes_the_place_of_the_first():
    one = {"type": "advisor_message", "model": "m", "output_tokens": 5}
    assert len(tallied({"iterations": [one]}, {"iterations": [one, one]}, {"output_tokens": 9}).charges) == 2


FABLE, OPUS_48 = "claude-fable-5-2", "claude-opus-4-8"


@pytest.mark.parametrize(("declined", "charges"), [(0, 0), (7, 1)])
def test_a_model_that_declined_is_billed_for_what_it_had_written(declined: int, charges: int):
    runs = [
        {"type": "message", "model": FABLE, "input_tokens": 535, "output_tokens": declined},
        {"type": "message", "model": OPUS_48, "input_tokens": 12, "output_tokens": 4},
        {"type": "fallback_message", "model": OPUS_48, "input_tokens": 400, "output_tokens": 260},
    ]
    final = {"input_tokens": 412, "output_tokens": 264, "cache_read_input_tokens": 0, "iterations": runs}
    tally = tallied({"input_tokens": 35, "cache_read_input_tokens": 500, "output_tokens": 1}, final)
    assert (tally.served, tally.usage) == (OPUS_48, Usage(412, 264, 0))  # the cache that was read was the first model's
    assert tally.charges == (Charge("declined", FABLE, Usage(535, declined)),) * charges


def test_the_model_that_took_over_is_the_one_that_served():
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    meter.feed(claude_event("message_start", message={"model": FABLE, "usage": {"input_tokens": 5}}))
    runs = [{"type": "fallback_message", "model": OPUS_48, "output_tokens": 3}]
    delta = {"stop_reason": "end_turn"}
    meter.feed(claude_event("message_delta", delta=delta, usage={"output_tokens": 3, "iterations": runs}))
    assert (meter.served_model, meter.charges) == (OPUS_48, ())


def test_what_the_model_told_that_took_over_is_not_erased():
    run = {"type": "fallback_message", "model": "claude-opus-5", "input_tokens": 50, "output_tokens": 300}
    tally = Tally()
    tally.absorb({"input_tokens": 25, "cache_read_input_tokens": 9})
    tally.absorb({"input_tokens": 50, "cache_read_input_tokens": 0, "output_tokens": 300, "iterations": [run]})
    tally.absorb({"input_tokens": 0, "cache_read_input_tokens": None, "output_tokens": 0, "iterations": [run]})
    assert tally.usage == Usage(50, 300, 0)
    nothing = Tally()
    nothing.absorb({"input_tokens": 25})
    nothing.absorb({"input_tokens": 0, "output_tokens": 0, "iterations": [run]})
    assert nothing.usage.input_tokens == 25


@pytest.mark.parametrize("model", [None, "m"])
def test_an_unknown_run_is_billed_beside_the_answer_only_under_another_model(model: str | None):
    """Runs of the answer's own model are in its totals."""
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    runs = [{"type": "new_run", "model": name, "output_tokens": 3} for name in (model, "other")]
    meter.feed(claude_event("message_start", message={"model": "m", "usage": {"iterations": runs}}))
    assert meter.charges == (Charge("new_run", "other", Usage(None, 3)),)


def test_a_later_count_counts_when_it_is_above_nothing():
    first = {"input_tokens": 12, "cache_read_input_tokens": 5, "output_tokens": 1}
    split = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    first |= {"cache_creation_input_tokens": 7, "cache_creation": split, "server_tool_use": {"web_search_requests": 2}}
    zeros = dict.fromkeys(("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), 0)
    zeros |= {"cache_creation": dict.fromkeys(split, 0), "server_tool_use": {"web_search_requests": 0}}
    expected = Usage(12, 30, 5, 3, 4, None, 2)
    for later in (zeros, dict.fromkeys(zeros), {}):
        assert use(later | {"output_tokens": 20}, later | {"output_tokens": 30}, first=first) == expected
    assert use(
        {"input_tokens": 12, "output_tokens": 3}, first=dict.fromkeys(("input_tokens", "output_tokens"), 0)
    ) == Usage(12, 3)
    assert use({"input_tokens": 0}) == Usage(0)


@pytest.mark.parametrize(
    ("said", "asked", "expected"),
    [
        ({}, "", ""),
        ({}, "fast", "speed=fast"),
        ({"speed": "standard"}, "fast", ""),
        ({"speed": "fast"}, "", "speed=fast"),
        ({"service_tier": "standard", "inference_geo": "global"}, "", ""),
        ({"service_tier": "priority", "inference_geo": "us"}, "", "inference_geo=us service_tier=priority"),
        ({"service_tier": "batch", "inference_geo": "not_available"}, "", "service_tier=batch"),
        ({"service_tier": "two words", "inference_geo": 7, "speed": "x" * 99}, "", ""),
    ],
)
def test_terms_are_those_that_the_answer_names(said: dict, asked: str, expected: str):
    terms = tallied({"output_tokens": 1} | said, {"output_tokens": 2}).terms(asked)
    assert str(terms) == expected
    assert Terms.parse(expected) == terms


def test_a_refusal_before_any_output_is_not_billed():
    def terms(output: int, *between: bytes) -> Terms:
        meter = Meter({}, endpoint=Endpoint.MESSAGES)
        meter.feed(claude_event("message_start", message={"model": "m", "usage": {"input_tokens": 5}}))
        for event in between:
            meter.feed(event)
        meter.feed(claude_event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": output}))
        return meter.terms()

    text = claude_event("content_block_delta", delta={"type": "text_delta", "text": "Well"})
    assert terms(0) == Terms.parse("unbilled") == Terms(unbilled=True)
    assert not terms(5).unbilled
    assert not terms(0, text).unbilled


def claude_event(name: str, **data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()


def spoken(*texts: str, kind: str = "text") -> list[bytes]:
    names = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}
    return [claude_event("content_block_delta", delta={"type": names[kind], kind: text}) for text in texts]


def begun(*events: bytes) -> Meter:
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    meter.feed(claude_event("message_start", message={"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}))
    for event in events:
        meter.feed(event)
    return meter


@pytest.mark.parametrize("kind", ["text", "thinking", "partial_json"])
@pytest.mark.parametrize("compact", [True, False])
def test_what_passed_is_known_to_the_letter(kind: str, compact: bool):
    texts = ["Hello, ", '"text": "quoted" ', "\\ and \n", "äöü 漢字 \U0001f600", " end"]
    events = spoken(*texts, kind=kind)
    if compact:
        events = [event.replace(b'": ', b'":').replace(b', "', b',"') for event in events]
        texts = [json.loads(event.partition(b"data: ")[2])["delta"][kind] for event in events]
    for pieces in (events, by_bytes(b"".join(events))):
        meter = begun(*pieces)
        assert meter.passed.sample() == "".join(texts)
        assert meter.passed.share == 1


def test_the_end_of_a_long_answer_is_judged_by_its_beginning():
    meter = begun(*spoken(*["word " * 20] * 4000))
    assert len(meter.passed.sample()) < SAMPLE
    assert len(meter.passed.sample()) * meter.passed.share == pytest.approx(400_000, rel=0.01)
    huge = begun(*spoken("word " * 100_000))
    assert len(huge.passed.sample()) * huge.passed.share == pytest.approx(500_000, rel=0.01)


def test_signatures_and_what_servers_tools_found_are_no_output():
    found = {"type": "web_search_tool_result", "content": [{"type": "text", "text": "found"}]}
    signed = claude_event("content_block_delta", delta={"type": "signature_delta", "signature": "x" * 500})
    meter = begun(claude_event("content_block_start", content_block=found), signed)
    assert meter.passed.sample() == ""


END = claude_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
MIDDLE = claude_event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 9})
STOP = claude_event("message_stop")


@pytest.mark.parametrize(
    ("events", "uncounted"),
    [
        ([], True),
        (spoken("a"), True),
        ([*spoken("a"), MIDDLE], True),
        ([*spoken("a"), MIDDLE, *spoken("b"), END], False),
        ([*spoken("a"), END], False),
        ([*spoken("a"), END, STOP], False),
        ([*spoken("a"), STOP], True),
        ([STOP], False),
        ([claude_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 0}), STOP], False),
        ([*spoken("a"), claude_event("error", error={"type": "api_error"})], True),
    ],
)
def test_which_streams_have_not_told_their_last_count(events: list[bytes], uncounted: bool):
    meter = begun(*events)
    meter.end()
    assert meter.uncounted is uncounted


@pytest.mark.parametrize("name", ["completion.sse", "completion.json"])
def test_an_old_text_completion_never_tells(name: str):
    meter = Meter({}, endpoint=Endpoint.COMPLETE)
    whole = (
        b'{"type": "completion", "completion": " Hello there", "stop_reason": "stop_sequence", "model": "claude-2.1"}'
    )
    meter.feed((HERE / name).read_bytes() if name.endswith(".sse") else whole)
    meter.end()
    assert (meter.uncounted, meter.complete) == (True, True)
    assert meter.passed.sample().startswith(" Hello")


def test_an_estimate_adds_what_is_missing():
    passed = Passed()
    passed.event(b"".join(spoken("word " * 500)))
    assert output_tokens(passed, "claude-opus-5") == pytest.approx(500 * 7 / 6, abs=2)
    assert output_tokens(passed, "gpt-6") == pytest.approx(500, abs=1)
    assert roughly(passed) == 625
    passed.calls += 2
    assert output_tokens(passed, "gpt-6") == pytest.approx(512, abs=1)
    assert filled(Usage(25, 1), 480, 30) == Usage(25, 480)
    assert filled(Usage(25, 700), 480, 30) == Usage(25, 700)
    assert filled(Usage(0, 1, 90), 480, 30) == Usage(0, 480, 90)
    assert filled(Usage(0, 1, 0), 480, 30) == Usage(30, 480, 0)
    assert filled(Usage(), 480, 30) == Usage(30, 480)


NONSENSE = [
    -1,
    "7",
    7.5,
    True,
    False,
    None,
    [],
    [7],
    {},
    {"input_tokens": 7},
    10**13,
    2**70,
    float("inf"),
    float("nan"),
]


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_is_ignored(value):
    fields = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "server_tool_use",
        "output_tokens_details",
        "iterations",
    )
    usage = dict.fromkeys(fields, value)
    assert use(usage) == Usage()
    nested = {
        "cache_creation": {"ephemeral_5m_input_tokens": value, "ephemeral_1h_input_tokens": value},
        "server_tool_use": {"web_search_requests": value},
        "output_tokens_details": {"thinking_tokens": value},
        "iterations": [{"type": "compaction", "input_tokens": value}, value],
    }
    assert use(nested) == Usage()
    if not isinstance(value, float):
        good = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}
        assert use(usage, nested, first=good) == Usage(1, 2, 3, 4, 0)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "null",
        "[]",
        "7",
        '"x"',
        "{",
        "[DONE]",
        '{"message": null}',
        '{"message": []}',
        '{"delta": 7, "usage": 7}',
        '{"error": 7}',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize(
    "name", ["message_start", "message_delta", "message_stop", "error", "completion", "ping", "new_event", ""]
)
def test_nonsense_in_events(name, data):
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    line = f"event: {name}\n" if name else ""
    meter.feed(f"{line}data: {data}\n\n".encode())
    meter.end()
    assert meter.usage == Usage()
    assert meter.served_model is None
    assert meter.complete == (name == "message_stop")
    assert meter.error == ("error" if name == "error" or (not name and data == '{"error": 7}') else None)


# -- ends


def test_what_follows_the_end_changes_nothing():
    end = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
    late = stream({"output_tokens": 99}) + b'event: error\ndata: {"type": "error", "error": {"type": "api_error"}}\n\n'
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    assert meter.feed(stream({"output_tokens": 1}) + end + late) == len(stream({"output_tokens": 1}))
    assert meter.feed(late) == 0
    assert meter.feed(b"") == 0
    meter.end()
    assert (meter.complete, meter.error, meter.usage.output_tokens, meter.events) == (True, None, 1, 2)


def test_an_end_without_its_blank_line_is_an_end():
    meter, withheld = read(
        [
            b'event: message_delta\ndata: {"usage": {"output_tokens": 4}}\n\nevent: message_stop\ndata: {"type": "message_stop"}'
        ]
    )
    assert meter.complete
    assert withheld is None


@pytest.mark.parametrize(
    "tail", [b"event: message_stop", b"event: message_stop\n", b'event: message_stop\ndata: {"type": "mess']
)
def test_half_an_end_is_none(tail):
    assert not read([b"event: ping\ndata: {}\n\n" + tail])[0].complete


def test_events_without_a_name_go_by_their_type():
    data = b"".join(
        line + b"\n\n" for line in (HERE / "cache.sse").read_bytes().split(b"\n") if line.startswith(b"data")
    )
    assert reported(read([data])[0]) == TRANSCRIPTS["cache.sse"]


def test_what_looks_like_a_whole_delta_may_be_the_rest_of_another_event():
    rest = b'event: content_block_delta\ndata: {"type": "message_stop"}\n\n'
    for before in (b"event: ping\ndata: {}\n\nx", b"event: ping\ndata: {}\n\n"):
        assert read([before, rest])[0].complete == read([before + rest])[0].complete == before.endswith(b"x")


def test_unknown_events_are_content():
    meter = read([b"event: block_of_the_future\ndata: {}\n\n"])[0]
    assert meter.content
    assert not read([b"event: ping\ndata: {}\n\ndata: [DONE]\n\n"])[0].content


@pytest.mark.parametrize("kind", ["overloaded_error", "a.b-c_9"])
def test_kind_of_an_error(kind):
    assert read([f'event: error\ndata: {{"error": {{"type": "{kind}"}}}}\n\n'.encode()])[0].error == kind


@pytest.mark.parametrize("kind", ["x" * 65, "a b", "", "\\u0000", "sk-ant\\nx"])
def test_an_error_that_no_log_should_show(kind):
    assert read([f'event: error\ndata: {{"error": {{"type": "{kind}"}}}}\n\n'.encode()])[0].error == "error"


# -- other answers


@pytest.mark.parametrize("endpoint", [Endpoint.RESOURCE, Endpoint.SIDE])
@pytest.mark.parametrize("body", [(HERE / "text.sse").read_bytes(), (HERE / "message.json").read_bytes(), b"\x00" * 99])
def test_what_is_not_counted(endpoint, body):
    meter = Meter({"content-type": "text/event-stream"}, endpoint=endpoint)
    assert [meter.feed(piece) for piece in (body[:9], body[9:])] == [None, None]
    assert not meter.complete
    meter.end()
    assert (meter.complete, meter.usage, meter.events, meter.content) == (True, Usage(), 0, False)


@pytest.mark.parametrize("pieces", [[], [b""]])
def test_an_answer_without_body_is_whole(pieces):
    assert read(pieces)[0].complete


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"type":"message"', b" \n", b"[1]", b'{"a":1}{"b":2}'])
def test_a_broken_body_is_not_whole(body):
    meter = read([body])[0]
    assert not meter.complete
    assert meter.usage == Usage()


@pytest.mark.parametrize("size", [100, BODY_LIMIT - 300, BODY_LIMIT, 3 * BODY_LIMIT])
@pytest.mark.parametrize("usage_first", [False, True])
def test_a_large_json_answer_is_counted_by_its_ends(size, usage_first):
    """However large it is; what is kept of it is not."""
    usage = b'"usage":{"input_tokens":5,"output_tokens":7}'
    head = b'{"type":"message","model":"claude-opus-5",' + (usage + b"," if usage_first else b"")
    tail = b'"stop_reason":"end_turn","stop_sequence":null' + (b"" if usage_first else b"," + usage) + b"}"
    body = head + b'"content":[{"type":"text","text":"\\"usage\\": {} ' + b"x" * size + b'"}],' + tail
    for pieces in ([body], [body[n : n + 2**16] for n in range(0, len(body), 2**16)]):
        meter = read(pieces)[0]
        reported = (meter.usage.input_tokens, meter.usage.output_tokens, meter.served_model, meter.stop_reason)
        assert reported == (5, 7, "claude-opus-5", "end_turn")
        assert meter.complete
        assert len(meter._body) <= BODY_LIMIT


def test_an_unknown_coding_counts_as_whole_when_the_transport_says_so():
    meter, withheld = read([b"\x01\x02"], coding="compress")
    assert (meter.complete, meter.usage, withheld) == (True, Usage(), None)


def test_a_broken_coding_is_not_whole():
    packed = gzip.compress((HERE / "text.sse").read_bytes())
    assert not read([packed[:100] + b"\xff" * 50 + packed[150:]], coding="gzip")[0].complete
    assert not read([packed[:100]], coding="gzip")[0].complete


EVENTS = st.sampled_from(
    [
        event + b"\n\n"
        for name in ("cache.sse", "pings.sse", "error_after_content.sse", "completion.sse")
        for event in (HERE / name).read_bytes().split(b"\n\n")
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-encoding": st.sampled_from(["gzip", "br", "zstd", "deflate", "x"]),
        "content-type": st.sampled_from(["text/event-stream", "x"]),
    },
)


@given(HEADERS, st.sampled_from(Endpoint), st.lists(st.binary(max_size=40) | EVENTS, max_size=6))
def test_never_raises(headers, endpoint, pieces):
    meter = Meter(headers, endpoint=endpoint)
    for piece in pieces:
        offset = meter.feed(piece)
        assert offset is None or 0 <= offset <= len(piece)
    meter.end()
    meter.end()
    assert isinstance(meter.usage, Usage)


@given(
    st.sampled_from([Endpoint.MESSAGES, Endpoint.COMPLETE]),
    st.lists(st.binary(max_size=9) | EVENTS, max_size=9),
    st.lists(st.integers(0, 3000), max_size=9),
)
def test_any_split_of_anything(endpoint, parts, cuts):
    data = b"".join(parts)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    whole, split = Meter({}, endpoint=endpoint), Meter({}, endpoint=endpoint)
    whole.feed(data)
    for a, b in pairwise(edges):
        split.feed(data[a:b])
    whole.end()
    split.end()
    assert reported(split) == reported(whole)
    assert split.events == whole.events


def test_a_delta_costs_little():
    """Compared with one look at its JSON, so that a slow machine does not fail the test."""
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello, world"}}
    delta = f"event: content_block_delta\ndata: {json.dumps(data)}\n\n".encode()
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    meter.feed(stream(first={}))

    def time_of(call):
        begun = time.thread_time()
        for _ in range(3000):
            call()
        return time.thread_time() - begun

    looking = min(time_of(lambda: json.loads(delta[33:])) for _ in range(3))
    assert min(time_of(lambda: meter.feed(delta)) for _ in range(3)) < looking
    assert meter.events == 9001


def test_examples_in_the_documentation():
    flags = doctest.ELLIPSIS
    assert doctest.testmod(usage_module, optionflags=flags).failed == 0
    assert doctest.testmod(tokens, optionflags=flags).failed == 0
    assert doctest.testmod(lenient, optionflags=flags).failed == 0
    assert doctest.testmod(sniff, optionflags=flags).failed == 0


# -- does it move, and may it be silent?

PING, COMMENT = b'event: ping\ndata: {"type": "ping"}\n\n', b": alive\n\n"


def sse(kind, **more):
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | more)}\n\n".encode()


def begins(kind, **more):
    return sse("content_block_start", index=0, content_block={"type": kind} | more)


DELTA = sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
STOPS = sse("content_block_stop", index=0)


@pytest.mark.parametrize(
    "sign", [PING, COMMENT, b"\n\n", b'data: {"type": "ping"}\n\n', b"event: ping\ndata: {}\r\n\r\n"]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_signs_of_life_are_no_moves(sign, size):
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    stream = sign + sse("message_start", message={}) + sign * 3 + begins("text") + sign + DELTA + DELTA + sign * 9
    for at in range(0, len(stream), size):
        meter.feed(stream[at : at + size])
    assert meter.moves == 4
    meter.feed(sign)
    assert meter.moves == 4
    meter.feed(DELTA)
    assert meter.moves == 5


def test_moves_of_a_compressed_stream():
    packer = zlib.compressobj(wbits=31)
    meter = Meter({"content-encoding": "gzip"}, endpoint=Endpoint.MESSAGES)
    for part, moves in ((DELTA, 1), (PING, 1), (COMMENT, 1), (DELTA, 2)):
        meter.feed(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert meter.moves == moves


def test_every_piece_of_what_is_no_stream_is_a_move():
    for headers, endpoint, piece in (
        ({"content-encoding": "unknown"}, Endpoint.MESSAGES, b"x"),
        ({}, Endpoint.RESOURCE, PING),
        ({}, Endpoint.MESSAGES, b'{"a": 1'),
    ):
        meter = Meter(headers, endpoint=endpoint)
        meter.feed(piece)
        before = meter.moves
        meter.feed(piece)
        assert (before, meter.moves) == (1, 2)
    meter.feed(b"\n\n")
    assert meter.moves == 2


SILENT = ["thinking", "redacted_thinking", "compaction", "server_tool_use", "mcp_tool_use", "web_search_tool_result"]


@pytest.mark.parametrize("kind", [*SILENT, "mcp_tool_result", "bash_code_execution_tool_result"])
def test_where_a_model_may_be_silent(kind):
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    meter.feed(sse("message_start", message={}))
    assert not meter.quiet
    meter.feed(begins(kind, content=[{"type": "text", "text": "x" * 10_000}]))
    meter.feed(PING)
    assert meter.quiet
    meter.feed(STOPS)
    assert meter.quiet is kind.endswith("tool_use")  # its result is still to come
    meter.feed(begins("text"))
    assert not meter.quiet


@pytest.mark.parametrize("kind", ["text", "tool_use", "unheard_of"])
def test_where_it_may_not(kind):
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    meter.feed(begins(kind))
    assert not meter.quiet


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"content_block": 7}', b'{"content_block": {"type": 7}}', b"\xff"])
def test_a_block_that_cannot_be_read(data):
    meter = Meter({}, endpoint=Endpoint.MESSAGES)
    meter.feed(b"event: content_block_start\ndata: " + data + b"\n\n")
    assert (meter.quiet, meter.moves) == (False, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_names_of_the_upstreams_are_kept_up_to_a_length(stream):
    huge = "m" * 400_000
    message = {"type": "message", "model": huge, "stop_reason": huge, "content": [], "usage": {"output_tokens": 1}}
    start = {"type": "message_start", "message": message}
    delta = {"type": "message_delta", "delta": {"stop_reason": huge}, "usage": {"output_tokens": 1}}
    events = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in (start, delta))
    kind = "text/event-stream" if stream else "application/json"
    meter = Meter({"content-type": kind}, endpoint=Endpoint.MESSAGES)
    meter.feed((events if stream else json.dumps(message)).encode())
    meter.end()
    assert (meter.served_model, meter.stop_reason) == (huge[:255], huge[:255])
