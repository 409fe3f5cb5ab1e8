"""`usage reconcile`: the ledger against the provider's own report of usage and cost, by day and model, with likely causes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from claude_relay.core.accounting.reconciling import SHOWN, Cause, Row, Verdict, Why, explained, plain, total
from claude_relay.core.accounting.report_access import PREFIXES, WHERE, form_of, origin_of, takes_variable
from claude_relay.core.config import Config, Provider, way_out
from claude_relay.core.config.problems import shown, suggest
from claude_relay.core.installation import command
from claude_relay.core.times import iso
from claude_relay.store import audit
from claude_relay.store.audit import Act
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.daily_reports import DAYS, Reconciliation, Status
from claude_relay.store.vault.lock import VaultError
from claude_relay.store.vault.vault import Vault
from claude_relay.upstream.report_endpoint import NO_REPORT, TIMEOUT
from claude_relay.upstream.report_endpoint import fetch as fetch_report

from .console import grid
from .console.acting import acting
from .console.common import CONFIG_HELP, load_source, read_config, read_for_clients
from .console.taking_back import original
from .console.terminal import Failure, echo, echo_json, write_csv
from .console.when import When
from .keyring.entering import NOT_HERE, at_terminal, stdin

type Found = tuple[Status, list[Row]]


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]}, short_help="Compare with the provider's own report."
)
@click.argument("surplus", nargs=-1, metavar="")
@click.option("--provider", metavar="NAME", help="Only this provider.")
@click.option("--since", type=When(), help="Days since then (UTC): 30d, 2026-11-01. Default: the last 7 that are over.")
@click.option("--until", type=When(), help="Only days before then.")
@click.option("--fetch", is_flag=True, help="Fetch the report of these days now; by itself a relay does so once a day.")
@click.option("--add-key", is_flag=True, help="Enter an admin key, at a prompt or by standard input; it is sealed.")
@click.option("--remove-key", is_flag=True, help="Forget the admin key.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV, without the total.")
@click.option("--config", help=CONFIG_HELP)
@click.option(
    "--database", type=click.Path(path_type=Path), help="The ledger. Default: the configuration's `database`."
)
@click.pass_context
def reconcile(
    context: click.Context,
    surplus: tuple[str, ...],
    provider: str | None,
    since: datetime | None,
    until: datetime | None,
    fetch: bool,
    add_key: bool,
    remove_key: bool,
    form: str | None,
    config: str | None,
    database: Path | None,
) -> None:
    """Compare the ledger with the provider's own report of usage and cost, by day (UTC) and model, and say why they may differ.

    It takes an admin key of your organisation, which reads reports and is never used for requests of models. Differences are
    the provider's figure less the ledger's.

    \b
    Examples:
      scripts/usage reconcile --add-key
      scripts/usage reconcile --fetch
      scripts/usage reconcile --since 30d --csv
    """
    if surplus:
        raise click.UsageError(NOT_HERE)
    if add_key + remove_key + fetch > 1:
        raise click.UsageError("Give one of --add-key, --remove-key and --fetch.")
    outer_database, outer_config = context.obj or (None, None)
    source = load_source(config or outer_config, read_for_clients if remove_key or not fetch else read_config)
    path = database or outer_database or source.config.database
    with closing(Vault(path, environ=os.environ, actor=acting())) as vault:
        work = _Work(source.config, Reconciliation(vault, os.environ))
        try:
            if add_key or remove_key:
                (work.add_key if add_key else work.remove_key)(provider)
                return
            found = work.compared(provider, _days(since, until), fetch=fetch)
        except (StoreError, VaultError) as error:
            raise Failure(str(error)) from None
    FORMS[form](found)


class _Work:
    """The providers of relay.yaml, and what is known of their reports."""

    def __init__(self, config: Config, reconciliation: Reconciliation) -> None:
        self.config, self.reconciliation = config, reconciliation

    @property
    def providers(self) -> dict[str, Provider]:
        """All of them."""
        return self.config.providers

    def named(self, name: str | None) -> str:
        """The one that is meant. Raises UsageError, Failure."""
        known = [one for one, provider in self.providers.items() if form_of(provider)]
        if name is None and len(known) == 1:
            return known[0]
        if name is None and known:
            raise click.UsageError(f"Say which provider with --provider: {', '.join(known)}")
        if name is not None and name not in self.providers:
            raise click.UsageError(f"relay.yaml has no provider '{shown(name)}'; {suggest(name, list(self.providers))}")
        if name is None or name not in known:
            raise Failure(f"{name or 'relay.yaml'}: {NO_REPORT}.")
        return name

    def add_key(self, name: str | None) -> None:
        """From a hidden prompt or standard input, never from the command line."""
        name = self.named(name)
        provider = self.providers[name]
        form = form_of(provider) or ""
        secret = click.prompt("Admin key", hide_input=True) if at_terminal() else stdin()
        try:
            new = self.reconciliation.keys.put(acting(), form, name, origin_of(provider), secret.strip())
        except ValueError as error:
            raise Failure(f"Nothing was added: {error}.") from None
        echo(f"The admin key {new.mask} of {name} is sealed; it goes to {new.origin} alone, for reports.")
        echo(f"To fetch the report now: {command('usage')} reconcile --fetch")

    def remove_key(self, name: str | None) -> None:
        """For good."""
        name = name or self.named(None)
        if not self.reconciliation.keys.remove(acting(), name):
            raise Failure(f"There is no admin key of {shown(name)} in the vault.")
        echo(f"The admin key of {name} is gone. Take it back at the provider, too, if nobody needs it.")

    def compared(self, name: str | None, days: tuple[date, date], *, fetch: bool) -> list[Found]:
        """Status and rows of each provider that is meant. Raises Failure where there is nothing to compare."""
        if name is not None or not any(form_of(one) for one in self.providers.values()):
            name = self.named(name)
        names = [name] if name is not None else [one for one, of in self.providers.items() if form_of(of)]
        found, failed = [], []
        for one in names:
            status = self.reconciliation.status(one, self.providers)
            if not status.source and status.fetched_at is None:
                continue
            problem = self.fetched(one, days) if status.source and (fetch or status.fetched_at is None) else ""
            if problem and status.fetched_at is None:
                failed.append(f"{one}: {problem}.")
                continue
            if problem:
                echo(f"{one}: {problem}. What follows is from before.", err=True)
            rows = self.reconciliation.rows(one, days[0].isoformat(), days[1].isoformat())
            found.append((self.reconciliation.status(one, self.providers), rows))
        if not found:
            raise Failure("\n".join(failed) or _no_key(names, self.providers))
        for line in failed:
            echo(line, err=True)
        return found

    def fetched(self, name: str, days: tuple[date, date]) -> str:
        """Fetch a report now; what is wrong, or nothing."""
        get = partial(fetch_report, way=way_out(self.config, original(os.environ)), timeout=TIMEOUT)
        first, last = days
        span = {"days": (last - first).days + 1}
        audit.record(self.reconciliation.vault.path, acting(), Act("fetch", "report", name, None, span))
        return self.reconciliation.run(
            name, self.providers, get, time.time(), first=first, last=last, forced=True
        ).problem


def _no_key(names: Sequence[str], providers: Mapping[str, Provider]) -> str:
    """How to get one, and where to enter it."""
    lines = ["There is no admin key, with which alone a provider gives its report."]
    for name in names:
        form, option = form_of(providers[name]) or "", f" --provider {name}" if len(names) > 1 else ""
        variable = takes_variable(providers, name)
        other = f", or set {variable} where the relay runs" if variable else ""
        lines.append(
            f"For {name}: an owner of the organisation makes one at {WHERE[form]} (it begins with {PREFIXES[form]}). "
            f"Then: {command('usage')} reconcile --add-key{option}{other}."
        )
    return "\n".join(lines)


def _days(since: datetime | None, until: datetime | None) -> tuple[date, date]:
    """First and last day of UTC, both included; the day that is under way is not."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    last = min((until.astimezone(UTC) - timedelta(microseconds=1)).date(), yesterday) if until else yesterday
    first = since.astimezone(UTC).date() if since else last - timedelta(days=DAYS - 1)
    if first > last:
        raise click.UsageError("There is no whole day (UTC) in this span: reports are of days that are over.")
    return first, last


