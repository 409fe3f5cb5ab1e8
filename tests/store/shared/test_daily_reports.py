"""A provider's report, fetched from a real server into a real database, beside what the ledger has."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pytest

from claude_relay.core.accounting.reconciling import Verdict, Why
from claude_relay.core.config import Provider, WayOut, parse
from claude_relay.core.exchange import OAUTH
from claude_relay.core.times import DAY, HOUR
from claude_relay.store.audit import Actor
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.rows import ChargeRow
from claude_relay.store.shared.daily_reports import DAYS, LEASE, Reconciliation
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from claude_relay.upstream.report_endpoint import fetch
from store.rows import attempt, request
from upstream.providers import serving
from upstream.report_server import ADMIN, ReportServer
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
NOW = datetime(2026, 11, 22, 13, tzinfo=UTC).timestamp()
OPUS = "claude-opus-4-8-20260801"
POOL_KEY = "sk-ant-api03-R2D0123456789abcdefigAA"
FETCH = partial(fetch, way=WayOut(), timeout=PATIENCE)


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with serving(ReportServer()) as found:  # type: ignore[type-var]
        yield found


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with closing(Vault(tmp_path / "relay.db", environ={})) as found:
        yield found


@pytest.fixture
def work(vault: Vault, server: ReportServer) -> Reconciliation:
    found = Reconciliation(vault, {})
    found.keys.put(Actor("alice", "cli"), "anthropic", "anthropic", server.url, ADMIN)
    return found


def providers(server: ReportServer, **more: object) -> dict[str, Provider]:
    text = {"providers": {"anthropic": {"base_url": server.url, **more}}}
    return dict(parse(json.dumps(text), environ={}).providers)


def spend(
    path: Path, *, at: float = NOON, charge: ChargeRow | None = None, estimated: bool = False, **more: object
) -> None:
    usual: dict[str, object] = {"model": OPUS, "input_tokens": 1000, "output_tokens": 9000, "cost_usd": 0.5}
    ledger = Ledger(path, report=print)
    ledger.open()
    row = request(started_at=at, estimated=estimated)
    charges = () if charge is None else (ChargeRow(**{**_fields(charge), "request": row.id}),)
    ledger.put(row, [attempt(row, started_at=at, charges=charges, **(usual | more))])
    ledger.close()


def _fields(row: ChargeRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in ChargeRow.__slots__}


def test_what_agrees(work: Reconciliation, server: ReportServer, vault: Vault) -> None:
    spend(vault.path)
    spend(vault.path, at=NOON + HOUR, model="claude-opus-4-8")
    server.used("2026-11-20", OPUS, uncached_input_tokens=2000, output_tokens=18000)
    server.cost("2026-11-20", OPUS, "100")
    ran = work.run("anthropic", providers(server), FETCH, NOW)
    (row,) = ran.rows
    assert (row.day, row.model, row.verdict) == ("2026-11-20", "claude-opus-4-8", Verdict.AGREES)
    assert (row.ours.requests, row.ours.tokens, row.ours.cost_usd) == (2, 20_000, 1.0)
    assert work.rows("anthropic", "2026-11-20", "2026-11-20") == list(ran.rows)
    assert work.rows("anthropic", "2026-11-21", "2026-11-30") == []
    status = work.status("anthropic", providers(server))
    assert (status.form, status.source, status.fetched_at, status.problem) == ("anthropic", "vault", NOW, "")
    assert status.due_at is not None
    assert NOW < status.due_at < NOW + DAY


def test_who_used_what(work: Reconciliation, server: ReportServer, vault: Vault) -> None:
    vault.add(NewKey.of("anthropic", "oat-0123456789abcdef", {}))
    spend(vault.path, key="k1")
    spend(vault.path, key=None)
    with work._writing() as connection:
        connection.execute("UPDATE keys SET kind = ?", [OAUTH])
        connection.commit()
    spend(vault.path, key="v1")
    spend(vault.path, provider="another")
    server.used("2026-11-20", OPUS, uncached_input_tokens=3000, output_tokens=27000)
    (row,) = work.run("anthropic", providers(server), FETCH, NOW).rows
    assert row.ours.requests == 1
    assert [(cause.why, cause.tokens) for cause in row.causes] == [(Why.OWN, 10_000), (Why.ACCOUNTS, 10_000)]


def test_what_other_keys_used(work: Reconciliation, server: ReportServer, vault: Vault) -> None:
    vault.add(NewKey.of("anthropic", POOL_KEY, {}))
    vault.remove([key.id for key in vault.list()])
    spend(vault.path, key="v1")
    server.keys |= {"apikey_1": "sk-ant-api03-R2D...igAA", "apikey_2": "sk-ant-api03-xyz...0000"}
    server.used("2026-11-20", OPUS, key="apikey_1", uncached_input_tokens=1000, output_tokens=9000)
    server.used("2026-11-20", OPUS, key="apikey_2", output_tokens=30_000)
    (row,) = work.run("anthropic", providers(server), FETCH, NOW).rows
    assert [(cause.why, cause.tokens, cause.share) for cause in row.causes] == [(Why.ELSEWHERE, 30_000, 1.0)]
    assert work.status("anthropic", providers(server)).by_key
    assert POOL_KEY not in str(server.requests)


def test_charges_estimates_and_batches(work: Reconciliation, server: ReportServer, vault: Vault) -> None:
    charge = ChargeRow(
        request="", attempt=1, n=1, kind="advisor", model="claude-haiku-4-5", output_tokens=5000, cost_usd=0.1
    )
    spend(vault.path, charge=charge)
    spend(vault.path, estimated=True, output_tokens=4000)
    spend(vault.path, terms="service_tier=batch", output_tokens=7000)
    spend(vault.path, at=NOON - DAY, cost_usd=None)
    ran = work.run("anthropic", providers(server), FETCH, NOW)
    found = {(row.day, row.model): row for row in ran.rows}
    assert found["2026-11-20", "claude-haiku-4-5"].ours.tokens == 5000
    opus = found["2026-11-20", "claude-opus-4-8"]
    assert (opus.ours.requests, opus.ours.estimated, opus.ours.estimated_tokens) == (3, 1, 4000)
    assert (opus.ours.batch_tokens, opus.ours.batch_usd) == (8000, 0.5)
    assert found["2026-11-19", "claude-opus-4-8"].ours.unpriced == 1
    assert Why.NO_REPORT in [cause.why for cause in opus.causes]


def test_an_attempt_counts_on_its_own_day(work: Reconciliation, server: ReportServer, vault: Vault) -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    ledger = Ledger(vault.path, report=print)
    ledger.open()
    row = request(started_at=midnight - 5)
    tries = [
        attempt(row, n, started_at=midnight + at, model=OPUS, output_tokens=9000, cost_usd=0.5)
        for n, at in ((1, -4.0), (2, 3.0))
    ]
    ledger.put(row, tries)
    ledger.close()
    ran = work.run("anthropic", providers(server), FETCH, NOW)
    assert [(row.day, row.ours.tokens) for row in ran.rows] == [("2026-11-21", 9000), ("2026-11-20", 9000)]


def test_figures_that_come_late_take_the_place_of_those_before(
    work: Reconciliation, server: ReportServer, vault: Vault
) -> None:
    spend(vault.path, at=NOON + DAY)
    first = work.run("anthropic", providers(server), FETCH, NOW)
    assert [cause.why for cause in first.rows[0].causes] == [Why.LATE]
    server.used("2026-11-21", OPUS, uncached_input_tokens=1000, output_tokens=9000)
    server.cost("2026-11-21", OPUS, "50.0")
    assert work.due(providers(server), NOW + 60) == ()
    assert work.due(providers(server), NOW + DAY) == ("anthropic",)
    again = work.run("anthropic", providers(server), FETCH, NOW + DAY)
    assert [row.verdict for row in again.rows] == [Verdict.AGREES]


def test_only_days_that_are_over_are_asked_for(work: Reconciliation, server: ReportServer) -> None:
    work.run("anthropic", providers(server), FETCH, NOW)
    _, query, _ = server.requests[0]
    assert (query["starting_at"], query["ending_at"]) == (["2026-11-15T00:00:00Z"], ["2026-11-22T00:00:00Z"])
    assert DAYS == 7
    work.run("anthropic", providers(server), FETCH, NOW, first=date(2026, 11, 1), last=date(2027, 1, 1), forced=True)
    _, query, _ = next(one for one in reversed(server.requests) if "usage_report" in one[0])
    assert (query["starting_at"], query["ending_at"]) == (["2026-11-01T00:00:00Z"], ["2026-11-22T00:00:00Z"])


def test_what_fails_is_due_again_later_and_ever_later(work: Reconciliation, server: ReportServer) -> None:
    now, known = NOW, providers(server)
    for failures in range(1, 5):
        server.plan.append(500)
        ran = work.run("anthropic", known, FETCH, now)
        assert "(500)" in ran.problem
        assert ran.notable is (failures == 3)
        due = work.status("anthropic", known).due_at
        assert due is not None
        assert due - now == pytest.approx(900.0 * 2 ** (failures - 1))
        assert work.due(known, due - 1) == ()
        now = due
    assert work.due(known, now) == ("anthropic",)
    assert not work.run("anthropic", known, FETCH, now).problem
    assert work.status("anthropic", known).problem == ""


def test_the_provider_says_how_long_to_wait(work: Reconciliation, server: ReportServer) -> None:
    server.plan.append((429, {"retry-after": "7200"}, b""))
    assert "more slowly" in work.run("anthropic", providers(server), FETCH, NOW).problem
    assert work.status("anthropic", providers(server)).due_at == NOW + 7200


def test_a_refused_key_is_somebodys_business_at_once_and_a_new_one_is_tried_at_once(
    work: Reconciliation, server: ReportServer
) -> None:
    server.plan.append(401)
    ran = work.run("anthropic", providers(server), FETCH, NOW)
    assert ran.notable
    assert "enter another one" in ran.problem
    assert work.due(providers(server), NOW + HOUR) == ()
    work.keys.put(Actor("alice", "cli"), "anthropic", "anthropic", server.url, ADMIN)
    assert work.due(providers(server), NOW + HOUR) == ("anthropic",)


def test_the_key_goes_to_no_other_address(work: Reconciliation, server: ReportServer) -> None:
    with serving(ReportServer()) as other:  # type: ignore[type-var]
        ran = work.run("anthropic", providers(other), FETCH, NOW)
        assert "relay.yaml has another address now: enter it again" in ran.problem
        assert other.requests == []


def test_a_variable_is_not_for_a_gateway(vault: Vault, server: ReportServer) -> None:
    work = Reconciliation(vault, {"ANTHROPIC_ADMIN_KEY": ADMIN})
    assert work.due(providers(server), NOW) == ()
    assert work.run("anthropic", providers(server), FETCH, NOW, forced=True).problem == "there is no admin key for it"
    assert server.requests == []
    official = parse(json.dumps({"providers": {"a": {"base_url": "https://api.anthropic.com"}}}), environ={}).providers
    assert work.due(official, NOW) == ("a",)
    assert work.status("a", official).source == "ANTHROPIC_ADMIN_KEY"
    wrong = Reconciliation(vault, {"ANTHROPIC_ADMIN_KEY": POOL_KEY})
    assert wrong.run("a", official, FETCH, NOW).problem.startswith("ANTHROPIC_ADMIN_KEY: this is no admin key")


def test_of_several_one_fetches(work: Reconciliation, server: ReportServer, vault: Vault) -> None:
    known, gate, problems = providers(server), threading.Barrier(2), []

    def slow(*arguments: object, **more: object) -> object:
        gate.wait(PATIENCE)
        gate.wait(PATIENCE)
        return FETCH(*arguments, **more)  # type: ignore[arg-type]

    thread = threading.Thread(target=lambda: work.run("anthropic", known, slow, NOW))  # type: ignore[arg-type]
    thread.start()
    gate.wait(PATIENCE)
    with closing(Vault(vault.path, environ={})) as other:
        fellow = Reconciliation(other, {})
        assert fellow.due(known, NOW) == ()
        problems = [fellow.run("anthropic", known, FETCH, NOW, forced=forced).problem for forced in (False, True)]
        assert problems == ["another process is fetching it just now"] * 2
        assert fellow.due(known, NOW + LEASE) == ("anthropic",)
    gate.wait(PATIENCE)
    thread.join(PATIENCE)
    assert work.status("anthropic", known).fetched_at == NOW


def test_a_clock_that_was_set_back_holds_nothing_up(work: Reconciliation, server: ReportServer) -> None:
    known = providers(server)
    work.run("anthropic", known, FETCH, NOW + 400 * DAY)
    assert work.due(known, NOW) == ("anthropic",)
    assert not work.run("anthropic", known, FETCH, NOW).problem


def test_nothing_is_known_of_a_database_that_is_not_there(tmp_path: Path, server: ReportServer) -> None:
    with closing(Vault(tmp_path / "none.db", environ={})) as vault:
        work = Reconciliation(vault, {})
        assert (work.due(providers(server), NOW), work.rows("anthropic", "2026-11-01", "2026-11-30")) == ((), [])
        assert work.status("anthropic", providers(server)).source == ""
    assert not (tmp_path / "none.db").exists()
