"""What Claude Code is told of a cap: the header fields and the document, word for word."""

from __future__ import annotations

import pytest

from claude_relay.core.clients.caps import Cap, Spent, allowed, rejected, tightest, unreadable, usage

RESET = 1_790_812_800.0  # 2026-10-01
UNIFIED = "anthropic-ratelimit-unified-"


def fields(found: dict[str, str]) -> dict[str, str]:
    assert all(name.startswith(UNIFIED) for name in found)
    return {name.removeprefix(UNIFIED): value for name, value in found.items()}


@pytest.mark.parametrize(
    ("used", "status", "utilization", "threshold"),
    [
        (0.0, "allowed", "0.00", None),
        (74.999, "allowed", "0.74", None),
        (75.0, "allowed_warning", "0.75", "0.75"),
        (82.4, "allowed_warning", "0.82", "0.75"),
        (95.0, "allowed_warning", "0.95", "0.95"),
        (99.999, "allowed_warning", "0.99", "0.95"),
        (130.0, "allowed_warning", "0.99", "0.95"),
    ],
)
def test_a_good_answer(used: float, status: str, utilization: str, threshold: str | None) -> None:
    expected = {
        "status": status,
        "representative-claim": "overage",
        "overage-status": status,
        "overage-utilization": utilization,
        "reset": "1790812800",
        "overage-reset": "1790812800",
    }
    if threshold:
        expected["overage-surpassed-threshold"] = threshold
    assert fields(allowed(Cap(100.0, used, "month", RESET))) == expected


def test_a_cap_that_never_ends_has_no_reset() -> None:
    assert not [name for name in allowed(Cap(100.0, 5.0, "total")) if name.endswith("reset")]


@pytest.mark.parametrize(("per", "period"), [("day", "daily"), ("week", "weekly"), ("month", "monthly"), ("5h", None)])
@pytest.mark.parametrize("shared", [False, True])
def test_a_cap_that_is_reached(per: str, period: str | None, shared: bool) -> None:
    found = fields(rejected(Cap(5.0, 5.2, per, RESET, shared)))  # type: ignore[arg-type]
    assert found.pop("overage-period", None) == period
    assert found.pop("overage-scope", None) == ("group_pool" if shared else None)
    assert found == {
        "status": "rejected",
        "reset": "1790812800",
        "overage-reset": "1790812800",
        "overage-utilization": "1",
        "overage-surpassed-threshold": "1",
        "overage-disabled-reason": "org_spend_cap_reached",
    }


def test_what_cannot_be_counted() -> None:
    assert fields(unreadable()) == {"status": "rejected", "overage-disabled-reason": "fetch_error"}


def test_the_tightest_is_told() -> None:
    day, month = Cap(10.0, 4.0, "day", RESET), Cap(500.0, 271.4, "month", RESET)
    assert tightest([day, month]) is month
    assert tightest([Cap(100.0, 0.0, "month", RESET), Cap(10.0, 0.0, "day")]) == Cap(10.0, 0.0, "day")
    assert tightest([]) is None


def test_the_document_with_a_cap() -> None:
    month, day = Cap(500.0, 271.4, "month", RESET), Cap(100.0, 5.0, "day", RESET - 86400)
    assert usage([day, month], Spent()) == {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": 50000,
            "used_credits": 27140,
            "utilization": 54,
            "currency": "USD",
        },
        "limits": [
            {
                "kind": "spend",
                "group": "daily",
                "percent": 5,
                "resets_at": "2026-09-30T00:00:00.000Z",
                "severity": "normal",
                "is_active": False,
            },
            {
                "kind": "spend",
                "group": "monthly",
                "percent": 54,
                "resets_at": "2026-10-01T00:00:00.000Z",
                "severity": "normal",
                "is_active": True,
            },
        ],
    }
    assert [usage([Cap(1.0, used, "day")], Spent())["limits"][0]["severity"] for used in (0.76, 0.96, 2.0)] == [
        "warning",
        "critical",
        "critical",
    ]


def test_the_second_of_the_document_is_that_of_the_fields() -> None:
    cap = Cap(1.0, 0.5, "5h", RESET + 0.25)
    assert fields(allowed(cap))["reset"] == "1790812801"
    assert usage([cap], Spent())["limits"][0]["resets_at"] == "2026-10-01T00:00:01.000Z"


def test_the_document_without_a_cap() -> None:
    assert usage([], Spent(1.0, 12.4, 99.999)) == {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": None,
            "used_credits": 10000,
            "utilization": None,
            "currency": "USD",
            "daily": {"limit": None, "used_credits": 100, "utilization": None},
            "weekly": {"limit": None, "used_credits": 1240, "utilization": None},
        },
        "limits": [],
    }
