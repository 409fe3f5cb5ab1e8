"""Lines for whoever watches the terminal."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest

from claude_relay.core.retry.table import TABLE
from claude_relay.proxy.log.folding import Folding
from claude_relay.proxy.log.terminal import CONSOLE
from claude_relay.proxy.watch.console import Console, line
from claude_relay.store.ledger.ledger import AttemptRow, RequestRow

COLUMNS = 100 - len("[08:00:25.123] ")


def row(**fields: Any) -> RequestRow:
    usual: dict[str, Any] = {
        "id": "req_relay_1", "started_at": 0.0, "method": "POST", "path": "/v1/messages?beta=true", "finished": "complete",
        "attempts": 1, "status": 200, "user_agent": "claude-cli/2.1.330 (external, cli)", "requested_model": "claude-sonnet-5",
        "provider": "anthropic", "key": "k2", "input_tokens": 12_000, "cache_read_tokens": 300, "output_tokens": 481,
        "cost_usd": 0.0123, "duration_ms": 2100.0,
    }  # fmt: skip
    return RequestRow(**(usual | fields))


def attempt(verdict: str, error: str) -> AttemptRow:
    return AttemptRow(request="req_relay_1", n=1, provider="anthropic", started_at=0.0, verdict=verdict, error=error)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, CONSOLE)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_good_request_is_one_line(lines: Any) -> None:
    Console(lambda: "all").settled(row(attempts=2), [])
    assert lines() == [
        "claude-cli  claude-sonnet-5      anthropic/k2     ×2    12.3k→481  $0.0123  2.1s  200",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"requested_model": "anthropic/" + "claude" * 50, "user_agent": "x" * 300, "key": "k" * 300},
        {"attempts": 99, "cost_usd": 9_999.99, "duration_ms": 9_999_000.0,
         "input_tokens": 99_000_000, "output_tokens": 99_000_000, "estimated": True},
        {"finished": "client_closed", "status": None, "input_tokens": None, "output_tokens": None, "cost_usd": None, "duration_ms": None},
        {"provider": None, "key": None, "user_agent": None, "requested_model": None, "path": "/v1/messages/batches/" + "b" * 99},
        {"requested_model": "gpt-\x1b[2J\u202e\n"},
    ],
)  # fmt: skip
def test_a_line_fits(fields: dict[str, Any]) -> None:
    text = line(row(**fields))
    assert len(text) <= COLUMNS
    assert text.isprintable()


def test_long_names_keep_their_ends() -> None:
    assert "…sonnet-4-5-20250929 " in line(row(requested_model="claude-sonnet-4-5-20250929"))


def test_what_is_no_message_is_named_by_its_endpoint() -> None:
    assert " count_tokens " in line(row(path="/v1/messages/count_tokens"))
    assert " models " in line(row(path="/v1/models", requested_model=None))


@pytest.mark.parametrize(("wanted", "said"), [("all", 2), ("failures", 1), ("none", 0)])
def test_which_requests_have_a_line(lines: Any, wanted: str, said: int) -> None:
    console = Console(lambda: wanted)
    console.settled(row(), [])
    console.settled(row(finished="error", status=502, error_type="api_error"), [])
    assert len(lines()) == said


def test_a_failure_says_why_and_what_to_do(lines: Any) -> None:
    failure = row(finished="error", status=401, error_type="authentication_error")
    Console(lambda: "all").settled(failure, [attempt("unauthorized", "401: invalid x-api-key")])
    _, reason = lines()[0].split("\n")
    assert reason.strip().startswith(
        "authentication_error: 401: invalid x-api-key → replace the key: `scripts/keys check`"
    )
    assert reason.endswith("scripts/usage show req_relay_1")


def test_what_the_relay_says_itself_is_said_once(lines: Any) -> None:
    failure = row(finished="error", status=429, error_type="rate_limit_error")
    Console(lambda: "all").settled(
        failure, [attempt("rate_limited", "429")], "No key is free. Try again in 30 s, or add keys."
    )
    assert "rate_limit_error: No key is free. Try again in 30 s, or add keys. → scripts/usage show" in lines()[0]


def test_an_error_type_of_an_upstream_is_no_template(lines: Any) -> None:
    Console(lambda: "all").settled(row(finished="error", status=400, error_type="100%s\n"), [])
    assert "100%s␊: no reason given" in lines()[0]


def test_every_verdict_that_fails_has_a_remedy() -> None:
    assert [name for name, meaning in TABLE.meanings.items() if not meaning.remedy] == ["ok"]


def test_alike_failures_are_counted_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, CONSOLE)
    folding = Folding()
    folding.install()
    try:
        console = Console(lambda: "all")
        for n in range(20):
            console.settled(
                row(id=f"req_relay_{n:x}a", finished="error", status=429, error_type="rate_limit_error"), [], "full"
            )
        for n in range(3):
            console.cooled_down(f"anthropic/k{n}", "", 30.0, "429")
            console.settled(row(), [])
    finally:
        folding.remove()
    said = [record.getMessage() for record in caplog.records]
    assert sum("k0 has" in text or "k1 has" in text or "k2 has" in text for text in said) == 3
    assert sum(text.endswith("  200") for text in said) == 3
    assert sum("rate_limit_error: full" in text for text in said) == 1
    assert any("… 19 more like this" in text for text in said)


def test_keys_and_providers_come_and_go(lines: Any) -> None:
    console = Console(lambda: "none")
    console.cooled_down("anthropic/k1", "", 40.0, "429: retry-after")
    console.cooled_down("anthropic/k2", "model:claude-opus-5", math.inf, "401")
    console.unusable("anthropic", answers=True)
    console.unusable("anthropic", answers=True)
    console.accepted("anthropic", "k1", 0.5)
    console.accepted("anthropic", "k1", 0.5)
    console.accepted("anthropic", "k1", 0.08)
    console.accepted("anthropic", "k1", 0.05)
    console.accepted("anthropic", "k1", 0.9)
    console.accepted("anthropic", "k1", 0.01)
    console.accepted("openai", None, 1.0)
    assert lines() == [
        "anthropic/k1 has a cooldown of 40.0s: 429: retry-after",
        "anthropic/k2 for model:claude-opus-5 has a cooldown until it is accepted again: 401",
        "anthropic is down: none of its keys can be used",
        "anthropic is up again",
        "anthropic/k1 is back",
        "anthropic/k1 is near its limit: 8 % left",
        "anthropic/k1 is near its limit: 1 % left",
    ]
