"""What a client may do: its own policy and its group's, each of which has to permit it.

    refuse(client, wanted, contact)             RelayError 403 or 400 for what it may not, with what it may
    permits_model(client, "claude-opus-5-5")   models by the name they are asked for
    permits_provider(client, "anthropic")
    barred(client, keys)                       ids of the keys that are not for it; None: for nobody in particular

A key that is in a group is for the clients whose `key_groups` name that group, and for nobody else; such a client uses no other. It must
not know routes, nor what becomes of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from claude_relay.core.addresses import Ip
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Key

from .denials import referral
from .directory import Client
from .permissions import Policy

FILES, BATCHES = "/v1/files", "/v1/messages/batches"
WITH_MODEL = frozenset({"messages", "count_tokens", "complete"})
"""Endpoints whose requests name a model."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants.

    endpoint  as policies call it (`endpoint_of`)
    models    that it names; an empty text: it names none, or none that can be read
    program   the client's, as it says itself; empty: it does not
    address   where it comes from; None: nobody can tell
    """

    endpoint: str
    models: tuple[str, ...]
    program: str
    address: Ip | None


def endpoint_of(endpoint: Endpoint, path: str) -> str:
    """What policies call an endpoint. `path`: in its normal form, without the query."""
    if endpoint is not Endpoint.RESOURCE:
        return endpoint.value
    for place, name in ((FILES, "files"), (BATCHES, "batches")):
        if path == place or path.startswith(f"{place}/"):
            return name
    return "other"


def refuse(client: Client, wanted: Wanted, contact: str) -> None:
    """Raises RelayError for what the client may not do."""
    for policy in client.policies:
        if policy.endpoints and wanted.endpoint not in policy.endpoints:
            raise forbidden(client, f"use {wanted.endpoint} requests", policy.endpoints, contact)
        if policy.programs and not _fits(policy.programs, wanted.program):
            raise forbidden(
                client, f"be used by {wanted.program or 'a program without a name'}", policy.programs, contact
            )
        if policy.addresses and not _is_in(policy.addresses, wanted.address):
            raise forbidden(client, f"be used from {wanted.address or 'here'}", policy.addresses, contact)
    for model in wanted.models:
        refuse_model(client, model, contact)


def refuse_model(client: Client, model: str, contact: str) -> None:
    """Raises RelayError 400 for a model that the client may not ask: programs take a 403 for a key that is lost."""
    for policy in client.policies:
        if policy.models and not _fits(policy.models, model):
            what = f"the model {model[:100]!r}" if model else "a model that the relay cannot read from the request"
            message = f"The client '{client.name}' may not use {what}; it may use: {_listed(policy.models)}.{referral(contact)}"
            raise RelayError(400, message, final=True)


def permits_model(client: Client | None, model: str) -> bool:
    """Whether it may ask for a model of this name."""
    return client is None or all(not policy.models or _fits(policy.models, model) for policy in client.policies)


def permits_provider(client: Client | None, provider: str) -> bool:
    """Whether its requests may go there."""
    if client is None:
        return True
    for policy in client.policies:  # noqa: SIM110 - `all` takes three times as long
        if policy.providers and provider not in policy.providers:
            return False
    return True


def restricts_lists(client: Client | None) -> bool:
    """Whether a list of models may hold some that are not for it."""
    return client is not None and any(policy.models or policy.providers for policy in client.policies)


def barred(client: Client | None, keys: Iterable[Key]) -> frozenset[str]:
    """The ids of those keys that must not be used for it. `client` None: for a request without a client key."""
    policies = client.policies if client is not None else ()
    tests = [*_tests(policies)]
    if not any(policy.key_groups for policy in policies):
        tests.append(lambda key: not key.group)
    return frozenset(key.id for key in keys if not all(test(key) for test in tests))


def _tests(policies: Iterable[Policy]) -> Iterator[Callable[[Key], bool]]:
    for policy in policies:
        if policy.key_tiers:
            yield lambda key, tiers=policy.key_tiers: key.tier in tiers  # type: ignore[misc]
        if policy.key_groups:
            yield lambda key, groups=policy.key_groups: key.group in groups  # type: ignore[misc]


def forbidden(client: Client, what: str, may: Iterable[str], contact: str) -> RelayError:
    """403. `may`: what is permitted in its place; nothing: that is not told."""
    others = _listed(may)
    instead = f"; permitted: {others}" if others else ""
    return RelayError(403, f"The client '{client.name}' may not {what}{instead}.{referral(contact)}", final=True)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _fits(globs: Iterable[str], name: str) -> bool:
    """Whatever the case, as in routes."""
    return any(fnmatchcase(name.lower(), glob.lower()) for glob in globs)


def _is_in(networks: Iterable[str], address: Ip | None) -> bool:
    return address is not None and any(found is not None and address in found for found in map(_network, networks))


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    """None: it is none, and nobody is in it."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
