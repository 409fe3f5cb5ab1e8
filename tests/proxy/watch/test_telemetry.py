"""A settled request as spans and metrics, as the conventions for generative AI name them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from waiting import PATIENCE

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from claude_relay.proxy.watch.telemetry import MISSING, MOST_WAITING, Recorder, Telemetry
from store.rows import STARTED, attempt, request

NANO = 1_000_000_000


class Collected:
    """A recorder whose spans and metrics stay in memory."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.recorder = Recorder(provider, MeterProvider([self._reader], shutdown_on_exit=False))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._spans.get_finished_spans()}

    def points(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        assert data is not None
        metrics = (m for r in data.resource_metrics for scope in r.scope_metrics for m in scope.metrics)
        return {metric.name: list(metric.data.data_points) for metric in metrics}


@pytest.fixture
def collected() -> Collected:
    return Collected()


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def test_a_request_is_a_span_with_its_attempts_as_children(collected: Collected) -> None:
    row = request(
        served_model="claude-sonnet-5-20260101",
        session="s1",
        stream=True,
        ttft_ms=1500,
        duration_ms=2000,
        input_tokens=10,
        cache_read_tokens=20,
        cache_write_5m_tokens=3,
        cache_write_1h_tokens=4,
        output_tokens=5,
        attempts=2,
    )
    first = attempt(row, 1, provider="glm", status=529, verdict="overloaded", error="529: busy", duration_ms=400)
    second = attempt(row, 2, verdict="ok", started_at=STARTED + 0.5, first_byte_ms=1000, duration_ms=1500)
    collected.recorder.record(row, [first, second], stop_reason="end_turn")
    spans = collected.spans()
    whole = spans["chat claude-sonnet-5"]
    assert whole.kind is SpanKind.CLIENT
    assert whole.parent is None
    assert (whole.start_time, whole.end_time) == (int(STARTED * NANO), int((STARTED + 2) * NANO))
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-5",
        "gen_ai.response.model": "claude-sonnet-5-20260101",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.response.time_to_first_chunk": 1.5,
        "gen_ai.conversation.id": "s1",
        "gen_ai.usage.input_tokens": 37,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.cache_creation.input_tokens": 7,
    }
    assert expected.items() <= attributes(whole).items()
    assert "error.type" not in attributes(whole)
    bad, good = spans["attempt glm"], spans["attempt anthropic"]
    assert {child.parent.span_id for child in (bad, good) if child.parent} == {whole.context.span_id}
    assert bad.status.status_code is StatusCode.ERROR
    assert attributes(bad)["error.type"] == "overloaded"
    assert (good.start_time, good.end_time) == (int((STARTED + 0.5) * NANO), whole.end_time)
    assert [event.timestamp for event in good.events] == [int((STARTED + 1.5) * NANO)]
    assert attributes(good)["http.request.resend_count"] == 1
    assert not any(name.startswith("gen_ai.usage") for name in attributes(good))


@pytest.mark.parametrize(
    ("fields", "name", "operation"),
    [
        ({"path": "/v1/complete"}, "text_completion claude-sonnet-5", "text_completion"),
        ({"path": "/v1/messages/count_tokens"}, "count_tokens claude-sonnet-5", "count_tokens"),
        ({"path": "/v1/models", "requested_model": None}, "models", "models"),
        ({"path": "/v1/files/file_1", "requested_model": None}, "resource", "resource"),
    ],
)
def test_what_is_no_chat_says_so(collected: Collected, fields: dict[str, Any], name: str, operation: str) -> None:
    collected.recorder.record(request(**fields), [])
    assert attributes(collected.spans()[name])["gen_ai.operation.name"] == operation


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"finished": "error", "status": 529, "error_type": "overloaded"}, StatusCode.ERROR, "529"),
        ({"finished": "upstream_closed", "error_type": "upstream_closed"}, StatusCode.ERROR, "upstream_closed"),
        ({"finished": "client_closed", "status": None}, StatusCode.UNSET, "client_closed"),
    ],
)
def test_how_it_ended_is_told(collected: Collected, fields: dict[str, Any], status: StatusCode, error: str) -> None:
    collected.recorder.record(request(duration_ms=10, **fields), [])
    (span,) = collected.spans().values()
    assert span.status.status_code is status
    (point,) = collected.points()["gen_ai.client.operation.duration"]
    assert point.attributes["error.type"] == error


def test_tokens_and_duration_are_measured(collected: Collected) -> None:
    for _ in range(2):
        row = request(provider="gemini", input_tokens=1, cache_read_tokens=6, output_tokens=2, duration_ms=1500)
        collected.recorder.record(row, [])
    points = collected.points()
    tokens = {point.attributes["gen_ai.token.type"]: point for point in points["gen_ai.client.token.usage"]}
    assert (tokens["input"].sum, tokens["output"].sum, tokens["input"].count) == (14, 4, 2)
    assert tokens["input"].explicit_bounds[:4] == (1, 4, 16, 64)
    (duration,) = points["gen_ai.client.operation.duration"]
    assert duration.sum == pytest.approx(3)
    assert duration.explicit_bounds[-1] == pytest.approx(81.92)
    assert duration.attributes["gen_ai.provider.name"] == "gcp.gemini"


def test_models_that_nobody_served_are_no_series(collected: Collected) -> None:
    for n in range(3):
        row = request(requested_model=f"m{n}", finished="error", status=404, duration_ms=1)
        collected.recorder.record(row, [])
    (point,) = collected.points()["gen_ai.client.operation.duration"]
    assert point.attributes["gen_ai.request.model"] == "other"


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "True"}],
)
def test_nobody_is_told_anything_unless_asked(environ: dict[str, str]) -> None:
    assert Telemetry.of(environ) is None


def test_missing_packages_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level(logging.WARNING):
        assert Telemetry.of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
    assert caplog.messages == [MISSING]


class Slow(Recorder):
    """A recorder that waits for a word, and fails at the first request."""

    def __init__(self) -> None:
        self.go, self.recorded = threading.Event(), 0

    def record(self, *row: Any) -> None:
        assert self.go.wait(PATIENCE)
        self.recorded += 1
        if self.recorded == 1:
            raise ValueError("it broke")

    def close(self) -> None:
        pass


def test_a_slow_or_broken_recorder_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Slow()
    telemetry = Telemetry(recorder)
    row = request()
    for _ in range(MOST_WAITING + 10):
        telemetry.settled(row, [])
    telemetry.close(timeout=0.01)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    recorder.go.set()
    telemetry.close(timeout=PATIENCE)
    assert MOST_WAITING <= recorder.recorded < MOST_WAITING + 10
    assert f"no telemetry of {row.id}" in caplog.text


SEND = """
import http.server, os, threading
from claude_relay.proxy.watch.telemetry import Telemetry
from store.rows import attempt, request
got = []
class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
telemetry = Telemetry.of(os.environ)
row = request(input_tokens=1, duration_ms=5)
telemetry.settled(row, [attempt(row)])
telemetry.close(timeout=60.0)
for path, body in sorted(got): print(path, b"claude-relay" in body or body[:2] == b"\\x1f\\x8b")
"""


def test_a_collector_gets_all_of_it_when_the_relay_ends() -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_") and not k.lower().endswith("_proxy")}
    run = subprocess.run(
        [sys.executable, "-c", SEND],
        env=environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.stdout.splitlines() == ["/v1/metrics True", "/v1/traces True"], run.stderr
