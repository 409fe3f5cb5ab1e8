"""Who plays in the demo: five keys that the upstream treats differently, and a dozen requests.

treatment = treatment_of("demo-key-bad")        # REFUSED
treatment_of("somebody-else's")                 # None: the upstream refuses it too
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PROVIDER = "anthropic"
HOST = "api.anthropic.com"
CREDENTIAL = "placeholder-of-the-demo"
"""What the client sends as its own key. It never leaves the relay."""

SONNET, HAIKU, OPUS = "claude-sonnet-5", "claude-haiku-4-5", "claude-opus-4-5"
MODELS = (SONNET, HAIKU, OPUS)


class Treatment(StrEnum):
    """How the upstream treats a key."""

    REFUSED = "401, always"
    LIMITED = "429, but for one request in 2 s"
    OVERLOADED = "529 now and then"
    GOOD = "200, always"


@dataclass(frozen=True, slots=True)
class Role:
    """A key and what happens to those who use it."""

    key: str
    treatment: Treatment


ROLES = (
    Role("demo-key-bad", Treatment.REFUSED),
    Role("demo-key-limited", Treatment.LIMITED),
    Role("demo-key-overloaded", Treatment.OVERLOADED),
    Role("demo-key-good-1", Treatment.GOOD),
    Role("demo-key-good-2", Treatment.GOOD),
)


class Way(StrEnum):
    """How a request reaches the relay."""

    BASE_URL = "base URL"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """One request of the demo. Without a question it is a GET."""

    way: Way
    path: str
    model: str = ""
    question: str = ""
    stream: bool = False

    @property
    def title(self) -> str:
        """What it asks for, in a few words."""
        if self.counts:
            return f"{self.model}, counted"
        return f"{self.model}, streamed" if self.stream else self.model or self.path

    @property
    def counts(self) -> bool:
        """Whether it only counts tokens."""
        return self.path.endswith("/count_tokens")


MESSAGES, COUNT, LIST = "/v1/messages", "/v1/messages/count_tokens", "/v1/models"
B, P = Way.BASE_URL, Way.PROXY

REQUESTS = (
    DemoRequest(B, MESSAGES, SONNET, "Why did my first request of the day need four tries?"),
    DemoRequest(B, MESSAGES, HAIKU, "Which key answers this one?", stream=True),
    DemoRequest(B, COUNT, SONNET, "How long is this question?"),
    DemoRequest(P, MESSAGES, SONNET, "What happens when an overloaded provider says so inside a stream?", stream=True),
    DemoRequest(P, MESSAGES, OPUS, "Who has seen the real keys so far?"),
    DemoRequest(B, LIST),
    DemoRequest(P, MESSAGES, HAIKU, "Does a streamed answer arrive at once or in pieces?", stream=True),
    DemoRequest(B, MESSAGES, SONNET, "And when the answer is not streamed?"),
    DemoRequest(P, MESSAGES, OPUS, "When does a limited key come back?", stream=True),
    DemoRequest(B, MESSAGES, HAIKU, "Does the program that asks notice any of this?"),
    DemoRequest(P, MESSAGES, SONNET, "What is written down of a request?"),
    DemoRequest(B, MESSAGES, SONNET, "How does it all end?", stream=True),
)
"""In an order that lets every treatment be seen, with a pool that takes its keys in turns."""


def treatment_of(key: str) -> Treatment | None:
    """How the upstream treats a key; None when it does not know it."""
    return next((role.treatment for role in ROLES if role.key == key), None)
