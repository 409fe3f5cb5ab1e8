"""200 mixed requests, some aborted, discarded, cached, translated, refused: the ledger is what the upstream billed, to the token.

The upstream's side of the books is kept here, case by case, from the numbers that its answers name; nothing of the relay's is asked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from . import claude, foreign, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import config, provider, rows
from .upstream import FakeUpstream, Signal, Step

COLUMNS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
Bill = tuple[int, int, int, int, int]
"""Of one answer, by COLUMNS."""
REQUESTS = 200
BEGUN = 1
"""Output tokens that the first event of a stream tells."""
PASSED = 3
"""Those of the words that have passed when a stream breaks off: two, and a sixth more for Claude."""


def usage(bill: Bill) -> dict[str, object]:
    fresh, out, read, short, long = bill
    split = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    return {
        "input_tokens": fresh,
        "output_tokens": out,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": split,
    }


def begun(bill: Bill, output: int = BEGUN) -> Bill:
    """What a stream has told before its content; `output`: what is known of it."""
    return (bill[0], output, *bill[2:])


def whole(bill: Bill) -> list[bytes]:
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": bill[1]}}
    return [*start(bill), claude.BLOCK_STOP, claude.event("message_delta", end), claude.STOP]


def start(bill: Bill) -> list[bytes]:
    return [claude.start(usage=usage(bill)), claude.BLOCK_START, claude.delta("words ")]


def chat(bill: Bill) -> dict[str, object]:
    fresh, out, read, *_ = bill
    return {"prompt_tokens": fresh + read, "completion_tokens": out, "prompt_tokens_details": {"cached_tokens": read}}


def good(bill: Bill, stream: bool) -> Step:
    return steps.stream(whole(bill)) if stream else steps.message(usage=usage(bill))


class Books:
    """What the upstream has billed, and what the next request meets there."""

    def __init__(self, seed: int, claudes: FakeUpstream, other: FakeUpstream) -> None:
        self.dice = random.Random(seed)
        self.claudes, self.other = claudes, other
        self.billed: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def bill(self, *, plain: bool = False) -> Bill:
        fresh, out, read, short, long = (self.dice.randrange(1, 5000) for _ in COLUMNS)
        return (fresh, out, read, 0, 0) if plain else (fresh, out, read, short, long)

    def add(self, bill: Bill) -> None:
        self.billed.update(dict(zip(COLUMNS, bill, strict=True)))

    def well(self, client: RawClient) -> None:
        """A good answer, whole or streamed."""
        bill, stream = self.bill(), self.dice.random() < 0.5
        self.claudes.script(good(bill, stream))
        self.add(bill)
        assert client.ask("POST", "/v1/messages", body=messages_body(stream=stream)).status == 200

    def packed(self, client: RawClient) -> None:
        """A compressed one."""
        bill = self.bill()
        self.claudes.script(steps.message(usage=usage(bill), encoding=self.dice.choice(["gzip", "br", "zstd"])))
        self.add(bill)
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200

    def refused(self, client: RawClient) -> None:
        """An error that bills nothing, then a good answer."""
        bill = self.bill()
        self.claudes.script(steps.status(529, "overloaded_error", "Overloaded"), good(bill, False))
        self.add(bill)
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200

    def discarded(self, client: RawClient) -> None:
        """A stream that fails before its content has billed its input; the client never sees it."""
        lost, bill = self.bill(), self.bill()
        failing = [claude.start(usage=usage(lost)), claude.error_event("overloaded_error", "Overloaded")]
        self.claudes.script(steps.stream(failing), good(bill, True))
        self.add(begun(lost))
        self.add(bill)
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
        assert (answer.status, answer.header("x-relay-attempts")) == (200, "2")

    def broken(self, client: RawClient) -> None:
        """The upstream breaks off after content."""
        bill = self.bill()
        self.claudes.script(steps.stream([*start(bill), steps.cut]))
        self.add(begun(bill, PASSED))
        assert b"event: error" in client.ask("POST", "/v1/messages", body=messages_body(stream=True)).body

    def left(self, client: RawClient) -> None:
        """The client leaves in the middle."""
        bill, never = self.bill(), Signal("never")
        self.claudes.script(steps.stream([*start(bill), never]))
        self.add(begun(bill, PASSED))
        client.post(stream=True)
        client.head()
        client.until(b"words ")
        client.close()

    def translated(self, client: RawClient) -> None:
        """Another format, whole."""
        bill = self.bill(plain=True)
        choice = {"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}
        self.other.script(foreign.json_answer({"model": "gpt-5.1", "choices": [choice], "usage": chat(bill)}))
        self.add(bill)
        assert client.ask("POST", "/v1/messages", body=messages_body(model="claude-haiku-5")).status == 200

    def translated_stream(self, client: RawClient) -> None:
        """Another format, streamed, with a call of a tool, after a try that failed."""
        bill = self.bill(plain=True)
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        parts = [
            foreign.chat_chunk({"content": "words"}),
            foreign.chat_chunk({"tool_calls": [call]}, "tool_calls"),
            foreign.data({"choices": [], "usage": chat(bill)}),
            foreign.DONE,
        ]
        self.other.script(foreign.openai_error(500, "server_error", "no"), foreign.events(parts))
        self.add(bill)
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True, model="claude-haiku-5"))
        assert (answer.status, b'"tool_use"' in answer.body) == (200, True)

    def counted(self, client: RawClient) -> None:
        """Counting tokens uses none."""
        assert client.ask("POST", "/v1/messages/count_tokens", body=messages_body()).status == 200

    CASES: tuple[Callable[[Books, RawClient], None], ...] = (
        well, packed, refused, discarded, broken, left, translated, translated_stream, counted
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1])
def test_the_ledger_is_what_the_upstream_billed(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, seed: int
) -> None:
    other = stack.enter_context(FakeUpstream())
    both = {
        "anthropic": provider(upstream.url, ["sk-ant-pool-1", "sk-ant-pool-2"]),
        "openai": provider(other.url, ["sk-other"], format="openai-chat", auth="bearer", models={"*": "gpt-5.1"}),
    }
    routes = [{"match": {"model": "claude-haiku-*"}, "to": ["openai"]}, {"to": ["anthropic"]}]
    retry = {"attempts": 5, "max_wait": "0s", "first_byte": "5s", "idle": "5s"}
    relay = start(config(providers=both, routes=routes, retry=retry))
    books = Books(seed, upstream, other)
    client = RawClient(relay.base_port)
    for _ in range(REQUESTS):
        case = books.dice.choice(Books.CASES)
        books.met[case.__name__] += 1
        case(books, client)
        if case in (Books.left, Books.broken):
            client.close()
            client = RawClient(relay.base_port)
    client.close()
    relay.wait_until_clients_left()
    assert set(books.met) == {case.__name__ for case in Books.CASES}
    requests, attempts = rows(relay.database), rows(relay.database, "attempts")
    assert len(requests) == REQUESTS
    estimated = sum(row["estimated"] for row in requests)
    assert estimated == books.met["broken"] + books.met["left"]
    for table in (requests, attempts):
        found = {name: sum(row[name] or 0 for row in table) for name in COLUMNS}
        assert found == {name: books.billed[name] for name in COLUMNS}
    for row in requests:
        own = [attempt for attempt in attempts if attempt["request"] == row["id"]]
        assert len(own) == row["attempts"]
        for name in COLUMNS:
            known = [attempt[name] for attempt in own if attempt[name] is not None]
            assert row[name] == (sum(known) if known else None)