# --- how it is shown ---


def _json(found: Sequence[Found]) -> None:
    documents = []
    for status, rows in found:
        times = {
            name: None if at is None else iso(at)
            for name, at in (("fetched_at", status.fetched_at), ("due_at", status.due_at))
        }
        known = {
            "provider": status.provider,
            **times,
            "by_key": status.by_key,
            "problem": status.problem or None,
        }
        documents.append(known | {"rows": [plain(row) for row in rows], "total": plain(total(rows))})
    echo_json({"providers": documents})


def _csv(found: Sequence[Found]) -> None:
    heads = [f"{side}_{name}" for side in ("ours", "theirs") for name in ("tokens", *SHOWN)]
    write_csv([("provider", "day", "model", *heads, "tokens", "usd", "share", "verdict", "causes")])
    for status, rows in found:
        for row in rows:
            sides = [getattr(side, name) for side in (row.ours, row.theirs) for name in ("tokens", *SHOWN)]
            causes = " ".join(one.why.value for one in row.causes)
            line = [status.provider, row.day, row.model, *sides, row.tokens, row.usd, row.share]
            write_csv([[*line, row.verdict.value, causes]])


def _table(found: Sequence[Found]) -> None:
    for n, (status, rows) in enumerate(found):
        if n:
            echo()
        at = (
            "never"
            if status.fetched_at is None
            else f"{datetime.fromtimestamp(status.fetched_at, UTC):%Y-%m-%d %H:%M} UTC"
        )
        echo(f"{status.provider}: fetched {at}; tokens, USD and % are theirs less ours.", bold=True)
        if status.problem:
            echo(f"The last try failed: {status.problem}.", fg="yellow")
        if not rows:
            echo("Neither the report nor the ledger has anything of these days; or it was not fetched: add --fetch.")
            continue
        _grid([*rows, total(rows)])
        _explain(rows)


