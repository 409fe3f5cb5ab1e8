"""`keys rotate-secret`: another secret for the vault."""

from __future__ import annotations

import os
from pathlib import Path

import click

from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.store.vault.secret import ENVIRONMENT, FILE, KEYRING, SHORTEST, VARIABLE

from . import options
from .entering import at_terminal, stdin
from .keyring import Keyring

AFTERWARDS = {
    ENVIRONMENT: f"It is the value of {VARIABLE}.",
    KEYRING: "It is in the system's keyring.",
    FILE: "It is in {path}.secret; keep that file out of the database's backups.",
}


@click.command("rotate-secret", short_help="Seal all keys anew with another secret.")
@click.option(
    "--to",
    "place",
    type=click.Choice([ENVIRONMENT, KEYRING, FILE]),
    help=f"Where the new secret is kept. Default: {VARIABLE} if it is set, else the system's keyring if there is one, else a file.",
)
@options.place
def rotate_secret(place: str | None, config: str | None, database: Path | None) -> None:
    """Seal all keys anew with another secret, in one step; relays that run keep the keys they have.

    A secret for RELAY_SECRET is asked for, or read from standard input; set the variable to it afterwards. For the keyring and
    the file a new one is drawn.

    \b
    Examples:
      scripts/keys rotate-secret
      openssl rand -base64 32 > new-secret
      scripts/keys rotate-secret --to environment < new-secret
    """
    vault = Keyring.enter(config, database).vault
    sealed = vault.inspect().place
    usual = vault.usual_place()
    target = place or usual
    secret = _new_secret() if target == ENVIRONMENT and (sealed == ENVIRONMENT or usual != ENVIRONMENT) else None
    if secret is not None and secret == os.environ.get(VARIABLE):
        raise Failure(f"That is what {VARIABLE} is already; give another one.")
    now = vault.rotate_secret(place, secret)
    to_do = (
        f"Now set {VARIABLE} to the new secret and start the relay again." if secret is not None else AFTERWARDS[now]
    )
    echo(f"All keys are sealed with a new secret. {to_do.format(path=vault.path)}")


def _new_secret() -> str:
    if not at_terminal():
        return stdin().strip()
    secret: str = click.prompt(f"New secret, {SHORTEST} characters or more", hide_input=True, confirmation_prompt=True)
    return secret
