"""Who there is: clients, groups, and the client behind a secret. One frozen picture of a moment; the store makes it anew when it changed.

    found = directory.find(secret)                 a Grant, or None: nobody has it
    why = found.refusal(now)                       None: its client is served

It must not know where it comes from, nor requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .credentials import Kind, digest
from .permissions import Policy

ANYTHING = Policy()


@dataclass(frozen=True, slots=True)
class Group:
    """Clients that share limits. `settings`: path of the file with managed settings for Claude Code; None: no policy."""

    name: str
    policy: Policy = ANYTHING
    enabled: bool = True
    settings: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who has a key of the relay's own.

    id           for ever; what tokens, leases and stops hang on
    name         unique; stands in the ledger, in logs and headers
    group        None: it is in none
    priority     its weight where requests wait for each other: 2 gets twice as many turns as 1
    owner        the id that somebody else's system has for it
    expires_at   seconds since the epoch; None: never. With `expires_after` it is known from its first use on
    expires_after  seconds after its first use
    restricted   whether it may not send every request
    """

    id: str
    name: str
    policy: Policy = ANYTHING
    group: Group | None = None
    priority: int = 1
    enabled: bool = True
    expires_at: float | None = None
    expires_after: float | None = None
    note: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    restricted: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """What each request is asked for is found once."""
        object.__setattr__(self, "restricted", any(policy.restricts for policy in self.policies))

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Those that hold for it: its own, and its group's."""
        return (self.policy,) if self.group is None else (self.policy, self.group.policy)


REPLACED = "this client key has been replaced by a newer one"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a secret allows. `until`: seconds since the epoch; None: no end."""

    client: Client
    kind: Kind
    until: float | None = None

    def refusal(self, now: float) -> str | None:
        """Why its client is not served now, as a sentence for the client; None: it is."""
        client = self.client
        if self.until is not None and now >= self.until:
            return REPLACED if self.kind is Kind.KEY else "this sign-in has expired"
        if not client.enabled:
            return f"the client '{client.name}' is disabled"
        if client.group is not None and not client.group.enabled:
            return f"the group '{client.group.name}' of the client '{client.name}' is disabled"
        if client.expires_at is not None and now >= client.expires_at:
            return f"the client '{client.name}' has expired"
        return None


@dataclass(frozen=True, slots=True)
class Stop:
    """What runs for a client, or in one of its sessions, is to end now, and nothing begins until the end of the stop.

    id       grows with every stop
    session  how the session's id begins; None: all of them
    until    seconds since the epoch
    """

    id: int
    client: str
    session: str | None
    until: float

    def holds_for(self, client: Client, session: str | None) -> bool:
        """Whether it means a request of this client, in this session."""
        return self.client == client.id and (self.session is None or (session or "").startswith(self.session))


@dataclass(frozen=True, slots=True)
class Directory:
    """All clients that are not removed. `clients` by name; `grants` by digest.

    known  by the secret itself, of those that have come: a SHA-256 takes longer than all else that is done to know a client. Never written
           down, and gone with what the secret allows
    """

    clients: Mapping[str, Client] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    grants: Mapping[bytes, Grant] = field(default_factory=dict)
    stops: tuple[Stop, ...] = ()
    known: dict[str, Grant] = field(default_factory=dict, init=False, repr=False, compare=False)

    def find(self, secret: str) -> Grant | None:
        """Whose secret it is, served or not."""
        found = self.known.get(secret)
        if found is None and (found := self.grants.get(digest(secret))) is not None:
            self.known[secret] = found
        return found

    def remember(self, before: Directory) -> None:
        """Secrets that have come already are known here, too, as far as they allow what they did: by the same object."""
        here = {id(grant) for grant in self.grants.values()}
        self.known.update((secret, grant) for secret, grant in before.known.copy().items() if id(grant) in here)

    def stopped(self, client: Client, session: str | None, now: float) -> Stop | None:
        """The stop that holds for a request; None: none does."""
        for stop in self.stops:
            if now < stop.until and stop.holds_for(client, session):
                return stop
        return None


NOBODY = Directory()
