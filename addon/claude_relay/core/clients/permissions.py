"""What a client or a group may do, and its limits: one frozen value, stored as JSON.

    Policy(models=("claude-haiku-*",), limits=(parse("$20/day"),))
    policy == decode(encode(policy))

A list that is empty forbids nothing. It must not know requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from .limits import Limit

LISTS = ("providers", "models", "key_tiers", "key_groups", "endpoints", "addresses", "programs")
"""Fields of a policy that are lists of texts."""
ENDPOINTS = ("messages", "count_tokens", "models", "complete", "files", "batches", "other")
"""What an endpoint is called in a policy; `other`: what is none of these and goes with the pool's credential."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Of a client or a group. Where a client has a group, a request must be permitted by both.

    providers   names: requests go to no other
    models      globs of the model as it was asked for
    key_tiers   tiers of keys (`admin`, `public`, an empty text for those without): no other key is used
    key_groups  groups of keys (`scripts/keys --group`): no other key is used
    endpoints   of ENDPOINTS
    addresses   networks (CIDR) that the client's peer must be in
    programs    globs of the client's program, by its user agent: an aid against mistakes, no security
    tunnel      whether hosts that are not intercepted are tunnelled for it when it is on another machine
    limits      all of them hold
    """

    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    key_tiers: tuple[str, ...] = ()
    key_groups: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    tunnel: bool = False
    limits: tuple[Limit, ...] = ()

    @property
    def restricts(self) -> bool:
        """Whether it says what a request may be, where it comes from or from which program."""
        return bool(self.endpoints or self.models or self.addresses or self.programs)


def plain(policy: Policy) -> dict[str, Any]:
    """As documents have it; limits are text."""
    return {
        **{name: list(getattr(policy, name)) for name in LISTS},
        "tunnel": policy.tunnel,
        "limits": [str(limit) for limit in policy.limits],
    }


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Policy)


def encode(policy: Policy) -> str:
    """As it is stored."""
    return _encoder.encode(policy).decode()


@lru_cache(maxsize=1024)
def decode(text: str) -> Policy:
    """What is stored; the same object for the same text, as many clients have. Raises ValueError for what is no policy: then nobody is
    served by it.
    """
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no policy: {error}") from error
