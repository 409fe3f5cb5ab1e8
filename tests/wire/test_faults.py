"""Faults that are made on purpose: for the relay they are an upstream's, and nothing of them stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.faults import KINDS, error_event
from waiting import BRIEF

from . import claude, foreign, steps
from .certs import Authority
from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, provider, rows
from .upstream import FakeUpstream

KEYS = ["sk-ant-api03-fault-1", "sk-ant-api03-fault-2"]
QUICK = {"attempts": 4, "max_wait": "20ms", "first_byte": BRIEF, "whole": BRIEF, "idle": BRIEF}
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pyparsing, which mitmproxy calls
STREAM = b"".join(claude.events())
UNSENT = [name for name, kind in KINDS.items() if not kind.dispatched]


class Stage:
    """One relay for all faults: the first attempt of a request for the model `on-<fault>` meets it."""

    def __init__(self, relay: Relay, upstream: FakeUpstream) -> None:
        self.relay, self.upstream = relay, upstream

    def ask(self, client: Any, kind: str, *, stream: bool = True) -> Answer:
        self.upstream.requests.clear()
        self.upstream.default = steps.stream() if stream else steps.message()
        answer = client.ask("POST", "/v1/messages", body=messages_body(model=f"on-{kind}", stream=stream))
        assert isinstance(answer, Answer)
        return answer

    def row(self, answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Of the latest request, with its attempts."""
        request = rows(self.relay.database)[-1]
        assert request["attempts"] == int(answer.header("x-relay-attempts") or 0)
        return request, [row for row in rows(self.relay.database, "attempts") if row["request"] == request["id"]]

    def remembered(self) -> object:
        """All that is known of keys and sessions, but for the requests that were really sent."""

        def look() -> object:
            runtime = self.relay.master.addons.get("claude_relay").runtime
            pool = runtime.pools["anthropic"]
            marks = (
                pool.cooldowns.snapshot(),
                dict(pool.load._eased),
                dict(pool.load.ramping),
                dict(pool._outliers._failed),
            )
            return marks, +pool.load._busy, dict(pool._headroom._under_way), runtime.sessions.snapshot()

        return self.relay.on_loop(look)


@pytest.fixture(scope="class")
def stage(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Stage]:
    rules = [{"fault": kind, "match": {"model": f"on-{kind}"}, "attempt": 1} for kind in KINDS]
    rules.append({"fault": "silence", "match": {"model": "on-late"}, "attempt": 1, "lasts": "50ms"})
    rules.append({"fault": "stall", "match": {"model": "on-pause"}, "attempt": 1, "lasts": "50ms"})
    folder = tmp_path_factory.mktemp("faults")
    with (
        FakeUpstream() as upstream,
        Relay(folder, confdir, config(upstream.url, KEYS, retry=QUICK, faults=rules)) as relay,
    ):
        yield Stage(relay, upstream)


