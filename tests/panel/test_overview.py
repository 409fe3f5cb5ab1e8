"""Overview, events, requests, sessions and usage: by the API, and as people see them."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from waiting import PATIENCE, eventually

from .ledgers import attempt, request, write
from .stage import Panel

HOUR = 3600.0


@pytest.fixture(scope="module")
def panel(panel: Panel) -> Panel:
    """With thirty requests of the last half an hour, two of the day before, and one that took three tries."""
    now = time.time()
    rows = [
        request(
            f"{n:03}", now - 60 * n, session=f"s{n // 10}", client=("alice", "bob")[n % 2], agent=("a1", None)[n % 2]
        )
        for n in range(30)
    ]
    rows += [request(f"old{n}", now - 30 * HOUR, session="old", provider="glm", key="g1") for n in range(2)]
    story = {"route": "route 2 (model claude-opus-*): anthropic, glm; gemini: cannot do tools", "attempts": 3}
    missed = {"cache_miss": "tools[3]", "cache_miss_tokens": 84_200, "cache_miss_usd": 0.25}
    rows.append(request("story", now - 2 * HOUR, session="s1", client="<i>eve</i>", **story, **missed))
    rows.append(
        request(
            "failed",
            now - HOUR,
            finished="error",
            status=429,
            error_type="rate_limit_error",
            cost_usd=None,
            input_tokens=None,
        )
    )
    at = now - 2 * HOUR
    tries = [
        attempt("story", 1, at, status=429, verdict="rate_limited", error="429 too many", duration_ms=300.0),
        attempt("story", 2, at + 0.7, key="k2", status=529, verdict="overloaded", waited_ms=400.0, duration_ms=100.0),
        attempt("story", 3, at + 1, key="k3", cost_usd=0.01),
    ]
    write(panel.database, rows, tries)
    return panel


# --- the API


def test_figures_stand_beside_those_of_the_span_before(panel: Panel) -> None:
    found = panel.get("/api/dashboard?span=24h").json
    now, before = found["figures"]["now"], found["figures"]["before"]
    assert (now["requests"], now["errors"], before["requests"]) == (32, 1, 2)
    assert now["cost_usd"] == pytest.approx(0.31)
    assert now["cache_hit_rate"] == pytest.approx(0.9)
    steps = found["figures"]["steps"]
    assert sum(step["providers"].get("anthropic", {}).get("requests", 0) for step in steps) == 32
    assert [one["name"] for one in found["figures"]["clients"]][:2] == ["alice", "bob"]
    assert len(found["newest"]) == 8
    assert [need["kind"] for need in found["needs"]] == ["no_relay"]


def test_requests_page_by_cursor(panel: Panel) -> None:
    first = panel.get("/api/requests?limit=20&client=bob").json
    second = (
        panel.get(f"/api/requests?limit=20&client=bob&after={first['next']}").json if first["next"] else {"data": []}
    )
    ids = [row["id"] for row in first["data"] + second["data"]]
    assert ids == [f"req_relay_{n:03}" for n in range(1, 30, 2)]
    page = panel.get("/api/requests?limit=10").json
    after = panel.get(f"/api/requests?limit=10&after={page['next']}").json
    assert after["data"][0]["id"] == "req_relay_010"
    assert panel.get("/api/requests?after=x").status == 400


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=429", 1),
        ("status=failed", 1),
        ("provider=glm", 2),
        ("key=glm/g1", 2),
        ("model=*opus*&since=25h", 32),
        ("until=25h", 2),
        ("session=old", 2),
        ("client_group=none", 0),
        ("error=rate_limit_error", 1),
        ("origin=replay", 0),
    ],
)
def test_requests_are_found_by_what_they_are(panel: Panel, query: str, count: int) -> None:
    assert len(panel.get(f"/api/requests?limit=100&{query}").json["data"]) == count


@pytest.mark.parametrize("query", ["status=12", "since=never", "origin=x", "limit=0", "until=9999999d"])
def test_what_cannot_be_looked_for_is_said(panel: Panel, query: str) -> None:
    answer = panel.get(f"/api/requests?{query}")
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")


def test_one_request_with_its_story(panel: Panel) -> None:
    found = panel.get("/api/requests/story").json
    assert [(one["n"], one["key"], one["verdict"]) for one in found["attempts"]] == [
        (1, "k1", "rate_limited"),
        (2, "k2", "overloaded"),
        (3, "k3", "ok"),
    ]
    assert found["attempts"][1]["after_ms"] == pytest.approx(700, abs=2)
    assert found["way"] == {
        "rule": "route 2 (model claude-opus-*): anthropic, glm",
        "reasons": ["gemini: cannot do tools"],
    }
    assert found["cache"]["missed"] == 84_200
    assert found["cache"]["why"].startswith("tools[3] changed")
    assert found["recorded"] is False
    assert panel.get("/api/requests/nobody").status == 404


def test_sessions_with_their_agents(panel: Panel) -> None:
    found = panel.get("/api/sessions").json
    assert [(row["session"]["id"], row["live"]) for row in found["data"]] == [
        ("s0", True),
        ("s1", False),
        ("s2", False),
        ("old", False),
    ]
    one = panel.get("/api/sessions/s0").json
    (main,) = one["agents"]
    assert (main["agent"]["id"], main["agent"]["requests"]) == (None, 5)
    assert [child["agent"]["id"] for child in main["children"]] == ["a1"]
    assert main["cost_usd"] == pytest.approx(0.1)
    assert panel.get("/api/sessions/none").status == 404


def test_usage_by_two_dimensions(panel: Panel) -> None:
    found = panel.get("/api/usage?by=client&by=provider&span=7d").json
    sums = {tuple(group["names"]): group["sums"]["requests"] for group in found["data"]}
    assert sums == {
        ("alice", "anthropic"): 16,
        ("bob", "anthropic"): 15,
        ("<i>eve</i>", "anthropic"): 1,
        ("alice", "glm"): 2,
    }
    assert found["total"]["requests"] == 34
    assert panel.get("/api/usage?by=colour").status == 422
    assert panel.get("/api/usage?by=client&by=model&by=key").status == 422


def test_usage_as_csv(panel: Panel) -> None:
    answer = panel.get("/api/usage?by=provider&span=7d", Accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert (head[:2], [row[:2] for row in rows]) == (["provider", "requests"], [["anthropic", "32"], ["glm", "2"]])


def test_cache_misses(panel: Panel) -> None:
    found = panel.get("/api/cache-misses").json
    assert (found["usd"], [one["cause"] for one in found["data"]]) == (0.25, ["tools"])


def listening(panel: Panel, path: str = "/api/events", **headers: str) -> tuple[HTTPConnection, HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", panel.port, timeout=PATIENCE)
    connection.request("GET", path, headers={"Cookie": panel.cookie, **headers})
    return connection, connection.getresponse()


def next_event(answer: HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    while (line := answer.readline().decode().rstrip("\n")) or "event" not in found:
        name, _, value = line.partition(": ")
        found[name] = value
    return found


def test_events_tell_of_requests_as_they_settle(panel: Panel) -> None:
    connection, answer = listening(panel, "/api/events?topics=requests")
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert answer.readline() == b"retry: 3000\n"
    write(panel.database, [request("settled", time.time() - 20 * 24 * HOUR)])
    event = next_event(answer)
    assert event["event"] == "requests"
    assert [row["id"] for row in json.loads(event["data"])["requests"]] == ["req_relay_settled"]
    again, missed = listening(panel, "/api/events?topics=requests", **{"Last-Event-ID": str(int(event["id"]) - 1)})
    assert json.loads(next_event(missed)["data"])["requests"][0]["id"] == "req_relay_settled"
    connection.close()
    again.close()


def test_nobody_hears_events_without_a_sign_in(panel: Panel) -> None:
    assert panel.ask("GET", "/api/events", headers={"Cookie": ""}).status == 401
    assert panel.get("/api/events?topics=weather").status == 422


# --- pages


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("/?span=24h", ["Requests by provider", "No relay runs", "alice"]),
        ("/requests", ["req_relay_000", "claude-opus-4-8"]),
        ("/requests?client=none", ["No request is like that"]),
        ("/requests/req_relay_story", ["gemini: cannot do tools", "84.2k tokens", "anthropic/k3", "&lt;i&gt;eve"]),
        ("/sessions", ["s0", "live"]),
        ("/sessions/s0", ["main agent", "a1"]),
        ("/usage?by=client&by=model&span=7d", ["alice", "Total"]),
        ("/usage?by=day&by=&span=7d&show=tokens", ["As a table"]),
        ("/usage?view=cache", ["tools[3] changed"]),
    ],
)
def test_pages_can_be_read_without_scripts(panel: Panel, path: str, texts: list[str]) -> None:
    answer = panel.page(path)
    assert answer.status == 200

    def missing() -> list[str]:
        """Figures that take longer than a page waits for them are there when somebody looks again."""
        nonlocal answer
        answer = panel.page(path)
        return [text for text in texts if text not in answer.text]

    eventually(lambda: not missing(), missing)
    assert "<i>eve" not in answer.text
    assert " style=" not in answer.text


def test_a_page_that_is_not_there(panel: Panel) -> None:
    assert panel.page("/requests/none").status == 404
    assert panel.page("/sessions/none").status == 404


def test_the_newest_request_appears_by_itself(visit: Any, panel: Panel) -> None:
    with visit.expect_response("**/api/events*"):
        visit.goto("/requests?client=dora")
    visit.get_by_text("No request is like that").wait_for()
    write(panel.database, [request("dora", time.time() - 40 * 24 * HOUR, client="dora")])
    visit.locator("#req_relay_dora").wait_for()


def test_a_chart_is_read_by_the_keyboard(visit: Any, panel: Panel) -> None:
    visit.goto("/?span=24h")
    visit.locator("[data-module=later]").wait_for(state="detached")  # figures that come later are drawn anew
    chart = visit.get_by_role("img", name="Requests by provider")
    chart.focus()
    chart.press("End")
    tip = visit.locator(".tip")
    tip.wait_for()
    assert re.search(r":00: \d+$", tip.inner_text())
    chart.press("Escape")
    tip.wait_for(state="hidden")
