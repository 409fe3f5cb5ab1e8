"""Who hears of settled requests.

reporting      budgets, notices, metrics, telemetry, stored bodies
inspection     what mitmweb shows; console: what a person at the terminal reads
gauges         how the relay is at this moment, for /metrics; status_server: /metrics and /healthz; health: what the latter tells
telemetry      settled requests as OpenTelemetry spans and metrics; json_log: as JSON lines
notifier       notices on their way to a webhook and a command

It must not decide anything.
"""
