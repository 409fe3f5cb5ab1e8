"""Which attempt meets a fault, and what a provider would say."""

import json
import random
from collections import Counter

import pytest

from claude_relay.core.config import FaultRule, Match
from claude_relay.core.exchange import Endpoint, Facts, Failure, Outcome
from claude_relay.core.faults import KINDS, Faults, answer, error_event, shapes
from claude_relay.core.formats import errors
from claude_relay.core.formats.error_text import read_problem
from claude_relay.core.retry.verdicts import judge
from claude_relay.core.routing.routes import matches

FACTS = Facts(Endpoint.MESSAGES, model="claude-opus-4-5", stream=True)
FORMS = ("anthropic", "openai-chat", "openai-responses", "gemini", "/my/format.py")


def dice(seed):
    return random.Random(0 if seed is None else seed).random


def faults(*rules):
    return Faults([FaultRule.model_validate(rule) for rule in rules], matches=matches, dice=dice)


def kinds(found, times=1, n=1, facts=FACTS):
    met = [found.choose(facts, n) for _ in range(times)]
    return [fault and fault.kind for fault in met]


def test_without_rules_there_are_none():
    assert not faults()
    assert kinds(faults()) == [None]


def test_the_first_rule_that_strikes_counts():
    found = faults({"fault": 401, "match": {"model": "*haiku*"}}, {"fault": 529, "attempt": 2}, {"fault": "cut"})
    assert kinds(found, n=1) == ["cut"]
    assert kinds(found, n=2) == ["529"]
    assert kinds(found, facts=Facts(Endpoint.MESSAGES, model="claude-haiku-4-5")) == ["401"]


def test_a_count_ends():
    found = faults({"fault": 529, "count": 2})
    assert kinds(found, 4) == ["529", "529", None, None]
    found.arm([FaultRule(fault="529", count=1)])
    found.add(FaultRule(fault="cut"))
    assert kinds(found, 3) == ["529", "cut", "cut"]
    assert str(found) == "529, cut"


def test_a_share_is_the_same_one_for_the_same_seed():
    first, again, other = (kinds(faults({"fault": 529, "probability": 0.3, "seed": s}), 1000) for s in (7, 7, 8))
    assert first == again != other
    assert 250 < Counter(first)["529"] < 350


def test_only_streams_have_events():
    found = faults({"fault": "error_event", "count": 1})
    assert kinds(found, facts=Facts(Endpoint.MESSAGES, model="m")) == [None]
    assert kinds(found) == ["error_event"]


SENT = [
    ({"fault": "silence"}, False),
    ({"fault": "silence", "lasts": 1}, True),
    ({"fault": "cut"}, True),
    ({"fault": 529}, False),
]


@pytest.mark.parametrize(("rule", "dispatched"), SENT)
def test_what_is_dispatched(rule, dispatched):
    assert faults(rule).choose(FACTS, 1).dispatched is dispatched


def test_faults_are_readable():
    found = faults({"fault": "cut", "after": 1}, {"fault": "stall", "after": 20, "lasts": "2s"})
    assert [str(armed.fault) for armed in found.armed] == ["cut after 1 byte", "stall after 20 bytes for 2 s"]


# -- what is answered

VERDICTS = {"401": "unauthorized", "403": "forbidden", "429": "rate_limited", "529": "overloaded"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.isdigit()])
def test_answers_mean_what_they_are_called(kind, form):
    """Read as those of providers are read."""
    said = answer(faults({"fault": kind}).choose(FACTS, 1), form, now=1_800_000_000.0, id="req_1")
    assert b"{" not in said.body or json.loads(said.body)
    assert not [
        value
        for value in (*said.headers.values(), said.body.decode())
        if "{id}" in value or "{sec" in value or "{re" in value
    ]
    outcome = Outcome(said.status, said.headers, said.body)
    if form != "anthropic":
        wait = errors.stated_wait(said.headers, said.body, read_problem(said.body)[2])
        problem = errors.claude_problem(said.status, *read_problem(said.body), wait)
        error = {"type": problem.type, "message": problem.message}
        headers = {} if problem.retry_after is None else {"retry-after": str(problem.retry_after)}
        outcome = Outcome(problem.status, headers, json.dumps({"type": "error", "error": error}).encode())
    verdict = judge(outcome, FACTS, now=1_800_000_000.0)
    busy = kind == "503" and form != "anthropic"  # the others say that they are overloaded with it
    assert verdict.name == ("overloaded" if busy else VERDICTS.get(kind, "upstream_error"))


def test_a_limit_says_for_how_long():
    fault = faults({"fault": 429, "lasts": "90s"}).choose(FACTS, 1)
    said = answer(fault, "anthropic", now=1_800_000_000.0, id="req_1")
    assert said.headers["retry-after"] == "90"
    assert said.headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:01:30.000Z"
    assert judge(Outcome(429, said.headers, said.body), FACTS, now=1_800_000_000.0).cooldown_until == 1_800_000_090.0
    assert "retry-after" not in answer(faults({"fault": 529}).choose(FACTS, 1), "anthropic", now=0.0, id="").headers
    busy = answer(faults({"fault": 529, "lasts": 3}).choose(FACTS, 1), "gemini", now=0.0, id="")
    assert (busy.status, busy.headers["retry-after"]) == (503, "3")


def test_events_are_errors():
    event = error_event("anthropic", "req_1")
    assert event.startswith(b"event: error\ndata: ")
    assert event.endswith(b"\n\n")
    said = json.loads(event.split(b"data: ")[1])
    assert said["request_id"] == "req_1"
    assert (
        judge(Outcome(200, body=json.dumps(said).encode(), failure=Failure.ERROR_EVENT), FACTS, now=0.0).name
        == "overloaded"
    )
    for form in ("openai-chat", "gemini"):
        assert json.loads(error_event(form, "").removeprefix(b"data: "))["error"]["message"]


def test_shapes_are_dated_and_have_sources():
    assert shapes()["checked"] >= "2026-11-27"
    assert all(words["source"].startswith("https://") for words in shapes()["formats"].values())


def test_every_kind_can_be_asked_for():
    assert [FaultRule(fault=kind, match=Match()).fault for kind in KINDS] == list(KINDS)
