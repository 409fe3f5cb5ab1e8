"""`scripts/duel`: recorded requests at two made-up Claudes, through a relay that runs and through one of its own."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.duel import duel
from claude_relay.cli.fake import messages, server
from claude_relay.cli.fake.answers import Answer, failure, streamed, whole
from claude_relay.core.recordings.recorded import Recorded
from waiting import eventually
from wire.relay import RelayProcess, free_ports, make_confdir

ROOT = Path(__file__).parents[2]
START = [sys.executable, str(ROOT / "scripts" / "lib" / "run.py"), "relay"]
SECRETS = ("sk-ant-api03-recorded-secret", "cookie-secret", "company-secret")
TEXT = "Let me look at the weather for you."


@dataclass
class Claude:
    """Says and calls what it is told to, whole or streamed; remembers what it was asked."""

    text: str = TEXT
    arguments: Any = field(default_factory=lambda: {"city": "Oslo", "days": 3})
    fails: bool = False
    heads: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, head: bytes, body: bytes) -> Answer:
        self.heads.append(head.decode("latin-1"))
        self.bodies.append(request := json.loads(body))
        if self.fails:
            return failure(400, "invalid_request_error", "messages: too many")
        if "count_tokens" in self.heads[-1].partition("\r\n")[0]:
            return whole({"input_tokens": 7})
        content: list[Any] = [{"type": "text", "text": self.text}]
        if request.get("tools"):
            content.append({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": self.arguments})
        stop = "tool_use" if request.get("tools") else "end_turn"
        said = messages.message(model=request["model"], content=content, stop_reason=stop)
        return streamed(messages.streamed(said)) if request.get("stream") else whole(said)


class Connection(server.Connection):
    def __init__(self, opened: set[server.Open], claude: Claude) -> None:
        super().__init__(opened)
        self.claude = claude

    def request_received(self, head: bytes, body: bytes) -> None:
        self.say(self.claude.reply(head, body))


@dataclass
class Stage:
    """Two Claudes behind one configuration. `first`, `other`: the providers of these names."""

    folder: Path
    first: Claude
    other: Claude
    text: dict[str, Any]
    environ: dict[str, str]

    def run(self, *words: str) -> Result:
        return CliRunner(env=self.environ).invoke(duel, list(words))

    def rows(self) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "relay.db")) as connection:
            return connection.execute(
                "SELECT provider, requested_model, origin FROM requests ORDER BY started_at"
            ).fetchall()


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_confdir(tmp_path_factory.mktemp("home") / ".mitmproxy" / "claude-relay")


@contextmanager
def staged(folder: Path, confdir: Path) -> Iterator[Stage]:
    first, other = Claude(), Claude()
    with (
        server.Serving(lambda opened: Connection(opened, first)) as one,
        server.Serving(lambda opened: Connection(opened, other)) as two,
    ):
        text = {
            "database": "relay.db",
            "providers": {
                "first": {"format": "anthropic", "base_url": one.url, "keys": ["sk-first-secret"]},
                "other": {"format": "anthropic", "base_url": two.url, "keys": ["sk-other-secret"]},
            },
            "prices": [{"model": "*", "input": 3, "output": 15}],
            "ledger": {"bodies": {"keep": "1d"}},
        }
        environ = {"RELAY_CONFIG": str(folder / "relay.yaml"), "HOME": str(confdir.parents[1]), "COLUMNS": "80"}
        yield Stage(folder, first, other, text, environ)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Stage]:
    """With a relay that runs."""
    with (
        staged(tmp_path_factory.mktemp("running"), confdir) as stage,
        RelayProcess(stage.folder, confdir, stage.text, command=START),
    ):
        yield stage


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The same for each test, but for what the Claudes say and have seen."""
    running.first.__init__()  # type: ignore[misc]
    running.other.__init__()  # type: ignore[misc]
    return running


@pytest.fixture
def alone(tmp_path: Path, confdir: Path) -> Iterator[Stage]:
    """Without a relay."""
    with staged(tmp_path, confdir) as stage:
        yield stage


def har(path: Path, *requests: dict[str, Any], url: str = "https://api.anthropic.com/v1/messages") -> str:
    """With what allowed the requests."""
    head = dict(zip(("x-api-key", "Cookie", "X-Company"), SECRETS, strict=True)) | {"anthropic-beta": "one"}
    fields = [{"name": name, "value": value} for name, value in head.items()]
    entries = [
        {"request": {"method": "POST", "url": url, "headers": fields, "postData": {"text": json.dumps(request)}}}
        for request in requests
    ]
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return str(path)


