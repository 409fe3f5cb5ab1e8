"""What a named client is told of rate limits: nothing of the pool's keys, its own cap on spending, and where it stands."""

from __future__ import annotations

import time
from typing import Any

import pytest

from . import steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import config, provider, rows
from .team import ME, Team, bearer
from .upstream import FakeUpstream

UNIFIED = "anthropic-ratelimit-unified-"
OF_THE_POOL = [
    ("anthropic-ratelimit-unified-5h-utilization", "0.9"),
    ("anthropic-ratelimit-unified-status", "allowed"),
    ("Anthropic-RateLimit-Requests-Remaining", "7"),
]


@pytest.fixture
def team(start: StartRelay, upstream: FakeUpstream) -> Team:
    """A thousand tokens, which is what an answer takes, cost 0.41 USD."""
    usage = {"input_tokens": 0, "output_tokens": 1000}
    upstream.default = steps.message(usage=usage, headers=OF_THE_POOL)
    prices = [{"model": "*", "input": 0, "output": 410}]
    text = config(
        providers={"anthropic": provider(upstream.url, ["good-1", "good-2"])},
        prices=prices,
        clients={"contact": "ops@example.com"},
    )
    return Team(start(text))


def ask(team: Team, secret: str | None, **more: Any) -> Answer:
    headers = [] if secret is None else bearer(secret)
    answer = team.ask("POST", "/v1/messages", headers=headers, body=messages_body(**more))
    team.relay.wait_until_clients_left()
    return answer


def limits(answer: Answer) -> dict[str, str]:
    """Header fields about limits, by the end of their names."""
    found = [(name.lower(), value) for name, value in answer.headers if name.lower().startswith("anthropic-ratelimit-")]
    assert len(dict(found)) == len(found)
    return {name.removeprefix(UNIFIED): value for name, value in found}


def test_a_client_with_a_cap_from_its_first_answer_to_its_end(team: Team) -> None:
    ann = team.add("ann", "$1/day", "$100/month")
    first = ask(team, ann)
    said = limits(first)
    reset = int(said.pop("reset"))
    assert said.pop("overage-reset") == str(reset)
    assert time.time() < reset <= time.time() + 86400
    assert said == {
        "status": "allowed",
        "representative-claim": "overage",
        "overage-status": "allowed",
        "overage-utilization": "0.00",
    }
    assert limits(ask(team, ann))["overage-utilization"] == "0.41"
    warned = limits(ask(team, ann))
    assert (warned["overage-utilization"], warned["overage-surpassed-threshold"]) == ("0.82", "0.75")
    assert (warned["status"], warned["overage-status"]) == ("allowed_warning", "allowed_warning")

    usage = team.get("/api/oauth/usage", ann)
    assert (usage.status, usage.header("cache-control")) == (200, "no-store")
    day, month = usage.json()["limits"]  # type: ignore[misc]
    assert (day["group"], day["percent"], day["is_active"]) == ("daily", 100, True)
    assert (month["group"], month["percent"], month["is_active"]) == ("monthly", 1, False)

    refused = ask(team, ann)
    assert (refused.status, refused.error_type) == (429, "billing_error")
    assert "ops@example.com" in str(refused.json())
    assert refused.header("x-should-retry") == "false"
    assert 0 < int(refused.header("retry-after") or 0) <= 86400
    assert limits(refused) == {
        "status": "rejected",
        "reset": str(reset),
        "overage-reset": str(reset),
        "overage-utilization": "1",
        "overage-surpassed-threshold": "1",
        "overage-period": "daily",
        "overage-disabled-reason": "org_spend_cap_reached",
    }


def test_a_streamed_answer_says_the_same(team: Team, upstream: FakeUpstream) -> None:
    upstream.default = steps.stream(headers=OF_THE_POOL)
    assert limits(ask(team, team.add("ann", "$1/week"), stream=True))["overage-status"] == "allowed"


@pytest.mark.parametrize("per", ["total", "5h"])
def test_when_a_cap_begins_anew(team: Team, per: str) -> None:
    """One of all time never; a rolling one when what was spent first is given back."""
    ann = team.add("ann", f"$1/{per}")
    ask(team, ann)
    said = limits(ask(team, ann))
    assert said["overage-utilization"] == "0.41"
    if per == "total":
        assert not {"reset", "overage-reset"} & set(said)
    else:
        assert 5 * 3600 - 1 < int(said["reset"]) - time.time() <= 5 * 3600 + 301


