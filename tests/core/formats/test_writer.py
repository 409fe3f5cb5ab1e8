"""Whatever a provider tells, and in whatever order: the stream is valid, and makes the same message as the JSON answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.answer_blocks import FOREIGN, arguments_of
from claude_relay.core.formats.sources import Source
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_body, assert_claude_stream, events_of
from linear import TOO_MUCH, growth


def written(steps, *, end=True, names=None):
    """The writers of a stream and of a JSON answer after the same calls: (method, positional, named)."""
    writers = [Writer("claude-sonnet-5", "0190a", stream=stream, names=names, estimate=7) for stream in (True, False)]
    for writer in writers:
        for method, args, named in steps:
            getattr(writer, method)(*args, **named)
        if end:
            writer.finish()
    return writers


def message_of(*steps, names=None):
    """The message, which must be the same both ways."""
    streamed, collected = written(steps, names=names)
    message = assert_claude_stream(streamed.take())
    assert assert_claude_body(collected.whole()) == message
    assert streamed.memories == collected.memories
    return message


def step(method, *args, **named):
    return method, args, named


def call(key, *fragments, **named):
    return [step("call", key, **named), *(step("arguments", key, fragment) for fragment in fragments)]


KEYS = st.integers(0, 3)
IDS = st.sampled_from(["", None, "call_1", "functions.x:0", "functions_x_0_0190a_0", "toolu_0190a_0", "ü", "x" * 65])
NAMES = st.sampled_from(["", None, "Bash", "Read", 3])
PROSE = st.sampled_from(["", " ", "\n\n", "Hello", " world", "ü…\u2028", None, 3])
OBJECTS = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)
SOURCES = st.sampled_from([Source("https://a.org", "A", "as a says"), Source("https://b.org")])
COUNTS = st.sampled_from([0, 5, -1, None, True, "7", 10**30])
STEPS = st.one_of(
    st.builds(step, st.just("start"), st.sampled_from([None, "gpt", 3])),
    st.builds(step, st.sampled_from(["text", "thinking"]), PROSE),
    st.builds(lambda key, id, name: step("call", key, id=id, name=name), KEYS, IDS, NAMES),
    st.builds(step, st.just("arguments"), KEYS, st.sampled_from(["", " ", "\n", "{}", "null", "nonsense", 3, None])),
    st.builds(step, st.just("arguments"), KEYS, OBJECTS),
    st.builds(step, st.just("remember"), KEYS, st.sampled_from(["sig", "nature"])),
    st.builds(
        step, st.just("searched"), st.lists(st.sampled_from(["", "a", "b"]), max_size=2), st.lists(SOURCES, max_size=2)
    ),
    st.builds(step, st.just("cite"), SOURCES),
    st.builds(
        lambda i, o, t: step("usage", input_tokens=i, output_tokens=o, thinking_tokens=t), COUNTS, COUNTS, COUNTS
    ),
    st.builds(
        step,
        st.just("stop"),
        st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence"]),
        st.sampled_from([None, "END"]),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=14), st.data())
def test_any_order_of_calls_makes_a_valid_stream_and_the_same_answer_whole(steps, data):
    message = message_of(*steps)
    end = data.draw(st.integers(0, len(steps)))
    streamed, _ = written([step("start"), *steps[:end]], end=False)
    head = streamed.take()
    assert_claude_stream(head, cut=True)
    streamed.fail("overloaded_error", "busy")
    error = assert_claude_stream(head + streamed.take())
    assert error["error"] == {"type": "overloaded_error", "message": "busy"}
    before = [block for block in error["content"] if block["type"] != "tool_use"]
    assert len(before) <= len(message["content"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2), min_size=1, max_size=3), st.data()
)
def test_fragments_of_calls_side_by_side_are_never_mixed_or_lost(inputs, data):
    left = {key: list(json.dumps(value)) for key, value in enumerate(inputs)}
    steps = [step("call", key, id=f"call_{key}", name="Bash") for key in left]
    while any(left.values()):
        key = data.draw(st.sampled_from([key for key, rest in left.items() if rest]))
        size = data.draw(st.integers(1, 5))
        steps.append(step("arguments", key, "".join(left[key][:size])))
        del left[key][:size]
        if data.draw(st.integers(0, 9)) == 0:
            steps.append(step("text", "meanwhile"))
    calls = [block for block in message_of(*steps)["content"] if block["type"] == "tool_use"]
    assert [block["input"] for block in calls] == inputs


def test_each_piece_leaves_with_the_call_that_told_it():
    writer = Writer("m", "1", stream=True)
    writer.start("gpt-5")
    assert [event["type"] for event in events_of(writer.take())] == ["message_start"]
    writer.text("Hel")
    assert [event["type"] for event in events_of(writer.take())] == ["content_block_start", "content_block_delta"]
    writer.text("lo")
    assert [event["delta"]["text"] for event in events_of(writer.take())] == ["lo"]
    writer.call(0, id="a", name="Bash")
    assert [event["type"] for event in events_of(writer.take())] == ["content_block_stop", "content_block_start"]
    for fragment in ('{"command"', ': "ls', '"}'):
        writer.arguments(0, fragment)
        assert [event["delta"]["partial_json"] for event in events_of(writer.take())] == [fragment]


def test_a_call_whose_arguments_are_whole_does_not_hold_up_what_follows():
    writer = Writer("m", "1", stream=True)
    for method, args, named in [*call(0, '{"a":', "1}", name="Bash"), *call(1, '{"b"', name="Read")]:
        getattr(writer, method)(*args, **named)
    assert events_of(writer.take())[-1]["delta"] == {"type": "input_json_delta", "partial_json": '{"b"'}


def test_thoughts_and_text_in_turns_stay_in_their_order():
    content = message_of(step("thinking", "a"), step("text", "b"), step("thinking", "c"), step("text", "d"))["content"]
    assert [block.get("thinking") or block.get("text") for block in content] == ["a", "b", "c", "d"]
    assert [block["signature"] for block in content[::2]] == [FOREIGN, FOREIGN]


A, B = Source("https://a.org", "A", "as a says"), Source("https://b.org")


def test_a_search_stands_before_the_text_that_cites_it():
    steps = [step("searched", ["rome", "weather"], [A, B]), step("text", "Sunny"), step("cite", A), step("text", ".")]
    message = message_of(*steps, step("cite", A, B), step("stop", "end_turn"))
    used, found, said = message["content"]
    assert (used["type"], used["name"], used["input"]) == ("server_tool_use", "web_search", {"query": "rome; weather"})
    assert found["tool_use_id"] == used["id"]
    assert [(page["url"], page["title"]) for page in found["content"]] == [
        ("https://a.org", "A"),
        ("https://b.org",) * 2,
    ]
    assert [cited["cited_text"] for cited in said["citations"]] == ["as a says", ""]
    assert said["text"] == "Sunny."
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 2, "web_fetch_requests": 0}
    assert message["stop_reason"] == "end_turn"


def test_a_search_that_found_nothing_is_counted():
    message = message_of(step("searched", [], []), step("text", "?"))
    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1


@pytest.mark.parametrize(
    ("steps", "cited"),
    [
        ([step("cite", A), step("text", "a")], [["https://a.org"]]),
        ([step("text", "a"), step("thinking", "b"), step("cite", A), step("text", "c")], [[], ["https://a.org"]]),
        ([step("text", "a"), *call(0, name="Bash"), step("cite", A)], [[]]),
        ([step("text", " "), step("cite", A), step("text", "a")], [["https://a.org"]]),
    ],
)
def test_a_citation_belongs_to_the_text_that_is_written_or_the_next_one(steps, cited):
    texts = [block for block in message_of(*steps)["content"] if block["type"] == "text"]
    assert [[one["url"] for one in text.get("citations") or ()] for text in texts] == cited


@pytest.mark.parametrize(
    ("steps", "texts"),
    [
        ([step("text", "\n\n"), *call(0, name="Bash")], []),
        ([step("text", "\n"), step("text", " "), step("text", "a")], ["\n a"]),
        ([step("text", "a"), step("text", "\n\n")], ["a\n\n"]),
        ([step("text", "\n"), step("text", "a"), *call(0, name="Bash"), step("text", "b")], ["\na", "b"]),
        ([step("text", "\n"), step("thinking", "hm"), step("text", "a")], ["a"]),
    ],
)
def test_a_text_of_blanks_alone_is_no_block(steps, texts):
    content = message_of(*steps)["content"]
    assert [block["text"] for block in content if block["type"] == "text"] == texts


@pytest.mark.parametrize(
    ("fragments", "arguments"),
    [
        ([], {}),
        (["", "  ", "\n"], {}),
        (["null"], {}),
        (["{}"], {}),
        (["{}", '{"a": 1}'], {"a": 1}),
        (["   ", '\n{"a"', ": 1}"], {"a": 1}),
        (["{\n", '  "a": 1}'], {"a": 1}),
        (['"{\\"a\\"', ': 1}"'], {"a": 1}),
        (["[1]"], {"arguments": [1]}),
        (["ls -l"], {"arguments": "ls -l"}),
        ([{"a": 1}], {"a": 1}),
        (["{}", {"a": 1}], {"a": 1}),
        (['{"a": 1}', {"a": 2}], {"a": 1}),
        ([3, None, '{"a": 1}'], {"a": 1}),
    ],
)
@pytest.mark.parametrize("position", [0, 1])
def test_arguments_are_an_object_whatever_comes(fragments, arguments, position):
    ahead = call("ahead", '{"x"', name="Read") if position else []
    after = [step("arguments", "ahead", ": 1}")] if position else []
    message = message_of(*ahead, *call(0, *fragments, name="Bash"), *after)
    assert message["content"][position]["input"] == arguments
    assert message["stop_reason"] == "tool_use"


def test_half_a_command_is_never_made_whole():
    assert arguments_of('{"command": "rm -rf /') == {"arguments": '{"command": "rm -rf /'}


def test_a_name_that_comes_late_finds_its_arguments():
    message = message_of(
        step("call", 0, id="a"), step("arguments", 0, '{"a": 1}'), step("text", "b"), step("call", 0, name="sh"),
        names={"sh": "Bash"},
    )  # fmt: skip
    assert message["content"][1] == {"type": "tool_use", "id": "a", "name": "Bash", "input": {"a": 1}}


def test_a_call_without_a_name_is_left_out_and_is_no_reason_to_stop():
    message = message_of(step("text", "a"), *call(0, '{"a": 1}', id="a"), step("stop", "tool_use"))
    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["stop_reason"] == "end_turn"


def test_ids_are_kept_if_they_can_be_and_unique_always():
    given = ["call_1", "call_1", "functions.Bash:0", "functions-Bash:0", "", "x" * 65, "toolu_1_0"]
    content = message_of(*(s for key, id in enumerate(given) for s in call(key, id=id, name="Bash")))["content"]
    assert content[0]["id"] == "call_1"
    assert len({block["id"] for block in content}) == len(given)


@pytest.mark.parametrize("early", [True, False])
def test_a_memory_belongs_to_the_id_that_the_client_sees(early):
    memory = step("remember", 0, "signature")
    streamed, _ = written([step("call", 0), *[memory] * early, step("call", 0, name="Bash"), *[memory] * (not early)])
    (block,) = assert_claude_stream(streamed.take())["content"]
    assert streamed.memories == {block["id"]: "signature"}


@pytest.mark.parametrize(
    ("told", "calls", "reason", "sequence"),
    [
        (None, False, "end_turn", None),
        (None, True, "tool_use", None),
        (("end_turn",), True, "tool_use", None),
        (("stop_sequence", "END"), False, "stop_sequence", "END"),
        (("stop_sequence", "END"), True, "tool_use", None),
        (("max_tokens",), True, "max_tokens", None),
        (("refusal",), True, "refusal", None),
    ],
)
def test_an_answer_with_calls_stops_for_them_unless_it_was_cut_or_refused(told, calls, reason, sequence):
    message = message_of(*(call(0, name="Bash") if calls else []), *([step("stop", *told)] if told else []))
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


def test_usage_that_comes_at_the_end_replaces_the_estimate():
    usage = step("usage", input_tokens=3, output_tokens=5, cache_read_input_tokens=2, thinking_tokens=4)
    streamed, _ = written([step("text", "a"), usage])
    events = events_of(streamed.take())
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert message_of(step("text", "a"), usage)["usage"] == {
        "input_tokens": 3,
        "output_tokens": 5,
        "cache_read_input_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_nothing_follows_the_end():
    for end in (step("finish"), step("fail", "api_error", "broken")):
        streamed, collected = written([step("text", "a"), end], end=False)
        assert streamed.take()
        whole = collected.whole()
        for writer in (streamed, collected):
            writer.text("b")
            writer.call(0, name="Bash")
            writer.stop("refusal")
            writer.usage(output_tokens=9)
            writer.fail("api_error", "again")
            writer.finish()
        assert (streamed.take(), collected.whole()) == (b"", whole)


def test_a_stream_keeps_no_text_and_many_small_pieces_are_cheap():
    def write(pieces: int) -> None:
        writer = Writer("m", "1", stream=True)
        for key in (0, 1):
            writer.call(key, name="Write")
            writer.arguments(key, '{"text": "')
        for _ in range(pieces):
            writer.arguments(1, "word ")
            writer.arguments(0, "word ")
            writer.take()
        for key in (0, 1):
            writer.arguments(key, '"}')
        for _ in range(pieces):
            writer.text("word ")
            writer.take()
        assert not any(block.pieces for block in writer._blocks)

    assert growth(write, lambda pieces: pieces, (1250, 5000, 20_000)) < TOO_MUCH


TOLD = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


@pytest.mark.parametrize(
    ("tellings", "expected"),
    [
        ([(9, 0, 0, 5), (0, 0, 0, 0)], (9, 0, 0, 5)),
        ([(9, 0, 0, 5), (None, None, None, 8)], (9, 0, 0, 8)),
        ([(9, 0, 0, 5), (0, 9, 0, 6)], (0, 9, 0, 6)),  # all of it came from the cache, as a later event knows
        ([(0, 9, None, 5)], (0, 9, 0, 5)),  # nothing of the estimate is left
        ([(0, 0, 0, 0), (9, 0, 0, 5)], (9, 0, 0, 5)),
    ],
)
def test_a_later_count_counts_when_it_is_above_nothing(tellings, expected):
    message = message_of(step("text", "a"), *(step("usage", **dict(zip(TOLD, told, strict=True))) for told in tellings))
    assert tuple(message["usage"].get(name, 0) for name in TOLD) == expected
