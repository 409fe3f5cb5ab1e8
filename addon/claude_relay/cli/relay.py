"""`relay`: check what can be checked beforehand, then become mitmdump (or mitmweb) with the addon."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from importlib.resources import files

import click

from claude_relay.core.config import schema
from claude_relay.core.config.listening import modes
from claude_relay.core.config.yaml import read

from . import certificates
from .command_line import has_mode, objection
from .console.common import (
    CONFIG_HELP,
    Source,
    addon_script,
    become_mitmproxy,
    confdir,
    load_source,
    mitm_option,
    shown_path,
)
from .console.ports import listeners, why_not
from .console.taking_back import taken_back
from .console.terminal import echo

ANSWERS = frozenset({"--options", "--commands"})
"""Arguments with which mitmdump only prints something."""


def dashboard() -> str:
    """What Grafana imports."""
    return files(__package__).joinpath("grafana.json").read_text("utf-8")


def shows[C: Callable[..., object] | click.Command](
    option: str, text: Callable[[], str], help: str
) -> Callable[[C], C]:
    """An option with which the command prints a text and does nothing else."""

    def answer(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted:
            echo(text(), nl=False)
            ctx.exit()

    return click.option(option, is_flag=True, is_eager=True, expose_value=False, callback=answer, help=help)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@shows("--schema", schema.text, "Print the JSON schema of relay.yaml, for editors.")
@shows("--dashboard", dashboard, "Print the dashboard for Grafana.")
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
@click.option("--web", is_flag=True, help="Run mitmweb instead of mitmdump: shows every request in the browser.")
@click.argument("mitmproxy", nargs=-1, type=click.UNPROCESSED, metavar="[MITMPROXY OPTIONS]…")
def relay(config: str | None, web: bool, mitmproxy: tuple[str, ...]) -> None:
    """Run the relay. All other options go to mitmdump; `scripts/env` then says what a client needs.

    \b
    Examples:
      ANTHROPIC_API_KEYS=sk-ant-…,sk-ant-… scripts/relay
      scripts/relay --web
      scripts/relay --config other.yaml
      scripts/relay --schema > relay.schema.json
    """
    mitmproxy = (*_named(config, mitmproxy), *mitmproxy)
    if wrong := objection(mitmproxy):
        raise click.UsageError(wrong)
    undo_env(os.environ)
    if ANSWERS.isdisjoint(mitmproxy):
        source = load_source(mitm_option(mitmproxy, "relay_config"))
        mode = [] if has_mode(mitmproxy) else [word for spec in modes(source.config) for word in ("--mode", spec)]
        if mode:
            check_ports(source)
        make_ca(source, mitmproxy)
    else:
        mode = []
    become_mitmproxy("mitmweb" if web else "mitmdump", ["-s", str(addon_script()), *mode, *mitmproxy])


def _named(config: str | None, mitmproxy: Sequence[str]) -> tuple[str, ...]:
    """The option of the addon's by which mitmproxy is told of the configuration."""
    if config is None:
        return ()
    if mitm_option(mitmproxy, "relay_config") is not None:
        raise click.UsageError("--config and --set relay_config both name the configuration; keep one.")
    return ("--set", f"relay_config={config}")


def make_ca(source: Source, arguments: Sequence[str]) -> None:
    """Before anything listens and any loop turns. What fails here the addon tries again, and says why."""
    with suppress(click.ClickException):
        named = mitm_option(arguments, "confdir")
        certificates.ensure_ca(confdir([f"confdir={named}"] if named else []), source.config.intercept.hosts)


def undo_env(environ: MutableMapping[str, str]) -> None:
    """A relay that is started in a shell led through it goes out as the shell did before: through a company's proxy, say."""
    for name, value in taken_back(environ).items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value


def check_ports(source: Source) -> None:
    """End with status 1 and the setting to change when a port is not to be had."""
    lines = read(source.text)
    problems = []
    for name, address in listeners(source.config):
        if reason := why_not(address):
            at = f"{shown_path(source.path)}:{lines.line(('listen', name)) or 1}" if source.path else "relay.yaml"
            problems.append(f"  {at}: cannot listen on {address}: {reason}, or set listen.{name} to another address")
    if problems:
        echo("The relay cannot start:", err=True, bold=True)
        echo("\n".join(problems), err=True)
        raise SystemExit(1)
