"""`usage capsule` and `drill --capsule`: what is written down of a request holds no secret, and replays."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_relay.cli.drill import drill
from claude_relay.cli.drilling.again import replayed
from claude_relay.cli.drilling.replaying import answer_to
from claude_relay.cli.drilling.replaying import settings as settings_of
from claude_relay.cli.spending.packing import packed
from claude_relay.cli.usage import usage
from claude_relay.core.bodies.zstd import zstd
from claude_relay.core.capsules.capsule import Attempt, read
from claude_relay.core.config import parse
from claude_relay.core.exchange import Endpoint, Facts, Outcome
from claude_relay.core.retry.table import TABLE
from claude_relay.core.retry.verdicts import judge
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.bodies import INSERT
from claude_relay.store.ledger.ledger import AttemptRow, RequestRow
from claude_relay.store.ledger.lookups import find
from claude_relay.store.ledger.tables import Tables
from core.redacting.secrets_of_all_shapes import ANY, FORMS, UNMISTAKABLE, survives
from waiting import PATIENCE

MODEL = "claude-opus-4-8"
RELAY_YAML = """
listen: {{base_url: 127.0.0.1:8082, hosts: [anna.firm.test]}}
database: /home/anna/relay.db
providers:
  anthropic:
    base_url: https://me:{0}@upstream.test/v1?key={0}
    keys: [{0}, "${{KEYS}}", "${{OTHERS:-{0}}}"]
    headers: {{x-team: "{0}", user-agent: mine}}
    proxy: http://user:{0}@proxy.test:3128
    auth: {{header: x-mine, prefix: "{0} "}}
    api_keys: {0}
  other: {{preset: openai, keys: ["${{KEYS}}"], options: {{token: "{0}"}}, body: {{note: "{0}"}}}}
proxies: {{office: {{url: "socks5://me:{0}@o.test:1080", ca: /home/anna/ca.pem}}, x: {{url: "${{WAY:-http://u:{0}@h}}"}}}}
upstream: {{ca: /home/anna/ca.pem}}
notices: {{webhook: "https://hooks.test/{0}", secret: {0}, command: [post, "{0}"]}}
routes: [{{match: {{header: {{x-team: "{0}*"}}}}, to: [anthropic, other]}}]
secret: {0}
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    with closing(connect(path, patience=1.0)) as connection:
        migrate(connection)
    return path


def write(
    path: Path, request: RequestRow, *attempts: AttemptRow, bodies: tuple[tuple[int, str, bytes], ...] = ()
) -> None:
    tables = Tables(path, patience=1.0)
    tables.open()
    tables.write([(request, attempts)])
    tables.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for n, kind, body in bodies:
            connection.execute(INSERT, (request.id, n, kind, 1.0, len(body), False, zstd.compress(body)))


def request_row(**more: Any) -> RequestRow:
    usual: dict[str, Any] = {
        "id": "req_relay_1",
        "started_at": 1e9,
        "method": "POST",
        "path": "/v1/messages",
        "finished": "complete",
    }
    return RequestRow(**usual | {"attempts": 1, "requested_model": MODEL, "status": 200} | more)


def attempt_row(n: int, verdict: str, status: int | None = None, **more: Any) -> AttemptRow:
    usual: dict[str, Any] = {"provider": "anthropic", "key": f"k{n}", "started_at": 1e9 + n}
    return AttemptRow(request="req_relay_1", n=n, verdict=verdict, status=status, **usual | more)


def capsule_of(path: Path, text: str = "", environ: dict[str, str] | None = None, *, texts: bool = False) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        return packed(connection, find(connection, "last"), text.encode(), environ or {}, texts=texts)


# -- no secret

