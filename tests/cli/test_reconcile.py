"""`usage reconcile` against a real server of reports: the key, the table at 80 columns, JSON, CSV, and what goes wrong."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.usage import usage
from claude_relay.store.audit import read
from claude_relay.store.ledger.ledger import Ledger
from store.rows import attempt, request
from upstream.providers import serving
from upstream.report_server import ADMIN, ReportServer

pytestmark = pytest.mark.usefixtures("cheap_secrets")
OPUS = "claude-opus-4-8-20260801"


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with serving(ReportServer()) as found:  # type: ignore[type-var]
        yield found


@pytest.fixture
def config(tmp_path: Path, server: ReportServer) -> Path:
    file = tmp_path / "relay.yaml"
    providers = {"anthropic": {"base_url": server.url}, "glm": {"preset": "zhipu"}}
    file.write_text(json.dumps({"database": "relay.db", "providers": providers}))
    return file


def run(config: Path, *words: str, status: int = 0, given: str | None = None) -> Result:
    environ = {"RELAY_CONFIG": str(config), "COLUMNS": "80", "RELAY_SECRET": None, "ANTHROPIC_ADMIN_KEY": None}
    result = CliRunner().invoke(usage, ["reconcile", *words], env=environ, input=given)
    assert result.exit_code == status, (result.output, result.exception)
    return result


def day(ago: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}"


def spend(config: Path, ago: int) -> None:
    at = (datetime.now(UTC).replace(hour=12, minute=0) - timedelta(days=ago)).timestamp()
    ledger = Ledger(config.parent / "relay.db", report=print)
    ledger.open()
    row = request(started_at=at)
    ledger.put(row, [attempt(row, started_at=at, model=OPUS, input_tokens=1000, output_tokens=9000, cost_usd=0.5)])
    ledger.close()


def test_without_a_key_it_says_how_to_make_one_and_where_to_enter_it(config: Path) -> None:
    said = run(config, status=1).output
    assert "https://platform.claude.com/settings/admin-keys" in said
    assert "usage reconcile --add-key" in said
    assert "ANTHROPIC_ADMIN_KEY" not in said, "a variable is not for an address that is not the official one"


def test_from_the_key_to_the_table(config: Path, server: ReportServer) -> None:
    spend(config, 3)
    spend(config, 4)
    server.used(day(3), OPUS, uncached_input_tokens=1000, output_tokens=9000)
    server.cost(day(3), OPUS, "50")
    server.used(day(4), OPUS, uncached_input_tokens=1000, output_tokens=99_000)
    server.cost(day(4), OPUS, "550")
    added = run(config, "--add-key", given=f"{ADMIN}\n").output
    assert "sk-ant-…cdef" in added
    assert ADMIN not in added
    shown = run(config).stdout
    assert max(map(len, shown.splitlines())) <= 80
    first, second = (next(line for line in shown.splitlines() if line.startswith(day(ago))) for ago in (3, 4))
    assert first.split()[1:] == ["claude-opus-4-8", "$0.50", "$0.50", "0", "0", "0", "agrees"]
    assert second.split()[1:] == ["claude-opus-4-8", "$0.50", "$5.50", "+90,000", "+5.00", "+90.9", "not", "relayed"]
    assert "90,000 tokens did not pass this relay" in shown
    assert next(line for line in shown.splitlines() if line.startswith("total")).split()[1:3] == ["$1.00", "$6.00"]
    document = json.loads(run(config, "--json").stdout)["providers"][0]
    assert document["provider"] == "anthropic"
    assert [row["verdict"] for row in document["rows"]] == ["agrees", "differs"]
    assert document["rows"][1]["causes"][0]["cause"] == "not_relayed"
    assert document["total"]["usd"] == 5.0
    rows = list(csv.DictReader(io.StringIO(run(config, "--csv").stdout)))
    assert [(row["day"], row["ours_cost_usd"], row["causes"]) for row in rows] == [
        (day(3), "0.5", ""),
        (day(4), "0.5", "not_relayed"),
    ]
    asked = len(server.requests)
    assert asked == 2
    run(config, "--fetch", "--since", "30d")
    assert server.requests[asked][1]["starting_at"] == [f"{day(30)}T00:00:00Z"]
    acts = [(entry.act, entry.kind) for entry in read(config.parent / "relay.db")]
    assert acts == [("fetch", "report"), ("fetch", "report"), ("add", "admin key")]


def test_a_key_that_is_refused(config: Path, server: ReportServer) -> None:
    run(config, "--add-key", given="sk-ant-admin01-another-0123456789")
    said = run(config, "--fetch", status=1).output
    assert "refuses the admin key (401)" in said
    assert "another-0123456789" not in said
    assert len(server.requests) == 1
    assert "is gone" in run(config, "--remove-key").output
    assert "There is no admin key" in run(config, status=1).output


def test_a_report_from_before_is_shown_when_a_new_one_fails(config: Path, server: ReportServer) -> None:
    server.used(day(3), OPUS, output_tokens=90_000)
    run(config, "--add-key", given=ADMIN)
    run(config)
    server.plan.append(500)
    again = run(config, "--fetch")
    assert "What follows is from before" in again.stderr
    assert day(3) in again.stdout
    assert "The last try failed" in again.stdout


@pytest.mark.parametrize(
    ("words", "given", "status", "says"),
    [
        (["--add-key"], "sk-ant-api03-0123456789", 1, "they begin with sk-ant-admin"),
        (["--add-key", "--provider", "glm"], ADMIN, 1, "only Anthropic's and OpenAI's own APIs"),
        (["--add-key", "--provider", "antropic"], ADMIN, 2, "anthropic"),
        (["--add-key", ADMIN], "", 2, "A key on the command line is seen by other programs"),
        (["--remove-key"], "", 1, "There is no admin key of anthropic"),
        (["--add-key", "--remove-key"], "", 2, "Give one of"),
        (["--until", "2020-01-01", "--since", "2020-01-01"], "", 2, "no whole day"),
    ],
)
def test_what_cannot_be_done(config: Path, words: list[str], given: str, status: int, says: str) -> None:
    said = run(config, *words, status=status, given=given).output
    assert says in " ".join(said.split())
    assert ADMIN not in said
