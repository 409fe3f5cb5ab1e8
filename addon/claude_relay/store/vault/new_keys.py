"""What comes of entries of a file: keys for the vault, or why not; those of another gateway's file go to the provider at the same host.

    planned(read(text), provider_of, {"tier": "admin"})             -> [Planned(entry, new=NewKey(…)), Planned(entry, problem="…")]
    entries, left_out = foreign(found.credentials, config.providers)

`fields` are for the entries that do not say them themselves. What this module must not know: files, and what is in the vault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from claude_relay.core.config import Provider
from claude_relay.core.config.proxies import OutboundProxy
from claude_relay.core.imports.found import Credential

from .reading import Entry
from .records import NewKey

UNNAMED = "a host that the file does not name"


@dataclass(frozen=True, slots=True)
class Planned:
    """An entry, and the key that it makes; or why it makes none."""

    entry: Entry
    new: NewKey | None = None
    problem: str = ""


def planned(
    entries: Sequence[Entry], provider_of: Callable[[str | None], str], fields: Mapping[str, object]
) -> list[Planned]:
    """All of them. `provider_of`: the provider of that name, or the usual one; raises ValueError.

    A line of several words that are no keys is told once: somebody wrote a sentence there.
    """
    found: list[Planned] = []
    for plan in (_planned(entry, provider_of, fields) for entry in entries):
        last = found[-1] if found else None
        if not (plan.problem and last and last.problem and last.entry.where == plan.entry.where):
            found.append(plan)
    return found


def _planned(entry: Entry, provider_of: Callable[[str | None], str], fields: Mapping[str, object]) -> Planned:
    try:
        said = {name: value for name, value in entry.fields.items() if value not in (None, "")}
        return Planned(entry, NewKey.of(provider_of(entry.provider), entry.secret, {**fields, **said}))
    except ValueError as error:
        return Planned(entry, problem=str(error))


def foreign(
    credentials: Iterable[Credential], providers: Mapping[str, Provider], provider: str | None = None
) -> tuple[list[Entry], list[str]]:
    """Those that have a provider here, and what is left out, a sentence each. `provider`: that one for all."""
    hosts = {_host(settings.base_url): name for name, settings in reversed(list(providers.items()))}
    entries: list[Entry] = []
    left_out: list[str] = []
    strangers: dict[str, int] = {}
    for one in credentials:
        if why := _unusable(one):
            left_out.append(f"Left out: {one.fields.get('label') or one.where}: {why}.")
            continue
        name = provider or hosts.get(_host(one.base_url))
        if name is None:
            host = _host(one.base_url) or UNNAMED
            strangers[host] = strangers.get(host, 0) + 1
        else:
            entries.append(Entry(one.where, one.secret, name, one.fields))
    for host, count in strangers.items():
        keys = "1 key" if count == 1 else f"{count} keys"
        left_out.append(f"Left out: {keys} for {host}: no provider of relay.yaml is there; add one, or say which.")
    return entries, left_out


def _unusable(credential: Credential) -> str:
    """Why a key must not come along: without its own proxy it would be used from somewhere else."""
    try:
        if "proxy" in credential.fields:
            OutboundProxy.parse_url(credential.fields["proxy"])
    except ValueError as error:
        return f"its proxy: {error}"
    return ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url if "://" in url else f"https://{url}").hostname or "").lower() if url else ""
    except ValueError:
        return ""
