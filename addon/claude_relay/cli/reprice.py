"""`usage reprice`: works out anew what requests cost, after a change of prices, while the relay runs or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click

from claude_relay.core.accounting.pricing import Prices
from claude_relay.core.times import iso
from claude_relay.store import audit
from claude_relay.store.audit import Act
from claude_relay.store.db.database import StoreError
from claude_relay.store.ledger.reprice import Repriced, Unpriced
from claude_relay.store.ledger.reprice import reprice as work

from .console.acting import acting
from .console.common import CONFIG_HELP, load_config
from .console.terminal import Failure, echo, echo_json
from .console.when import When
from .console.width import columns


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, short_help="Work out anew what requests cost.")
@click.option("--since", type=When(), help="Requests since then: 24h, 7d, 2w, 2026-11-01, 2026-11-01T08:00.")
@click.option("--until", type=When(), help="Requests before then.")
@click.option("--all", "everything", is_flag=True, help="All requests.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--database", type=click.Path(path_type=Path), help="The ledger. Default: the configuration's `database`."
)
@click.option("--config", help=CONFIG_HELP)
def reprice(
    since: datetime | None,
    until: datetime | None,
    everything: bool,
    as_json: bool,
    database: Path | None,
    config: str | None,
) -> None:
    """Work out anew what requests cost, by the prices of today's price list and of relay.yaml.

    Each request is priced as of the time when it was sent. Requests of providers that relay.yaml does not name any more keep
    their cost.

    \b
    Examples:
      scripts/usage reprice --since 30d
      scripts/usage reprice --since 2026-10-01 --until 2026-11-01
    """
    if (since is None) is not everything:
        raise click.UsageError("Give either --since WHEN or --all.")
    settings = load_config(config)
    urls = {name: provider.base_url for name, provider in settings.providers.items()}
    with _bar() as progress:
        try:
            path = database or settings.database
            span = {"since": iso(since) if since else None, "until": iso(until) if until else None}
            audit.record(path, acting(), Act("reprice", "ledger", path.name, None, span))
            done = work(
                path,
                Prices(settings.prices),
                since=since,
                until=until,
                provider_urls=urls,
                progress=progress,
            )
        except StoreError as error:
            raise Failure(str(error)) from None
    (_as_json if as_json else _as_text)(done)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    from rich.progress import Progress

    from .console.screen import Screen

    with Progress(console=Screen(stderr=True), transient=True) as bar:
        task = bar.add_task("Pricing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _as_json(done: Repriced) -> None:
    models = [model._asdict() for model in done.unpriced_models]
    document = {"requests": done.requests, "changed": done.changed, "unpriced_models": models}
    echo_json(document)


def _as_text(done: Repriced) -> None:
    echo(f"{done.requests:,} requests looked at, {done.changed:,} changed.")
    if done.unpriced_models:
        echo("\nNo price is known for these; `prices` in relay.yaml can say it:\n")
        show_unpriced(done.unpriced_models)


def show_unpriced(models: Sequence[Unpriced]) -> None:
    """Print them as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from .console.screen import Screen

    table = Table("provider", "model", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("requests", justify="right")
    for provider, model, requests in models:
        table.add_row(Text(provider or "(none)"), Text(model or "(no model)"), f"{requests:,}")
    Screen(highlight=False, width=columns()).print(table)
