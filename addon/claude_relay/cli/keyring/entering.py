"""`keys add` and `keys import`: keys come in by a hidden prompt, standard input or a file.

Never on the command line, where other programs and the shell's history would see them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.core.errors import clean
from claude_relay.core.imports.gateways import SOURCES
from claude_relay.core.installation import command
from claude_relay.store.vault.new_keys import planned
from claude_relay.store.vault.reading import FORMS, Entry, read
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Imported

from . import options, showing
from .foreign import entries_of
from .keyring import Keyring
from .options import given, led

COMPLAINTS = 20
"""As many problems of a file are shown."""
NOT_HERE = (
    "A key on the command line is seen by other programs and kept in the shell's history; "
    "type it at the prompt, or pipe it in. Think of the one you just gave as exposed."
)


@click.command()
@click.argument("surplus", nargs=-1, metavar="")
@options.provider_of
@options.fields
@options.place
def add(
    surplus: tuple[str, ...], provider: str | None, config: str | None, database: Path | None, **fields: Any
) -> None:
    """Add one key, from a hidden prompt or standard input.

    \b
    Examples:
      scripts/keys add --tier admin --label "team a"
      pass show claude | scripts/keys add
    """
    if surplus:
        raise click.UsageError(NOT_HERE)
    keyring = Keyring.enter(config, database)
    name = keyring.provider(provider)
    secret = click.prompt("Key", hide_input=True) if at_terminal() else stdin().strip()
    try:
        if not secret:
            raise ValueError("there is no key on standard input")
        new = NewKey.of(name, secret, led(keyring, given(fields)))
    except ValueError as error:
        raise Failure(str(error)) from None
    done = keyring.vault.add(new)
    if done.duplicates:
        raise Failure(_lines_of_known(done, [Entry("it", "")])[0])
    echo(f"Added {showing.names(done.added)} {done.added[0].mask}")


@click.command("import", short_help="Add keys from a file or standard input.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="-")
@options.provider_of
@click.option("--format", "form", type=click.Choice([*FORMS]), help="Default: seen from the contents.")
@click.option(
    "--from",
    "source",
    type=click.Choice([*SOURCES]),
    metavar="GATEWAY",
    help=f"Whose file it is: {', '.join(SOURCES)}.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@options.fields
@options.place
def import_(
    file: Path,
    provider: str | None,
    form: str | None,
    source: str | None,
    dry_run: bool,
    config: str | None,
    database: Path | None,
    **fields: Any,
) -> None:
    """Add keys from FILE or standard input: one a line, CSV with a header, or JSON; or from another gateway's file.

    Columns: key, provider, label, tier, group, weight, requests_per_minute, tokens_per_minute, concurrent, enabled, proxy, notes. Options
    are for the keys that do not say it themselves. All are added in one transaction, or none when one cannot be; keys that are
    there already are named and stay as they are.

    With --from each key goes to the provider of relay.yaml that is at the same host, unless --provider says which.

    \b
    Examples:
      scripts/keys import keys.txt --tier public
      scripts/keys import keys.csv
      scripts/keys import config.yaml --from litellm --dry-run
      echo "$ANTHROPIC_API_KEYS" | scripts/keys import
    """
    keyring = Keyring.enter(config, database)
    try:
        if source is not None:
            entries = entries_of(keyring, file, source, provider)
        else:
            entries = read(stdin() if str(file) == "-" else _text(file), form)
    except ValueError as error:
        raise Failure(f"Nothing was added: {error}") from None
    if not entries:
        raise Failure("Nothing was added: there is no key in it")
    news = _all_new(keyring, entries, provider, led(keyring, given(fields)))
    if dry_run:
        showing.planned(news)
        return
    done = keyring.vault.import_many(news)
    for line in _lines_of_known(done, entries):
        echo(line, err=True)
    known = f"; {len(done.duplicates)} known already" if done.duplicates else ""
    echo(f"{showing.number(len(done.added))} added{known}" + (f": {showing.names(done.added)}" if done.added else ""))


def _all_new(keyring: Keyring, entries: Sequence[Entry], provider: str | None, fields: dict[str, Any]) -> list[NewKey]:
    """The entries as keys. Ends with every problem when one cannot be."""
    usual = keyring.provider(provider) if provider or not all(entry.provider for entry in entries) else None
    found = planned(entries, lambda name: keyring.provider_named(name or usual), fields)
    if problems := [f"{one.entry.where}: {one.problem}" for one in found if one.new is None]:
        _refuse(problems)
    return [one.new for one in found if one.new is not None]


def _refuse(problems: Sequence[str]) -> NoReturn:
    more = len(problems) - COMPLAINTS
    shown = [*problems[:COMPLAINTS], *([f"… and {more} more"] if more > 0 else [])]
    raise Failure("\n".join(["Nothing was added:", *(f"  {line}" for line in shown)]))


def _lines_of_known(done: Imported, entries: Sequence[Entry]) -> list[str]:
    """One line for each that was known already."""
    return [
        f"{entries[duplicate.index].where} is known as {duplicate.name}"
        + (
            f", which was removed; bring it back: {command('keys')} restore " + duplicate.name
            if duplicate.removed
            else ""
        )
        for duplicate in done.duplicates
    ]


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def stdin() -> str:
    """All of standard input."""
    return _decoded(sys.stdin.buffer.read(), "standard input")


def _text(file: Path) -> str:
    try:
        return _decoded(file.read_bytes(), clean(str(file)))
    except OSError as error:
        raise Failure(f"{clean(str(file))}: {error.strerror}") from None


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{what} is no UTF-8 text") from None
