from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import pytest

from claude_relay.core.accounting.usage_reports import Entry, Fetched, NotFetched, Side, Used
from claude_relay.core.config import Provider, WayOut, parse
from claude_relay.upstream.report_endpoint import fetch
from waiting import PATIENCE

from .providers import serving, tunnelling
from .report_server import ADMIN, OPENAI_ADMIN, ReportServer

FIRST, LAST = date(2026, 11, 20), date(2026, 11, 26)
KEY = "sk-ant-api03-R2D0123456789abcdefigAA"


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with serving(ReportServer()) as found:  # type: ignore[type-var]
        yield found


def provider(base_url: str, **more: object) -> Provider:
    text = json.dumps({"providers": {"p": {"base_url": base_url, **more}}})
    return parse(text, environ={}).providers["p"]


def fetched(
    server: ReportServer,
    secret: str = ADMIN,
    *,
    secrets: tuple[str, ...] = (),
    timeout: float = PATIENCE,
    **more: object,
) -> Fetched | NotFetched:
    base_url = more.pop("base_url", server.url)
    of = provider(str(base_url), **more)
    return fetch(of, secret, FIRST, LAST, secrets, way=WayOut(), timeout=timeout)


def by_side(found: Fetched | NotFetched) -> dict[tuple[str, str, Side], Used]:
    assert isinstance(found, Fetched), found
    assert all(isinstance(one, Entry) for one in found.entries)
    return {(one.day, one.model, one.side): one.used for one in found.entries}


def test_tokens_and_money_of_anthropic_come_in_pages(server: ReportServer) -> None:
    server.page = 2
    counts = {
        "uncached_input_tokens": 900,
        "cache_read_input_tokens": 5000,
        "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
        "output_tokens": 300,
        "server_tool_use": {"web_search_requests": 3},
        "service_tier": None,
    }
    server.used("2026-11-20", "claude-opus-4-8-20260801", key="apikey_1", **counts)
    server.used("2026-11-26", "claude-haiku-4-5", key="apikey_2", uncached_input_tokens=7, output_tokens=1)
    server.cost("2026-11-20", "claude-opus-4-8-20260801", "123.45")
    server.cost("2026-11-20", "claude-opus-4-8-20260801", "0.55")
    server.cost("2026-11-20", None, "3.0", kind="web_search")
    server.cost("2026-11-26", None, "100", currency="EUR")
    found = by_side(fetched(server))
    assert set(found) == {
        ("2026-11-20", "claude-opus-4-8", Side.PROVIDER),
        ("2026-11-26", "claude-haiku-4-5", Side.PROVIDER),
    }
    opus = found["2026-11-20", "claude-opus-4-8", Side.PROVIDER]
    assert (opus.input_tokens, opus.cache_read_tokens, opus.output_tokens, opus.searches) == (900, 5000, 300, 3)
    assert (opus.cache_write_5m_tokens, opus.cache_write_1h_tokens, opus.tokens) == (40, 60, 6300)
    assert opus.cost_usd == pytest.approx(1.27)
    assert found["2026-11-26", "claude-haiku-4-5", Side.PROVIDER].cost_usd is None
    paths = [path for path, _, _ in server.requests]
    assert paths == ["/v1/organizations/usage_report/messages"] * 4 + ["/v1/organizations/cost_report"] * 4
    _, query, headers = server.requests[0]
    assert (query["starting_at"], query["ending_at"]) == (["2026-11-20T00:00:00Z"], ["2026-11-27T00:00:00Z"])
    assert query["group_by[]"] == ["model", "api_key_id"]
    assert (headers["x-api-key"], headers["anthropic-version"]) == (ADMIN, "2023-06-01")


def test_what_keys_used_that_no_pool_has(server: ReportServer) -> None:
    server.keys |= {"apikey_1": "sk-ant-api03-xyz...zzzz", "apikey_2": f"{KEY[:16]}...{KEY[-4:]}"}
    server.used("2026-11-26", "claude-opus-4-8", key="apikey_1", output_tokens=10)
    server.used("2026-11-26", "claude-opus-4-8", key="apikey_2", output_tokens=200)
    server.used("2026-11-26", "claude-opus-4-8", key=None, output_tokens=3000)
    report = fetched(server, secrets=(KEY,))
    found = by_side(report)
    assert found["2026-11-26", "claude-opus-4-8", Side.PROVIDER].tokens == 3210
    assert found["2026-11-26", "claude-opus-4-8", Side.ELSEWHERE].tokens == 3010
    assert isinstance(report, Fetched)
    assert report.by_key
    assert KEY not in str(server.requests)
    nobody = fetched(server, secrets=("sk-ant-api03-of-another-organisation",))
    assert isinstance(nobody, Fetched)
    assert not nobody.by_key


