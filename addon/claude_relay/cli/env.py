"""`env`: what a client's environment must hold so that it goes through the relay.

The running relay is asked where it listens, whether it has keys and where its CA is; when none runs, relay.yaml and the vault say it.
A shell's own settings are respected: a company's CA stays trusted, hosts that bypass proxies still do, a credential that is there is
never replaced, and `--unset` brings back all that was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import click

from claude_relay.core.clients.credentials import PLACEHOLDER, is_own
from claude_relay.core.config import Address, Config
from claude_relay.core.config.listening import near
from claude_relay.core.installation import command as called
from claude_relay.core.shells import SAME, SHELLS, lines
from claude_relay.store import authority
from claude_relay.store.shared.relays import RelayRow

from . import certificates, pools
from .console import running
from .console.common import CONFIG_HELP, Source, become, confdir, give_up, load_source, mitm_option, read_for_clients
from .console.running import Found
from .console.taking_back import Changes, applied, changes, original, taken_back
from .console.terminal import Failure, echo

LOCAL = ("localhost", "127.0.0.1", "::1")
OWN = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
"""Where a client's own credential may be."""


@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]})
@click.option("--base-url", is_flag=True, help="Set ANTHROPIC_BASE_URL instead of HTTPS_PROXY and the CA variables.")
@click.option("--unset", is_flag=True, help="Take back what was set, and bring back what was there before.")
@click.option(
    "--shell", type=click.Choice([*SHELLS, *SAME]), default="sh", show_default=True, help="Whose syntax to print."
)
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for mitmdump; confdir=DIR says where its CA is. Default: as the running relay says.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
def env(
    base_url: bool, unset: bool, shell: str, config: str | None, settings: tuple[str, ...], command: tuple[str, ...]
) -> None:
    """Print the lines that lead this shell's programs through the relay, or run one COMMAND that way.

    \b
    Examples:
      eval "$(scripts/env)"
      eval "$(scripts/env --unset)"
      scripts/env -- claude
      scripts/env --base-url -- claude
    """
    found = taken_back(os.environ) if unset else through_relay(base_url, config, settings, once=bool(command))
    if command:
        after = applied(found, os.environ)
        after.pop("RELAY_SECRET", None)
        become(command, after)
    if found:
        # As bytes: a value that was there before need not be text.
        click.echo(os.fsencode("\n".join(lines(found, shell))))
    elif unset:
        say(f"nothing to take back: {called('env')} has set nothing in this shell")
    if sys.stdout.isatty() and found:
        form = SHELLS[SAME.get(shell, shell)].evaluate
        words = called("env") + (" --unset" if unset else " --base-url" if base_url else "")
        echo(
            f"To {'take them back' if unset else 'set them'} in this shell: {form.format(command=words)}",
            err=True,
            dim=True,
        )


def through_relay(base_url: bool, config: str | None, settings: Sequence[str], *, once: bool) -> Changes:
    """The changes that lead programs through the relay; says on stderr what a person should know. `once`: for one command."""
    source = load_source(config, read_for_clients)
    relay = running.find(source, source.config.database)
    if relay.row is None:
        if source.lacks is not None and not source.listens:
            give_up(source.lacks)
        say(relay.in_lines)
    before = original(os.environ)
    if base_url:
        found = {"ANTHROPIC_BASE_URL": near(source.config.listen, place("base_url", source, relay.row))}
    else:
        found = {"HTTPS_PROXY": near(source.config.listen, place("proxy", source, relay.row))}
        folder, hosts = confdir([*of_relay(relay, settings), *settings]), source.config.intercept.hosts
        found |= certificates.variables(before, folder, hosts)
        if why := authority.misfit(folder, hosts):
            say(why)
        report_other_proxy(before, found["HTTPS_PROXY"], once=once)
    found |= {"NO_PROXY": no_proxy(source.config, before)} | credential(source.config, before, relay.row)
    return changes(with_lower_case(found, before), os.environ)


def say(text: str) -> None:
    """A line for the person, where nothing evaluates it."""
    echo(text, err=True)


def place(name: str, source: Source, row: RelayRow | None) -> Address:
    """Where the running relay listens; when none runs, where it would. Raises ClickException when that listener is off."""
    listener = row.listener(name) if row is not None else None
    address: Address | None = getattr(source.config.listen, name) if row is None else None
    if listener is not None:
        address = Address.parse(listener)
    if address is None:
        of = "relay.yaml" if row is None else "the running relay"
        other = "leave out --base-url" if name == "base_url" else f"use: {called('env')} --base-url"
        raise Failure(f"listen.{name} is off in {of}; set it, or {other}")
    return address


def of_relay(relay: Found, settings: Sequence[str]) -> list[str]:
    """The running relay's folder of mitmproxy's, unless another one is named here."""
    words = [word for setting in settings for word in ("--set", setting)]
    named = mitm_option(words, "confdir") is not None
    return [f"confdir={relay.row.confdir}"] if relay.row is not None and relay.is_here and not named else []


def report_other_proxy(environ: Mapping[str, str], ours: str, *, once: bool) -> None:
    """Say that a proxy which the shell had is replaced."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        other = environ.get(name, "")
        if other and other.rstrip("/") != ours:
            back = "for this program only" if once else f"{called('env')} --unset brings it back"
            say(f"{name} ({without_password(other)}) is replaced by the relay's; {back}")
            return


def without_password(url: str) -> str:
    """A proxy's address as it may be shown."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        return "…"


def credential(config: Config, environ: Mapping[str, str], row: RelayRow | None = None) -> dict[str, str]:
    """A placeholder, where the client has no credential and needs none; an empty variable counts as none.

    As a token and not as an API key: about that Claude Code asks a question and wants to reach Anthropic first. Where a provider has no
    key of the relay's the client's own login must go through, and a placeholder would hide it.
    """
    own = [environ[name] for name in OWN if environ.get(name)]
    if config.clients.required and not any(map(is_own, own)):
        add = f"{called('clients')} add NAME"
        say(f"this relay serves only who has a client key: export ANTHROPIC_AUTH_TOKEN=rk-…; {add} makes one")
    if own:
        return {}
    if pools.needs_none(config, row):
        return {"ANTHROPIC_AUTH_TOKEN": PLACEHOLDER}
    if any(pools.counts(config, row).values()):
        names = ", ".join(pools.wants_own(config, row))
        say(f"{names}: a client's own login goes there, so no placeholder is set")
    return {}


def no_proxy(config: Config, environ: Mapping[str, str]) -> str:
    """This machine and what bypasses proxies already, but for the hosts that must come through the relay."""
    old = ",".join(environ.get(name, "") for name in ("NO_PROXY", "no_proxy")).replace(",", " ").split()
    kept = [entry for entry in old if not any(_covers(entry, host) for host in config.intercept.hosts)]
    return ",".join(dict.fromkeys([*LOCAL, *kept]))


def _covers(entry: str, host: str) -> bool:
    name = entry.lower().removeprefix("*").removeprefix(".").partition(":")[0]
    return entry == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))


def with_lower_case(variables: dict[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Where a shell has `https_proxy` or `no_proxy`, many programs prefer it to the upper-case form: set both."""
    twins = {name.lower(): value for name, value in variables.items() if name.endswith("_PROXY")}
    return variables | {name: value for name, value in twins.items() if name in environ}
