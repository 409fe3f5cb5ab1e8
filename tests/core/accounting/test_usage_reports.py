from __future__ import annotations

import json

import pytest

from claude_relay.core.accounting.report_access import check_admin_key, form_of, origin_of, takes_variable
from claude_relay.core.accounting.usage_reports import (
    Entry,
    Reported,
    Side,
    Used,
    canonical,
    cost_page,
    entries,
    known_keys,
)
from claude_relay.core.config import Provider, parse


def providers(**given: dict[str, object]) -> dict[str, Provider]:
    return dict(parse(json.dumps({"providers": given}), environ={}).providers)


@pytest.mark.parametrize(
    ("name", "one_name"),
    [
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-4-5", "claude-haiku-4-5"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("claude-opus-4-8[1m]", "claude-opus-4-8"),
        ("anthropic/Claude-Opus-4-8@20260801", "claude-opus-4-8"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("-latest", "-latest"),
        (None, ""),
    ],
)
def test_models_have_one_name(name: str | None, one_name: str) -> None:
    assert canonical(name) == one_name


def test_what_searches_cost_goes_to_the_models_that_searched() -> None:
    day = "2026-11-26"
    usage = [Reported(day, "a", Used(searches=3)), Reported(day, "b", Used(searches=1)), Reported(day, "c", Used())]
    costs = [
        Reported(day, "a", Used(cost_usd=1.0)),
        Reported(day, "", Used(cost_usd=0.04), kind="web_search"),
        Reported("2026-11-25", "", Used(cost_usd=0.5), kind="web_search"),
        Reported(day, "", Used(cost_usd=0.25), kind="code_execution"),
    ]
    found = {(one.day, one.model): one.used.cost_usd for one in entries(usage, costs)}
    assert found == {
        (day, "a"): pytest.approx(1.03),
        (day, "b"): pytest.approx(0.01),
        (day, "c"): None,
        (day, ""): 0.25,
        ("2026-11-25", ""): 0.5,
    }


def test_other_keys_are_told_apart_only_where_the_provider_does_so() -> None:
    usage = [Reported("2026-11-26", "a", Used(output_tokens=5), key) for key in ("k1", "k2", None)]
    assert entries(usage, []) == (Entry("2026-11-26", "a", Side.PROVIDER, Used(output_tokens=15)),)
    assert entries(usage, [], known={"k1"})[1:] == (Entry("2026-11-26", "a", Side.ELSEWHERE, Used(output_tokens=10)),)


def test_which_keys_are_known() -> None:
    rows = [
        {"id": "1", "partial_key_hint": "sk-ant-api03-R2D...igAA"},
        {"id": "2", "partial_key_hint": "sk-ant-api03-R2D...igAB"},
        {"id": "3", "partial_key_hint": None},
        {"id": "4", "partial_key_hint": "..."},
    ]
    body = json.dumps({"data": rows, "has_more": True, "last_id": "4"}).encode()
    assert known_keys(body, ["sk-ant-api03-R2D0000igAA"]) == (frozenset({"1"}), "4")


def test_amounts_are_cents_and_text() -> None:
    line = {"amount": "123.78912", "currency": "USD", "model": "claude-opus-4-8", "cost_type": "tokens"}
    bucket = {"starting_at": "2026-11-26T00:00:00Z", "ending_at": "2026-11-27T00:00:00Z", "results": [line]}
    body = json.dumps({"data": [bucket], "has_more": False, "next_page": None}).encode()
    assert cost_page("anthropic", body).entries[0].used.cost_usd == pytest.approx(1.2378912)


def test_which_provider_has_a_report() -> None:
    known = providers(
        anthropic={"base_url": "https://api.anthropic.com"},
        openai={"preset": "openai"},
        glm={"preset": "zhipu"},
        gateway={"base_url": "http://127.0.0.1:4000"},
        else_where={"base_url": "https://gateway.example.net"},
        gemini={"preset": "gemini"},
    )
    forms = {name: form_of(provider) for name, provider in known.items()}
    assert forms == {
        "anthropic": "anthropic",
        "openai": "openai",
        "glm": None,
        "gateway": "anthropic",
        "else_where": None,
        "gemini": None,
    }
    assert origin_of(known["openai"]) == "https://api.openai.com"


def test_a_variable_is_for_the_official_address_alone() -> None:
    known = providers(
        gateway={"base_url": "http://127.0.0.1:4000"},
        first={"base_url": "https://api.anthropic.com"},
        second={"base_url": "https://api.anthropic.com"},
        openai={"preset": "openai"},
    )
    found = {name: takes_variable(known, name) for name in known}
    assert found == {"gateway": None, "first": "ANTHROPIC_ADMIN_KEY", "second": None, "openai": "OPENAI_ADMIN_KEY"}


@pytest.mark.parametrize(
    "secret",
    ["sk-ant-api03-0123456789abcdef", "sk-ant-admin01", "sk-ant-admin01-0123 456789", "sk-ant-admin01-" + "x" * 600],
)
def test_what_is_no_admin_key(secret: str) -> None:
    with pytest.raises(ValueError, match="admin key") as found:
        check_admin_key("anthropic", secret)
    assert secret not in str(found.value)
