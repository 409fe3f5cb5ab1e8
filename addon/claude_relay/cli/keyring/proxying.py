"""`keys proxies`: outbound proxies of the vault, to which keys refer by their names; those of relay.yaml are listed and tried, too.

A URL with a password comes from a hidden prompt, standard input or a variable, never from the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import click

from claude_relay.cli.console import grid
from claude_relay.cli.console.terminal import Failure, confirm, echo, echo_json
from claude_relay.core.config import OutboundProxy
from claude_relay.core.installation import command
from claude_relay.store.ledger.proxy_sums import Passage, passages
from claude_relay.store.shared.all_proxies import AllProxies, KnownProxy
from claude_relay.store.vault.named_proxies import InUse, Proxies, timeout_of
from claude_relay.store.vault.proxy_rows import NewProxy
from claude_relay.upstream.trying import Trial, Trying, remedy_for, tried

from . import options
from .entering import at_terminal, stdin
from .keyring import Keyring
from .options import given

NOTHING = Passage()


class Timeout(click.ParamType[float]):
    """A time such as 5s."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        try:
            return timeout_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def proxies() -> None:
    """Outbound proxies with a name: add, look at, change, remove, try.

    A key goes out through one with `--proxy NAME`. Their URLs are sealed with the keys; a running relay follows within a second. A name in
    relay.yaml comes before the same name in the vault.

    \b
    Examples:
      scripts/keys proxies add office                 asks for the URL
      scripts/keys edit v1 --proxy office
      scripts/keys proxies test office
    """


@proxies.command("list")
@options.as_json
@options.place
def list_(as_json: bool, config: str | None, database: Path | None) -> None:
    """Show all, those of relay.yaml too: where they lead, who goes out through them, and what went through in the last day.

    \b
    Example:
      scripts/keys proxies list
    """
    keyring = Keyring.enter(config, database, to_look=True)
    found, figures = _all(keyring).every(), passages(keyring.vault.path, days=1)
    if as_json:
        echo_json([_plain(one, figures) for one in found])
    elif found:
        _table(found, figures)
    else:
        echo(f"No proxy has a name yet. Add one: {command('keys')} proxies add NAME")


def _fields(function: Any) -> Any:
    for option in (
        click.option("--notes", type=options.Field("notes"), metavar="TEXT", help="Whatever you want to remember."),
        click.option(
            "--timeout", type=Timeout(), help="Until the way through it stands, else it is down. Usually 10s."
        ),
        click.option("--direct/--no-direct", default=None, help="Whether connections go directly while it fails."),
        click.option(
            "--user", metavar="NAME", help="Its user; the password is asked for, or read from standard input."
        ),
        click.option(
            "--url", type=options.Proxy(OutboundProxy.parse_url), help="Without a password, or '${VARIABLE}'."
        ),
    ):
        function = option(function)
    return function


@proxies.command()
@click.argument("name")
@_fields
@options.place
def add(name: str, url: str | None, user: str | None, config: str | None, database: Path | None, **fields: Any) -> None:
    """Add one. Its URL comes from a hidden prompt or standard input, unless --url says it.

    \b
    Examples:
      scripts/keys proxies add office
      scripts/keys proxies add office --url socks5://proxy:1080 --user me
      pass show proxy-url | scripts/keys proxies add office --direct
    """
    keyring = Keyring.enter(config, database)
    if name in keyring.config.proxies:
        raise Failure(
            f"relay.yaml has a proxy {name} already, which would be used in place of this one; choose another name"
        )
    try:
        done = Proxies(keyring.vault).add(NewProxy(name, _url(url, user), **given(fields)))
    except ValueError as error:
        raise Failure(str(error)) from None
    echo(f"Added {done.name} {done.address}. Try it: {command('keys')} proxies test {done.name}")


@proxies.command()
@click.argument("name")
@_fields
@click.option("--ask", "anew", is_flag=True, help="Another URL, from a hidden prompt or standard input.")
@options.place
def edit(
    name: str,
    url: str | None,
    user: str | None,
    anew: bool,
    config: str | None,
    database: Path | None,
    **fields: Any,
) -> None:
    """Change one of the vault; what is not said stays. Its name stays, for keys refer to it.

    \b
    Examples:
      scripts/keys proxies edit office --ask
      scripts/keys proxies edit office --timeout 5s --no-direct
    """
    keyring, said = Keyring.enter(config, database), given(fields)
    if user and not url:
        raise click.UsageError("With --user say --url, too.")
    if url or anew:
        said["url"] = _url(url, user)
    if not said:
        raise click.UsageError("Say what to change, such as --ask for another URL.")
    try:
        done = Proxies(keyring.vault).edit(name, said)
    except ValueError as error:
        raise Failure(str(error)) from None
    if done is None:
        raise Failure(_no_such(keyring, name))
    echo(f"Changed {done.name} {done.address}")


