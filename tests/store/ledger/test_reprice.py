from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from claude_relay.cli.reprice import reprice as command
from claude_relay.core.accounting.pricing import Priced
from claude_relay.core.accounting.tokens import Usage
from claude_relay.store.db.database import MissingDatabase, StoreError, connect, read_only
from claude_relay.store.ledger import reprice as module
from claude_relay.store.ledger.ledger import AttemptRow, Ledger, RequestRow
from claude_relay.store.ledger.reprice import Repriced, Unpriced, reprice, unpriced
from store.rows import STARTED, attempt, read, request

URLS = {"anthropic": "https://a", "other": "https://o"}
DAY = 86_400.0


class Fixed:
    """A dollar for each token of input; nothing is known of the model `secret`."""

    def __init__(self, usd: float = 1.0) -> None:
        self.usd = usd
        self.queries: list[tuple[Any, ...]] = []

    def cost(self, model: str, provider: str | None, base_url: str, usage: Usage, at: datetime) -> Priced | None:
        self.queries.append((model, provider, base_url, usage, at))
        if model == "secret":
            return None
        return Priced(self.usd * (usage.input_tokens or 0), f"list of {provider}")


def fill(path: Path, records: Sequence[tuple[RequestRow, Sequence[AttemptRow]]]) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for row, attempts in records:
        ledger.put(row, list(attempts))
    ledger.close()


def run(path: Path, prices: Fixed | None = None, since: datetime | None = None, **options: Any) -> Repriced:
    return reprice(path, prices or Fixed(), since=since, **({"provider_urls": URLS} | options))


def costs(path: Path) -> list[tuple[Any, ...]]:
    return read(path, "SELECT cost_usd, priced_by FROM requests ORDER BY started_at, id")


