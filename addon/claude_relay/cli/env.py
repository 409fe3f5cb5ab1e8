"""`env`: what a client's environment must hold so that it goes through the relay.

A shell's own settings are respected: a company's CA stays trusted, hosts that bypass proxies still do, a credential that is there is
never replaced.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence

import click

from claude_relay.core.config import Config

from . import certificates
from .common import CONFIG_HELP, become, confdir, load_config

PLACEHOLDER = "sk-ant-placeholder-relay"
"""Never leaves the relay, for it contains the word placeholder; the client merely needs something to send."""
LOCAL = ("localhost", "127.0.0.1", "::1")


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


SHELLS: dict[str, tuple[str, Callable[[str], str]]] = {
    "sh": ("export {}={}", shlex.quote),
    "fish": ("set -gx {} {}", _fish),
    "powershell": ("$env:{} = {}", _powershell),
}
EVALUATE = {
    "sh": 'eval "$(scripts/env)"',
    "fish": "scripts/env --shell fish | source",
    "powershell": "scripts/env --shell powershell | Out-String | Invoke-Expression",
}
SAME = {"bash": "sh", "zsh": "sh", "dash": "sh", "ksh": "sh", "pwsh": "powershell"}


@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]})
@click.option("--base-url", is_flag=True, help="Set ANTHROPIC_BASE_URL instead of HTTPS_PROXY and the CA variables.")
@click.option(
    "--shell", type=click.Choice([*SHELLS, *SAME]), default="sh", show_default=True, help="Whose syntax to print."
)
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="As for mitmdump; confdir=DIR says where its CA is."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
def env(base_url: bool, shell: str, config: str | None, settings: tuple[str, ...], command: tuple[str, ...]) -> None:
    """Print the lines that lead this shell's programs through the relay, or run one COMMAND that way.

    \b
    Examples:
      eval "$(scripts/env)"
      scripts/env -- claude
      scripts/env --base-url -- claude
    """
    loaded = load_config(config)
    found = through_base_url(loaded) if base_url else through_proxy(loaded, os.environ, settings)
    found |= {"NO_PROXY": no_proxy(loaded, os.environ)} | credential(loaded, os.environ)
    found = with_lower_case(found, os.environ)
    if command:
        become(command, {name: value for name, value in os.environ.items() if name != "RELAY_SECRET"} | found)
    kind = SAME.get(shell, shell)
    click.echo("\n".join(lines(found, kind)))
    if sys.stdout.isatty():
        click.secho(f"To set them in this shell: {EVALUATE[kind]}", err=True, dim=True)


def lines(variables: Mapping[str, str], shell: str) -> list[str]:
    """One assignment a line, safe to evaluate whatever the values hold."""
    form, quote = SHELLS[shell]
    return [form.format(name, quote(value)) for name, value in variables.items()]


def through_proxy(config: Config, environ: Mapping[str, str], settings: Sequence[str]) -> dict[str, str]:
    """HTTPS_PROXY and what makes clients trust the relay's certificates."""
    if config.listen.proxy is None:
        raise click.ClickException("listen.proxy is off in relay.yaml; set it, or use: scripts/env --base-url")
    return {"HTTPS_PROXY": config.listen.proxy.url} | certificates.variables(environ, confdir(settings))


def through_base_url(config: Config) -> dict[str, str]:
    """ANTHROPIC_BASE_URL alone: no TLS, hence no CA."""
    if config.listen.base_url is None:
        raise click.ClickException("listen.base_url is off in relay.yaml; set it, or leave out --base-url")
    return {"ANTHROPIC_BASE_URL": config.listen.base_url.url}


def credential(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """A placeholder, where the client has no credential and the relay has keys.

    Without a key of the relay's the client's own login must go through, and a placeholder would hide it.
    """
    has_own = environ.get("ANTHROPIC_API_KEY") or environ.get("ANTHROPIC_AUTH_TOKEN")
    has_keys = any(provider.keys for provider in config.providers.values()) or vault_has_keys(config)
    return {"ANTHROPIC_API_KEY": PLACEHOLDER} if has_keys and not has_own else {}


def vault_has_keys(config: Config) -> bool:
    """Whether the vault has a key for one of the providers; needs no secret. A file that cannot be read has none."""
    from claude_relay.store.vault import Vault, VaultError

    try:
        keys = Vault(config.database, environ={}).list()
    except VaultError:
        return False
    return any(key.enabled and not key.removed_at and key.provider in config.providers for key in keys)


def no_proxy(config: Config, environ: Mapping[str, str]) -> str:
    """This machine and what bypasses proxies already, but for the hosts that must come through the relay."""
    old = (environ.get("NO_PROXY") or environ.get("no_proxy") or "").replace(",", " ").split()
    kept = [entry for entry in old if not any(_covers(entry, host) for host in config.intercept.hosts)]
    return ",".join(dict.fromkeys([*LOCAL, *kept]))


def _covers(entry: str, host: str) -> bool:
    name = entry.lower().removeprefix("*").removeprefix(".").partition(":")[0]
    return entry == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))


def with_lower_case(variables: dict[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Where a shell has `https_proxy` or `no_proxy`, many programs prefer it to the upper-case form: set both."""
    twins = {name.lower(): value for name, value in variables.items() if name.endswith("_PROXY")}
    return variables | {name: value for name, value in twins.items() if name in environ}
