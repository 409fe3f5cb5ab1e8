"""`accounts login` and `accounts import`: how accounts come in."""

from __future__ import annotations

import time
from pathlib import Path

import click

from claude_relay.cli.console.terminal import Failure, confirm, echo
from claude_relay.core.errors import clean
from claude_relay.core.installation import command
from claude_relay.core.oauth.grants import Tokens
from claude_relay.core.oauth.own_files import read_credentials
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.vault import Duplicate

from . import arguments
from .arguments import HELP
from .consenting import in_browser, on_device
from .figures import ends
from .logins import Logins

LARGEST = 1 << 20
WARNING = (
    "A refresh token is good for one program at a time: once the relay renews it, the program that wrote this file may be logged out, "
    "and once that program renews it, the relay is. With --no-refresh the relay uses only the access token, until that ends."
)


@click.command(context_settings=HELP, short_help="Log in with an account of your own.")
@arguments.provider_of
@click.option("--account", metavar="ACCOUNT", help="Log in again with this one: it keeps its name and settings.")
@click.option(
    "--label", metavar="TEXT", help="A name of your own. Default: the account's e-mail, if the provider says it."
)
@click.option("--device", is_flag=True, help="Confirm a code on another device, where the provider has that.")
@click.option("--paste", is_flag=True, help="Paste the code, or the address that the browser shows at the end.")
@click.option("--browser", is_flag=True, help="Open the page in this machine's browser.")
@arguments.timeout
@arguments.place
def login(
    provider: str | None,
    account: str | None,
    label: str | None,
    device: bool,
    paste: bool,
    browser: bool,
    timeout: float,
    config: str | None,
    database: Path | None,
) -> None:
    """Log in with an account of your own, at a provider that has `oauth` in relay.yaml.

    Shows a page of the provider's; its answer is caught on a port of this machine. On a machine without a browser: --paste or --device.

    \b
    Examples:
      scripts/accounts login
      scripts/accounts login --provider anthropic --paste
      scripts/accounts login --account anthropic/v3
    """
    if device and (paste or browser):
        raise click.UsageError("--device goes without --paste and --browser.")
    logins = Logins.enter(config, database)
    again = logins.one(account, provider) if account is not None else None
    name, chosen = logins.provider(again.provider if again else provider)
    if device:
        tokens = on_device(chosen, logins.way, timeout=timeout)
    else:
        tokens = in_browser(chosen, logins.way, paste=paste, browser=browser, timeout=timeout)
    now = time.time()
    if again is not None:
        if not logins.accounts.login_again(again.id, tokens, now):
            raise Failure(f"{again.name} is not there any more; log in without --account.")
        echo(f"Logged in again: {again.name}{_ending(logins.accounts.get(again.id), now)}")
        return
    _add(logins, name, tokens, label, now)


@click.command("import", context_settings=HELP, short_help="Take over credentials of your own from a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@arguments.provider_of
@click.option("--label", metavar="TEXT", help="A name of your own.")
@click.option("--no-refresh", is_flag=True, help="Leave the refresh token to the program that wrote the file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@arguments.place
def import_(
    file: Path,
    provider: str | None,
    label: str | None,
    no_refresh: bool,
    yes: bool,
    config: str | None,
    database: Path | None,
) -> None:
    """Take over credentials of your own from FILE: Claude Code's .credentials.json, or JSON with access_token, refresh_token, expires_at.

    They must be of the same client as `oauth.client_id` in relay.yaml, else they cannot be renewed here.

    \b
    Examples:
      scripts/accounts import ~/.claude/.credentials.json --no-refresh
      scripts/accounts import mine.json --label "my plan"
    """
    logins = Logins.enter(config, database)
    name, _ = logins.provider(provider)
    try:
        with file.open("rb") as opened:
            found = read_credentials(opened.read(LARGEST), time.time())
    except OSError as error:
        raise Failure(f"{clean(str(file))}: {error.strerror}") from None
    except ValueError as error:
        raise Failure(f"Nothing was added: {error}") from None
    if no_refresh:
        found = tuple(Tokens(one.access, None, one.expires_in, one.scopes, one.account) for one in found)
    elif any(one.refresh for one in found):
        echo(WARNING, err=True)
        if not yes:
            confirm("Is this file yours, and may the relay renew what is in it?")
    for tokens in found:
        _add(logins, name, tokens, label, time.time())


def _add(logins: Logins, provider: str, tokens: Tokens, label: str | None, now: float) -> None:
    try:
        done = logins.accounts.add(provider, tokens, now, {} if label is None else {"label": label})
    except ValueError as error:
        raise Failure(f"Nothing was added: {error}") from None
    if isinstance(done, Duplicate):
        bring = f"; it was removed, bring it back: {command('accounts')} restore {done.name}" if done.removed else ""
        raise Failure(f"Nothing was added: this is {done.name} already{bring}")
    who = f" ({done.account})" if done.account else ""
    echo(f"Added {done.name}{who}{_ending(done, now)}")


def _ending(account: Account | None, now: float) -> str:
    if account is None:
        return ""
    until = ends(account, now)
    verb = "ends" if account.expires_at is not None and account.expires_at > now else "is"
    renewed = "; renewed by the relay" if account.renews else "; cannot be renewed"
    return (f", its token {verb} {until}" if until else "") + renewed
