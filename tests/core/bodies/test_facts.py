"""Facts of a request's body, and the exchange of its model."""

import doctest
import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import estimate, spans
from claude_relay.core.bodies import facts as body_module
from claude_relay.core.bodies.facts import SESSION_HEADERS, read_facts, rename_model, stream_is_ambiguous
from claude_relay.core.estimate import PAYLOAD_TOKENS, estimate_tokens
from claude_relay.core.exchange import Endpoint, Facts

SESSION = "0b1f1f0e-8d4e-4b5a-9a5e-6f1c2d3e4f50"
NEW_USER_ID = json.dumps({"device_id": "a" * 64, "account_uuid": "", "session_id": SESSION})
OLD_USER_ID = f"user_{'b' * 64}_account_{SESSION[::-1]}_session_{SESSION}"


def facts(body, headers=None, endpoint=Endpoint.MESSAGES):
    return read_facts(endpoint, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def claude_code_request(size):
    """A request as Claude Code sends it: a long system prompt, many tools, a conversation with tool calls."""
    rng = random.Random(1)
    words = [f"word{n}" for n in range(999)]

    def prose(length):
        parts = [rng.choice(words) + rng.choice([" "] * 12 + ["\n", ' "', ". "]) for _ in range(length // 8)]
        return "".join(parts)

    def tool(n):
        properties = {f"field_{k}": {"type": "string", "description": prose(120)} for k in range(6)}
        schema = {"type": "object", "properties": {"model": {"type": "string"}, **properties}, "required": ["field_1"]}
        return {"name": f"tool_{n}", "description": prose(2500), "input_schema": schema}

    def turn(n):
        if n % 2:
            return {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": f"toolu_{n}", "name": "tool_1", "input": {"model": "x"}}],
            }
        return {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": prose(3000)}],
        }

    request = {
        "model": "claude-opus-4-6",
        "messages": [],
        "system": [{"type": "text", "text": prose(size // 8), "cache_control": {"type": "ephemeral"}}],
        "tools": [tool(n) for n in range(size // 16_000)],
        "metadata": {"user_id": NEW_USER_ID},
        "max_tokens": 128_000,
        "thinking": {"type": "adaptive"},
        "stream": True,
    }
    while len(json.dumps(request)) < size:
        request["messages"] += [turn(n) for n in range(8)]
    return json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_request_of_claude_code():
    body = claude_code_request(100_000)
    assert facts(body) == Facts(
        Endpoint.MESSAGES,
        model="claude-opus-4-6",
        stream=True,
        tools=True,
        thinking=True,
        session=SESSION,
        most=128_000,
    )


@pytest.mark.parametrize(
    ("agent", "program"),
    [
        ("claude-cli/2.1.75 (external, cli)", "claude-cli"),
        (" Anthropic/Python 0.75.0", "Anthropic"),
        ("curl", "curl"),
        ("(compatible)", ""),
        ("", ""),
    ],
)
def test_the_client_is_the_first_product_of_its_user_agent(agent, program):
    assert facts({}, {"user-agent": agent}).program == program


@pytest.mark.parametrize(
    ("body", "headers", "background"),
    [
        ({"model": "claude-haiku-4-5"}, {}, True),
        ({"model": "claude-haiku-4-5", "tools": [{"name": "x"}]}, {}, False),
        ({"model": "claude-opus-4-6"}, {}, False),
        ({"model": "claude-opus-4-6"}, {"x-claude-code-request-class": "auxiliary"}, True),
        ({"model": "claude-haiku-4-5"}, {"x-claude-code-request-class": "main"}, False),
    ],
)
def test_side_queries_are_told_by_their_class_or_else_their_model(body, headers, background):
    assert facts(body, headers).background is background


def billing(rest):
    return {"system": [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.224.b44;{rest}\nYou are"}]}


@pytest.mark.parametrize(
    ("body", "headers", "subagent"),
    [
        ({}, {}, False),
        ({}, {"x-claude-code-agent-id": "a1"}, True),
        ({}, {"x-claude-code-parent-agent-id": "a0"}, True),
        ({}, {"x-claude-code-agent-id": "  "}, False),
        ({}, {"x-claude-code-agent-id": "a1", "x-claude-code-request-class": "main"}, False),
        ({}, {"x-claude-code-request-class": "workflow"}, True),
        ({}, {"x-claude-code-request-class": "subagent", "x-relay-subagent": "false"}, False),
        ({}, {"x-relay-subagent": "True"}, True),
        (billing(" cc_is_subagent=true;"), {}, True),
        (billing(""), {}, False),
        ({"system": "say cc_is_subagent=true"}, {}, False),
        (billing("\ncc_is_subagent=true"), {}, False),
    ],
)
def test_sub_agents_are_told_by_headers_or_the_line_of_claude_code(body, headers, subagent):
    assert facts(body, headers).subagent is subagent


def with_files(*sizes, before=""):
    def block(size):
        return {"type": "image", "source": {"data": "A" * size, "media_type": "image/png", "type": "base64"}}

    content = [{"type": "text", "text": before}, *map(block, sizes)]
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b"", 0),
        (b"x" * 403, 100),
        (with_files(1_000_000), len(with_files()) // 4 + PAYLOAD_TOKENS),
        (with_files(1_000_000, 2_000_000), len(with_files()) // 4 + 2 * PAYLOAD_TOKENS),
        (with_files(400), len(with_files(400)) // 4),
        (b'{"data": "' + b"word " * 8000 + b'", "x": "base64"}', 10_006),
        (b'{"type": "base64", "data": ["data"], "data', 10),
    ],
)
def test_a_file_counts_as_what_it_costs_and_not_as_its_bytes(body, tokens):
    assert estimate_tokens(body) == pytest.approx(tokens, abs=60)


@pytest.mark.parametrize(
    ("told", "container"),
    [("container_01", "container_01"), ({"skills": [], "id": "container_01"}, "container_01"), (None, ""), ([], "")],
)
def test_the_container_stands_alone_or_with_its_skills(told, container):
    assert facts({"container": told}).container == container


def test_uploads_have_no_estimate():
    assert facts(b"x" * 4000, endpoint=Endpoint.RESOURCE).input_estimate == 0


MODELS = [
    (b'{"model":"m"}', "m"),
    (b' \r\n{ "model" : "m" } ', "m"),
    (b'{"mod\\u0065l":"m"}', "m"),
    (b'{"model":"\\u006d\\/\\"\xc3\xa9"}', 'm/"é'),
    (b'{"model":"a","model":"m"}', "m"),
    (b'{"x":{"model":"a"},"y":["model"],"model":"m","z":{"model":"b"}}', "m"),
    (b'{"x":123456789012345678901234567890,"y":1e400,"model":"m"}', "m"),
    # not quite JSON
    (b'{"model":"m","x":"\\ud800"}', "m"),
    (b'\xef\xbb\xbf{"model":"m"}', "m"),
    (b'{"model":"m","x":NaN,"y":[-Infinity,Infinity]}', "m"),
    (b'{"model":"m","x":"a\nb\x00"}', "m"),
    (b'{"\xff":1,"model":"m","\xed\xa0\x80":"\xc3"}', "m"),
    ('{"model":"m","x":"\ud800é"}'.encode("utf-16-le", "surrogatepass"), "m"),
    ('{"model":"m"}'.encode("utf-16"), "m"),
    ('{"model":"m"}'.encode("utf-16-be"), "m"),
    ('{"model":"m"}'.encode("utf-32"), "m"),
    ('{"model":"m"}'.encode("utf-32-be"), "m"),
    (b'{"model":"a","model":"m","x":NaN}', "m"),
    (b'{"model":"m","x":"NaN","y":"\\\\ud800"}', "m"),
    # mistyped
    (b'{"model":"a\nb"}', ""),
    (b'{"x":NaN,"model":"a\\udfff"}', ""),
    (b'{"x":NaN,"model":"\xff"}', ""),
    (b'{"model":null}', ""),
    (b'{"model":7}', ""),
    (b'{"model":["m"]}', ""),
    (b'{"model":{"a":1}}', ""),
    (b'{"model":"\\ud800"}', ""),
    (b'{"model":"\xff"}', ""),
    (b'{"Model":"m"}', ""),
    # not an object, or broken
    (b"", ""),
    (b"null", ""),
    (b'"model"', ""),
    (b'[{"model":"m"}]', ""),
    (b'{"model":"m"', ""),
    (b'{"model":"m"}}', ""),
    (b'{"model":"m",}', ""),
    (b'{"model":"m","x":-NaN}', ""),
    (b'{"model":"m","x":1NaN}', ""),
    (b'{"model":"m",NaN:1}', ""),
    (b'{"model":"m","x":nan}', ""),
    ('{"model":"m"'.encode("utf-16"), ""),
    (b"\xff\xfe{", ""),
    (b"\xef\xbb\xbf" * 2 + b'{"model":"m"}', ""),
    (b"{'model':'m'}", ""),
    (b'{"model":"m","x":' + b"[" * 100_000, ""),
    (b"\x1f\x8b\x08\x00", ""),
]


@pytest.mark.parametrize(("body", "model"), MODELS)
def test_model(body, model):
    assert facts(body).model == model


FIELDS = [
    ("stream", True, True),
    ("stream", False, False),
    ("stream", "true", False),
    ("stream", 1, False),
    ("stream", None, False),
    ("tools", [{"name": "t"}], True),
    ("tools", [None], True),
    ("tools", [[]], True),
    ("tools", [], False),
    ("tools", None, False),
    ("tools", {"a": 1}, False),
    ("tools", "[1]", False),
    ("thinking", {"type": "enabled", "budget_tokens": 1024}, True),
    ("thinking", {"type": "adaptive", "display": "summarized"}, True),
    ("thinking", {"type": "disabled"}, False),
    ("thinking", {"type": ["enabled"]}, False),
    ("thinking", {}, False),
    ("thinking", "enabled", False),
    ("thinking", None, False),
    ("thinking", ["enabled"], False),
]


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        (b'{"model":"m","stream":true,"stream":false}', True),
        (b'{"model":"m","stream":false,"x":NaN,"stream":true}', True),
        (b'{"model":"m","stream":null,"stream":true}', True),
        (b'{"model":"m","stream":5,"stream":true}', True),
        (b'{"model":"m","stream":true,"stream":"x"}', True),
        (b'{"model":"m","stream":true,"stream" : true}', False),
        (b'{"model":"m","stream":false,"stream":null}', False),
        (b'{"model":"m","tools":[{"stream":false},"stream"],"stream":true}', False),
    ],
)
def test_a_stream_that_is_asked_for_and_is_not(body, unknown):
    """Which of the two an upstream takes nobody knows. Of a huge body it is known without a further look."""
    assert (facts(body).stream_unknown or stream_is_ambiguous(body)) is unknown
    if b"NaN" not in body:
        huge = body[:-1] + b',"x":"' + b"x" * spans.HUGE + b'"}'
        assert facts(huge).stream_unknown is unknown


@pytest.mark.parametrize(
    "body", [b'{"stream":true,"stream":', b'["stream","stream"]', b"", b'{"model":"m","stream":true}']
)
def test_no_stream_that_is_asked_for_and_is_not(body):
    assert not stream_is_ambiguous(body)


@pytest.mark.parametrize(("field", "value", "told"), FIELDS)
def test_a_field(field, value, told):
    assert getattr(facts({"model": "m", field: value}), field) is told


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        ({}, {}, ("", "", False)),
        ({"speed": "fast"}, {}, ("fast", "", False)),
        ({"speed": "standard", "service_tier": "auto"}, {}, ("", "", False)),
        ({"service_tier": "standard_only"}, {}, ("", "standard_only", False)),
        ({"speed": "Fast", "service_tier": 7}, {}, ("fast", "", False)),
        ({"speed": "x" * 33, "service_tier": "a/b"}, {}, ("", "", False)),
        ({}, {"anthropic-beta": "a-1,context-1m-2025-08-07"}, ("", "", True)),
    ],
)
def test_what_has_limits_of_its_own(body, headers, told):
    found = facts(body, headers)
    assert (found.speed, found.tier, found.long) == told


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (b'{"model": "m", "max_tokens": 64}', 64),
        (b'{"max_tokens_to_sample" :\n 300 }', 300),
        (b'{"max_tokens_to_sample": 300, "max_tokens": 64}', 64),
        (b'{"max_tokens": null}', None),
        (b'{"max_tokens": -1}', None),
        (b'{"max_tokens": 1.5}', None),
        (b'{"max_tokens": 1e9}', None),
        (b'{"max_tokens": 12345678901}', None),
        (b'{"max_tokens": "64"}', None),
        (b'{"max_tokens": 64, "temperature": NaN}', 64),
        (b'{"max_tokens": 64, "tools": [{"x": {"max_tokens": 500}}]}', 64),
        (b"no json", None),
        (b"", None),
    ],
)
def test_the_most_that_a_body_asks_for(body, most):
    assert read_facts(Endpoint.MESSAGES, {}, body).most == most
    assert read_facts(Endpoint.RESOURCE, {}, body).most is None


def test_blanks_in_an_empty_list():
    assert not facts(b'{"tools": [ \n\t] }').tools
    assert facts(b'{"tools": [ \n\t{}] }').tools


USER_IDS = [
    (NEW_USER_ID, SESSION),
    (OLD_USER_ID, SESSION),
    (f"user_{'b' * 64}_account__session_{SESSION}", SESSION),
    ('{"session_id": 7}', None),
    ('{"session_id": ""}', None),
    ('{"session_id": "a b"}', None),
    ('{"session_id": "' + "x" * 129 + '"}', None),
    ('{"session_id": {"session_id": "x"}}', None),
    ("{}", None),
    ("{", None),
    ("{" * 5000, None),
    ("user_1_session_", None),
    ("somebody@example.com", None),
    ("", None),
    (None, None),
    (7, None),
    ([NEW_USER_ID], None),
]


@pytest.mark.parametrize(("user_id", "session"), USER_IDS)
def test_session_in_the_user_id(user_id, session):
    assert facts({"metadata": {"user_id": user_id}}).session == session


@pytest.mark.parametrize("metadata", [None, [], "x", 7, {}, {"user": NEW_USER_ID}])
def test_no_session(metadata):
    assert facts({"metadata": metadata}).session is None


def test_the_header_goes_before_the_user_id():
    body = {"metadata": {"user_id": NEW_USER_ID}}
    assert facts(body, {SESSION_HEADERS[1]: "other"}).session == "other"
    assert facts(body, {SESSION_HEADERS[1]: "other", SESSION_HEADERS[0]: "said"}).session == "said"
    assert facts(body, {SESSION_HEADERS[1]: "not one\n"}).session == SESSION


@pytest.mark.parametrize("endpoint", [Endpoint.MODELS, Endpoint.RESOURCE, Endpoint.SIDE])
def test_other_bodies_are_not_read(endpoint):
    headers = {SESSION_HEADERS[1]: SESSION}
    assert facts({"model": "m", "stream": True}, headers, endpoint) == Facts(endpoint, session=SESSION, headers=headers)


@given(st.binary(max_size=200))
def test_no_body_raises(body):
    assert facts(body).endpoint is Endpoint.MESSAGES


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=4), SCALARS, max_size=3)
FIELD_NAMES = st.sampled_from(["model", "stream", "tools", "thinking", "metadata", "type", "user_id", "session_id"])


@given(st.dictionaries(FIELD_NAMES, JSON | st.dictionaries(FIELD_NAMES, JSON)))
def test_no_type_raises(body):
    told = facts(body)
    assert isinstance(told.model, str)
    assert told.stream is (body.get("stream") is True)


# -- the prefix of a conversation without a session

LONG = "You are of use. " * 200
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch={}; cc_prev_req=req_{};"}
MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def conversation(*more, model="m", first="Hello", tools=(), system=LONG, **fields):
    return {
        "model": model,
        "tools": list(tools),
        "system": system,
        "messages": [{"role": "user", "content": first}, *more],
    } | fields


def blocks(*texts, marked=()):
    return [{"type": "text", "text": text} | (MARK if n in marked else {}) for n, text in enumerate(texts)]


def billed(number):
    first = BILLING | {"text": BILLING["text"].format(number, number) + f'"\\{number}'}
    return [first, *blocks(LONG)]


ANSWER, NEXT = {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And then?"}
ALIKE = [
    (conversation(), conversation(ANSWER, NEXT)),
    (conversation(), conversation(max_tokens=5, stream=True, metadata={"user_id": "somebody"})),
    (conversation(system=billed(1)), conversation(system=billed(2))),
    (conversation(first=blocks("a", "b", marked=[1])), conversation(ANSWER, NEXT, first=blocks("a", "b"))),
    (conversation(tools=[{"name": "t"} | MARK]), conversation(tools=[MARK | {"name": "t"}])),
    (conversation(tools=[{"name": "t"}, MARK]), conversation(tools=[{"name": "t"}, {}])),
    (conversation(first=blocks("x" * 99_999, marked=[0])), conversation(first=blocks("x" * 99_999))),
]
UNLIKE = [
    conversation(),
    conversation(model="n"),
    conversation(first="Hello!"),
    conversation(system=LONG + "."),
    conversation(tools=[{"name": "t"}]),
    conversation(first="x" * 99_999),
    conversation(first="x" * 99_998),
    conversation(first="x" * 99_998 + "y"),
    conversation(first='"cache_control":{}'),
]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")])
@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_the_turns_of_a_conversation_have_one_prefix(one, other, separators):
    told = {facts(json.dumps(body, separators=separators).encode()).prefix for body in (one, other)}
    assert len(told) == 1
    assert told != {None}


def test_other_conversations_have_another_prefix():
    assert len({facts(body).prefix for body in UNLIKE} - {None}) == len(UNLIKE)


def test_no_session_can_be_named_like_a_prefix():
    prefix = facts(conversation()).prefix
    assert facts({}, {SESSION_HEADERS[0]: prefix}).session is None


@pytest.mark.parametrize(
    "body",
    [
        conversation(system="short"),
        conversation(system=billed(1)[:1], first="x" * 1500),
        conversation(metadata={"user_id": NEW_USER_ID}),
        conversation() | {"messages": []},
        conversation() | {"messages": {"role": LONG}},
        conversation() | {"messages": LONG},
        {"system": LONG},
    ],
)
def test_no_prefix(body):
    assert facts(body).prefix is None
    assert facts(body).model == body.get("model", "")


@pytest.mark.parametrize("endpoint", [each for each in Endpoint if each is not Endpoint.MESSAGES])
def test_only_messages_have_a_prefix(endpoint):
    assert facts(conversation(), endpoint=endpoint).prefix is None


# -- renaming

RENAMED = [
    (b'{"model":"a"}', b'{"model":"b"}'),
    (b' {\n\t"model" :  "a" ,"x":1 }\r\n', b' {\n\t"model" :  "b" ,"x":1 }\r\n'),
    (b'{"x":{"model":"a"},"model":"a","y":[{"model":"a"}]}', b'{"x":{"model":"a"},"model":"b","y":[{"model":"a"}]}'),
    (b'{"x":"\\"model\\":\\"a\\"","model":"a"}', b'{"x":"\\"model\\":\\"a\\"","model":"b"}'),
    (b'{"\\"model":"a","model":"a"}', b'{"\\"model":"a","model":"b"}'),
    (b'{"m\\u006fdel":"a\\"\\\\"}', b'{"m\\u006fdel":"b"}'),
    (b'{"model":"a","x":1,"model":"c"}', b'{"model":"b","x":1,"model":"b"}'),
    (b'{"model":"a","model":"a"}', b'{"model":"b","model":"b"}'),
    (b'{"model":12,"model":1}', b'{"model":"b","model":"b"}'),
    (b'{"model":{"a":["}",{}]},"x":[[]],"model":null}', b'{"model":"b","x":[[]],"model":"b"}'),
    (b'{"model":["a"]}', b'{"model":"b"}'),
    (b'{"x":["]","[","\\"]"],"x":"\\\\","model":"a"}', b'{"x":["]","[","\\"]"],"x":"\\\\","model":"b"}'),
    (b'{"x":-1.5e3,"x":true ,"model":false}', b'{"x":-1.5e3,"x":true ,"model":"b"}'),
    (b'{"x":"\xff\xe2\x80\xa8","model":"a"}', b'{"x":"\xff\xe2\x80\xa8","model":"b"}'),
    (b'\xef\xbb\xbf{"x":["\\ud800\xff\n",NaN],"model":"a"} ', b'\xef\xbb\xbf{"x":["\\ud800\xff\n",NaN],"model":"b"} '),
    (
        '{"x":"\ud800é","model":"a"}'.encode("utf-16", "surrogatepass"),
        '{"x":"\ud800é","model":"b"}'.encode("utf-16", "surrogatepass"),
    ),
    ('{"x":"é","model":"a"}'.encode("utf-32-be"), '{"x":"é","model":"b"}'.encode("utf-32-be")),
]


@pytest.mark.parametrize(("body", "renamed"), RENAMED)
def test_rename(body, renamed):
    assert rename_model(body, "b") == renamed


def test_the_new_name_is_written_as_json():
    assert json.loads(rename_model(b'{"model":"a"}', 'ü"\n\\'))["model"] == 'ü"\n\\'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"x":{"model":"a"}}',
        b'{"model":"a"',
        b'{"model":"a"}x',
        b'{"x":' + b"[" * 100_000,
        b'{"\xff":1}',
    ],
)
def test_nothing_to_rename(body):
    with pytest.raises(ValueError, match="the body"):
        rename_model(body, "b")


