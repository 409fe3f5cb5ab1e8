"""What the client of a request may do, held against what the request turned out to be.

    await permit(flow, relayed, clients)              raises RelayError for what its client may not
    targets = permitted(relayed, targets)             those that it may be sent to
    barred = rights.barred(relayed, targets, owner)   the keys that it may not use, by provider

Requests without a client key pass at once; keys of groups are not for them. It must not know routes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from mitmproxy import http

from claude_relay.core.bodies.resources import Owner
from claude_relay.core.clients import permitting
from claude_relay.core.clients.denials import referral, stopped
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.permitting import Wanted, endpoint_of
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Key, Target
from claude_relay.proxy.access.identity import address_of
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.clients import KnownClients

from . import reserving

NONE_LEFT = "This request may use none of the keys of {}: they are kept for certain clients.{}"
NOT_ITS_OWN = "What this request is about was made with a key that it may not use.{}"
MOST = 4096
"""Clients and providers for which it is remembered which keys are not for them."""


async def permit(flow: http.HTTPFlow, relayed: Relayed, clients: KnownClients | None) -> None:
    """Raises RelayError: 403 for a client that is stopped and for what it may not do, 400 for a model that it may not ask."""
    client = relayed.client
    if client is None:
        return
    config = relayed.runtime.config
    if clients is not None and clients.directory.stops:
        stop = clients.directory.stopped(client, relayed.facts.session, time.time())
        if stop is not None:
            raise stopped(client, stop, config.clients.contact)
    if client.restricted:
        permitting.refuse(client, await _wanted(flow, relayed, client), config.clients.contact)


def permitted(relayed: Relayed, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Those of the targets whose providers the client may use. Raises RelayError 403 when none is left."""
    client = relayed.client
    if client is None or not (client.policy.providers or (client.group is not None and client.group.policy.providers)):
        return targets
    left = tuple(target for target in targets if permitting.permits_provider(client, target.provider))
    if targets and not left:
        names = ", ".join(dict.fromkeys(target.provider for target in targets))
        own = [name for name in relayed.runtime.config.providers if permitting.permits_provider(client, name)]
        own = own or ["none of relay.yaml"]
        raise permitting.forbidden(client, f"be sent to {names}", own, relayed.runtime.config.clients.contact)
    return left


class KeyRights:
    """Which keys are not for whom, worked out once for each client and set of keys."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[tuple[Key, ...], Client | None, frozenset[str]]] = {}

    def barred(self, relayed: Relayed, targets: Sequence[Target], owner: Owner | None) -> Mapping[str, frozenset[str]]:
        """The ids of keys that the request must not use, by provider. Raises RelayError 403 when no target is left, or when it is about
        something that such a key made.
        """
        client, pools = relayed.client, relayed.runtime.pools
        contact = referral(relayed.runtime.config.clients.contact)
        found: dict[str, frozenset[str]] = {}
        useless = 0
        for target in targets:
            pool = pools[target.provider]
            ids = self._of(client, target.provider, pool.keys)
            if ids:
                found[target.provider] = ids
                useless += len(ids) == len(pool.keys)
        maker = pools.get(owner.provider) if owner is not None else None
        if owner is not None and maker is not None and maker.by_id(owner.key_id):
            found.setdefault(owner.provider, self._of(client, owner.provider, maker.keys))
            own = permitting.permits_provider(client, owner.provider)
            if not own or owner.key_id in found[owner.provider]:
                raise RelayError(403, NOT_ITS_OWN.format(contact), final=True)
        elif useless and useless == len(targets):
            names = ", ".join(target.provider for target in targets)
            raise RelayError(403, NONE_LEFT.format(names, contact), final=True)
        return found

    def _of(self, client: Client | None, provider: str, keys: tuple[Key, ...]) -> frozenset[str]:
        place = provider, "" if client is None else client.id
        known = self._known.get(place)
        if known is None or known[0] is not keys or known[1] is not client:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[place] = known = keys, client, permitting.barred(client, keys)
        return known[2]


async def _wanted(flow: http.HTTPFlow, relayed: Relayed, client: Client) -> Wanted:
    facts = relayed.facts
    name = endpoint_of(facts.endpoint, relayed.path.partition("?")[0])
    models: tuple[str, ...] = ()
    if any(policy.models for policy in client.policies):
        if name in permitting.WITH_MODEL:
            models = (facts.model,)
        elif reserving.makes_batch(relayed):
            models = tuple(part.model for part in (await reserving.need_of_new_batch(relayed)).parts)
    return Wanted(name, models, facts.program, address_of(flow, relayed.runtime.config))
