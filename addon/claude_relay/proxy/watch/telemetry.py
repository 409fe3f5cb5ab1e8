"""Settled requests as OpenTelemetry spans and metrics, for whoever installed the extra and named a collector.

    telemetry = Telemetry.of(os.environ)            None unless OTEL_EXPORTER_OTLP_ENDPOINT is set and the packages are there
    telemetry.settled(request, attempts)
    telemetry.close()

A request is a span `chat MODEL`, each of its attempts a child; they are made when all is over, from the ledger's rows. That takes the
SDK a third of a millisecond, so a thread does it, and threads of the SDK's own send them. No prompt and no answer is in them. Names and
units follow the conventions for generative AI, which are not final yet: https://opentelemetry.io/docs/specs/semconv/gen-ai/. Must not
know flows; imports OpenTelemetry only once it is wanted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from claude_relay.core.accounting.metrics import Names
from claude_relay.core.endpoints import classify
from claude_relay.core.exchange import Endpoint
from claude_relay.core.installation import installing
from claude_relay.store.ledger.ledger import AttemptRow, RequestRow

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)
SCOPE = "claude_relay"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
MISSING = f"No telemetry: OTEL_EXPORTER_OTLP_ENDPOINT is set, but packages are missing; this installs them: {installing('telemetry')}"
MOST_WAITING = 2048
"""Requests that wait for the thread; later ones are lost."""
TOKEN_BOUNDS = tuple(4**power for power in range(14))
DURATION_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""The buckets that the conventions ask for."""

OPERATIONS = {Endpoint.MESSAGES: "chat", Endpoint.COMPLETE: "text_completion"}
PROVIDERS = {
    "azure-openai": "azure.ai.openai",
    "deepseek-openai": "deepseek",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshot-openai": "moonshot_ai",
    "openai-chat": "openai",
    "xai": "x_ai",
}
"""What the conventions call the presets; the others, and providers with names of the user's own, keep theirs."""
FAILED = frozenset({"error", "upstream_closed"})

type Row = tuple[RequestRow, tuple[AttemptRow, ...], str | None]
type Attribute = str | bool | int | float | tuple[str, ...]


class Telemetry:
    """Takes settled requests on the event loop and has a thread record them."""

    def __init__(self, recorder: Recorder) -> None:
        """Starts its thread."""
        self._recorder = recorder
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._lost = False
        self._ended = threading.Event()
        threading.Thread(target=self._work, name="telemetry", daemon=True).start()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Telemetry | None:
        """As the standard variables say: https://opentelemetry.io/docs/languages/sdk-configuration/otlp-exporter/.

        None when no collector is named or OTEL_SDK_DISABLED is true; the packages' absence is said in one line.
        """
        if not environ.get(ENDPOINT) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            logger.warning(MISSING)
            return None
        about = _resource()
        spans = TracerProvider(resource=about, shutdown_on_exit=False)
        spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metrics = MeterProvider([reader], resource=about, shutdown_on_exit=False)
        return cls(Recorder(spans, metrics))

    def settled(self, request: RequestRow, attempts: Sequence[AttemptRow], *, stop_reason: str | None = None) -> None:
        """Hand over a request that is over; waits for nothing. `stop_reason`: as the answer gave it."""
        if self._rows.qsize() < MOST_WAITING:
            self._rows.put((request, tuple(attempts), stop_reason))
        elif not self._lost:
            self._lost = True
            logger.warning("Telemetry does not keep up: some requests are not in it")

    def _work(self) -> None:
        while (row := self._rows.get()) is not None:
            request, attempts, stop_reason = row
            try:
                self._recorder.record(request, attempts, stop_reason)
            except Exception:
                logger.exception("no telemetry of %s", request.id)
        try:
            self._recorder.close()
        except Exception:
            logger.exception("telemetry could not be closed")
        finally:
            self._ended.set()

    def close(self, timeout: float = 2.0) -> None:
        """Send what is left, for at most `timeout` seconds, whether or not the collector answers."""
        self._rows.put(None)
        self._ended.wait(timeout)


