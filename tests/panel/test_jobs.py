from __future__ import annotations

import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from claude_relay.panel.common import jobs
from claude_relay.panel.common.jobs import Jobs, Report
from claude_relay.panel.common.problems import Problem
from waiting import PATIENCE, eventually


def somebody(id: str) -> Any:
    return SimpleNamespace(admin=SimpleNamespace(id=id))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def ended(known: Jobs, who: Any, id: str) -> jobs.Job:
    eventually(lambda: known.find(who, id).state != "running")
    return known.find(who, id)


def test_a_job_says_how_far_it_is() -> None:
    known, alice, go, first = Jobs(), somebody("alice"), threading.Event(), threading.Event()

    def work(report: Report) -> None:
        report(1, {"id": "k1"})
        first.set()
        go.wait(2 * PATIENCE)
        report(2, {"id": "k2"})

    id = known.begin(alice, 2, work)
    assert first.wait(PATIENCE)
    job = known.find(alice, id)
    assert (job.state, job.done, job.total, job.results) == ("running", 1, 2, [{"id": "k1"}])
    go.set()
    job = ended(known, alice, id)
    assert (job.state, job.done, job.detail) == ("done", 2, None)
    assert job.results == [{"id": "k1"}, {"id": "k2"}]


def test_a_job_that_fails_says_why_and_keeps_what_came_before() -> None:
    known, alice = Jobs(), somebody("alice")

    def work(report: Report) -> None:
        report(1, "one")
        raise Problem(409, "x", "There is no relay.")

    job = ended(known, alice, known.begin(alice, 2, work))
    assert (job.state, job.detail, job.results) == ("failed", "There is no relay.", ["one"])


def test_a_job_is_its_owners_and_forgotten_an_hour_after_its_end() -> None:
    clock = Clock()
    known, alice = Jobs(clock), somebody("alice")
    id = known.begin(alice, 0, lambda report: None)
    ended(known, alice, id)
    with pytest.raises(Problem):
        known.find(somebody("bob"), id)
    clock.now = jobs.KEPT + 1
    with pytest.raises(Problem):
        known.find(alice, id)


def test_a_job_that_is_cancelled_goes_no_further() -> None:
    known, alice, go, first, seen = Jobs(), somebody("alice"), threading.Event(), threading.Event(), []

    def work(report: Report) -> None:
        for number in range(1, 4):
            report(number, f"k{number}")
            seen.append(number)
            first.set()
            go.wait(2 * PATIENCE)

    id = known.begin(alice, 3, work)
    assert first.wait(PATIENCE)
    with pytest.raises(Problem):
        known.cancel(somebody("bob"), id)
    known.cancel(alice, id)
    job = known.find(alice, id)
    assert (job.state, job.results) == ("cancelled", ["k1"])
    go.set()
    [thread] = [one for one in threading.enumerate() if one.name == f"job {id}"] or [None]
    if thread is not None:
        thread.join(PATIENCE)
    assert seen == [1]
    assert known.find(alice, id) == job
    known.cancel(alice, id)  # it is over


def test_one_that_is_cancelled_before_its_turn_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST", 1)
    known, alice, go, began = Jobs(), somebody("alice"), threading.Event(), []
    first = known.begin(alice, 1, lambda report: go.wait(2 * PATIENCE))
    second = known.begin(alice, 1, lambda report: began.append(1))
    known.cancel(alice, second)
    go.set()
    assert ended(known, alice, first).state == "done"
    third = known.begin(alice, 1, lambda report: None)
    assert ended(known, alice, third).state == "done"
    assert (began, known.find(alice, second).state) == ([], "cancelled")
