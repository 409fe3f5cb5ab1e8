from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from importlib.metadata import version

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_relay.core.accounting.pricing import Priced, Prices, Tariff, together
from claude_relay.core.accounting.terms import Terms
from claude_relay.core.accounting.tokens import Usage
from waiting import PATIENCE

ANTHROPIC = "https://api.anthropic.com"
AT = datetime(2026, 11, 22, tzinfo=UTC)
ONE = 1_000_000
PRICES = Prices()
LISTS = f"genai-prices {version('genai-prices')}"


@dataclass(frozen=True)
class Own:
    model: str
    input: float
    output: float
    provider: str | None = None
    since: date | None = None
    cache_read: float | None = None
    cache_write_5m: float | None = None
    cache_write_1h: float | None = None
    request: float = 0.0


def usd(
    model: str = "claude-sonnet-5",
    base_url: str = ANTHROPIC,
    *,
    prices: Prices = PRICES,
    at: datetime = AT,
    batch: bool = False,
    provider: str = "p",
    **used: int,
) -> float | None:
    priced = prices.cost(model, provider, base_url, Usage(**used), at, batch=batch)
    return priced.usd if priced else None


# -- Anthropic's own prices: https://platform.claude.com/docs/en/about-claude/pricing

PUBLISHED = {
    # USD per million: input, output, cache read, 5 minute write, 1 hour write
    "claude-opus-5": (5, 25, 0.5, 6.25, 10),
    "claude-sonnet-5": (2, 10, 0.2, 2.5, 4),
    "claude-haiku-4-5-20251001": (1, 5, 0.1, 1.25, 2),
    "claude-fable-5-1": (10, 50, 0.25, 12.5, 20),
}
KINDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


@pytest.mark.parametrize("model", PUBLISHED)
def test_each_kind_of_token_costs_what_anthropic_says(model: str) -> None:
    assert tuple(usd(model, **{kind: ONE}) for kind in KINDS) == PUBLISHED[model]


@pytest.mark.parametrize("model", PUBLISHED)
def test_writing_to_the_cache_costs_a_quarter_more_or_twice_as_much_as_input(model: str) -> None:
    base = usd(model, input_tokens=ONE)
    assert base
    assert usd(model, cache_write_5m_tokens=ONE) == 1.25 * base
    assert usd(model, cache_write_1h_tokens=ONE) == 2 * base


def test_a_request_is_the_exact_sum_of_its_parts() -> None:
    priced = PRICES.cost("claude-sonnet-5", "p", ANTHROPIC, Usage(1000, 500, 10_000, 2000, 3000, 10, 2), AT)
    # .002 input, .005 output, .002 read, .005 short, .012 long, .02 searches; thinking is output already
    assert priced == Priced(0.046, f"{LISTS} anthropic/claude-sonnet-5")


def test_cents_add_up_without_the_errors_of_binary_fractions() -> None:
    assert usd(input_tokens=3, output_tokens=1, cache_read_tokens=1) == 0.0000162
    assert usd("claude-haiku-4-5", cache_read_tokens=7) == 0.0000007


def test_nothing_is_lost_of_a_part_of_a_millionth() -> None:
    assert usd("claude-haiku-5-5", cache_read_tokens=1) == 1e-8


@pytest.mark.parametrize("model", ["claude-sonnet-5", "claude-3-haiku-20240307"])
def test_a_web_search_costs_a_cent_also_where_the_list_does_not_say_it(model: str) -> None:
    assert usd(model, input_tokens=0, server_tool_requests=7) == 0.07


def test_what_server_tools_cost_elsewhere_is_not_guessed() -> None:
    priced = PRICES.cost(
        "anthropic/claude-opus-5", "p", "https://openrouter.ai/api/v1", Usage(ONE, server_tool_requests=1), AT
    )
    assert priced == Priced(5.0, f"{LISTS} openrouter/anthropic/claude-opus-5, without server tools")


def test_a_long_write_has_twice_the_input_price_where_the_list_has_none() -> None:
    url = "https://openrouter.ai/api/v1"
    assert usd("anthropic/claude-opus-5", url, cache_write_5m_tokens=ONE) == 6.25
    assert usd("anthropic/claude-opus-5", url, cache_write_1h_tokens=ONE) == 10


