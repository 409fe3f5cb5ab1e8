"""The verdict table, row by row."""

import json
import math
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.bodies.ratelimits import (
    LONGEST,
    date,
    family_of,
    headroom,
    limit_of,
    moment,
    number,
    retry_at,
    wait,
)
from claude_relay.core.errors import clean, error_type
from claude_relay.core.exchange import Cause, Endpoint, Facts, Failure, Length, Outcome
from claude_relay.core.retry.table import TABLE, load
from claude_relay.core.retry.verdicts import MEANINGS, judge

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
OPUS = Facts(Endpoint.MESSAGES, model="claude-opus-4-5")
COUNT = Facts(Endpoint.COUNT_TOKENS, model="claude-opus-4-5")
UNIFIED = "anthropic-ratelimit-unified-"


def error(message="", kind="invalid_request_error", **more):
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **more}}).encode()


def coded(status, code, message="no", retry_after=None):
    """An error of another format as it is recast."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Outcome(status, headers, error(message, error_type(status), details={"error_code": code}))


def rfc3339(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def http_date(seconds):
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
SPENT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
DISABLED = "This organization\n has been disabled."
NO_OAUTH = "OAuth authentication is currently not allowed for this organization."
SIGNATURE = "messages.1.content.0: Invalid `signature` in `thinking` block"

ROWS = [
    # outcome, verdict, blame, rest ("none", "out", "pool" = the pool decides)
    (Outcome(200), "ok", Cause.NOBODY, "none"),
    (Outcome(204), "ok", Cause.NOBODY, "none"),
    (Outcome(304), "ok", Cause.NOBODY, "none"),
    (Outcome(401, body=error("invalid x-api-key", "authentication_error")), "unauthorized", Cause.KEY, "out"),
    (Outcome(401), "unauthorized", Cause.KEY, "out"),
    (Outcome(401, body=error("OAuth authentication is currently not supported.")), "unauthorized", Cause.KEY, "out"),
    (Outcome(403, body=error("OAuth token has been revoked.", "permission_error")), "unauthorized", Cause.KEY, "out"),
    (Outcome(400, body=error(CREDIT)), "no_credit", Cause.KEY, "pool"),
    (Outcome(400, body=error(SPENT)), "no_credit", Cause.KEY, "pool"),
    (Outcome(402), "no_credit", Cause.KEY, "pool"),
    (
        Outcome(
            429,
            {"retry-after": "9"},
            error("x", "rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
        ),
        "no_credit",
        Cause.KEY,
        "pool",
    ),
    (Outcome(402, body=error("Usage credits required for 1M context")), "model_denied", Cause.KEY_MODEL, "pool"),
    (Outcome(400, body=error(DISABLED)), "key_disabled", Cause.KEY, "out"),
    (Outcome(403, body=error(DISABLED)), "key_disabled", Cause.KEY, "out"),
    (Outcome(403, body=error(NO_OAUTH)), "key_disabled", Cause.KEY, "out"),
    (Outcome(401, body=error(NO_OAUTH)), "key_disabled", Cause.KEY, "out"),
    (Outcome(403, body=error("OAuth authentication is currently not supported.")), "key_disabled", Cause.KEY, "out"),
    (Outcome(404, body=error("model: claude-opus-4-5", "not_found_error")), "model_denied", Cause.KEY_MODEL, "pool"),
    (Outcome(403, body=error("You do not have access to the model.")), "model_denied", Cause.KEY_MODEL, "pool"),
    (Outcome(403, body=error("no claude-opus-4-5 for you")), "model_denied", Cause.KEY_MODEL, "pool"),
    (Outcome(403, body=error("no", code="model_not_allowed")), "model_denied", Cause.KEY_MODEL, "pool"),
    (Outcome(403, body=error("Your API key may not do this.", "permission_error")), "forbidden", Cause.KEY, "pool"),
    (Outcome(403), "forbidden", Cause.KEY, "pool"),
    # a 403 that is not the API's own speaks of the way there
    (
        Outcome(403, body=b'{"error":{"type":"forbidden","message":"Request not allowed"}}'),
        "blocked",
        Cause.ROUTE,
        "none",
    ),
    (Outcome(403, body=error("Request not allowed", "forbidden")), "blocked", Cause.ROUTE, "none"),
    (Outcome(403, body=b"<!DOCTYPE html><title>Just a moment...</title>"), "blocked", Cause.ROUTE, "none"),
    (Outcome(403, body=b"Access denied by policy"), "blocked", Cause.ROUTE, "none"),
    (Outcome(403, body=b'{"success":false,"errors":[{"code":1020}]}'), "blocked", Cause.ROUTE, "none"),
    (Outcome(403, body=b'{"message":"Forbidden"}'), "blocked", Cause.ROUTE, "none"),
    (Outcome(403, body=b'{"status":403,"error":"Forbidden","path":"/v1/messages"}'), "blocked", Cause.ROUTE, "none"),
    (Outcome(403, body=b'{"code":"denied","error":"The team may not do this."}'), "forbidden", Cause.KEY, "pool"),
    (Outcome(403, body=error("no", "permission_error"), foreign=True), "blocked", Cause.ROUTE, "none"),
    # a 400 about the key's tier or organisation
    *(
        (Outcome(400, body=error(words)), "model_denied", Cause.KEY_MODEL, "pool")
        for words in (
            "The long context beta is not yet available for this subscription.",
            "Identity verification is required to use this model.",
            "Your organization must be verified to use the model `o3`.",
            "Web search is disabled by your organization settings.",
            "Fast mode is not enabled for your organization.",
            "This feature is not available on your plan.",
            "The 1M context window is not available with your subscription.",
            "Extra usage is required for long context requests.",
            "Your current plan does not include this tool.",
            "Your organization's data retention does not allow this feature.",
            "Your organisation's settings do not permit this tool.",
            "This workspace is not allowed to use that region.",
            "Code execution has been turned off by your administrator.",
        )
    ),
    (
        Outcome(429, {UNIFIED + "5h-status": "rejected", UNIFIED + "5h-reset": f"{NOW + 60:.0f}"}),
        "window_exhausted",
        Cause.KEY,
        60,
    ),
    (Outcome(429, {UNIFIED + "5h-status": "rejected"}), "window_exhausted", Cause.KEY, "pool"),
    (
        Outcome(429, {UNIFIED + "7d_opus-status": "rejected", UNIFIED + "7d_opus-reset": f"{NOW + 99:.0f}"}),
        "family_limited",
        Cause.KEY_FAMILY,
        99,
    ),
    (
        Outcome(429, {"retry-after": "30"}, error("exceeded (org: x, model: claude-opus-4-5-20251101)")),
        "family_limited",
        Cause.KEY_FAMILY,
        30,
    ),
    (Outcome(429, {"retry-after": "7"}), "rate_limited", Cause.KEY, 7),
    (Outcome(429, {"retry-after": "0"}), "rate_limited", Cause.KEY, "pool"),
    (Outcome(429), "unexplained_429", Cause.REQUEST, "none"),
    (Outcome(429, body=error("model: claude-opus-4-5 exceeded")), "unexplained_429", Cause.REQUEST, "none"),
    (
        Outcome(429, {"retry-after": "60"}, error("Extra usage is required for long context requests.")),
        "unexplained_429",
        Cause.REQUEST,
        "none",
    ),
    (Outcome(529), "overloaded", Cause.PROVIDER, "none"),
    (Outcome(503, body=error("Overloaded", "overloaded_error")), "overloaded", Cause.PROVIDER, "none"),
    (Outcome(407), "upstream_error", Cause.ROUTE, "none"),
    *((Outcome(status), "upstream_error", Cause.ROUTE, "none") for status in (408, 500, 502, 503, 504, 520)),
    (Outcome(None, failure=Failure.CONNECT), "unreachable", Cause.ROUTE, "none"),
    (Outcome(None, failure=Failure.TLS), "unreachable", Cause.ROUTE, "none"),
    (Outcome(None, failure=Failure.PROXY), "proxy_failed", Cause.ROUTE, "none"),
    (Outcome(None, failure=Failure.RESET), "broken", Cause.ROUTE, "none"),
    (Outcome(200, failure=Failure.CUT), "broken", Cause.ROUTE, "none"),
    (Outcome(None, failure=Failure.TIMEOUT), "timeout", Cause.ROUTE, "none"),
    (Outcome(200, failure=Failure.EMPTY), "empty", Cause.ROUTE, "none"),
    (Outcome(200, failure=Failure.GARBAGE), "garbage", Cause.ROUTE, "none"),
    (Outcome(failure=Failure.OVERSIZED), "oversized", Cause.ROUTE, "none"),
    (Outcome(None), "broken", Cause.ROUTE, "none"),
    *((Outcome(status), "bad_request", Cause.REQUEST, "none") for status in (400, 404, 409, 413, 422, 418)),
    (Outcome(400, body=error(SIGNATURE)), "signature", Cause.REQUEST, "none"),
    (Outcome(None, failure=Failure.UNSUITED), "unsuited", Cause.REQUEST, "none"),
    (Outcome(400, body=error(CREDIT), failure=Failure.UNSUITED), "unsuited", Cause.REQUEST, "none"),
    # errors of other formats, recast into Claude's shape: the provider's own code tells what the status does not
    (coded(429, "insufficient_quota"), "no_credit", Cause.KEY, "pool"),
    (coded(402, "insufficient_quota"), "no_credit", Cause.KEY, "pool"),
    (coded(400, "billing_hard_limit_reached"), "no_credit", Cause.KEY, "pool"),
    (coded(429, "exceeded_current_quota_error"), "no_credit", Cause.KEY, "pool"),
    (coded(429, "1113"), "no_credit", Cause.KEY, "pool"),
    (coded(402, "", "Insufficient Balance"), "no_credit", Cause.KEY, "pool"),
    (coded(403, "", "Insufficient balance"), "no_credit", Cause.KEY, "pool"),
    (coded(429, "rate_limit_exceeded"), "unexplained_429", Cause.REQUEST, "none"),
    (coded(429, "rate_limit_exceeded", retry_after="6"), "rate_limited", Cause.KEY, 6),
    (coded(429, "RESOURCE_EXHAUSTED", retry_after="22.5"), "rate_limited", Cause.KEY, 22.5),
    (
        coded(429, "", "Rate limit reached for claude-opus-4-5 in organization o", retry_after="2"),
        "rate_limited",
        Cause.KEY,
        2,
    ),
    (coded(429, "DAILY_QUOTA", retry_after="22"), "quota_exhausted", Cause.KEY_MODEL, "pool"),
    (coded(429, "1304"), "quota_exhausted", Cause.KEY_MODEL, "pool"),
    (coded(429, "engine_overloaded_error"), "overloaded", Cause.PROVIDER, "none"),
    (coded(400, "API_KEY_INVALID"), "unauthorized", Cause.KEY, "out"),
    (coded(401, "invalid_api_key"), "unauthorized", Cause.KEY, "out"),
    (coded(401, "account_deactivated"), "key_disabled", Cause.KEY, "out"),
    (coded(403, "PERMISSION_DENIED", "Your API key was reported as leaked."), "key_disabled", Cause.KEY, "out"),
    (coded(404, "model_not_found"), "model_denied", Cause.KEY_MODEL, "pool"),
    (coded(400, "1211"), "model_denied", Cause.KEY_MODEL, "pool"),
    (coded(404, "NOT_FOUND", "models/x is not found for API version v1beta"), "model_denied", Cause.KEY_MODEL, "pool"),
    (coded(403, "unsupported_country_region_territory"), "unsuited", Cause.REQUEST, "none"),
    (
        coded(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        "unsuited",
        Cause.REQUEST,
        "none",
    ),
    (coded(403, "403", "Your chosen model requires moderation"), "bad_request", Cause.REQUEST, "none"),
    (coded(400, "context_length_exceeded", "prompt is too long"), "bad_request", Cause.REQUEST, "none"),
    (
        Outcome(200, body=coded(402, "insufficient_quota").body, failure=Failure.ERROR_EVENT),
        "no_credit",
        Cause.KEY,
        "pool",
    ),
    # an error inside a 200 counts as the status it stands for
    (
        Outcome(200, body=error("Overloaded", "overloaded_error"), failure=Failure.ERROR_EVENT),
        "overloaded",
        Cause.PROVIDER,
        "none",
    ),
    (
        Outcome(200, {"retry-after": "4"}, error("slow", "rate_limit_error"), Failure.ERROR_EVENT),
        "rate_limited",
        Cause.KEY,
        4,
    ),
    (
        Outcome(200, body=error("x", "authentication_error"), failure=Failure.ERROR_EVENT),
        "unauthorized",
        Cause.KEY,
        "out",
    ),
    (Outcome(200, body=error("x", "api_error"), failure=Failure.ERROR_EVENT), "upstream_error", Cause.ROUTE, "none"),
    (Outcome(200, body=error("x"), failure=Failure.ERROR_EVENT), "bad_request", Cause.REQUEST, "none"),
    (Outcome(200, body=b"not json", failure=Failure.ERROR_EVENT), "upstream_error", Cause.ROUTE, "none"),
    # an error whose body broke off is still that error
    (Outcome(429, {"retry-after": "7"}, b'{"type"', Failure.CUT), "rate_limited", Cause.KEY, 7),
]


@pytest.mark.parametrize(("outcome", "name", "cause", "cooldown"), ROWS)
def test_every_row(outcome, name, cause, cooldown):
    verdict = judge(outcome, OPUS, now=NOW)
    assert (verdict.name, verdict.cause) == (name, cause)
    until = {"none": None, "out": math.inf, "pool": NOW}[cooldown] if isinstance(cooldown, str) else NOW + cooldown
    assert verdict.cooldown_until == until


def test_every_verdict_but_endpoint_has_a_row_here():
    """What the policy makes of an `unauthorized` is in test_policy."""
    assert {name for _, name, _, _ in ROWS} == MEANINGS.keys() - {"endpoint", "token_refused"}


@pytest.mark.parametrize("facts", [COUNT, Facts(Endpoint.SIDE), Facts(Endpoint.RESOURCE), Facts(Endpoint.MODELS)])
@pytest.mark.parametrize(("outcome", "name", "cause", "cooldown"), ROWS)
def test_a_side_endpoint_never_touches_a_key(outcome, name, cause, cooldown, facts):
    verdict = judge(outcome, facts, now=NOW)
    assert verdict.name in {"ok", "bad_request", "endpoint", "unsuited", "blocked", "unexplained_429"}
    assert verdict.cause not in {Cause.KEY, Cause.KEY_MODEL, Cause.KEY_FAMILY}
    assert verdict.cooldown_until is None


@pytest.mark.parametrize("status", [401, 402, 403, 408, 500, 503, 529])
def test_count_tokens_failures_that_are_tried_again(status):
    assert judge(Outcome(status), COUNT, now=NOW).name == "endpoint"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(400, body=error(CREDIT)),
        Outcome(400, body=error(DISABLED)),
        Outcome(404, body=error("model: claude-opus-4-5", "not_found_error")),
        coded(429, "insufficient_quota"),
        Outcome(429, {"retry-after": "5"}),
    ],
)
def test_what_is_said_of_a_key_at_count_tokens_is_tried_with_another(outcome):
    assert judge(outcome, COUNT, now=NOW).name == "endpoint"


def windows(**status):
    """Headers of windows: status, and seconds to the reset."""
    headers = {UNIFIED + "status": "rejected"}
    for name, (state, seconds) in status.items():
        window = name.removeprefix("w")
        headers |= {UNIFIED + window + "-status": state, UNIFIED + window + "-reset": f"{NOW + seconds:.0f}"}
    return headers


@pytest.mark.parametrize(
    ("headers", "kind", "seconds"),
    [
        (windows(w5h=("rejected", 600), w7d=("allowed", 86400)), "window", 600),
        (windows(w5h=("rejected", 600), w7d=("rejected", 86400)), "window", 86400),
        (windows(w5h=("allowed_warning", 600), w7d=("rejected", 86400)), "window", 86400),
        (windows(w5h=("rejected", 600), w7d_opus=("rejected", 86400)), "window", 600),
        (windows(w5h=("allowed", 600), w7d_opus=("rejected", 86400)), "family", 86400),
        (windows(w5h=("allowed", 600), w7d_oi=("rejected", 86400)), "family", 86400),
        ({UNIFIED + "5h-utilization": "1.02", UNIFIED + "5h-reset": f"{NOW + 5:.0f}"}, "window", 5),
        ({UNIFIED + "5h-utilization": "0.99", UNIFIED + "5h-reset": f"{NOW + 5:.0f}"}, "none", None),
        ({UNIFIED + "5h-status": "allowed", UNIFIED + "5h-utilization": "1.0"}, "none", None),
        ({UNIFIED + "5h-status": "rejected", UNIFIED + "5h-reset": rfc3339(NOW + 50)}, "window", 50),
        (
            {
                UNIFIED + "status": "rejected",
                UNIFIED + "representative-claim": "five_hour",
                UNIFIED + "5h-reset": f"{NOW + 8:.0f}",
            },
            "window",
            8,
        ),
        (
            {
                UNIFIED + "status": "rejected",
                UNIFIED + "representative-claim": "seven_day_opus",
                UNIFIED + "reset": f"{NOW + 8:.0f}",
            },
            "family",
            8,
        ),
        ({UNIFIED + "status": "rejected", UNIFIED + "reset": f"{NOW + 8:.0f}"}, "window", 8),
        ({UNIFIED + "status": "rejected", "retry-after": "8"}, "window", 8),
        ({UNIFIED + "status": "rejected"}, "window", None),
        ({UNIFIED + "status": "allowed", "retry-after": "8"}, "stated", 8),
        (
            windows(w5h=("rejected", 600))
            | {UNIFIED + "overage-status": "rejected", UNIFIED + "overage-reset": f"{NOW + 9e5:.0f}"},
            "window",
            600,
        ),
        # the limit of another family is not what stopped this request
        (windows(w7d_sonnet=("rejected", 600)) | {"retry-after": "8"}, "stated", 8),
        # a window cannot end after its own length: milliseconds, or nonsense
        (windows(w5h=("rejected", 18 * 86400)), "window", None),
        ({UNIFIED + "5h-status": "rejected", UNIFIED + "5h-reset": f"{NOW * 1000:.0f}"}, "window", None),
    ],
)
def test_unified_windows(headers, kind, seconds):
    limit = limit_of(headers, "claude-opus-4-5", NOW)
    assert (limit.kind, limit.end) == (kind, None if seconds is None else NOW + seconds)


def bucket(name, remaining, seconds, limit=50):
    prefix = f"anthropic-ratelimit-{name}-"
    return {
        prefix + "limit": str(limit),
        prefix + "remaining": str(remaining),
        prefix + "reset": rfc3339(NOW + seconds),
    }


def other(name, remaining, reset, limit=50):
    """As OpenAI writes them."""
    return {
        f"x-ratelimit-limit-{name}": str(limit),
        f"x-ratelimit-remaining-{name}": str(remaining),
        f"x-ratelimit-reset-{name}": reset,
    }


@pytest.mark.parametrize(
    ("headers", "kind", "seconds"),
    [
        (bucket("requests", 0, 20), "stated", 20),
        (bucket("requests", 0, 20) | bucket("output-tokens", 0, 45) | bucket("tokens", 9, 59), "stated", 45),
        (bucket("input-tokens", 0, 20) | {"retry-after": "3"}, "stated", 3),
        (bucket("requests", 7, 20), "none", None),
        (bucket("requests", 0, -20), "stated", 0),
        (bucket("requests", 0, 20 * 86400), "none", None),
        (other("requests", 0, "6m0s"), "stated", 360),
        (other("requests", 0, "20ms") | other("tokens", 0, "1h2.5s"), "stated", 3602.5),
        (other("tokens", 0, "10"), "stated", 10),
        (other("tokens", 5, "6m0s"), "none", None),
        (other("tokens", 0, "soon"), "none", None),
        (other("tokens", 0, "40d"), "none", None),
        (other("tokens", 0, "6m0s") | {"retry-after-ms": "250"}, "stated", 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, "stated", 1.5),
        ({"retry-after": http_date(NOW + 12)}, "stated", 12),
        ({"retry-after": "0.5"}, "stated", 0.5),
    ],
)
def test_ordinary_limits(headers, kind, seconds):
    limit = limit_of(headers, "claude-opus-4-5", NOW)
    assert (limit.kind, limit.end) == (kind, None if seconds is None else NOW + seconds)


@pytest.mark.parametrize(
    "text",
    [
        "-5",
        "nan",
        "inf",
        "1e9",
        "soon",
        "",
        " ",
        "9" * 400,
        str(33 * 86400),
        "٣",
        "1_000",
        http_date(NOW + 40 * 86400),
        "5 s",
        "0x10",
    ],
)
def test_absurd_retry_after_counts_as_not_said(text):
    assert retry_at({"retry-after": text}, NOW) is None
    assert judge(Outcome(429, {"retry-after": text}), OPUS, now=NOW).cooldown_until is None


@pytest.mark.parametrize("text", [http_date(NOW - 1), http_date(0), "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_date_in_the_past_means_now(text):
    assert retry_at({"retry-after": text}, NOW) == NOW


def test_parts():
    assert number(" 12.5 ") == 12.5
    assert date("2026-11-22T12:00:00Z") == date("2026-11-22T12:00:00") == NOW
    assert moment(str(NOW + 50), NOW, 40) is None
    assert [wait(text) for text in ("1h2m3s", " 2M59.5S", "12", "5s 3s", "-1s", "1e3s", "")] == [
        3723, 179.5, 12, None, None, None, None,
    ]  # fmt: skip
    assert [family_of(name) for name in ("claude-3-5-Sonnet-20241022", "anthropic.claude-opus-4-1", "glm-4.6", "")] == [
        "sonnet",
        "opus",
        "glm-4.6",
        "",
    ]


@pytest.mark.parametrize(
    "message",
    [
        "rate limit reached for gpt-5.6-sol in organization o on tokens per min",
        "rate limit reached for model `gpt-5.6-sol` in organization o",
        "quota exceeded for metric: m, limit: 20, model: gpt-5.6-sol",
    ],
)
def test_a_limit_of_another_model_than_claude_is_that_models(message):
    assert limit_of({"retry-after": "3"}, "gpt-5.6-sol", NOW, message).kind == "family"
    assert limit_of({"retry-after": "3"}, "gpt-4.1", NOW, message).kind == "stated"


def test_headroom_is_the_scarcest_share():
    headers = (
        bucket("requests", 40, 60)
        | bucket("tokens", 5, 30)
        | {UNIFIED + "5h-utilization": "0.25", UNIFIED + "5h-reset": f"{NOW + 99}"}
    )
    assert headroom(headers, NOW) == (0.1, NOW + 30, True, "tokens")
    assert headroom(headers | other("tokens", 2, "30s"), NOW) == (0.04, NOW + 30, True, "tokens")
    assert headroom({}, NOW) is None
    assert headroom(bucket("requests", 5, 60, limit=0), NOW) is None


def test_reasons_hold_no_credential():
    body = error("Incorrect API key provided: sk-ant-api03-abcdef. Or AIzaSyB123 or 0123456789abcdef0123456789abcdef01")
    reason = judge(Outcome(401, body=body), OPUS, now=NOW).reason
    assert reason == "401: Incorrect API key provided: … Or … or …"
    assert clean("a\r\nb\x00\x1b[31m" + "x " * 400).startswith("a b[31mx x")
    assert len(clean("x " * 4000)) <= 200


header_text = (
    st.text(max_size=40) | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str) | st.just("rejected")
)
NAMES = [
    "retry-after", "retry-after-ms", UNIFIED + "status", UNIFIED + "reset", UNIFIED + "representative-claim", UNIFIED + "5h-status",
    UNIFIED + "5h-reset", UNIFIED + "7d-utilization", UNIFIED + "7d_opus-status", UNIFIED + "7d_opus-reset", UNIFIED + "-status",
    "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-limit",
    "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "x-ratelimit-limit-tokens",
]  # fmt: skip
MEMBERS = st.sampled_from(["error", "type", "message", "details", "code", "error_code"])
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(MEMBERS, inner),
    max_leaves=9,
)
outcomes = st.builds(
    Outcome,
    status=st.none() | st.integers(-5, 700) | st.sampled_from([200, 400, 401, 403, 404, 429, 529]),
    headers=st.dictionaries(st.sampled_from(NAMES), header_text),
    body=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()),
    failure=st.none() | st.sampled_from(Failure),
    message=st.text(max_size=20),
)


@given(outcomes, st.sampled_from(Endpoint), st.text(max_size=20) | st.just("claude-opus-4-5"))
def test_judge_never_raises_and_never_cools_down_for_an_absurd_time(outcome, endpoint, model):
    verdict = judge(outcome, Facts(endpoint, model=model), now=NOW)
    assert verdict.name in MEANINGS
    assert verdict.cause is MEANINGS[verdict.name].cause
    assert (
        verdict.cooldown_until is None
        or verdict.cooldown_until == math.inf
        or NOW <= verdict.cooldown_until <= NOW + LONGEST
    )
    assert (verdict.cooldown_until is None) == (MEANINGS[verdict.name].cooldown is Length.NONE)
    headroom(outcome.headers, NOW)


def test_deep_json_is_no_trouble():
    assert judge(Outcome(400, body=b"[" * 60000), OPUS, now=NOW).name == "bad_request"


RAW = {"verdict": "ok", "source": "x", "date": "2026-01-01"}


@pytest.mark.parametrize(
    "rule",
    [
        RAW | {"verdict": "nobody"},
        RAW | {"source": ""},
        RAW | {"says": ["Upper"]},
        RAW | {"status": ["9xx"]},
        RAW | {"stat": [1]},
        RAW | {"date": "soon"},
    ],
)
def test_a_wrong_table_is_refused(rule):
    whole = msgspec.to_builtins(TABLE)
    with pytest.raises(ValueError, match=r".+"):
        load(json.dumps(whole | {"rules": [rule]}, default=list).encode())


def test_the_last_rule_takes_everything():
    assert not any(
        getattr(TABLE.rules[-1], column)
        for column in ("endpoint", "status", "failure", "type", "code", "says", "limit", "names_model")
    )
