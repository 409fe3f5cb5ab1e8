"""The blocks of a prompt: which of two prompts begins as the other, and where it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import spans
from claude_relay.core.bodies.facts import read_facts
from claude_relay.core.bodies.prompts import MOST_BLOCKS, SETTINGS, Prompt, continued, read_prompt
from claude_relay.core.exchange import Endpoint

MARK = {"type": "ephemeral"}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def request(**more: Any) -> dict[str, Any]:
    """Three tools, a system prompt of two blocks, three messages; marked at the end of the system prompt and of the messages."""
    return {
        "model": "claude-sonnet-5",
        "tools": [{"name": f"t{n}", "input_schema": {"type": "object"}} for n in range(3)],
        "system": [text("who you are"), text("what to do", cache_control=MARK)],
        "messages": [
            {"role": "user", "content": "first"},
            {
                "role": "assistant",
                "content": [text("I see"), {"type": "tool_use", "id": "a", "name": "t1", "input": {}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "cache_control": MARK}]},
        ],
        "tool_choice": {"type": "auto"},
    } | more


def prompt(value: dict[str, Any], **how: Any) -> Prompt:
    found = read_prompt(json.dumps(value, **how).encode())
    assert found is not None
    return found


def change(then: dict[str, Any], now: dict[str, Any]) -> str | None:
    before = prompt(then)
    return before.first_change(prompt(now), before.cacheable)


def test_what_is_remembered_of_it() -> None:
    found = prompt(request())
    assert (found.tools, found.system, list(found.starts)) == (3, 2, [5, 6, 8])
    assert (found.marks, found.lifetimes, found.cacheable) == ((4, 8), ("5m",), 9)
    assert len(found.head) + len(found.contents) == len(found.hashes) == 9


def test_a_longer_conversation_begins_as_the_shorter_one() -> None:
    """The mark moves along, and what was a block with a mark is a text by itself then."""
    then = request(messages=[{"role": "user", "content": [text("first", cache_control=MARK)]}])
    now = request()
    assert prompt(then, separators=(",", ":")).begins(prompt(now, separators=(",", ":")))
    assert not prompt(now).begins(prompt(then))


def changed(name: str, value: Any) -> dict[str, Any]:
    found = request()
    place = found
    *path, last = name.split(".")
    for step in path:
        place = place[int(step) if step.isdigit() else step]
    if last == "+":
        place.append(value)
    elif last.startswith("+"):
        place.insert(int(last[1:]), value)
    elif value is None:
        del place[int(last)]
    else:
        place[int(last) if last.isdigit() else last] = value
    return found


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("tools.1", {"name": "other"}, "tools[1]"),
        ("tools.+", {"name": "one more"}, "tools[3]"),
        ("tools.+1", {"name": "in between"}, "tools[1]"),
        ("tools.2", None, "tools[2]"),
        ("tools.0", None, "tools[0]"),
        ("system.0", text("somebody else"), "system[0]"),
        ("system.+", text("and this"), "system[2]"),
        ("system.1", None, "system[1]"),
        ("messages.0.content", "another", "messages[0].content[0]"),
        ("messages.0.role", "assistant", "messages[0].content[0]"),
        ("messages.1.content.1.id", "b", "messages[1].content[1]"),
        ("messages.1.content.1", None, "messages[1].content[1]"),
        ("messages.1.content.+", text("more"), "messages[1].content[2]"),
        ("messages.2", None, "messages[2].content[0]"),
        ("messages.+", {"role": "assistant", "content": "and on"}, None),
        ("model", "another", None),
        *((setting, {"type": "new"}, setting) for setting in SETTINGS),
    ],
)
def test_the_first_change(name: str, value: Any, where: str | None) -> None:
    assert change(request(), changed(name, value)) == where


def test_what_is_not_cached_may_change() -> None:
    only_system = request(messages=[{"role": "user", "content": "first"}])
    assert change(only_system, only_system | {"messages": [{"role": "user", "content": "other"}]}) is None
    assert change(only_system, only_system | {"tool_choice": {"type": "any"}}) is None
    only_tools = only_system | {"system": "short", "tools": [{"name": "t", "cache_control": MARK}]}
    assert change(only_tools, only_tools | {"system": "other"}) is None
    assert change(only_tools, only_tools | {"tools": [{"name": "t"}, {"name": "u"}]}) is None


@pytest.mark.parametrize(
    ("mark", "lifetimes"),
    [
        ({"type": "ephemeral", "ttl": "1h"}, ("5m", "1h")),
        ({"ttl": "5m", "type": "ephemeral"}, ("5m",)),
        (MARK, ("5m",)),
    ],
)
def test_lifetimes_are_those_asked_for(mark: dict[str, str], lifetimes: tuple[str, ...]) -> None:
    assert prompt(request(system=[text("x", cache_control=mark)])).lifetimes == lifetimes


def test_a_mark_on_the_whole_request_stands_at_its_end() -> None:
    found = prompt(
        {"messages": [{"role": "user", "content": "a"}], "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    )
    assert (found.marks, found.lifetimes) == ((0,), ("1h",))


def test_without_marks_all_is_cacheable() -> None:
    found = prompt(request()).without_marks()
    assert (found.marks, found.lifetimes, found.cacheable) == ((), (), 9)


def test_the_line_that_is_another_one_in_each_request_does_not_count() -> None:
    lines = [text(f"x-anthropic-billing-header: cc_version=2.1; cch={n};") for n in range(2)]
    first, second = (request(system=[line, text("what to do", cache_control=MARK)]) for line in lines)
    assert change(first, second) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"messages": 5}', b'{"messages": [{"content": [1]}', b'{"messages": {"a": 1}}']
)
def test_what_cannot_be_read(body: bytes) -> None:
    assert read_prompt(body) is None


def test_what_is_odd_is_read_all_the_same() -> None:
    odd = {"tools": 5, "system": None, "messages": [{"role": "user"}, {"content": [1, [2]]}, {}]}
    assert len(prompt(odd).hashes) == 3


def test_a_prompt_of_very_many_blocks_is_remembered_by_its_first() -> None:
    many = {"messages": [{"role": "user", "content": [text(str(n)) for n in range(MOST_BLOCKS + 5)]}]}
    assert len(prompt(many).hashes) == MOST_BLOCKS


VALUES = st.one_of(
    st.text(max_size=5), st.lists(st.dictionaries(st.sampled_from(["text", "type"]), st.text(max_size=5)), max_size=3)
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "tools": VALUES,
        "system": VALUES,
        "messages": st.lists(
            st.fixed_dictionaries({"content": VALUES}, optional={"role": st.just("user")}), max_size=3
        ),
        "thinking": VALUES,
    },
)


@given(BODIES, st.integers(2, 40))
def test_a_huge_body_is_read_in_steps_to_the_same_end(value: dict[str, Any], step: int) -> None:
    small = prompt(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "HUGE", 1)
        patch.setattr(spans, "STEP", step)
        assert prompt(value) == small


# -- turns that are known to go on from another one


def conversation(count: int, **more: Any) -> dict[str, Any]:
    """So many messages, the last of them marked; what a tool is given looks like a message."""
    said: list[dict[str, Any]] = []
    for n in range(count):
        used = {"type": "tool_use", "id": str(n), "name": "t1", "input": {"a": [{"role": "user", "content": []}]}}
        said.append(
            {"role": "assistant", "content": [text(f"m{n}"), used]} if n % 2 else {"role": "user", "content": f"m{n}"}
        )
    said[-1] = {"role": said[-1]["role"], "content": [text(f"m{count - 1}", cache_control=MARK | {"ttl": "1h"})]}
    return request(messages=said) | more


@pytest.mark.parametrize("layout", [{"separators": (",", ":")}, {}], ids=["dense", "usual"])
@pytest.mark.parametrize(("then", "now"), [(1, 3), (1, 7), (5, 7), (5, 5), (41, 43)])
def test_only_what_is_new_is_read(then: int, now: int, layout: dict[str, Any]) -> None:
    before, body = prompt(conversation(then), **layout), json.dumps(conversation(now), **layout).encode()
    whole, found = read_prompt(body), continued(before, body)
    listed = read_facts(Endpoint.MESSAGES, {"x-relay-session": "s"}, body).messages
    assert listed
    assert found == continued(before, body, listed)
    assert whole is not None
    assert found is not None
    assert (found.hashes, found.starts, found.cacheable) == (whole.hashes, whole.starts, whole.cacheable)
    assert (found.lifetimes, found.settings, found.tools) == (whole.lifetimes, whole.settings, whole.tools)


@pytest.mark.parametrize(
    "now",
    [
        conversation(30),
        request(messages=[{"role": "user", "content": "another"}]),
        request(
            messages=[{"content": "m0", "role": "user"}, {"content": [text("m1", cache_control=MARK)], "role": "user"}]
        ),
        request(messages=[{"role": "user", "content": "m0"}, {"role": "user", "content": "m1"}]),
        request(messages="odd"),
        request(messages=[]),
        {},
    ],
    ids=["too far", "another", "in another order", "without marks", "odd", "empty", "nothing"],
)
def test_what_has_to_be_read_whole(now: dict[str, Any]) -> None:
    before = prompt(conversation(1), separators=(",", ":"))
    assert continued(before, json.dumps(now, separators=(",", ":")).encode()) is None


def test_where_no_message_was_cached_all_is_read() -> None:
    body = json.dumps(conversation(3)).encode()
    assert continued(prompt(request(messages=[{"role": "user", "content": "first"}])), body) is None
    assert continued(prompt(conversation(1)).without_marks(), body) is None
    assert continued(prompt(conversation(1)), b"{") is None


def test_a_mark_on_the_whole_request_moves_along() -> None:
    first, second = (
        json.dumps({"cache_control": MARK, "messages": [{"role": "user", "content": "m"}] * n}).encode() for n in (1, 3)
    )
    before, whole = read_prompt(first), read_prompt(second)
    assert before is not None
    assert continued(before, second) is not None
    assert whole is not None
    assert whole.marks == (2,)