def test_other_models_are_not_given_claudes_ratio() -> None:
    url = "https://api.openai.com/v1"
    assert usd("gpt-5.6-luna", url, cache_write_5m_tokens=100) == usd("gpt-5.6-luna", url, cache_write_1h_tokens=100)


@pytest.mark.parametrize(
    ("used", "dear"),
    [
        ({"input_tokens": 200_000}, False),
        ({"input_tokens": 200_001}, True),
        ({"input_tokens": 1, "cache_read_tokens": 200_000}, True),
        ({"input_tokens": 1, "cache_write_5m_tokens": 100_000, "cache_write_1h_tokens": 100_000}, True),
    ],
)
def test_a_long_context_makes_all_of_a_request_dearer(used: dict[str, int], dear: bool) -> None:
    prices = (6, 22.5, 0.6, 7.5, 12) if dear else (3, 15, 0.3, 3.75, 6)
    counts = [used.get(kind, 0) for kind in KINDS]
    counts[1] = 1000
    expected = sum(Decimal(str(price)) * count for price, count in zip(prices, counts, strict=True)) / ONE
    assert usd("claude-sonnet-4-5", output_tokens=1000, **used) == float(expected)


@pytest.mark.parametrize(
    ("at", "price"),
    [
        (datetime(2026, 3, 12, 23, 59, tzinfo=UTC), 6.0),
        (datetime(2026, 3, 13, tzinfo=UTC), 3.0),
        (datetime(2026, 3, 12, 23, 0, tzinfo=timezone(timedelta(hours=-2))), 3.0),
        (datetime(2026, 3, 12, 23, 0), 6.0),
    ],
    ids=["before", "from that day on", "which is one in UTC", "and so is a time without a zone"],
)
def test_a_request_costs_what_it_did_then(at: datetime, price: float) -> None:
    assert usd("claude-sonnet-4-6", at=at, input_tokens=ONE) == price


# -- batches


@pytest.mark.parametrize("at", [AT, datetime(2026, 10, 1, tzinfo=UTC)], ids=["in the list", "before the list has it"])
def test_a_batch_costs_half_but_its_searches_do_not(at: datetime) -> None:
    used = {"input_tokens": 1000, "output_tokens": 500, "cache_write_1h_tokens": 3000, "server_tool_requests": 2}
    assert usd(at=at, batch=True, **used) == round((0.002 + 0.005 + 0.012) / 2 + 0.02, 9)


@pytest.mark.parametrize(
    ("model", "terms", "times", "said"),
    [
        ("claude-opus-4-6", "speed=fast", 6, ", fast"),
        ("claude-opus-4-7", "speed=fast", 6, ", fast"),
        ("claude-opus-4-8", "speed=fast", 2, ", fast"),
        ("claude-opus-5", "speed=fast", 2, ", fast"),
        ("claude-opus-5-5", "speed=fast", 2, ", fast"),
        ("claude-opus-5", "speed=fast inference_geo=us", 2.2, ", fast, us"),
        ("claude-sonnet-5", "speed=fast", 1, ", fast at list price"),
        ("claude-opus-4-6", "inference_geo=us", 1.1, ", us"),
        ("claude-haiku-5-5", "inference_geo=us", 1.1, ", us"),
        ("claude-haiku-4-5-20251001", "inference_geo=us", 1, ""),
        ("claude-opus-4-1-20250805", "inference_geo=us", 1, ""),
        ("claude-opus-5", "inference_geo=eu", 1, ", eu at list price"),
        ("claude-opus-5", "service_tier=priority", 1, ", priority at list price"),
        ("claude-opus-5", "inference_geo=us service_tier=priority", 1.1, ", us, priority at list price"),
        ("claude-opus-5", "service_tier=batch", 0.5, ""),
        ("claude-opus-5", "unbilled", 0, ", refused before any output"),
    ],
)
def test_terms_have_their_price_as_far_as_one_is_known(model: str, terms: str, times: float, said: str) -> None:
    used = Usage(1000, 2000, 3000, 4000, 5000)
    usual = PRICES.cost(model, "p", ANTHROPIC, used, AT)
    priced = PRICES.cost(model, "p", ANTHROPIC, used, AT, terms=Terms.parse(terms))
    assert priced.usd == pytest.approx(times * usual.usd, abs=1e-9)
    assert priced.by == usual.by + said