def request(**more: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Weather?"}]} | more


TOOLS = [{"name": "get_weather", "input_schema": {"type": "object"}}]
TO = ("--to", "first", "--to", "other")


def test_who_do_the_same_are_alike(stage: Stage) -> None:
    file = har(stage.folder / "a.har", request(tools=TOOLS), request(stream=True))
    stage.other.arguments, stage.other.text = {"days": 3.0, "city": "Oslo"}, "Let me look it up."
    result = stage.run(file, *TO, "--times", "2")
    assert result.exit_code == 0, result.output
    assert "other did as first did, by status, stop reason, tool calls." in result.output
    assert "other: other text\n     - Let me look at the weather for you.\n     + Let me look it up.\n" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert stage.rows()[-8:] == [(name, "claude-sonnet-5", "duel") for name in ["first", "other"] * 4]
    assert "4 of 4" in result.output
    assert not [secret for secret in SECRETS if secret in result.output + str(stage.first.heads + stage.other.heads)]
    assert all("anthropic-beta: one" in head and "sk-first-secret" in head for head in stage.first.heads)


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
def test_other_arguments_of_a_tool(stage: Stage, streamed: bool) -> None:
    file = har(stage.folder / "a.har", request(tools=TOOLS, stream=streamed))
    stage.other.arguments = {"city": "Bergen", "days": 3}
    result = stage.run(file, "--to", "first", "--to", "other/claude-opus-5")
    assert result.exit_code == 1, result.output
    assert '- get_weather({"city":"Oslo","days":3})\n     + get_weather({"city":"Bergen","days":3})' in result.output
    assert "1 of 1 requests went otherwise than at first" in result.output
    assert [body["model"] for body in stage.first.bodies + stage.other.bodies] == ["claude-sonnet-5", "claude-opus-5"]
    assert stage.run(file, *TO, "--fail-on", "status").exit_code == 0
    assert "other text" not in stage.run(file, *TO, "--no-texts").output


def test_everything_as_json(stage: Stage) -> None:
    stage.other.fails = True
    result = stage.run(har(stage.folder / "a.har", request()), *TO, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    (one,) = found["requests"]
    good, bad = one["answers"]["first"][0], one["answers"]["other"][0]
    assert (good["status"], good["text"], good["provider"], good["key"]) == (200, TEXT, "first", "k1")
    assert (good["output_tokens"], good["attempts"]) == (15, 1)
    assert good["cost_usd"] > 0
    assert good["ttft_ms"] is not None
    assert (bad["status"], bad["error"], bad["message"]) == (400, "invalid_request_error", "messages: too many")
    assert {difference["aspect"] for difference in one["differences"]} == {"status", "stop", "text"}


def test_counted_tokens(stage: Stage) -> None:
    url = "https://api.anthropic.com/v1/messages/count_tokens"
    result = stage.run(har(stage.folder / "a.har", request(), url=url), *TO, "--fail-on", "count")
    assert result.exit_code == 0, result.output
    assert "7→—" in result.output


def test_a_request_of_the_ledger(stage: Stage) -> None:
    recorded = Recorded.of("one", "POST", "/v1/messages", (), json.dumps(request()).encode())
    stage.run(har(stage.folder / "a.har", request()), *TO)
    bodies = "SELECT count(*) FROM bodies WHERE request = ? AND n = 0 AND kind = 'request'"
    with closing(sqlite3.connect(stage.folder / "relay.db")) as connection:
        (id,) = connection.execute("SELECT id FROM requests ORDER BY started_at DESC LIMIT 1").fetchone()
        eventually(lambda: connection.execute(bodies, [id]).fetchone()[0])
        result = stage.run(id, *TO)
        assert result.exit_code == 0, result.output
        assert f"1  {id} · claude-sonnet-5" in result.output
        assert stage.first.bodies[1] == recorded.document
        with connection:
            connection.execute("UPDATE bodies SET truncated = 1, bytes = 999999")
        assert "of 999,999 bytes" in stage.run(id, *TO).output
        with connection:
            connection.execute("DELETE FROM bodies")
    assert "No request" in stage.run("req_relay_ff", *TO).output
    assert "ledger: {bodies: {keep: 7d}}" in stage.run(id, *TO).output


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ((), 2, "which requests?"),
        (("a.har", "--to", "first"), 2, "takes two targets"),
        (("a.har", "--to", "first", "--to", "first"), 2, "takes two targets"),
        (("a.har", "--to", "first", "--to", "nobody/m"), 2, "there are: first, other"),
        (("b.har", *TO), 1, "no file, and no request's id"),
        (("bad.har", *TO), 1, "no HTTP archive"),
        (("a.har", *TO, "--fail-on", "cost"), 2, "'cost'"),
    ],
)
def test_what_cannot_be_done(stage: Stage, words: Sequence[str], status: int, why: str) -> None:
    har(stage.folder / "a.har", request())
    (stage.folder / "bad.har").write_text("{}")
    named = [str(stage.folder / word) if word in ("a.har", "bad.har") else word for word in words]
    result = stage.run(*named)
    assert result.exit_code == status, result.output
    assert why in result.output
    assert stage.first.bodies == []


# -- without a relay


def configured(alone: Stage, **listen: Any) -> None:
    proxy, base = free_ports(2)
    places = {"proxy": f"127.0.0.1:{proxy}", "base_url": f"127.0.0.1:{base}", "panel": None, "status": None} | listen
    (alone.folder / "relay.yaml").write_text(json.dumps(alone.text | {"listen": places}))


def test_it_starts_a_relay_and_ends_it(alone: Stage) -> None:
    configured(alone)
    result = alone.run(har(alone.folder / "a.har", request()), *TO)
    assert result.exit_code == 0, result.output
    assert [row[0] for row in alone.rows()] == ["first", "other"]
    with closing(sqlite3.connect(alone.folder / "relay.db")) as connection:
        assert connection.execute("SELECT count(*) FROM relays").fetchone() == (0,)


def test_a_relay_that_does_not_start_says_why(alone: Stage) -> None:
    alone.text["providers"]["first"]["colour"] = "red"
    configured(alone)
    result = alone.run(har(alone.folder / "a.har", request()), *TO)
    assert result.exit_code == 2
    assert "colour" in result.output


def test_without_a_base_url(alone: Stage) -> None:
    configured(alone, base_url=None)
    result = alone.run(har(alone.folder / "a.har", request()), *TO)
    assert result.exit_code == 1
    assert "listen.base_url" in result.output
