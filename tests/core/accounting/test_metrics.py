"""What Prometheus reads agrees with what was settled, its labels are bounded, and the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from timeit import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser

from claude_relay.core.accounting.metrics import DURATION_BOUNDS, MODELS, OTHER, Gauges, Metrics, Names
from store.rows import attempt, request

DASHBOARD = Path(__file__).parents[3] / "addon/claude_relay/cli/grafana.json"
PAIR = {"provider": "anthropic", "model": "claude-sonnet-5"}


def families(metrics: Metrics, gauges: Gauges | None = None) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    text = "".join(metrics.render(gauges or Gauges()))
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for sample in samples:
        series = found.setdefault(sample.name.removeprefix("claude_relay_"), {})
        labels = frozenset(sample.labels.items())
        assert labels not in series, "one series, one line"
        series[labels] = sample.value
    return found


def value(metrics: Metrics, family: str, **labels: str) -> float | None:
    return families(metrics).get(family, {}).get(frozenset(labels.items()))


def settled(metrics: Metrics, *tries: dict[str, object], **fields: object) -> None:
    row = request(**({"served_model": "claude-sonnet-5"} | fields))
    metrics.settled(row, [attempt(row, n, **given) for n, given in enumerate(tries, 1)])


def test_requests_are_counted_by_who_served_them_and_how_they_ended() -> None:
    metrics = Metrics()
    settled(metrics)
    settled(metrics)
    settled(metrics, finished="error", status=529)
    settled(metrics, finished="client_closed", status=None, provider=None, served_model=None)
    assert value(metrics, "requests_total", **PAIR, finished="complete", status="2xx") == 2
    assert value(metrics, "requests_total", **PAIR, finished="error", status="5xx") == 1
    assert value(metrics, "requests_total", provider="none", model="none", finished="client_closed", status="none") == 1


def test_each_provider_is_charged_with_what_it_billed() -> None:
    metrics = Metrics()
    settled(
        metrics,
        {"provider": "glm", "verdict": "broken", "model": "glm-4.6", "input_tokens": 7, "cost_usd": 0.25},
        {"verdict": "ok", "model": "claude-sonnet-5", "input_tokens": 5, "cache_write_1h_tokens": 3, "cost_usd": 0.5},
        input_tokens=12,
        cost_usd=0.75,
    )
    assert value(metrics, "attempts_total", provider="glm", verdict="broken") == 1
    assert value(metrics, "tokens_total", provider="glm", model="glm-4.6", kind="input") == 7
    assert value(metrics, "tokens_total", **PAIR, kind="input") == 5
    assert value(metrics, "tokens_total", **PAIR, kind="cache_write_1h") == 3
    assert value(metrics, "cost_usd_total", provider="glm", model="glm-4.6") == 0.25
    assert value(metrics, "cost_usd_total", **PAIR) == 0.5


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"stream": True}, 1),
        ({"stream": False}, None),
        ({"stream": True, "status": 429, "finished": "error"}, None),
    ],
)
def test_the_first_token_is_timed_only_where_there_is_one(fields: dict[str, object], counted: int | None) -> None:
    metrics = Metrics()
    settled(metrics)
    settled(metrics, ttft_ms=750, **fields)
    assert value(metrics, "time_to_first_token_seconds_count", **PAIR) == counted


@given(st.lists(st.floats(0, 2000), min_size=1))
def test_a_bucket_holds_all_that_took_no_longer(seconds: list[float]) -> None:
    metrics = Metrics()
    for each in seconds:
        settled(metrics, duration_ms=each * 1000)
    found = families(metrics)
    buckets = found["request_duration_seconds_bucket"]
    for bound in DURATION_BOUNDS:
        expected = sum(each * 1000 / 1000 <= bound for each in seconds)
        assert buckets[frozenset({**PAIR, "le": str(bound)}.items())] == expected
    assert buckets[frozenset({**PAIR, "le": "+Inf"}.items())] == len(seconds)
    assert value(metrics, "request_duration_seconds_sum", **PAIR) == pytest.approx(sum(seconds))


@pytest.mark.parametrize("status", [200, 404])
def test_whatever_clients_ask_for_there_are_at_most_200_models(status: int) -> None:
    metrics = Metrics()
    for n in range(MODELS + 50):
        settled(metrics, served_model=f"model-{n}", status=status)
    models = {dict(labels)["model"] for labels in families(metrics)["requests_total"]}
    assert models == {OTHER} if status == 404 else len(models) == MODELS + 1


@given(st.text(max_size=200))
def test_no_model_name_breaks_the_text(name: str) -> None:
    metrics = Metrics()
    settled(metrics, served_model=name)
    (labels,) = families(metrics)["requests_total"]
    assert dict(labels)["model"] in (name, OTHER, "none")


def test_a_name_stays_known_once_it_served() -> None:
    names = Names(most=1)
    assert names.label("a", served=False) == OTHER
    assert names.label("a", served=True) == "a"
    assert names.label("a", served=False) == "a"
    assert names.label("b", served=True) == OTHER


def test_gauges_are_as_they_were_handed_in() -> None:
    keys = {("anthropic", "ready"): 3, ("anthropic", "cooldown"): 1}
    found = families(Metrics(), Gauges(keys, in_flight=2, sessions=9, ledger_queue=4, ledger_failing=True))
    assert found["keys"][frozenset({("provider", "anthropic"), ("state", "cooldown")})] == 1
    nothing: frozenset[tuple[str, str]] = frozenset()
    assert [found[name][nothing] for name in ("requests_in_flight", "sessions", "ledger_queue_rows")] == [2, 9, 4]
    assert found["ledger_failing"][nothing] == 1


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    metrics = Metrics()
    settled(metrics, {"input_tokens": 1, "cost_usd": 1.0}, stream=True, ttft_ms=1, duration_ms=1)
    text = "".join(metrics.render(Gauges({("anthropic", "ready"): 1})))
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    labels_of: dict[str, set[str]] = {}
    for sample in samples:
        labels_of.setdefault(sample.name, set()).update(sample.labels)
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [variable["query"]["query"] for variable in dashboard["templating"]["list"][1:]]
    used = {name for query in asked for name in re.findall(r"claude_relay_\w+", query)}
    assert used <= set(labels_of)
    families_shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert families_shown == {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels_of}
    for query in asked:
        for name, matchers in re.findall(r"(claude_relay_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", matchers)) <= labels_of[name], query


def test_a_request_is_counted_within_microseconds() -> None:
    """Compared with what its rows take to become JSON, so that a slow machine does not fail the test."""
    metrics = Metrics()
    row = request(served_model="claude-sonnet-5", stream=True, ttft_ms=700, duration_ms=4000)
    tries = [attempt(row, n, input_tokens=1, output_tokens=2, cache_read_tokens=3, cost_usd=0.1) for n in (1, 2)]

    def fastest(call: Callable[[], object]) -> float:
        return min(repeat(call, timer=time.thread_time, number=200, repeat=5))

    told = fastest(lambda: json.dumps([asdict(each) for each in (row, *tries)]))
    assert fastest(lambda: metrics.settled(row, tries)) < told / 4
