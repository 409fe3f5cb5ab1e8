"""Where targets differ, what that means for all of it, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.duels.answers import Answer, Call
from claude_relay.core.duels.comparing import USUAL, alike, differences
from claude_relay.core.duels.documents import document
from claude_relay.core.duels.outcomes import Duel, Outcome, Round
from claude_relay.core.duels.texts import diff, lines
from claude_relay.core.recordings.recorded import Recorded

RECORDED = Recorded("a.flow 1", "/v1/messages", (), b'{"model": "m"}')
HELLO = Answer(200, "end_turn", "Hello!")


def duel(first: list[Answer], *others: list[Answer]) -> Duel:
    names = [f"t{n}" for n in range(1, len(others) + 2)]
    row = {"cost_usd": 0.01, "output_tokens": 5, "ttft_ms": 100, "input_tokens": 7, "cache_read_tokens": None}
    outcomes = [[Outcome(answer, "req_relay_1", row) for answer in answers] for answers in (first, *others)]
    return Duel(tuple(names), (Round(RECORDED, dict(zip(names, outcomes, strict=True))),))


def aspects(found: Duel) -> list[tuple[str, str]]:
    return [(difference.target, difference.aspect) for difference in differences(found.rounds[0])]


@pytest.mark.parametrize(
    ("answer", "unlike"),
    [
        (HELLO, []),
        (Answer(200, "end_turn", " Hello!\n"), []),
        (Answer(200, "end_turn", "Hi."), ["text"]),
        (Answer(200, "max_tokens", "Hello!"), ["stop"]),
        (Answer(200, "end_turn", "Hello!", (Call("x", {}),)), ["tools"]),
        (Answer(529, error="overloaded_error"), ["status", "stop", "text"]),
        (Answer(200, "end_turn", "Hello!", error="cut off"), ["status"]),
    ],
)
def test_what_differs(answer: Answer, unlike: list[str]) -> None:
    assert [aspect for _, aspect in aspects(duel([HELLO], [answer]))] == unlike


def test_calls_come_in_any_order() -> None:
    one, two = Call("x", {"a": 1}), Call("y", {"b": 2.0})
    answers = [Answer(200, "tool_use", calls=(one, two)), Answer(200, "tool_use", calls=(Call("y", {"b": 2}), one))]
    assert aspects(duel(answers[:1], answers[1:])) == []


def test_what_varies_at_the_first_may_vary() -> None:
    other = Answer(200, "end_turn", "Hi.")
    assert aspects(duel([HELLO, other], [other, other])) == []
    assert aspects(duel([other, other], [HELLO, other])) == [("t2", "text")]


def test_a_third_one() -> None:
    assert aspects(duel([HELLO], [HELLO], [Answer(200, "refusal")])) == [("t3", "stop"), ("t3", "text")]


def test_texts_do_not_decide_unless_they_are_to() -> None:
    found = duel([HELLO], [Answer(200, "end_turn", "Hi.")])
    assert alike(found, USUAL)
    assert not alike(found, (*USUAL, "text"))


def test_who_all_fail_are_not_alike() -> None:
    failed = Answer(401, error="authentication_error")
    assert not alike(duel([failed], [failed]), USUAL)


def test_as_json() -> None:
    found = document(duel([HELLO], [Answer(200, "max_tokens", "Hel", (Call("x", {"a": 1}),))]), USUAL)
    assert found["alike"] is False
    assert [target["cost_usd"] for target in found["targets"]] == [0.01, 0.01]
    (request,) = found["requests"]
    assert {difference["aspect"] for difference in request["differences"]} == {"stop", "tools", "text"}
    assert request["answers"]["t2"][0]["calls"] == ({"name": "x", "arguments": {"a": 1}},)
    assert request["answers"]["t1"][0]["request"] == "req_relay_1"


def test_in_words() -> None:
    said = list(lines(duel([HELLO, HELLO], [HELLO, Answer(529, error="overloaded_error")])))
    assert said == [
        "a.flow 1: m",
        "  t1: 200 · end_turn · 10 tokens out · $0.0200 · first token after 0.10 s",
        "  t2: 200, 529 · end_turn, overloaded_error · 10 tokens out · $0.0200 · first token after 0.10 s · other status, stop, text",
    ]


def test_several_requests_in_words() -> None:
    (one,) = duel([HELLO], [Answer(529, error="overloaded_error")]).rounds
    assert list(lines(Duel(("t1", "t2"), (one, one))))[-2:] == [
        "t1: 2 of 2 answered · 10 tokens out · $0.0200 · first token after 0.10 s",
        "t2: 0 of 2 answered · 10 tokens out · $0.0200 · first token after 0.10 s",
    ]


@pytest.mark.parametrize(
    ("first", "other", "shown"),
    [
        ("same\nold", "same\nnew", ["  same", "- old", "+ new"]),
        ("", "new", ["+ new"]),
        ("one two three", "one two four", ["  two", "- three", "+ four"]),
    ],
)
def test_differences_of_texts(first: str, other: str, shown: list[Any]) -> None:
    assert diff(first, other, width=8) == shown


def test_a_long_difference_is_cut() -> None:
    found = diff("\n".join(f"a{n}" for n in range(100)), "\n".join(f"b{n}" for n in range(100)))
    assert len(found) == 41
    assert found[-1] == "  … 160 more lines"