def _grid(rows: Sequence[Row]) -> None:
    grid.show(
        {
            "day": [row.day or "total" for row in rows],
            "model": [row.model if row.model or not row.day else "(no model)" for row in rows],
            "ours": [_money(row.ours.cost_usd) for row in rows],
            "theirs": [_money(row.theirs.cost_usd) for row in rows],
            "tokens": [_signed(row.tokens, ",") for row in rows],
            "USD": ["?" if row.usd is None else _signed(row.usd, ",.2f") for row in rows],
            "%": ["" if row.share is None else _signed(100 * row.share, ".1f") for row in rows],
            "cause": [_short(row) for row in rows],
        },
        always=("day", "model", "ours", "theirs", "USD", "cause"),
        expendable=("%", "tokens"),
        wraps={"model": 14, "cause": 14},
        right=("ours", "theirs", "tokens", "USD", "%"),
        style=lambda title, cell: "green" if cell == "agrees" else "yellow" if title == "cause" and cell else "",
    )


def _short(row: Row) -> str:
    if row.verdict is Verdict.AGREES:
        return "agrees"
    if not row.day:
        return "differs"
    return ", ".join(_word(one) for one in row.causes) or "differs"


def _word(cause: Cause) -> str:
    part = f" {100 * cause.share:.0f} %" if cause.share is not None and cause.share < 0.995 else ""
    return cause.why.value.replace("_", " ") + part


def _explain(rows: Sequence[Row]) -> None:
    """For each cause the row that differs most by it, and what to do."""
    worst = sorted((row for row in rows if row.causes), key=lambda row: (-abs(row.usd or 0.0), -abs(row.tokens)))
    known: set[Why] = set()
    lines: list[tuple[str, str]] = []
    for row in worst:
        new = [one for one in row.causes if one.why not in known]
        lines += [(f"{row.day} {row.model}" if n == 0 else "", explained(one)) for n, one in enumerate(new)]
        known |= {one.why for one in new}
    if lines:
        echo()
        grid.details(lines)
        echo("One row for each cause; --json has the causes of all.")


def _money(usd: float | None) -> str:
    return "?" if usd is None else f"${usd:,.2f}"


def _signed(number: float, form: str) -> str:
    text = format(number, f"+{form}")
    return text if text.strip("+-0.,") else "0"


FORMS: Final[dict[str | None, Any]] = {None: _table, "json": _json, "csv": _csv}