UNCHANGED = ("id", "finished", "method", "origin")


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database for many examples."""
    path = tmp_path_factory.mktemp("capsule") / "relay.db"
    with closing(connect(path, patience=1.0)) as connection:
        migrate(connection)
    return path


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(shaped=UNMISTAKABLE, opaque=ANY, form=st.sampled_from(sorted(FORMS)), texts=st.booleans())
def test_no_secret_survives(emptied: Path, shaped: str, opaque: str, form: str, texts: bool) -> None:
    path = emptied
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ("requests", "attempts", "bodies"):
            connection.execute(f"DELETE FROM {table}")
    written = FORMS[form](shaped)
    columns = [
        field.name
        for field in dataclasses.fields(RequestRow)
        if "str" in str(field.type) and field.name not in UNCHANGED
    ]
    body = json.dumps(
        {"model": MODEL, "api_key": opaque, "messages": [{"role": "user", "content": f"{written} and {opaque}"}]}
    ).encode()
    write(
        path,
        request_row(**dict.fromkeys(columns, written[:200])),
        attempt_row(1, "unauthorized", 401, error=f"no such key: {written[:1500]}", model=shaped),
        bodies=(
            (0, "request", body),
            (1, "answer", json.dumps({"error": {"message": f"no {opaque} {written}"}}).encode()),
        ),
    )
    for text in (RELAY_YAML.format(json.dumps(opaque)[1:-1]), f"providers: [{opaque}", ""):
        data = capsule_of(path, text, {"KEYS": f"{shaped},{opaque}", "UNNAMED": "x"}, texts=texts)
        assert not survives(shaped, data)
        assert not survives(opaque, data)
        assert json.loads(data)["capsule"] == 1
        assert b"anna" not in data


def test_what_is_in_it(database: Path) -> None:
    body = json.dumps(
        {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Fix it, please"}]}
    ).encode()
    write(
        database,
        request_row(attempts=2, project="firm", client="anna", notes="tools: left out", route="route 1: anthropic"),
        attempt_row(1, "no_credit", 400, error="Your credit balance is too low, Anna"),
        attempt_row(2, "ok", 200, waited_ms=120.0),
        bodies=((0, "request", body),),
    )
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        values = ("anthropic", "id1", "", 1e9 - 60, 1e9 + 60, 1e9 + 60, 1, 1, 0, "429: retry-after, Anna", 0, 1)
        columns = "provider, key_id, scope, since, until, opens, careful, stated, streak, reason, lifted, changed"
        connection.execute(f"INSERT INTO cooldowns ({columns}) VALUES ({', '.join('?' * 12)})", values)
        over = ("anthropic", "id2", "", 1e9 - 60, 1e9 - 30, 1e9, 1, 1, 0, "", 0, 1)
        connection.execute(f"INSERT INTO cooldowns ({columns}) VALUES ({', '.join('?' * 12)})", over)
    data = capsule_of(database, "providers: {anthropic: {keys: [one-key-of-mine, '${KEYS}'], strategy: priority}}")
    found = json.loads(data)
    assert found["versions"].keys() == {"Claude Relay", "mitmproxy", "Python", "system"}
    assert found["settings"] == {
        "providers": {"anthropic": {"keys": ["redacted-key", "${KEYS}"], "strategy": "priority"}}
    }
    assert [(one["verdict"], one.get("said"), one["waited_ms"]) for one in found["attempts"]] == [
        ("no_credit", ["credit balance is too low"], None),
        ("ok", None, 120.0),
    ]
    assert found["request"]["project"] is True
    assert found["request"]["notes"] == "tools: left out"
    assert [(one["since_s"], one["until_s"]) for one in found["cooldowns"]] == [(-60.0, 60.0)]
    assert found["bodies"][0]["json"]["messages"] == [{"role": "user", "content": "text text text t"}]
    assert b"Anna" not in data
    assert b"firm" not in data
    kept = json.loads(capsule_of(database, texts=True))
    assert kept["attempts"][0]["error"] == "Your credit balance is too low, Anna"
    assert kept["bodies"][0]["json"]["messages"][0]["content"] == "Fix it, please"


def test_the_command(database: Path, tmp_path: Path) -> None:
    write(database, request_row(), attempt_row(1, "ok", 200))
    file = tmp_path / "a.json"
    arguments = ["capsule", "last", "--database", str(database), "-o", str(file)]
    ran = CliRunner().invoke(usage, arguments)
    assert (ran.exit_code, "No texts are in it" in ran.output) == (0, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read(file.read_bytes()).request.id == "req_relay_1"
    assert "is there already" in CliRunner().invoke(usage, arguments).output
    assert "No request" in CliRunner().invoke(usage, ["capsule", "req_relay_9", "--database", str(database)]).output


# -- replayed


CASES = [
    *(
        (verdict, status)
        for verdict, status in {
            "unauthorized": 401,
            "no_credit": 400,
            "key_disabled": 403,
            "model_denied": 404,
            "forbidden": 403,
            "blocked": 403,
            "window_exhausted": 429,
            "quota_exhausted": 429,
            "family_limited": 429,
            "rate_limited": 429,
            "unexplained_429": 429,
            "overloaded": 529,
            "upstream_error": 503,
            "bad_request": 400,
            "signature": 400,
        }.items()
    ),
    ("no_credit", 402),
    ("no_credit", 429),
    ("overloaded", 429),
    ("overloaded", 503),
    ("model_denied", 403),
    ("unauthorized", 403),
]


@pytest.mark.parametrize(("verdict", "status"), CASES)
def test_an_answer_is_made_that_has_the_verdict(verdict: str, status: int) -> None:
    """Also where nothing of the words is known."""
    answer = answer_to(Attempt(1, "anthropic", verdict, status=status), stream=False, model=MODEL)
    outcome = Outcome(
        status, headers={name.lower(): value for name, value in answer.headers.items()}, body=b"".join(answer.pieces)
    )
    assert judge(outcome, Facts(Endpoint.MESSAGES, MODEL), now=time.time()).name == verdict


def test_every_verdict_is_thought_of() -> None:
    failures = {"broken", "timeout", "empty", "garbage", "unreachable", "proxy_failed"}
    assert {meaning.name for meaning in TABLE.verdicts} == {verdict for verdict, _ in CASES} | failures | {
        "ok",
        "unsuited",
        "endpoint",
        "oversized",
        "token_refused",  # a replay has no accounts: there it is `unauthorized`
    }


def test_a_capsule_replays(database: Path, tmp_path: Path) -> None:
    """With two providers, errors of all sorts, and an answer that breaks off."""
    write(
        database,
        request_row(
            attempts=6, stream=True, finished="upstream_closed", route="route 2 (model claude-*): anthropic, other"
        ),
        attempt_row(1, "unauthorized", 401, error="invalid x-api-key"),
        attempt_row(2, "no_credit", 400, error="Your credit balance is too low to access"),
        attempt_row(3, "broken", None, error="reset"),
        attempt_row(4, "unreachable", None, provider="other"),
        attempt_row(5, "overloaded", 529, provider="other"),
        attempt_row(6, "ok", 200, provider="other"),
    )
    text = "providers: {anthropic: {keys: [a-key-of-mine]}, other: {preset: openai, keys: [b-key-of-mine]}}\n"
    text += "routes: [{match: {model: x}, to: [other]}, {match: {model: claude-*}, to: [anthropic, other]}]"
    data = capsule_of(database, text)
    capsule = read(data)
    parse(json.dumps(settings_of(capsule, "http://127.0.0.1:9")), environ={})
    outcome = replayed(capsule, timeout=PATIENCE)
    steps = [(step.before, step.now) for step in outcome.steps]
    assert steps[:2] == [("401 unauthorized", "401 unauthorized"), ("400 no_credit", "400 no_credit")]
    assert outcome.notes == ("asked in Claude's own form here: other",)


def test_a_replay_says_what_differs(database: Path, tmp_path: Path) -> None:
    write(database, request_row(), attempt_row(1, "unauthorized", 401), attempt_row(2, "ok", 200))
    file = tmp_path / "a.json"
    file.write_bytes(capsule_of(database))
    ran = CliRunner().invoke(drill, ["--capsule", str(file)])
    assert (ran.exit_code, "The same came of it." in ran.output) == (0, True), ran.output
    found = json.loads(file.read_bytes())
    found["attempts"][0] |= {"verdict": "window_exhausted", "status": 503}  # which no relay would say
    file.write_text(json.dumps(found))
    ran = CliRunner().invoke(drill, ["--capsule", str(file), "--json"])
    assert ran.exit_code == 1
    assert json.loads(ran.output)["alike"] is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "no capsule"),
        ("[", "no capsule"),
        (
            '{"capsule": 99, "request": {"id": "r", "method": "POST", "path": "/", "finished": "complete"}, "attempts": []}',
            "update",
        ),
        (
            '{"capsule": 1, "request": {"id": "r", "method": "POST", "path": "/", "finished": "complete"}, "attempts": []}',
            "nothing to replay",
        ),
    ],
)
def test_what_is_no_capsule_is_said(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    ran = CliRunner().invoke(drill, ["--capsule", str(file)])
    assert (ran.exit_code, why in ran.output) == (1, True), ran.output
