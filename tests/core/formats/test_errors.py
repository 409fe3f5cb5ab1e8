"""Errors of providers: their status and their type are the truth in every format and every shape, and no answer can hold the reader up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from claude_relay.core.exchange import Failure, Outcome
from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.base import Format, Problem
from claude_relay.core.formats.error_text import LONGEST_MESSAGE, read_problem
from claude_relay.core.formats.errors import claude_type
from linear import TOO_MUCH, growth

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    501: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    520: "api_error",
    529: "overloaded_error",
}
SHAPES: dict[str, bytes] = {
    "nothing": b"",
    "an object": b'{"error":{"message":"no","type":"","code":null}}',
    "a text": b'{"error":"no"}',
    "a list": b'[{"error":{"message":"no"}}]',
    "a detail": b'{"detail":"no"}',
    "details": b'{"detail":[{"loc":["body","model"],"msg":"no"}]}',
    "a message": b'{"message":"no"}',
    "a problem": b'{"title":"no","detail":"no"}',
    "HTML": b"<html><head><title>no</title></head><body>x</body></html>",
    "words": b"no",
    "quoted words": b'"no"',
    "broken JSON": b'{"error":{"message":"no',
    "no text at all": b"\xff\xfe\x00no",
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", TYPES)
def test_a_status_is_told_as_it_came(name: str, shape: str, status: int):
    told = FORMATS[name].as_claude(Outcome(status, {}, SHAPES[shape]), "req_1")
    error = json.loads(told.body)["error"]
    assert (told.status, error["type"]) == (status, TYPES[status])
    assert "no" in error["message"]
    assert '"no"' not in error["message"]
    assert claude_type(status) == TYPES[status]


OVERLOADED = (
    {"error": {"message": "The engine is currently overloaded, please try again later", "type": "server_error"}},
    {"error": {"message": "Overloaded"}},
    {"error": {"message": "x", "type": "overloaded_error"}},
    {"error": {"message": "x", "code": "server_is_overloaded"}},
    {"error": {"message": "x", "code": "slow_down"}},
    {"error": "Model is overloaded", "error_type": "overloaded"},
    {"error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}},
    [{"error": {"code": 503, "message": "This model is currently experiencing high demand.", "status": "UNAVAILABLE"}}],
    {"message": "Service is too busy. We advise you to try again later."},
    {"detail": "the server is busy"},
    {"error": {"message": "Selected model is at capacity. Please try a different model."}},
)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("body", OVERLOADED)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_who_says_that_he_is_overloaded_is(name: str, body: Any, status: int):
    problem = FORMATS[name].error(status, {}, json.dumps(body).encode())
    assert (problem.status, problem.type) == (529, "overloaded_error")


FAILING = (
    {"error": {"message": "The server had an error while processing your request", "type": "server_error"}},
    {"error": {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}},
    {"error": {"message": "no healthy upstream"}},
    {"error": {"message": "Maintenance to avoid overloading our disks"}},
    "upstream connect error",
)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("body", FAILING)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_who_does_not_is_not(name: str, body: Any, status: int):
    problem = FORMATS[name].error(status, {}, json.dumps(body).encode())
    assert (problem.status, problem.type) == (status, TYPES[status])


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "tokens"])
def test_a_limit_of_rate_stays_one_whatever_it_says_of_load(code: str):
    body = json.dumps({"error": {"message": "Slow down: the service is overloaded", "code": code}}).encode()
    assert FORMATS["openai-chat"].error(429, {}, body).type == "rate_limit_error"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"type": "server_error"}, 500),
        ({"code": "service_unavailable"}, 503),
        ({"code": "request_too_large"}, 413),
        ({"code": 504}, 504),
        ({"status": "ABORTED"}, 409),
        ({"status": "UNAVAILABLE"}, 503),
        ({"status": "DEADLINE_EXCEEDED"}, 504),
        ({"type": "who_knows"}, 500),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_an_error_within_a_200_has_the_status_of_its_name(name: str, error: Any, status: int):
    problem = FORMATS[name].error(200, {}, json.dumps({"error": error | {"message": "x"}}).encode())
    assert (problem.status, problem.type) == (status, TYPES[status])


# -- reading


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"error": {"message": "no", "code": "c"}}}, ("", "c", "no")),
        ([[{"error": [{"message": "no"}]}]], ("", "", "no")),
        ({"error": "no", "error_type": "overloaded"}, ("overloaded", "", "no")),
        ({"error": True, "message": "no"}, ("", "", "no")),
        ({"detail": {"error": "no"}}, ("", "", "no")),
        ({"detail": {"message": "no"}}, ("", "", "no")),
        ({"errors": [{"message": "no"}, {"message": "nay"}]}, ("", "", "no; nay")),
        ({"error_code": 7, "error_msg": "no"}, ("", "", "no")),
        ({"Message": "no"}, ("", "", "no")),
        ({"title": "Gone", "status": 503}, ("503", "", "Gone")),
        ({"error": {"details": [{"reason": "CONSUMER_SUSPENDED"}], "status": "S"}}, ("S", "CONSUMER_SUSPENDED", "")),
        ({"error": {"details": [{"reason": "OTHER"}], "status": "S"}}, ("S", "", "")),
    ],
)
def test_what_is_told_is_found(body: Any, told: tuple[str, str, str]):
    assert read_problem(json.dumps(body).encode()) == told


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<title>a</title>b", "a"),
        ("<TITLE lang='x'>\n a \n</TITLE>", "a"),
        ("<title>a", "a"),
        ("<p>a</p><style>x</style><b>b</b>", "a b"),
        ("<p>a</p><script>x", "a"),
        ("<5 of them", "<5 of them"),
        ("1 < 2", "1 < 2"),
        ("<<p>a", "a"),
    ],
)
def test_a_page_is_read_without_its_tags(page: str, words: str):
    assert read_problem(page.encode())[2] == words


LONG = 65_536
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "titles": lambda size: b"<title " * (size // 7),
    "blanks in a title": lambda size: b"<title>" + b" " * size,
    "scripts": lambda size: b"<script" * (size // 7),
    "tags": lambda size: b"<" * size,
    "lists": lambda size: b"[" * min(size, 900) + b"]" * min(size, 900),
    "objects": lambda size: b'{"error":' * min(size, 900) + b"1" + b"}" * min(size, 900),
    "lists of words": lambda size: b'{"message":' + b"[" * min(size, 900) + b"]" * min(size, 900) + b"}",
    "a word": lambda size: json.dumps({"error": {"message": "a" * size, "type": "b" * size}}).encode(),
    "numbers": lambda size: json.dumps({"error": {"message": "try again in " + "1 s " * (size // 4)}}).encode(),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", HOSTILE)
def test_no_answer_holds_the_reader_up(name: str, case: str):
    problem = FORMATS[name].error(500, {}, HOSTILE[case](LONG))
    sizes = (LONG // 256, LONG // 16, LONG)
    assert growth(lambda body: FORMATS[name].error(500, {}, body), HOSTILE[case], sizes) < TOO_MUCH
    assert problem.status == 500
    assert 0 < len(problem.message) <= LONGEST_MESSAGE + 100


# -- a format of somebody's own


def own(error: Any) -> Format:
    return Format(request=None, answer=None, stream=None, error=error)  # type: ignore[arg-type]


def test_a_format_that_fails_over_an_error_hides_nothing():
    told = own(lambda *_: {}["x"]).as_claude(Outcome(503, {}, b"no"), "req_1")
    assert (told.status, told.failure) == (503, None)
    assert "KeyError" in json.loads(told.body)["error"]["message"]


@pytest.mark.parametrize("status", [200, 0, 399, 600])
def test_a_format_cannot_make_an_answer_of_an_error(status: int):
    told = own(lambda *_: Problem(status, "api_error", "no")).as_claude(Outcome(401, {}, b"no"), "req_1")
    assert (told.status, json.loads(told.body)["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize("outcome", [Outcome(200), Outcome(None), Outcome(503, failure=Failure.CUT)])
def test_what_is_no_error_answer_is_told_by_nobody(outcome: Outcome):
    assert FORMATS["gemini"].as_claude(outcome, "req_1") is outcome