def written_again(pairs, blanks):
    """An object from pairs, with duplicates and blanks, and what it must become."""

    def write(model):
        members = [
            f"{blanks}{json.dumps(k)}{blanks}:{blanks}{json.dumps(v if k != 'model' or model is None else model)}{blanks}"
            for k, v in pairs
        ]
        return ("{" + ",".join(members) + "}").encode()

    return write(None), write("new")


PAIRS = st.lists(st.tuples(st.sampled_from(["model", "x", 'mod"el', "messages"]), JSON), max_size=6)


@given(PAIRS, st.sampled_from(["", " ", "\n\t"]))
def test_only_the_model_changes(pairs, blanks):
    body, expected = written_again(
        [(k, v) for k, v in pairs if "NaN" not in json.dumps(v) and "Infinity" not in json.dumps(v)], blanks
    )
    if body == expected:
        with pytest.raises(ValueError, match="the body"):
            rename_model(body, "new")
    else:
        assert rename_model(body, "new") == expected


def fastest(call):
    times = []
    for _ in range(30):
        begun = time.thread_time()
        call()
        times.append(time.thread_time() - begun)
    return min(times)


def test_large_bodies_are_read_in_passing():
    """Compared with building the objects, so that a slow machine does not fail the test."""
    body = claude_code_request(400_000)
    built = fastest(lambda: json.loads(body))
    assert fastest(lambda: facts(body)) < built / 2
    assert fastest(lambda: rename_model(body, "b")) < built


def test_examples_in_the_documentation():
    assert doctest.testmod(body_module, optionflags=doctest.ELLIPSIS, extraglobs={"Endpoint": Endpoint}).failed == 0
    assert doctest.testmod(estimate).failed == 0