def test_a_list_of_keys_that_does_not_come_costs_no_report(server: ReportServer) -> None:
    server.used("2026-11-26", "claude-opus-4-8", key="apikey_1", output_tokens=10)
    empty = b'{"data": [], "has_more": false}'
    server.plan += [empty, empty, 403]
    found = fetched(server, secrets=(KEY,))
    assert isinstance(found, Fetched)
    assert not found.by_key


def test_openai(server: ReportServer) -> None:
    server.used("2026-11-26", "gpt-5-2025-08-07", input_tokens=1000, input_cached_tokens=400, output_tokens=50)
    for item, usd in (("gpt-5-2025-08-07, input", 0.5), ("gpt-5-2025-08-07, output", "0.25"), ("Storage", 2)):
        server.costs.append(("2026-11-26", {"amount": {"value": usd, "currency": "usd"}, "line_item": item}))
    found = by_side(fetched(server, OPENAI_ADMIN, base_url=f"{server.url}/v1", format="openai-responses"))
    gpt = found["2026-11-26", "gpt-5", Side.PROVIDER]
    assert (gpt.input_tokens, gpt.cache_read_tokens, gpt.output_tokens, gpt.cost_usd) == (600, 400, 50, 0.75)
    assert found["2026-11-26", "storage", Side.PROVIDER] == Used(cost_usd=2)
    path, query, headers = server.requests[0]
    assert path == "/v1/organization/usage/completions"
    assert (query["start_time"], query["end_time"], query["group_by"]) == (["1795132800"], ["1795737600"], ["model"])
    assert headers["authorization"] == f"Bearer {OPENAI_ADMIN}"


@pytest.mark.parametrize(
    ("planned", "says", "final"),
    [
        (401, "refuses the admin key (401)", True),
        (403, "may not read reports (403)", True),
        (404, "has to be one of an organisation", True),
        (500, "gave no report (500): as it was planned", False),
        (b"<html>", "cannot be read: the answer is no report", False),
        (b'{"data": [{"starting_at": "soon", "results": [{}]}]}', "a day that is none", False),
        (
            b'{"data": [{"starting_at": "2026-11-20T00:00:00Z", "results": [{"output_tokens": -1}]}]}',
            "a number of tokens that is none",
            False,
        ),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "gave no report (302)", False),
        (600.0, "no answer in time", False),
    ],
)
def test_what_is_no_report(server: ReportServer, planned: object, says: str, final: bool) -> None:
    server.plan.append(planned)  # type: ignore[arg-type]
    found = fetched(server, timeout=0.3 if isinstance(planned, float) else PATIENCE)
    assert isinstance(found, NotFetched)
    assert says in found.reason
    assert found.final is final
    assert len(server.requests) <= 1  # in a short time none may have come


def test_an_amount_that_is_none(server: ReportServer) -> None:
    server.cost("2026-11-26", "claude-opus-4-8", "NaN")
    found = fetched(server)
    assert isinstance(found, NotFetched)
    assert "an amount that is none" in found.reason


def test_how_long_to_wait_is_the_providers_word(server: ReportServer) -> None:
    for text, pause in (("90", 90.0), ("1e9", 86400.0), ("soon", None), ("-1", None)):
        server.plan.append((429, {"retry-after": text}, b""))
        found = fetched(server)
        assert isinstance(found, NotFetched)
        assert (found.pause, found.final) == (pause, False)


def test_the_key_is_repeated_nowhere(server: ReportServer) -> None:
    found = fetched(server, "sk-ant-admin01-another-0123456789")
    assert isinstance(found, NotFetched)
    assert "sk-ant-admin01-another" not in found.reason
    assert "401" in found.reason


def test_pages_that_do_not_end(server: ReportServer) -> None:
    server.circles = True
    found = fetched(server)
    assert isinstance(found, NotFetched)
    assert "does not end" in found.reason
    assert len(server.requests) <= 3


@pytest.mark.parametrize(
    ("base_url", "more"),
    [
        ("https://api.z.ai/api/anthropic", {}),
        ("http://api.anthropic.com", {}),
        ("https://api.anthropic.com.example.net", {}),
        ("https://generativelanguage.googleapis.com/v1beta", {"format": "gemini"}),
    ],
)
def test_other_providers_have_no_report(server: ReportServer, base_url: str, more: dict[str, object]) -> None:
    found = fetched(server, base_url=base_url, **more)
    assert isinstance(found, NotFetched)
    assert "this provider is another one" in found.reason


def test_it_goes_out_by_the_providers_proxy(server: ReportServer) -> None:
    with tunnelling() as (port, heard):
        found = fetched(server, proxy=f"http://user:pass-0123456789@127.0.0.1:{port}")
    assert isinstance(found, Fetched)
    assert heard[0].startswith(f"CONNECT 127.0.0.1:{server.server_port}".encode())
    with tunnelling(status="403 No") as (port, _):
        refused = fetched(server, proxy=f"http://user:pass-0123456789@127.0.0.1:{port}")
    assert isinstance(refused, NotFetched)
    assert "the proxy answered 403" in refused.reason
    assert "pass-0123456789" not in refused.reason