def of_attempts(path: Path) -> list[float | None]:
    return [cost for (cost,) in read(path, "SELECT cost_usd FROM attempts ORDER BY request, n")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


def tried(row: RequestRow, n: int, tokens: int | None, **fields: Any) -> AttemptRow:
    return attempt(row, n, **({"model": "m", "input_tokens": tokens} | fields))


def test_a_request_costs_what_its_tries_do(path: Path) -> None:
    row = request(attempts=3, input_tokens=100)
    fill(path, [(row, [tried(row, 1, 2), tried(row, 2, None), tried(row, 3, 5, provider="other")])])
    assert run(path) == Repriced(1, 1, ())
    assert of_attempts(path) == [2.0, None, 5.0]
    assert costs(path) == [(7.0, "list of anthropic, list of other")]


def test_each_try_is_priced_by_its_own_model_provider_and_time(path: Path) -> None:
    row, prices = request(), Fixed()
    fill(path, [(row, [tried(row, 1, 2, provider="other", model="x", output_tokens=3, started_at=STARTED + 60.5)])])
    run(path, prices)
    at = datetime.fromtimestamp(STARTED + 60.5, UTC)
    assert prices.queries == [("x", "other", "https://o", Usage(input_tokens=2, output_tokens=3), at)]


@pytest.mark.parametrize("served", ["claude-served", None])
def test_an_older_row_is_priced_by_its_own_tokens(path: Path, served: str | None) -> None:
    row, prices = request(served_model=served, input_tokens=4), Fixed()
    fill(path, [(row, [attempt(row)])])
    assert run(path, prices).changed == 1
    assert prices.queries[0][0] == (served or "claude-sonnet-5")
    assert (costs(path), of_attempts(path)) == ([(4.0, "list of anthropic")], [None])


def test_a_second_time_changes_nothing_and_a_new_price_all(path: Path) -> None:
    rows = [request(input_tokens=3) for _ in range(3)]
    fill(path, [(row, [tried(row, 1, 3)]) for row in rows])
    assert [run(path).changed, run(path).changed, run(path, Fixed(2.0)).changed] == [3, 0, 3]
    assert costs(path) == [(6.0, "list of anthropic")] * 3


def test_what_has_no_price_any_more_loses_it_and_is_named(path: Path) -> None:
    rows = [request(input_tokens=1, served_model=name, cost_usd=9.0) for name in ("secret", "secret", "m")]
    part = request(attempts=2, cost_usd=9.0)
    tries = [tried(part, 1, 2, cost_usd=1.0), tried(part, 2, 5, model="secret", provider="other", cost_usd=8.0)]
    fill(path, [*((row, []) for row in rows), (part, tries)])
    assert run(path).unpriced_models == (Unpriced("anthropic", "secret", 2), Unpriced("other", "secret", 1))
    assert costs(path) == [(None, None), (None, None), (1.0, "list of anthropic"), (None, None)]
    assert of_attempts(path) == [2.0, None]


def test_a_provider_that_is_gone_keeps_its_costs(path: Path) -> None:
    row = request(provider="gone", input_tokens=1, cost_usd=9.0, priced_by="then")
    fill(path, [(row, [tried(row, 1, 1, provider="gone", cost_usd=9.0)])])
    assert run(path) == Repriced(1, 0, ())
    assert (costs(path), of_attempts(path)) == ([(9.0, "then")], [9.0])


def test_a_request_that_used_nothing_known_has_no_price(path: Path) -> None:
    row = request(status=529, finished="error")
    fill(path, [(row, [attempt(row)])])
    assert run(path) == Repriced(1, 0, ())
    assert costs(path) == [(None, None)]


@pytest.mark.parametrize(
    ("since", "until", "hit"),
    [(None, None, [0, 1, 2]), (1, None, [1, 2]), (None, 1, [0]), (1, 2, [1]), (3, None, [])],
)
def test_only_what_began_in_the_time_is_touched(path: Path, since: int, until: int, hit: list[int]) -> None:
    rows = [request(started_at=STARTED + day * DAY, input_tokens=1) for day in range(3)]
    fill(path, [(row, []) for row in rows])

    def moment(day: int | None) -> datetime | None:
        return None if day is None else datetime.fromtimestamp(STARTED + day * DAY, UTC)

    assert run(path, since=moment(since), until=moment(until)).requests == len(hit)
    assert [at for at, (cost, _) in enumerate(costs(path)) if cost] == hit


def test_batches_leave_out_and_repeat_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUESTS", module.REQUESTS.replace(f"LIMIT {module.BATCH}", "LIMIT 3"))
    # Times are equal in threes and one: batches end in the middle of them.
    rows = [request(started_at=STARTED + at // 4, input_tokens=1 + at) for at in range(10)]
    fill(path, [(row, []) for row in rows])
    heard: list[tuple[int, int]] = []
    done = run(path, progress=lambda done, total: heard.append((done, total)))
    assert done == Repriced(10, 10, ())
    assert sorted(cost for cost, _ in costs(path)) == list(range(1, 11))
    assert heard == [(0, 10), (3, 10), (6, 10), (9, 10), (10, 10)]


def test_a_relay_can_write_between_and_during_the_pricing(path: Path) -> None:
    fill(path, [(request(input_tokens=1), [])])

    class Writing(Fixed):
        def cost(self, *arguments: Any) -> Priced | None:
            with closing(connect(path, patience=0)) as other:  # without patience: nobody may hold the lock now
                other.execute("UPDATE requests SET notes = 'here'")
            return super().cost(*arguments)

    assert run(path, Writing()).changed == 1
    assert read(path, "SELECT cost_usd, notes FROM requests") == [(1.0, "here")]


def test_another_programs_lock_is_waited_for(path: Path) -> None:
    fill(path, [(request(input_tokens=1), [])])
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        free = threading.Timer(0.05, other.execute, ["COMMIT"])
        free.start()
        assert run(path).changed == 1
        free.join()


def test_a_file_that_cannot_be_used_is_named(path: Path) -> None:
    with pytest.raises(MissingDatabase, match=r"relay\.db"):
        run(path)
    assert not path.exists()
    path.write_text("no database at all, but long enough to be read as the head of one " * 20)
    with pytest.raises(StoreError, match=r"relay\.db"):
        run(path)


def test_unpriced_names_models_that_used_tokens_and_have_no_price(path: Path) -> None:
    fields = [
        {"served_model": "a", "input_tokens": 1},
        {"served_model": "b", "output_tokens": 1},
        {"requested_model": "b", "output_tokens": 1},
        {"served_model": "b", "output_tokens": 1, "cost_usd": 0.0},
        {"served_model": "c"},
    ]
    fill(path, [(request(started_at=STARTED + at, **given), []) for at, given in enumerate(fields)])
    with closing(read_only(path)) as connection:
        assert unpriced(connection, None) == [Unpriced("anthropic", "b", 2), Unpriced("anthropic", "a", 1)]
        since = datetime.fromtimestamp(STARTED + 2, UTC)
        assert unpriced(connection, since) == [("anthropic", "b", 1)]


# -- the command

RELAY = """
database: relay.db
providers:
  anthropic: {preset: anthropic, keys: [sk-ant-api03-abcdefghijklmnop]}
  local: {preset: vllm}
prices:
  - {model: "own-*", provider: local, input: 2, output: 4}
"""


@pytest.fixture
def config(tmp_path: Path, path: Path) -> str:
    (tmp_path / "relay.yaml").write_text(RELAY)
    used = {"input_tokens": 1000, "output_tokens": 100}
    rows = [
        request(served_model="claude-sonnet-5", **used),
        request(provider="local", served_model="own-1", **used),
        request(provider="local", served_model="qwen3", **used),
    ]
    fill(path, [(row, []) for row in rows])
    return str(tmp_path / "relay.yaml")


def test_the_command_prices_by_the_lists_and_by_relay_yaml(config: str, path: Path) -> None:
    result = CliRunner().invoke(command, ["--all", "--json", "--config", config])
    assert result.exit_code == 0, result.output
    unknown = [{"provider": "local", "model": "qwen3", "requests": 1}]
    assert json.loads(result.stdout) == {"requests": 3, "changed": 2, "unpriced_models": unknown}
    assert [cost for cost, _ in costs(path)] == [0.003, 0.0024, None]


def test_the_command_shows_what_has_no_price(config: str) -> None:
    result = CliRunner().invoke(command, ["--since", "2026-01-01", "--config", config])
    assert result.exit_code == 0, result.output
    assert "3 requests looked at, 2 changed." in result.stdout
    assert "qwen3" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["--all", "--since", "7d"]])
def test_the_command_wants_to_know_what_to_price(config: str, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, [*arguments, "--config", config])
    assert result.exit_code == 2
    assert "--since WHEN or --all" in result.stderr
