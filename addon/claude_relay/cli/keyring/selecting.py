"""Which keys a call means.

    choose(keys, Choice(("v1", "glm/v2", "team a")), anything, now=time.time())
    choose(keys, Choice(everything=True, provider="glm", status="revoked"), anything, now=time.time())

A word is an id, an alias with or without its provider, or a label; whatever it fits first counts. A label may stand for
several keys, an alias must not. A word that fits nothing stops the whole call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from claude_relay.cli.console.terminal import echo
from claude_relay.core.errors import clean
from claude_relay.core.installation import command
from claude_relay.store.shared.all_keys import CONFIGURED, RUNNING, VAULT
from claude_relay.store.vault.filtering import Filter
from claude_relay.store.vault.records import StoredKey

from .keyring import Keyring
from .showing import names

type Objection = Callable[[StoredKey], str]
"""Why a command cannot do anything with a key; empty when it can."""

CHOICE = ("words", "everything", "provider", "of_group", "status", "config", "database")
"""What the options of `selection` are called."""
WORDS: tuple[Callable[[StoredKey], str], ...] = (
    lambda key: key.id,
    lambda key: key.name,
    lambda key: key.alias,
    lambda key: key.label,
)
NAMED_SHORT = 2
"""The place of the alias alone in WORDS."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was said on the command line."""

    words: tuple[str, ...] = ()
    everything: bool = False
    provider: str | None = None
    status: str | None = None
    group: str | None = None


def anything(key: StoredKey) -> str:
    """No objection."""
    return ""


def not_removed(key: StoredKey) -> str:
    """For what concerns keys of the configuration, too."""
    return "was removed; bring it back with restore" if key.removed_at else ""


def in_hand(key: StoredKey) -> str:
    """For what needs the key itself, wherever it comes from."""
    here = "is known to the running relay alone; do this in a terminal that has the same variables"
    return here if key.source == RUNNING else not_removed(key)


def in_vault(key: StoredKey) -> str:
    """For what changes rows of the vault, removed or not."""
    return f"comes from {CONFIGURED}; change it there" if key.source != VAULT else ""


def in_use(key: StoredKey) -> str:
    """For what changes keys that are there."""
    return in_vault(key) or not_removed(key)


def removed(key: StoredKey) -> str:
    """For bringing back."""
    return in_vault(key) or ("" if key.removed_at else "was not removed")


def choose(keys: Sequence[StoredKey], choice: Choice, objection: Objection, *, now: float) -> tuple[StoredKey, ...]:
    """The keys that are meant, each once, in the order of `keys`. Raises UsageError."""
    if choice.words and choice.everything:
        raise click.UsageError("Name keys, or say --all; not both.")
    if not choice.words and not choice.everything:
        raise click.UsageError(
            "Name keys (id, alias or label), or say --all, with --provider, --group and --status as you like."
        )
    named = {key.id for word in choice.words for key in _possible(_named(keys, word, choice.provider), objection)}
    return tuple(
        key for key in keys if (choice.everything or key.id in named) and _fits(key, choice, now) and not objection(key)
    )


def meant(said: dict[str, Any], objection: Objection) -> tuple[Keyring, tuple[StoredKey, ...]]:
    """The room, and the keys that the options of `selection` mean."""
    keyring, now = Keyring.enter(said["config"], said["database"]), time.time()
    choice, keys = (
        Choice(said["words"], said["everything"], said["provider"], said["status"], said["of_group"]),
        keyring.every(),
    )
    found = choose(keys, choice, objection, now=now)
    if objection is in_hand and choice.everything:
        _report_others([key for key in keys if key.source == RUNNING and _fits(key, choice, now)])
    return keyring, found


def _report_others(keys: Sequence[StoredKey]) -> None:
    """Say which keys are left out that `keys list` shows."""
    if keys:
        what = "known to the running relay alone; do this in a terminal that has the same variables"
        echo(f"Left out: {names(keys)}: {what}.", err=True)


def _named(keys: Sequence[StoredKey], word: str, provider: str | None) -> list[StoredKey]:
    pool = [key for key in keys if provider in (None, key.provider)]
    for place, name in enumerate(WORDS):
        found = [key for key in pool if name(key) == word]
        if place == NAMED_SHORT and len(found) > 1:
            raise click.UsageError(f"'{word}' may be {' or '.join(key.name for key in found)}; say which.")
        if found and word:
            return found
    raise click.UsageError(f"No key is called '{clean(word)}'. See: {command('keys')} list")


def _fits(key: StoredKey, choice: Choice, now: float) -> bool:
    return Filter(choice.provider, choice.status, choice.group).fits(key, now)


def _possible(keys: Sequence[StoredKey], objection: Objection) -> Sequence[StoredKey]:
    """The keys of one word; when nothing can be done with any of them the call stops."""
    if all(objection(key) for key in keys):
        raise click.UsageError(f"{keys[0].name} {objection(keys[0])}.")
    return keys