def test_searches_cost_the_same_at_any_terms() -> None:
    priced = PRICES.cost("claude-opus-5", "p", ANTHROPIC, Usage(server_tool_requests=3), AT, terms=Terms(speed="fast"))
    assert priced.usd == 0.03


def test_what_was_refused_before_any_output_costs_nothing_at_all() -> None:
    usage = Usage(ONE, ONE, ONE, ONE, ONE, ONE, server_tool_requests=3)
    priced = PRICES.cost("claude-opus-5", "p", ANTHROPIC, usage, AT, terms=Terms(unbilled=True))
    assert priced == Priced(0.0, f"{LISTS} anthropic/claude-opus-5, refused before any output")


def test_elsewhere_the_terms_of_anthropic_have_no_price_of_their_own() -> None:
    at = "https://openrouter.ai/api/v1"
    usual = PRICES.cost("anthropic/claude-opus-5", "p", at, Usage(ONE), AT)
    terms = Terms(speed="fast", geo="us", unbilled=True)
    priced = PRICES.cost("anthropic/claude-opus-5", "p", at, Usage(ONE), AT, terms=terms)
    assert (priced.usd, priced.by) == (usual.usd, f"{usual.by}, fast at list price, us at list price")


def test_an_own_price_is_taken_as_it_is() -> None:
    prices = Prices([Own("*", 3, 15)])
    for terms in ("speed=fast", "inference_geo=us", "service_tier=priority", "unbilled"):
        assert prices.cost("claude-opus-5", "p", ANTHROPIC, Usage(ONE), AT, terms=Terms.parse(terms)) == Priced(
            3.0, "relay.yaml"
        )


def test_without_a_known_discount_a_batch_costs_the_full_price() -> None:
    used = {"input_tokens": ONE}
    url = "https://open.bigmodel.cn/api/anthropic"
    assert usd("glm-5.3", url, batch=True, **used) == usd("glm-5.3", url, **used) == 1.103


# -- who is paid


@pytest.mark.parametrize(
    ("base_url", "model", "who"),
    [
        (ANTHROPIC, "claude-sonnet-5", "anthropic/claude-sonnet-5"),
        (ANTHROPIC, "claude-sonnet-5-5-20260928", "anthropic/claude-sonnet-5-5"),
        ("HTTPS://API.Anthropic.com:443/", "CLAUDE-SONNET-5", "anthropic/claude-sonnet-5"),
        ("https://api.deepseek.com/anthropic", "deepseek-v4-pro", "deepseek/deepseek-v4-pro"),
        ("https://api.moonshot.cn/anthropic", "kimi-k3", "moonshotai/kimi-k3"),
        ("https://open.bigmodel.cn/api/paas/v4", "glm-5.3", "zhipuai/GLM-5.3"),
        ("https://openrouter.ai/api/v1", "anthropic/claude-opus-5", "openrouter/anthropic/claude-opus-5"),
        ("https://api.openai.com/v1", "gpt-5.6-sol", "openai/gpt-5.6-sol"),
        ("https://me.openai.azure.com/openai/v1", "gpt-5", "azure/gpt-5"),
        ("https://generativelanguage.googleapis.com/v1beta", "gemini-3.8-flash", "google/gemini-3.8-flash"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "claude-sonnet-5@20260630", "google/claude-sonnet-5"),
    ],
)
def test_the_host_says_whose_price_it_is(base_url: str, model: str, who: str) -> None:
    priced = PRICES.cost(model, "any name", base_url, Usage(input_tokens=1), AT)
    assert priced is not None
    assert priced.by == f"{LISTS} {who}"


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        ("http://localhost:8000/v1", "claude-sonnet-5"),
        ("http://127.0.0.1:11434/v1", "gpt-oss-20b"),
        ("https://llm.example.com/v1", "gpt-5"),
        ("https://api.anthropic.com.example/", "claude-sonnet-5"),
        ("https://example.com/api.anthropic.com", "claude-sonnet-5"),
        ("", "claude-sonnet-5"),
        ("https://[", "claude-sonnet-5"),
        (ANTHROPIC, "claude-nonsense"),
        (ANTHROPIC, "gpt-5"),
        (ANTHROPIC, ""),
        ("https://api.deepseek.com/anthropic", "claude-sonnet-5"),
        ("https://generativelanguage.googleapis.com/v1beta", "gemma-4-31b-it"),
    ],
)
def test_who_or_what_is_not_known_has_no_price(base_url: str, model: str) -> None:
    assert usd(model, base_url, input_tokens=1000, output_tokens=10) is None
    assert usd(model, base_url, input_tokens=0) is None


