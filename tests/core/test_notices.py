from __future__ import annotations

import json

import pytest

from claude_relay.core.errors import BudgetError, RelayError
from claude_relay.core.exchange import Cause, Verdict
from claude_relay.core.notices import HOUR, MOST_KEYS, Kind, Notice, Throttle, login_needed, notices_of_attempt, refused
from claude_relay.core.retry.verdicts import MEANINGS

NOW = 1_795_000_000.25


def notice(key: str = "a", at: float = NOW, kind: Kind = Kind.KEY_OUT, again: float | None = None) -> Notice:
    return Notice(kind, key, "text", at, again)


def test_the_body_says_all_that_a_receiver_needs() -> None:
    one = notice()
    assert json.loads(one.body(NOW + 5, 3)) == {
        "id": one.id,
        "kind": "key_out",
        "key": "a",
        "text": "text",
        "at": "2026-11-18T11:06:40.250Z",
        "sent_at": 1_795_000_005,
        "held_back": 3,
    }
    assert len({one.id, notice("b").id, notice(at=NOW + 1).id, notice(kind=Kind.LOGIN).id}) == 4


# -- what is told of what happens


@pytest.mark.parametrize("name", MEANINGS)
def test_a_key_is_out_by_these_verdicts_only(name: str) -> None:
    told = notices_of_attempt(Verdict(name, Cause.KEY, reason="401: no"), "glm", "k2", NOW)
    out = name in ("unauthorized", "key_disabled", "no_credit")
    assert [(one.kind, one.key) for one in told] == ([(Kind.KEY_OUT, "glm/k2")] if out else [])
    assert notices_of_attempt(Verdict(name, Cause.KEY), "glm", None, NOW) == ()


def test_reasons_lose_what_looks_like_a_key() -> None:
    reason = "401: invalid sk-ant-api03-abcdef"
    told = [
        *notices_of_attempt(Verdict("unauthorized", Cause.KEY, reason=reason), "glm", "k2", NOW),
        *login_needed("anthropic", "max", reason, NOW),
        *refused(RelayError(529, reason), ["glm"], NOW),
    ]
    assert len(told) == 3
    assert all("401: invalid …" in one.text for one in told)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RelayError(429, "all rest", 5), Kind.ALL_IN_COOLDOWN),
        (RelayError(503, "all out", final=True), Kind.ALL_IN_COOLDOWN),
        (RelayError(529, "all down", 5), Kind.PROVIDER_DOWN),
        (BudgetError(429, "a budget is spent", 5, final=True), None),
        (BudgetError(429, "a budget has no room", 5), None),
        (RelayError(404, "no route", final=True), None),
    ],
)
def test_what_is_told_of_a_refusal(error: RelayError, kind: Kind | None) -> None:
    told = refused(error, ["glm", "glm", "anthropic"], NOW)
    assert [(one.kind, one.key) for one in told] == ([(kind, "glm and anthropic")] if kind else [])


# -- how often


def test_the_same_is_told_once_an_hour_or_when_it_says() -> None:
    throttle = Throttle(10)
    at = [0, 1, HOUR - 1, HOUR, HOUR + 1]
    assert [throttle.admits(notice(at=NOW + t)) for t in at] == [True, False, False, True, False]
    assert throttle.admits(notice("b", again=NOW + 5 * HOUR))
    assert [throttle.admits(notice("b", at=NOW + t * HOUR)) for t in (1, 4.9, 5)] == [False, False, True]
    assert throttle.held_back(Kind.KEY_OUT) == 0


def test_there_are_so_many_of_a_kind_in_an_hour_and_the_next_says_how_many_were_not_told() -> None:
    throttle = Throttle(2)
    assert [throttle.admits(notice(str(n), NOW + n)) for n in range(5)] == [True, True, False, False, False]
    assert throttle.admits(notice("x", kind=Kind.LOGIN))
    assert throttle.admits(notice("9", NOW + HOUR))
    assert [throttle.held_back(Kind.KEY_OUT) for _ in range(2)] == [3, 0]
    assert not throttle.admits(notice("8", NOW + HOUR + 0.5))


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(10**6)
    for n in range(MOST_KEYS + 50):
        assert throttle.admits(notice(str(n), NOW))
    assert len(throttle.again) == MOST_KEYS
    assert not throttle.admits(notice(str(MOST_KEYS + 49), NOW))