class TestFaults:
    @pytest.mark.parametrize("kind", UNSENT)
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_the_next_attempt_is_good_and_nothing_stays(
        self, stage: Stage, dial: Dial, kind: str, stream: bool
    ) -> None:
        before = stage.remembered()
        answer = stage.ask(dial(stage.relay), kind, stream=stream)
        assert (answer.status, answer.complete) == (200, True)
        assert len(stage.upstream.requests) == 1, "nothing leaves for the attempt that fails"
        request, (failed, good) = stage.row(answer)
        assert (request["origin"], request["notes"]) == ("fault", f"fault on attempt 1: {kind}")
        assert answer.header("x-relay-notes") == request["notes"]
        assert failed["error"].startswith(f"fault: {kind}")
        assert failed["verdict"] not in ("", "ok")
        assert failed["status"] == (int(kind) if kind.isdigit() else None)
        assert failed["cost_usd"] is None or failed["cost_usd"] == 0
        assert (good["verdict"], good["error"]) == ("ok", None)
        assert stage.remembered() == before

    @pytest.mark.parametrize("kind", ["stall", "cut", "corrupt"])
    def test_what_happens_within_an_answer_that_is_no_stream(self, stage: Stage, dial: Dial, kind: str) -> None:
        before = stage.remembered()
        answer = stage.ask(dial(stage.relay), kind, stream=False)
        assert (answer.status, len(stage.upstream.requests)) == (200, 2)
        request, attempts = stage.row(answer)
        assert (request["origin"], len(attempts)) == ("fault", 2)
        assert attempts[0]["error"].startswith(f"fault: {kind}; ")
        assert answer.json()["type"] == "message"
        assert stage.remembered() == before

    @pytest.mark.parametrize("kind", ["cut", "stall"])
    def test_a_stream_that_has_begun_breaks_off(self, stage: Stage, dial: Dial, kind: str) -> None:
        before = stage.remembered()
        answer = stage.ask(dial(stage.relay), kind)
        start = b"".join(claude.events()[:4])
        assert answer.body.startswith(start)
        assert answer.body[len(start) :].startswith(b"event: error\n"), answer.body
        request, (attempt,) = stage.row(answer)
        assert (request["finished"], request["origin"], attempt["verdict"]) == ("upstream_closed", "fault", "broken")
        assert attempt["error"].startswith(f"fault: {kind}; ")
        assert stage.remembered() == before

    def test_an_error_event_ends_a_stream(self, stage: Stage, dial: Dial) -> None:
        answer = stage.ask(dial(stage.relay), "error_event")
        request, (attempt,) = stage.row(answer)
        expected = b"".join(claude.events()[:4]) + error_event(
            "anthropic", f"{request['id'].replace('relay', 'fault')}_1"
        )
        assert (answer.status, answer.body) == (200, expected)
        assert (request["finished"], request["error_type"], request["origin"]) == ("error", "overloaded_error", "fault")
        assert attempt["error"] == "fault: error_event; overloaded_error"

    @pytest.mark.parametrize("kind", ["split", "slow", "late", "pause"])
    def test_an_answer_that_only_takes_its_time_is_whole(self, stage: Stage, dial: Dial, kind: str) -> None:
        before = stage.remembered()
        answer = stage.ask(dial(stage.relay), kind)
        assert (answer.status, answer.body, answer.complete) == (200, STREAM, True)
        request, (attempt,) = stage.row(answer)
        assert (request["finished"], request["origin"], attempt["verdict"]) == ("complete", "fault", "ok")
        assert attempt["error"].startswith("fault: ")
        assert stage.remembered() == before

    def test_bytes_are_others(self, stage: Stage, dial: Dial) -> None:
        answer = stage.ask(dial(stage.relay), "corrupt")
        assert answer.status == 200
        assert len(answer.body) == len(STREAM)
        wrong = [at for at, (came, sent) in enumerate(zip(answer.body, STREAM, strict=True)) if came != sent]
        assert len(wrong) == 8
        assert wrong[0] > STREAM.index(b"content_block_delta")

    def test_other_requests_go_as_ever(self, stage: Stage) -> None:
        with RawClient(stage.relay.base_port) as client:
            answer = stage.ask(client, "nothing")
        assert (answer.body, answer.header("x-relay-notes")) == (STREAM, None)
        assert rows(stage.relay.database)[-1]["origin"] == "client"


def test_a_request_that_only_meets_faults_fails_as_it_would(
    start: StartRelay, base_client: Callable[[Relay], RawClient]
) -> None:
    """The client hears of keys at their limit; nobody else does."""
    relay = start(keys=KEYS, retry=QUICK, faults=[{"fault": 429, "lasts": "7s", "match": {"model": "opus"}}])
    client = base_client(relay)
    answer = client.ask("POST", "/v1/messages", body=messages_body(model="opus"))
    assert (answer.status, answer.error_type, answer.header("retry-after")) == (429, "rate_limit_error", "7")
    assert int(answer.header("x-relay-attempts") or 0) == 2
    assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200