def test_nothing_known_of_the_usage_is_no_price_but_nothing_used_is_free() -> None:
    assert usd() is None
    assert usd(input_tokens=0) == 0.0


def test_a_price_for_input_alone_is_none_for_output() -> None:
    assert usd("text-embedding-3-small", "https://api.openai.com/v1", input_tokens=ONE) == 0.02
    assert usd("text-embedding-3-small", "https://api.openai.com/v1", input_tokens=ONE, output_tokens=1) is None


# -- prices of relay.yaml


def test_an_own_price_comes_first_and_says_so() -> None:
    own = Prices([Own("claude-*", 1, 3, cache_read=0.1, cache_write_5m=2, cache_write_1h=4, request=0.005)])
    assert own.cost("Claude-X", "p", "http://localhost", Usage(ONE, ONE, ONE, ONE, ONE, 5, 3), AT) == Priced(
        10.115, "relay.yaml"
    )
    assert own.cost("gpt-5", "p", "http://localhost", Usage(ONE), AT) is None
    assert usd("claude-sonnet-5", prices=Prices([Own("gpt-*", 1, 1)]), input_tokens=ONE) == 2.0


def test_what_an_own_price_leaves_out_costs_as_much_as_input() -> None:
    own = Prices([Own("a", 2, 3), Own("b", 2, 3, cache_write_5m=5)])
    assert [usd("a", prices=own, **{kind: ONE}) for kind in KINDS] == [2, 3, 2, 2, 2]
    assert usd("b", prices=own, cache_write_1h_tokens=ONE) == 5
    assert usd("a", prices=own, input_tokens=0, server_tool_requests=9) == 0


def test_the_first_glob_that_fits_counts_and_a_provider_must_be_the_same() -> None:
    own = Prices([Own("claude-opus-*", 1, 1, provider="mine"), Own("claude-*", 2, 2), Own("claude-opus-*", 3, 3)])
    assert usd("claude-opus-5", prices=own, provider="mine", input_tokens=ONE) == 1
    assert usd("claude-opus-5", prices=own, provider="other", input_tokens=ONE) == 2


@pytest.mark.parametrize(
    ("day", "price"), [("2025-12-31", 9), ("2026-01-01", 1), ("2026-05-31", 1), ("2026-06-01", 2), ("2027-01-01", 2)]
)
def test_of_the_prices_of_a_glob_the_latest_that_has_begun_counts(day: str, price: float) -> None:
    own = Prices(
        [
            Own("claude-*", 1, 1, since=date(2026, 1, 1)),
            Own("*", 9, 9),
            Own("claude-*", 2, 2, since=date(2026, 6, 1)),
        ]
    )
    at = datetime.fromisoformat(f"{day}T23:00:00+00:00")
    assert usd(prices=own, at=at, input_tokens=ONE) == price


def test_a_batch_halves_an_own_price_too() -> None:
    own = Prices([Own("*", 2, 2, request=1)])
    assert usd(prices=own, batch=True, input_tokens=ONE, server_tool_requests=1) == 2.0


# -- together, and in general


def test_tries_together_cost_their_sum_or_nothing_that_could_be_said() -> None:
    some, more = Priced(0.1, "a"), Priced(0.2, "b")
    assert together([some, more, some]) == Priced(0.4, "a, b")
    assert together([some, None]) is None
    assert together([]) is None


COUNTS = st.none() | st.integers(0, 10**12)
USAGES = st.builds(Usage, *[COUNTS] * 7)
NAMES = st.sampled_from(["claude-sonnet-4-5", "claude-opus-5", "deepseek-chat", "gpt-5.6-sol", "x"]) | st.text()
URLS = st.sampled_from([ANTHROPIC, "https://api.deepseek.com", "https://api.openai.com/v1"]) | st.text()