@proxies.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.place
def remove(names: tuple[str, ...], yes: bool, config: str | None, database: Path | None) -> None:
    """Take proxies of the vault away, for good. One that keys refer to stays.

    \b
    Example:
      scripts/keys proxies remove office
    """
    keyring = Keyring.enter(config, database)
    book, known = Proxies(keyring.vault), {one.name for one in Proxies(keyring.vault).list()}
    if unknown := [name for name in names if name not in known]:
        raise Failure(_no_such(keyring, unknown[0]))
    if not yes:
        confirm(f"Remove {', '.join(names)} for good?")
    for name in names:
        try:
            book.remove(name, in_use=name in keyring.config.proxies)
        except InUse as error:
            raise Failure(f"{error}: {command('keys')} edit {error.keys[0]} --proxy …") from None
        echo(f"Removed {name}")


@proxies.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--echo", "url", metavar="URL", help="Ask this URL, through each proxy, which address it sees.")
@options.as_json
@options.place
def test(names: tuple[str, ...], url: str | None, as_json: bool, config: str | None, database: Path | None) -> None:
    """Try proxies, by default all: a tunnel to a provider is opened through each, and closed again. Ends with 1 when one fails.

    \b
    Examples:
      scripts/keys proxies test
      scripts/keys proxies test office --echo https://ip.example/
    """
    keyring = Keyring.enter(config, database)
    known = _all(keyring)
    found = [one for one in known.every() if not one.shadowed and (not names or one.name in names)]
    if lost := [name for name in names if name not in {one.name for one in found}]:
        raise Failure(_no_such(keyring, lost[0]))
    opened = known.opened()
    usable = [one for one in found if one.name in opened]
    targets = [known.target(one) for one in usable]
    trials = tried(
        [Trying(opened[one.name], to.base_url, to.trust) for one, to in zip(usable, targets, strict=True)], url
    )
    results = [(one, _host(to.base_url), trial) for one, to, trial in zip(usable, targets, trials, strict=True)]
    if as_json:
        echo_json([{"name": one.name, "target": host, **asdict(trial)} for one, host, trial in results])
    else:
        for one, host, trial in results:
            echo(_line(one, opened[one.name], host, trial))
    damaged = [one.name for one in found if one.name not in opened]
    for name in damaged:
        echo(f"{name}: somebody has changed it in the file; give it its URL again: proxies edit {name} --ask", err=True)
    if damaged or any(trial.reason for _, _, trial in results):
        raise SystemExit(1)


def _all(keyring: Keyring) -> AllProxies:
    return AllProxies(keyring.config, keyring.vault)


def _line(one: KnownProxy, proxy: OutboundProxy, host: str, trial: Trial) -> str:
    if trial.reason:
        remedy = remedy_for(trial.reason, None, "check its URL and this machine's network")
        return f"{one.name}: {proxy} to {host}: {trial.reason}; {remedy}"
    seen = f"; {trial.seen}" if trial.seen else ""
    return f"{one.name}: {proxy} leads to {host} in {1000 * (trial.seconds or 0.0):.0f} ms{seen}"


def _url(url: str | None, user: str | None) -> str:
    """The whole URL, from where it was said. Raises ValueError."""
    if url is None:
        text = click.prompt("URL, with user and password", hide_input=True) if at_terminal() else stdin().strip()
    elif user is None:
        return url
    else:
        password = click.prompt("Password", hide_input=True) if at_terminal() else stdin().strip()
        parts = urlsplit(url)
        place = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=place))
    if user is not None:
        raise click.UsageError("With --user say --url, too.")
    if not text:
        raise ValueError("there is no URL on standard input")
    return str(text)


def _no_such(keyring: Keyring, name: str) -> str:
    if name in keyring.config.proxies:
        return f"{name} is a proxy of relay.yaml: change it there, under proxies.{name}"
    return f"the vault has no proxy {name!r}. See: {command('keys')} proxies list"


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _plain(one: KnownProxy, figures: Mapping[str, Passage]) -> dict[str, Any]:
    return asdict(one) | {"last_day": asdict(figures.get(one.name, NOTHING))}


def _table(found: tuple[KnownProxy, ...], figures: Mapping[str, Passage]) -> None:
    passed = [NOTHING if one.shadowed else figures.get(one.name, NOTHING) for one in found]
    cells = {
        "name": [one.name for one in found],
        "from": [f"{one.source}, not used" if one.shadowed else one.source for one in found],
        "address": [one.address for one in found],
        "user": ["yes" if one.signed_in else "" for one in found],
        "if it fails": ["directly" if one.direct else "" for one in found],
        "used by": [", ".join(one.users) or "nobody" for one in found],
        "requests, 24 h": [str(one.requests or "") for one in passed],
        "without a way": [str(one.failures or "") for one in passed],
        "notes": [one.notes for one in found],
    }
    grid.show(
        cells,
        always=("name", "from", "address"),
        expendable=("notes", "user", "from"),
        wraps={"used by": 20, "notes": 20},
        right=("requests, 24 h", "without a way"),
    )
    for one in found:
        if one.shadowed:
            echo(f"{one.name} is in relay.yaml, too, which is used; the vault's is not.", err=True)
