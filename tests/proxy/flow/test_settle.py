"""300 transcripts of every kind, metered, priced and written down as the relay does it: the ledger is what was billed, to the cent.

The other side of the books is kept here, from the numbers that the transcripts name and the prices that are published; nothing of the
relay's is asked, but for OpenAI's vocabulary, by which the output of what was cut is counted here as there.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow
from splintr import Tokenizer

from claude_relay.core.accounting.pricing import Prices
from claude_relay.core.config import parse
from claude_relay.core.exchange import Attempt, Endpoint, Facts
from claude_relay.core.formats.base import Sent
from claude_relay.proxy.flow.parts import Parts
from claude_relay.proxy.flow.settle import Bookkeeper
from claude_relay.proxy.provider.adapting import Translated
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.inspection import View
from claude_relay.store.db.database import read_only
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.reports import summarise
from claude_relay.store.ledger.reprice import reprice

TRANSCRIPTS = 300
COLUMNS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "server_tool_requests",
)
type Bill = tuple[int, int, int, int, int, int]
"""By COLUMNS."""

PUBLISHED = {
    # USD per million: input, output, cache read, 5 minute write, 1 hour write; USD per search
    "claude-opus-5": ("5", "25", "0.5", "6.25", "10", "0.01"),
    "claude-opus-4-8": ("5", "25", "0.5", "6.25", "10", "0.01"),
    "claude-opus-5-5": ("4", "20", "0.2", "5", "8", "0.01"),
    "claude-sonnet-5": ("2", "10", "0.2", "2.5", "4", "0.01"),
    "claude-haiku-4-5": ("1", "5", "0.1", "1.25", "2", "0.01"),
    "gpt-5.1": ("2", "8", "0.5", "0", "0", "0"),
}
FAST = ("claude-opus-5", "claude-opus-4-8", "claude-opus-5-5")
CLAUDES = tuple(name for name in PUBLISHED if name.startswith("claude"))
CONFIG = """
providers:
  anthropic: {format: anthropic, base_url: https://api.anthropic.com, auth: x-api-key, keys: [sk-ant-one]}
  openai: {format: openai-chat, base_url: https://api.openai.com/v1, auth: bearer, keys: [sk-two]}
prices:
  - {model: "gpt-5.1", provider: openai, input: 2, output: 8, cache_read: 0.5}
"""
WORDS = (
    "The",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "nobody's",
    "lazy",
    "dog;",
    "漢字",
    "äöü",
    "{}[]",
    '"quoted"',
    "\\",
    "\n",
    "",
)


@cache
def vocabulary() -> Any:
    return Tokenizer.from_pretrained("o200k_base").jit(False)


def tokens_of(text: str, *, claude: bool = True) -> int:
    count = len(vocabulary().encode_ordinary(text))
    return math.ceil(count * 7 / 6) if claude else count


def event(name: str, **data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()


def cost(model: str, bill: Bill, times: str = "1") -> Decimal:
    *prices, search = map(Decimal, PUBLISHED[model])
    return sum(map(Decimal.__mul__, prices, map(Decimal, bill))) / 1_000_000 * Decimal(times) + search * bill[5]


def usage(bill: Bill, **more: object) -> dict[str, object]:
    fresh, out, read, short, long, searches = bill
    split = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    told = {"input_tokens": fresh, "output_tokens": out, "cache_read_input_tokens": read, "cache_creation": split}
    told |= {"cache_creation_input_tokens": short + long, "server_tool_use": {"web_search_requests": searches}}
    return told | more


def run(kind: str, bill: Bill, **more: object) -> dict[str, object]:
    """An entry of `iterations`."""
    return {key: value for key, value in usage(bill, type=kind, **more).items() if key != "server_tool_use"}


@pytest.fixture(autouse=True)
def nothing_under_way() -> Iterator[None]:
    """Whatever is left of a test's requests until the cycle collector comes is not under way for the next one."""
    yield
    RELAYED.clear()


class Books:
    """What was billed."""

    def __init__(self, seed: int, runtime: Runtime, ledger: Ledger) -> None:
        self.dice = random.Random(seed)
        self.runtime = runtime
        self.keeper = Bookkeeper(Parts(View(0, 0), ledger))
        self.tokens: Counter[str] = Counter()
        self.by_model: dict[str, Counter[str]] = {}
        self.usd = Decimal(0)
        self.costs: dict[str, Decimal] = {}
        self.met: Counter[str] = Counter()
        self.estimated = 0
        self.numbers = 0

    # -- the other side

    def bill(self, *, searches: bool = False) -> Bill:
        return (*(self.dice.randrange(1, 5000) for _ in range(5)), self.dice.randrange(3) if searches else 0)  # type: ignore[return-value]

    def add(self, model: str, bill: Bill, times: str = "1") -> None:
        counts = dict(zip(COLUMNS, bill, strict=True))
        self.tokens.update(counts)
        self.by_model.setdefault(model, Counter()).update(counts)
        self.costs[model] = self.costs.get(model, Decimal(0)) + cost(model, bill, times)
        self.usd += cost(model, bill, times)

    def text(self) -> list[str]:
        return [self.dice.choice(WORDS) + " " for _ in range(self.dice.randrange(1, 300))]

    # -- this side

    def begin(
        self, model: str, *, stream: bool = True, path: str = "/v1/messages", **facts: Any
    ) -> tuple[http.HTTPFlow, Relayed]:
        flow = tflow.tflow()
        flow.request.path, flow.request.method = path, facts.pop("method", "POST")
        self.numbers += 1
        body = facts.pop("body", b'{"messages": []}')
        known = Facts(**{"endpoint": Endpoint.MESSAGES, "model": model, "stream": stream, "body": body} | facts)
        relayed = Relayed(f"req_relay_{self.numbers:06}", known, self.runtime, self.runtime.limits, 1_795_000_000.0)
        relayed.method, relayed.counts = flow.request.method, True
        relayed.keep_request(flow.request, body)
        RELAYED[flow] = relayed
        return flow, relayed

    def attempt(self, relayed: Relayed, model: str, provider: str = "anthropic") -> None:
        relayed.begin_attempt(Attempt(len(relayed.attempts) + 1, provider, None, model))

    async def answer(
        self, flow: http.HTTPFlow, relayed: Relayed, pieces: Iterable[bytes], *, kind: str, end: str = "whole"
    ) -> None:
        flow.response = http.Response.make(200, b"", {"content-type": kind})
        relayed.open_gate(flow.response)
        relayed.open_meter(flow.response)
        for piece in pieces:
            if data := relayed.incoming.read(piece):
                relayed.meter_chunk(data)
        if end == "whole":
            if rest := relayed.incoming.read_end():
                relayed.meter_chunk(rest)
            relayed.meter_end()
        elif end == "cut":
            relayed.break_off("the upstream ended the stream before it was complete")
        else:
            relayed.gone = True
        await self.keeper.settle(flow, relayed)

    async def stream(self, model: str, pieces: list[bytes], *, end: str = "whole", **facts: Any) -> None:
        flow, relayed = self.begin(model, **facts)
        self.attempt(relayed, model)
        await self.answer(flow, relayed, pieces, kind="text/event-stream", end=end)

    def events(
        self, model: str, first: dict[str, object], last: dict[str, object] | None, texts: list[str]
    ) -> list[bytes]:
        told = [event("message_start", message={"model": model, "usage": first})]
        told += [event("content_block_start", index=0, content_block={"type": "text", "text": ""})]
        told += [event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts]
        if last is not None:
            told += [event("message_delta", delta={"stop_reason": "end_turn"}, usage=last), event("message_stop")]
        return told

    async def at_terms(self, model: str, times: str, said: dict[str, object], **facts: Any) -> None:
        bill = self.bill(searches=True)
        self.add(model, bill, times)
        first = usage(bill, **said) | {"output_tokens": 1}
        await self.stream(model, self.events(model, first, {"output_tokens": bill[1]}, ["a"]), **facts)

    # -- the kinds

    async def streamed(self) -> None:
        """With counts that grow, and zeros and nulls in the place of what was told."""
        model, bill = self.dice.choice(CLAUDES), self.bill(searches=True)
        again = self.dice.choice([usage((0,) * 6), dict.fromkeys(usage(bill)), {}]) | {"output_tokens": bill[1]}
        self.add(model, bill)
        await self.stream(model, self.events(model, usage(bill) | {"output_tokens": 1}, again, self.text()))

    async def whole(self) -> None:
        model, bill = self.dice.choice(CLAUDES), self.bill(searches=True)
        self.add(model, bill)
        body = json.dumps({"type": "message", "model": model, "content": [], "usage": usage(bill)}).encode()
        flow, relayed = self.begin(model, stream=False)
        self.attempt(relayed, model)
        await self.answer(flow, relayed, [body[:50], body[50:]], kind="application/json")

    async def broken(self) -> None:
        """By the upstream or by the client: the output is that of the text which passed."""
        model, bill, texts = self.dice.choice(CLAUDES), self.bill(), self.text()
        passed = tokens_of("".join(texts))
        self.add(model, (bill[0], max(passed, 1), *bill[2:]))
        self.estimated += 1
        first = usage(bill) | {"output_tokens": 1}
        await self.stream(model, self.events(model, first, None, texts), end=self.dice.choice(["cut", "left"]))

    async def cut_at_the_end(self) -> None:
        """Between the last count and the end: nothing is estimated."""
        model, bill = self.dice.choice(CLAUDES), self.bill()
        self.add(model, bill)
        events = self.events(model, usage(bill) | {"output_tokens": 1}, {"output_tokens": bill[1]}, self.text())
        await self.stream(model, events[:-1], end="cut")

    async def discarded(self) -> None:
        """A first try that failed before content has billed what it told."""
        model, lost, bill = self.dice.choice(CLAUDES), self.bill(), self.bill()
        self.add(model, (lost[0], 1, *lost[2:]))
        self.add(model, bill)
        flow, relayed = self.begin(model)
        self.attempt(relayed, model)
        relayed.open_gate(http.Response.make(200, b"", {"content-type": "text/event-stream"}))
        held = event("message_start", message={"model": model, "usage": usage(lost) | {"output_tokens": 1}})
        relayed.discarded(held + event("error", error={"type": "overloaded_error"}))
        self.attempt(relayed, model)
        events = self.events(model, usage(bill), {"output_tokens": bill[1]}, ["a"])
        await self.answer(flow, relayed, events, kind="text/event-stream")

    async def fast(self) -> None:
        said = {} if self.dice.random() < 0.5 else {"speed": "fast"}
        await self.at_terms(self.dice.choice(FAST), "2", said, speed="fast")

    async def asked_to_be_fast(self) -> None:
        """The answer says what it was."""
        await self.at_terms(self.dice.choice(FAST), "1", {"speed": "standard"}, speed="fast")

    async def in_the_us(self) -> None:
        await self.at_terms("claude-sonnet-5", "1.1", {"inference_geo": "us", "service_tier": "priority"})

    async def fast_in_the_us(self) -> None:
        await self.at_terms("claude-opus-5-5", "2.2", {"inference_geo": "us", "speed": "fast"})

    async def older_in_the_us(self) -> None:
        await self.at_terms("claude-haiku-4-5", "1", {"inference_geo": "us"})

    async def advised(self) -> None:
        """An advisor's and a compaction's tokens are in no total."""
        bill, advice, summary = self.bill(), self.bill(), self.bill()
        runs = [
            run("compaction", summary),
            run("message", bill),
            run("advisor_message", advice, model="claude-opus-5"),
            run("message", bill),
        ]
        self.add("claude-sonnet-5", bill)
        self.add("claude-opus-5", advice)
        self.add("claude-sonnet-5", summary)
        last = {"output_tokens": bill[1], "iterations": runs}
        await self.stream("claude-sonnet-5", self.events("claude-sonnet-5", usage(bill), last, ["a"]))

    async def taken_over(self) -> None:
        """The first model had begun to write."""
        first, bill = self.bill(), self.bill()
        runs = [
            run("message", first, model="claude-opus-5-5"),
            run("fallback_message", bill, model="claude-opus-4-8"),
        ]
        self.add("claude-opus-4-8", bill)
        self.add("claude-opus-5-5", first)
        events = self.events("claude-opus-5-5", usage(first), usage(bill, iterations=runs), ["a"])
        await self.stream("claude-opus-5-5", events)

    async def refused(self) -> None:
        """Before any output: tokens are told, and cost nothing."""
        bill = self.bill()
        bill = (bill[0], 0, *bill[2:])
        self.add("claude-opus-5-5", bill, "0")
        start = event("message_start", message={"model": "claude-opus-5-5", "usage": usage(bill)})
        end = event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 0})
        await self.stream("claude-opus-5-5", [start, end, event("message_stop")])

    async def batch(self) -> None:
        """At half the price, each result at its own terms, an advisor's part beside it."""
        lines = []
        for number in range(self.dice.randrange(1, 60)):
            model, bill, here = self.dice.choice(CLAUDES), self.bill(searches=True), self.dice.random() < 0.3
            newer = here and model != "claude-haiku-4-5"
            self.add(model, bill, "0.55" if newer else "0.5")
            told = usage(bill, service_tier="batch", inference_geo="us" if here else "global")
            if self.dice.random() < 0.3:
                advice = self.bill()
                told["iterations"] = [run("advisor_message", advice, model="claude-opus-5")]
                self.add("claude-opus-5", advice, "0.55" if here else "0.5")
            message = {"model": model, "usage": told, "stop_reason": "end_turn"}
            lines.append(json.dumps({"custom_id": f"{number}", "result": {"type": "succeeded", "message": message}}))
        path = f"/v1/messages/batches/msgbatch_{self.numbers}/results"
        flow, relayed = self.begin("", stream=False, path=path, method="GET", endpoint=Endpoint.RESOURCE)
        self.attempt(relayed, "")
        await self.answer(flow, relayed, ["\n".join(lines).encode()], kind="application/binary")

    async def translated(self) -> None:
        """OpenAI's form; a last chunk of zeros takes nothing back."""
        fresh, out, read, *_ = self.bill()
        told = {
            "prompt_tokens": fresh + read,
            "completion_tokens": out,
            "prompt_tokens_details": {"cached_tokens": read},
        }
        chunks: list[object] = [
            {"model": "gpt-5.1", "choices": [{"index": 0, "delta": {"content": "words"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": told},
            {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        ]
        self.add("gpt-5.1", (fresh, out, read, 0, 0, 0))
        await self.foreign(chunks, done=True)

    async def translated_and_cut(self) -> None:
        """Nothing is known but the request's size and the text."""
        texts = self.text()
        chunks = [{"model": "gpt-5.1", "choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
        self.add("gpt-5.1", (123, tokens_of("".join(texts), claude=False), 0, 0, 0, 0))
        self.estimated += 1
        await self.foreign(chunks, done=False)

    async def foreign(self, chunks: Iterable[object], *, done: bool) -> None:
        flow, relayed = self.begin("claude-haiku-4-5")
        format = self.runtime.formats["openai"]
        sent = Sent("/chat/completions", b"{}")
        relayed.adaptation = Translated(format, sent, "claude-haiku-4-5", "gpt-5.1", relayed.id, True, 123)
        self.attempt(relayed, "gpt-5.1", "openai")
        pieces = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
        pieces += [b"data: [DONE]\n\n"] if done else []
        end = "whole" if done else "cut"
        await self.answer(flow, relayed, pieces, kind="text/event-stream", end=end)

    async def completed(self) -> None:
        """An old text completion never tells."""
        model, texts, stream = "claude-haiku-4-5", self.text(), self.dice.random() < 0.5
        body = b'{"prompt": "' + b"word " * self.dice.randrange(10, 500) + b'"}'
        self.add(model, (len(body) // 4, tokens_of("".join(texts)), 0, 0, 0, 0))
        self.estimated += 1
        if stream:
            pieces = [event("completion", completion=text, stop_reason=None, model=model) for text in texts]
            pieces.append(event("completion", completion="", stop_reason="stop_sequence", model=model))
        else:
            told = {"type": "completion", "completion": "".join(texts), "stop_reason": "stop_sequence", "model": model}
            pieces = [json.dumps(told).encode()]
        facts = {"endpoint": Endpoint.COMPLETE, "path": "/v1/complete", "body": body}
        flow, relayed = self.begin(model, stream=stream, **facts)
        self.attempt(relayed, model)
        kind = "text/event-stream" if stream else "application/json"
        await self.answer(flow, relayed, pieces, kind=kind)

    KINDS: tuple[Callable[[Books], Any], ...] = (
        streamed, whole, broken, cut_at_the_end, discarded, fast, asked_to_be_fast, in_the_us, fast_in_the_us, older_in_the_us,
        advised, taken_over, refused, batch, translated, translated_and_cut, completed,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, Path]:
    path = tmp_path_factory.mktemp("cents") / "relay.db"
    ledger = Ledger(path, report=pytest.fail, durability="relaxed")
    ledger.open()
    books = Books(11, Runtime.of(parse(CONFIG, environ={}), environ={}), ledger)

    async def write() -> None:
        for number in range(TRANSCRIPTS):
            kind = Books.KINDS[number % len(Books.KINDS)]
            books.met[kind.__name__] += 1
            await kind(books)

    asyncio.run(write())
    ledger.close()
    return books, path


def rows(path: Path, sql: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql).fetchall()


def sums(found: Iterable[sqlite3.Row]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in found:
        total.update({name: row[name] or 0 for name in COLUMNS})
    return total


def test_every_token(written: tuple[Books, Path]) -> None:
    books, path = written
    requests, attempts, charges = (
        rows(path, f"SELECT * FROM {table}") for table in ("requests", "attempts", "charges")
    )
    assert len(requests) == TRANSCRIPTS
    assert sums(requests) == books.tokens
    assert sums(attempts) + sums(charges) == +books.tokens
    assert {row["kind"] for row in charges} == {"advisor", "compaction", "declined"}
    for request in requests:
        own = [row for row in attempts if row["request"] == request["id"]]
        beside = [row for row in charges if row["request"] == request["id"]]
        assert +sums([request]) == sums(own) + sums(beside)


def test_every_cent(written: tuple[Books, Path]) -> None:
    books, path = written
    requests = rows(path, "SELECT * FROM requests")
    assert all(row["cost_usd"] is not None for row in requests)
    assert sum(Decimal(str(row["cost_usd"])) for row in requests) == pytest.approx(books.usd, abs=Decimal("0.000001"))
    parts = rows(path, "SELECT cost_usd FROM attempts UNION ALL SELECT cost_usd FROM charges")
    assert sum(row["cost_usd"] or 0 for row in parts) == pytest.approx(float(books.usd), abs=1e-6)


def test_what_is_estimated_is_marked_and_nothing_else(written: tuple[Books, Path]) -> None:
    books, path = written
    marked = rows(path, "SELECT path, finished, output_tokens FROM requests WHERE estimated")
    assert len(marked) == books.estimated
    assert all(row["finished"] != "complete" or row["path"] == "/v1/complete" for row in marked)
    with closing(read_only(path)) as connection:
        assert summarise(connection, by="model").total.estimated == books.estimated


@pytest.mark.parametrize("exact", [True, False])
def test_reports_count_everything_once_and_under_its_own_model(
    written: tuple[Books, Path], exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    books, path = written
    if not exact:
        monkeypatch.setattr("claude_relay.store.ledger.reports.EXACT", 10)
    with closing(read_only(path)) as connection:
        report, asked = (summarise(connection, by=by) for by in ("served", "model"))
    assert report.exact is exact
    for total in (report.total, asked.total):
        assert total.requests == TRANSCRIPTS
        assert total.cost_usd == pytest.approx(float(books.usd), abs=1e-6)
        assert (total.input_tokens, total.output_tokens) == (
            books.tokens["input_tokens"],
            books.tokens["output_tokens"],
        )
    assert sum(line.cost_usd or 0 for line in report.lines) == pytest.approx(float(books.usd), abs=1e-6)
    # A batch of several models is one request, which has one served model: without those, each model has what was billed for it.
    counted = dict(books.costs)
    for row in rows(path, BATCHED):
        counted[row["model"]] -= Decimal(str(row["usd"]))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
    with closing(copy):
        copy.execute("DELETE FROM charges WHERE request IN (SELECT id FROM requests WHERE path LIKE '%/results')")
        copy.execute("DELETE FROM requests WHERE path LIKE '%/results'")
        lines = {line.name: line.cost_usd for line in summarise(copy, by="served").lines}
    assert lines == {name: pytest.approx(float(usd), abs=1e-6) for name, usd in counted.items()}


BATCHED = """
    SELECT model, sum(usd) AS usd FROM (
        SELECT request, model, cost_usd AS usd FROM attempts UNION ALL SELECT request, model, cost_usd FROM charges
    ) JOIN requests ON requests.id = request WHERE path LIKE '%/results' GROUP BY model"""


def test_pricing_anew_changes_nothing(written: tuple[Books, Path]) -> None:
    _, path = written
    urls = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
    prices = Prices(parse(CONFIG, environ={}).prices)
    assert reprice(path, prices, since=None, provider_urls=urls).changed == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        before = connection.execute("SELECT id, round(cost_usd, 6) FROM requests ORDER BY id").fetchall()
        connection.execute("UPDATE requests SET cost_usd = NULL, priced_by = NULL")
        connection.execute("UPDATE attempts SET cost_usd = 7")
        connection.execute("UPDATE charges SET cost_usd = 7")
        reprice(path, prices, since=None, provider_urls=urls)
        after = connection.execute("SELECT id, round(cost_usd, 6) FROM requests ORDER BY id").fetchall()
    assert after == before