@given(NAMES, st.none() | st.text(), URLS, USAGES, st.datetimes(), st.booleans())
@example("claude-opus-5", None, ANTHROPIC, Usage(*[-5] * 7), datetime.max.replace(tzinfo=UTC), True)
@example("claude-opus-5", None, ANTHROPIC, Usage(1), datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), False)
def test_a_cost_never_raises_and_is_never_negative(
    model: str, provider: str | None, base_url: str, usage: Usage, at: datetime, batch: bool
) -> None:
    priced = Prices([Own("zzz", 1, 1)]).cost(model, provider, base_url, usage, at, batch=batch)
    assert priced is None or (priced.usd >= 0 and math.isfinite(priced.usd) and priced.by)


SMALL = st.integers(0, 30_000)


@given(st.builds(Usage, SMALL, SMALL, SMALL, SMALL, SMALL, st.just(0), SMALL))
def test_below_the_tiers_two_halves_cost_what_the_whole_does(usage: Usage) -> None:
    def cost(part: Usage) -> float:
        priced = PRICES.cost("claude-sonnet-4-5", "p", ANTHROPIC, part, AT)
        assert priced
        return priced.usd

    rest = replace(usage, input_tokens=0, cache_read_tokens=0)
    taken = Usage(input_tokens=usage.input_tokens, cache_read_tokens=usage.cache_read_tokens)
    assert cost(usage) == pytest.approx(cost(rest) + cost(taken), abs=1e-12)


HOSTS = {
    "claude-sonnet-4-5": ANTHROPIC,
    "claude-opus-5": ANTHROPIC,
    "gemini-2.5-pro": "https://generativelanguage.googleapis.com",
    "gpt-5": "https://api.openai.com/v1",
    "own": "http://127.0.0.1:8080",
    "nobodys": "http://127.0.0.1:8080",
}


@given(st.sampled_from(sorted(HOSTS)), st.integers(0, 500_000), st.integers(0, 100_000), st.booleans())
@example("claude-sonnet-4-5", 200_000, 1, False)
@example("claude-sonnet-4-5", 200_001, 1, True)
def test_a_tariff_says_what_text_costs(model: str, fresh: int, output: int, batch: bool) -> None:
    prices = Prices([Own("own", 0.123, 4.5)])
    priced = prices.cost(model, "p", HOSTS[model], Usage(input_tokens=fresh, output_tokens=output), AT, batch=batch)
    tariff = prices.tariff(model, "p", HOSTS[model], AT, batch=batch)
    assert (tariff is None) == (priced is None)
    if tariff is not None and priced is not None:
        assert tariff.nano(fresh, output) == pytest.approx(priced.usd * 1e9, abs=1)


def test_a_tariff_without_one_of_its_prices() -> None:
    tariff = Tariff(((-1, 3000.0),), None, fixed=7.0)
    assert (tariff.nano(2, 0), tariff.nano(2, 1), tariff.nano(0, 0)) == (6007, 0, 7)


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-5-5"])
@pytest.mark.parametrize("long", [False, True])
def test_the_sums_are_the_librarys_own(model: str, long: bool) -> None:
    from genai_prices import calc_price
    from genai_prices.types import Usage as TheirUsage

    used = Usage(123_456, 7_890, 150_000 if long else 1, 2_345, 6_789, 12, 3)
    theirs = TheirUsage(
        input_tokens=sum((used.input_tokens, used.cache_read_tokens, 2_345, 6_789)),  # type: ignore[misc]
        output_tokens=used.output_tokens,
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=2_345 + 6_789,
        cache_write_5m_tokens=2_345,
        cache_write_1h_tokens=6_789,
        web_searches=3,
    )
    expected = calc_price(theirs, model, provider_id="anthropic", genai_request_timestamp=AT).total_price
    priced = PRICES.cost(model, "p", ANTHROPIC, used, AT)
    assert priced
    assert priced.usd == float(round(expected, 9))


def test_the_lists_load_late_and_without_a_network() -> None:
    code = """
import socket, sys
from claude_relay.core.accounting.pricing import Prices
prices = Prices()
assert "genai_prices" not in sys.modules
def refuse(*_): raise AssertionError("a connection")
socket.socket.connect = socket.getaddrinfo = refuse
import threading
prices.warm()
assert "genai_prices.data" in sys.modules
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, env={"PYTHONPATH": ":".join(sys.path)})