def test_a_budget_of_a_group(team: Team) -> None:
    from claude_relay.core.clients.limits import parse
    from claude_relay.core.clients.permissions import Policy

    team.book.add_group(ME, "team", {"policy": Policy(limits=(parse("$0.4/month"),))})
    ann, bob = team.add("ann", "$100/day", group="team"), team.add("bob", group="team")
    assert ask(team, ann).status == 200
    said = limits(ask(team, bob))
    assert (said["overage-scope"], said["overage-period"]) == ("group_pool", "monthly")


def test_without_a_cap_nothing_is_said(team: Team) -> None:
    bob = team.add("bob", "60 requests/minute")
    assert limits(ask(team, bob)) == {}
    usage = team.get("/api/oauth/usage", bob).json()
    extra = usage["extra_usage"]
    assert isinstance(extra, dict)
    assert usage["limits"] == []
    assert (extra["monthly_limit"], extra["utilization"], extra["used_credits"]) == (None, None, 41)
    assert extra["daily"] == {"limit": None, "used_credits": 41, "utilization": None}


def test_who_is_no_client_gets_what_the_upstream_said(team: Team) -> None:
    assert limits(ask(team, None)) == {
        "5h-utilization": "0.9",
        "status": "allowed",
        "anthropic-ratelimit-requests-remaining": "7",
    }


def test_an_error_that_is_passed_on(team: Team, upstream: FakeUpstream) -> None:
    upstream.default = steps.status(400, "invalid_request_error", "no", headers=OF_THE_POOL)
    refused = ask(team, team.add("ann", "$1/day"))
    assert (refused.status, limits(refused)) == (400, {})


def test_a_client_asks_where_it_stands(team: Team) -> None:
    ann = team.add("ann", "$1/day", "60 requests/minute", "$5/day per session")
    ask(team, ann)
    answer = team.get("/relay/me", ann)
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    found: dict[str, Any] = answer.json()
    assert (found["name"], found["group"], found["expires_at"], found["contact"]) == (
        "ann",
        None,
        None,
        "ops@example.com",
    )
    assert found["spent_usd"] == {"day": 0.41, "week": 0.41, "month": 0.41}
    by_name = {limit["limit"]: limit for limit in found["limits"]}
    assert (by_name["$1/day"]["used"], by_name["$1/day"]["remaining"]) == (0.41, 0.59)
    assert by_name["$1/day"]["resets_at"].endswith("Z")
    assert 0 < by_name["60 requests/minute"]["used"] <= 1
    assert by_name["$5/day per session"]["used"] is None
    assert rows(team.relay.database)[0]["client"] == "ann"


def test_a_client_asks_where_a_session_and_an_agent_of_it_stand(team: Team) -> None:
    ann = team.add("ann", "$5/day per session", "$2/day per agent")
    session, of_s1 = "x-claude-code-session-id", [("x-claude-code-session-id", "s1")]
    in_tree = [("x-claude-code-agent-id", "child"), ("x-claude-code-parent-agent-id", "root")]
    for headers in (of_s1, [*of_s1, *in_tree], [(session, "s2")]):
        team.ask("POST", "/v1/messages", headers=[*bearer(ann), *headers], body=messages_body())

    def used(*headers: tuple[str, str]) -> list[float | None]:
        limits = {one["limit"]: one["used"] for one in team.get("/relay/me", ann, list(headers)).json()["limits"]}
        return [limits[f"${name}"] for name in ("5/day per session", "2/day per agent")]

    assert used() == [None, None]
    assert used(*of_s1) == [0.82, 0.41]  # the main agent
    assert used(*of_s1, *in_tree) == [0.82, 0.41]
    assert used(*of_s1, ("x-claude-code-agent-id", "root")) == [0.82, 0.41]
    assert used(*of_s1, ("x-claude-code-agent-id", "other")) == [0.82, 0.0]
    assert used((session, "s3")) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("path", "nobody"), [("/relay/me", 401), ("/api/oauth/usage", 404), ("/managed/settings", 404)]
)
def test_it_is_told_to_nobody_else(team: Team, path: str, nobody: int) -> None:
    assert team.get(path).status == nobody
    unknown = team.get(path, "rk-" + "0" * 48)
    assert (unknown.status, unknown.header("x-should-retry")) == (401, "false")
    ann = team.add("ann", enabled=False)
    with RawClient(team.relay.base_port) as client:
        assert client.ask("GET", path, key=ann).status == 401
        assert client.ask("POST", path, key=ann, body=b"{}").status == 405