def test_a_session_stays_on_its_key(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    rules = [{"fault": 401, "match": {"model": "opus"}, "attempt": 1}, {"fault": "split", "match": {"model": "haiku"}}]
    relay = start(keys=KEYS, faults=rules)
    client = base_client(relay)

    def ask(model: str) -> str:
        headers = [("x-claude-code-session-id", "s-1")]
        assert client.ask("POST", "/v1/messages", body=messages_body(model=model), headers=headers).status == 200
        return upstream.requests[-1].key

    def bound() -> Any:
        return relay.on_loop(relay.master.addons.get("claude_relay").runtime.sessions.snapshot)

    first = ask("sonnet")
    before = bound()
    assert before
    assert ask("opus") != first
    assert ask("haiku") == first
    assert bound() == before
    assert ask("sonnet") == first
    assert bound() != before


@pytest.mark.parametrize("kind", ["cut", "stall", "error_event", "split", "slow", "reset", "529"])
def test_an_upstream_that_speaks_http_2(
    start: StartRelay, authority: Authority, h2_client: Callable[..., H2Client], kind: str
) -> None:
    """Its connection is used on, unless it seemed to have fallen silent."""
    with FakeUpstream(authority.server_context(alpn=("h2",))) as upstream:
        upstream.default = steps.stream()
        rules = [{"fault": kind, "match": {"model": "opus"}, "attempt": 1}]
        relay = start(config(upstream.url, KEYS, retry=QUICK, faults=rules))
        client = h2_client(relay)
        bodies = [messages_body(stream=True, model=model) for model in ("sonnet", "opus", "sonnet")]
        answers = [client.ask("POST", "/v1/messages", body=body) for body in bodies]
        assert {request.version[0] for request in upstream.requests} == {"2"}
        if kind != "stall":  # after which it depends on what had come before whether the connection counts as silent
            assert upstream.requests[0].connection == upstream.requests[-1].connection
    assert [answers[0].body, answers[2].body] == [STREAM, STREAM]
    broken = kind in ("cut", "stall", "error_event")
    assert (b"event: error\n" in answers[1].body) is broken
    assert broken or answers[1].body == STREAM


@pytest.mark.parametrize("kind", ["cut", "error_event"])
def test_the_rest_of_an_answer_is_not_waited_for(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient], kind: str
) -> None:
    relay = start(keys=KEYS, faults=[{"fault": kind}])
    upstream.script(steps.stream([*claude.events()[:5], steps.stall]))
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert b"event: error\n" in answer.body
    upstream.requests[0].gone.wait()


def test_providers_of_other_formats_say_it_in_their_words(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    providers = {"theirs": provider(f"{upstream.url}/v1", KEYS, format="openai-chat")}
    rules = [
        {"fault": kind, "match": {"model": f"on-{kind}"}, "attempt": 1} for kind in ("401", "429", "529", "error_event")
    ]
    relay = start(config(providers=providers, retry=QUICK, faults=rules))
    client = base_client(relay)
    for kind, verdict in {"401": "unauthorized", "429": "rate_limited", "529": "overloaded"}.items():
        upstream.script(foreign.chat())
        answer = client.ask("POST", "/v1/messages", body=messages_body(model=f"on-{kind}"))
        assert (answer.status, answer.json()["type"]) == (200, "message")
        assert [row["verdict"] for row in rows(relay.database, "attempts")][-2:] == [verdict, "ok"]
    said = [foreign.CHAT_START, *[foreign.chat_chunk({"content": "word "})] * 4, foreign.CHAT_USAGE, foreign.DONE]
    upstream.script(foreign.chat_stream(*said[1:5]))
    answer = client.ask("POST", "/v1/messages", body=messages_body(model="on-error_event", stream=True))
    assert b"event: error\n" in answer.body
    assert rows(relay.database)[-1]["finished"] == "error"


def test_faults_come_and_go_while_the_relay_runs(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    relay = start(keys=KEYS)
    client = base_client(relay)

    def tries() -> int:
        return int(client.ask("POST", "/v1/messages", body=messages_body()).header("x-relay-attempts") or 0)

    assert tries() == 1
    relay.on_loop(lambda: relay.master.commands.execute("relay.fault add 401 attempt=1 count=1"))
    assert (tries(), tries()) == (2, 1)
    relay.on_loop(lambda: relay.master.commands.execute("relay.fault clear"))
    relay.write_config(config(upstream.url, KEYS, faults=[{"fault": 529, "attempt": 1}]))
    relay.wait_for_log("FAULTS ARE ON: requests fail on purpose (529)")
    assert tries() == 2
    relay.write_config(config(upstream.url, KEYS))
    relay.wait_for_log("faults are off", count=2)
    assert tries() == 1


def test_no_notice_is_sent_of_a_fault(
    start: StartRelay, upstream: FakeUpstream, tmp_path: Path, base_client: Callable[[Relay], RawClient]
) -> None:
    """One of a key that is really refused comes after what would have been those of the fault."""
    told = tmp_path / "told"
    os.mkfifo(told)
    command = ["sh", "-c", f"cat > {told}"]
    rules = [{"fault": 401, "match": {"model": "opus"}}]
    relay = start(keys=["good-1", "bad-1"], retry=QUICK, faults=rules, notices={"command": command})
    upstream.for_key("bad-1", steps.status(401, "authentication_error", "invalid x-api-key"))
    client = base_client(relay)
    assert client.ask("POST", "/v1/messages", body=messages_body(model="opus")).status >= 400
    assert [client.ask("POST", "/v1/messages", body=messages_body()).status for _ in KEYS] == [200, 200]
    assert [row["origin"] for row in rows(relay.database)] == ["fault", "client", "client"]
    assert "anthropic/k2" in told.read_text()