class Recorder:
    """Turns settled requests into spans and metrics; about 0.3 ms each."""

    def __init__(self, spans: TracerProvider, metrics: MeterProvider) -> None:
        """Both are closed with it."""
        from opentelemetry.context import Context

        self._spans, self._metrics = spans, metrics
        self._tracer = spans.get_tracer(SCOPE)
        self._names = Names()
        self._nothing = Context()
        meter = metrics.get_meter(SCOPE)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )

    def record(self, request: RequestRow, attempts: Sequence[AttemptRow], stop_reason: str | None = None) -> None:
        """A request that is over."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        operation = operation_of(request)
        span = self._tracer.start_span(
            f"{operation} {request.requested_model}" if request.requested_model else operation,
            context=self._nothing,
            kind=SpanKind.CLIENT,
            attributes=request_attributes(request, operation, stop_reason),
            start_time=nanoseconds(request.started_at),
        )
        if request.finished in FAILED:
            span.set_status(Status(StatusCode.ERROR, request.error_type))
        within = set_span_in_context(span, self._nothing)
        for attempt in attempts:
            self._attempt(attempt, within)
        span.end(nanoseconds(request.started_at, request.duration_ms))
        self._measure(request, operation)

    def _attempt(self, attempt: AttemptRow, within: Context) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        span = self._tracer.start_span(
            f"attempt {attempt.provider}",
            context=within,
            kind=SpanKind.CLIENT,
            attributes=attempt_attributes(attempt),
            start_time=nanoseconds(attempt.started_at),
        )
        if failed(attempt):
            span.set_status(Status(StatusCode.ERROR, attempt.error))
        if attempt.first_byte_ms is not None:
            span.add_event("first byte", timestamp=nanoseconds(attempt.started_at, attempt.first_byte_ms))
        span.end(nanoseconds(attempt.started_at, attempt.duration_ms))

    def _measure(self, request: RequestRow, operation: str) -> None:
        good = request.finished == "complete"
        common = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider_name(request.provider),
            "gen_ai.request.model": self._names.label(request.requested_model, served=good),
            "gen_ai.response.model": self._names.label(request.served_model, served=good),
        }
        for kind, tokens in (("input", whole_input(request)), ("output", request.output_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, common | {"gen_ai.token.type": kind})
        if request.duration_ms is not None:
            error = {} if good else {"error.type": error_class(request)}
            self._duration.record(request.duration_ms / 1000, common | error)

    def close(self) -> None:
        """Send what is left; as long as it takes."""
        self._spans.shutdown()
        self._metrics.shutdown()


def _resource() -> Resource:
    """Who sends: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else `claude-relay`."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    found = Resource.create()
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: "claude-relay"}))
    return found


def request_attributes(request: RequestRow, operation: str, stop_reason: str | None) -> dict[str, Attribute]:
    """What the span of a request says; without what is unknown."""
    late = None if request.ttft_ms is None or not request.stream else request.ttft_ms / 1000
    return known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider_name(request.provider),
            "gen_ai.request.model": request.requested_model,
            "gen_ai.request.stream": request.stream,
            "gen_ai.response.model": request.served_model,
            "gen_ai.response.finish_reasons": (stop_reason,) if stop_reason else None,
            "gen_ai.response.time_to_first_chunk": late,
            "gen_ai.conversation.id": request.session,
            "gen_ai.usage.input_tokens": whole_input(request),
            "gen_ai.usage.output_tokens": request.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": request.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": total(
                request.cache_write_5m_tokens, request.cache_write_1h_tokens
            ),
            "gen_ai.usage.reasoning.output_tokens": request.reasoning_tokens,
            "error.type": request.error_type if request.finished in FAILED else None,
            "http.response.status_code": request.status,
            "claude_relay.request.id": request.id,
            "claude_relay.finished": request.finished,
            "claude_relay.key": request.key,
            "claude_relay.project": request.project,
            "claude_relay.client": request.client,
            "claude_relay.client_group": request.client_group,
            "claude_relay.attempts": request.attempts,
            "claude_relay.cost_usd": request.cost_usd,
        }
    )


def attempt_attributes(attempt: AttemptRow) -> dict[str, Attribute]:
    """What the span of an attempt says. Its tokens are in the request's: sums over spans must not count them twice."""
    return known(
        {
            "http.response.status_code": attempt.status,
            "http.request.resend_count": attempt.n - 1 or None,
            "error.type": attempt.verdict if failed(attempt) else None,
            "claude_relay.provider": attempt.provider,
            "claude_relay.key": attempt.key,
            "claude_relay.model": attempt.model,
            "claude_relay.verdict": attempt.verdict,
            "claude_relay.cost_usd": attempt.cost_usd,
        }
    )


def known(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    """Without those that are None."""
    return {name: value for name, value in attributes.items() if value is not None}


def operation_of(request: RequestRow) -> str:
    """The conventions' name for what was asked; where they have none, the endpoint's."""
    endpoint = classify(request.path)
    return OPERATIONS.get(endpoint, endpoint.value)


def provider_name(provider: str | None) -> str:
    """As the conventions call it; `claude_relay` when the relay itself answered."""
    return SCOPE if provider is None else PROVIDERS.get(provider, provider)


def whole_input(request: RequestRow) -> int | None:
    """Input tokens with those of the cache, which Anthropic counts beside them and the conventions among them."""
    return total(
        request.input_tokens, request.cache_read_tokens, request.cache_write_5m_tokens, request.cache_write_1h_tokens
    )


def total(*counts: int | None) -> int | None:
    """The sum of what is known; None when nothing is."""
    given = [count for count in counts if count is not None]
    return sum(given) if given else None


def error_class(request: RequestRow) -> str:
    """A kind of failure as a label: the status when it is an error, else how the request finished."""
    status = request.status
    return str(status) if status is not None and 400 <= status < 600 else request.finished


def failed(attempt: AttemptRow) -> bool:
    """Whether the try came to nothing."""
    return attempt.error is not None or attempt.status is None or attempt.status >= 400


def nanoseconds(seconds: float, later_ms: float | None = None) -> int:
    """Since the Unix epoch."""
    return round((seconds + (later_ms or 0) / 1000) * 1_000_000_000)
