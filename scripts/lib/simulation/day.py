"""One day under one strategy: clients come, the relay's core chooses keys and tries again, the made-up Claude answers.

    play(Plan(seed=1), "headroom", sticky=True)      -> Day(served=…, limited=…, …)

The driver of `core.policy.attempts` here is what the proxy is there: it sends, sleeps, and says when an accepted answer has ended.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.config.models import Retry
from claude_relay.core.config.models import Sessions as Settings
from claude_relay.core.exchange import Accepted, Attempt, Conclusion, Endpoint, Facts, Outcome, Renew, Target, Wait
from claude_relay.core.keys.pool import Pool, Pools
from claude_relay.core.keys.sessions import Sessions
from claude_relay.core.retry.policy import attempts

from .clock import Process, World
from .fleet import PROVIDER, Fleet, make_fleet
from .tally import Day, DayTally
from .traffic import Session, Size, Turn, make_traffic
from .upstream import Reply, Upstream

MIDNIGHT = 1_800_057_600.0
MODEL = "claude-sonnet-5"
WRITES = 80.0
"""Output tokens a second."""
SULK = 60.0
"""Seconds until a client that was refused goes on with its next turn."""

type Steps = Generator[Attempt | Wait | Renew, Outcome | None, Conclusion]


@dataclass(frozen=True)
class Plan:
    """What all days have in common."""

    seed: int = 1
    size: Size = field(default_factory=Size)

    @cached_property
    def fleet(self) -> Fleet:
        """The keys."""
        return make_fleet(self.seed, MIDNIGHT)

    @cached_property
    def traffic(self) -> tuple[Session, ...]:
        """The clients."""
        return make_traffic(self.seed, MIDNIGHT, self.size)

    @property
    def requests(self) -> int:
        """How many there are in all."""
        return sum(len(session.turns) for session in self.traffic)


def play(plan: Plan, strategy: str, *, sticky: bool) -> Day:
    """The whole day, in simulated time."""
    relay = Relay(plan, strategy, sticky=sticky)
    relay.run(plan.traffic)
    return relay.tally.day(strategy, sticky)


class Relay:
    """The core, and what it needs around it."""

    def __init__(self, plan: Plan, strategy: str, *, sticky: bool) -> None:
        self.world = World(MIDNIGHT)
        self.tally = DayTally()
        self.upstream = Upstream(plan.fleet, Random(f"{plan.seed}/upstream"), MIDNIGHT)
        self.pools = Pools([Pool(PROVIDER, plan.fleet.keys, strategy=strategy)])
        self.retry, self.settings = Retry(), Settings()
        self.sessions = Sessions(self.settings.ttl) if sticky else None
        self.random = Random(f"{plan.seed}/relay").random

    def run(self, traffic: Iterable[Session]) -> None:
        """Until the last client has got its last answer."""
        for session in traffic:
            self.world.spawn(self.client(session), session.begin)
        self.world.run()

    def client(self, session: Session) -> Process[None]:
        """All turns of a session, each after the answer to the one before."""
        for turn in session.turns:
            yield turn.gap
            if not (yield from self.request(turn, session.name)):
                yield SULK

    def request(self, turn: Turn, session: str | None) -> Process[bool]:
        """One request. True when it was answered."""
        came = began = self.world.now
        steps, reply, outcome = self.steps(session), None, None
        attempt: Attempt | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Wait):
                    outcome = None
                    yield step.seconds
                elif isinstance(step, Renew):
                    outcome = None  # no key of this fleet is an account
                else:
                    attempt, began = step, self.world.now
                    reply = self.send(attempt, turn, session)
                    yield reply.latency
                    outcome = reply.outcome
        except StopIteration as end:
            conclusion: Conclusion = end.value
        if not isinstance(conclusion, Accepted) or attempt is None or reply is None:
            self.tally.refused()
            return False
        self.tally.served(began - came)
        yield from self.stream(attempt, turn, session, reply.cached)
        return True

    def steps(self, session: str | None) -> Steps:
        """The policy of one request."""
        facts = Facts(Endpoint.MESSAGES, MODEL, stream=True, session=session)
        targets = (Target(PROVIDER, MODEL),)
        return attempts(
            facts,
            targets,
            self.pools,
            self.retry,
            clock=self.world.clock,
            random=self.random,
            short_wait=self.settings.short_wait,
            sessions=self.sessions,
        )

    def send(self, attempt: Attempt, turn: Turn, session: str | None) -> Reply:
        """What the attempt gets."""
        assert attempt.key is not None
        reply = self.upstream.answer(attempt.key.secret, turn, session, self.world.now)
        self.tally.met(reply.outcome.status or 0, attempt.n)
        if session and reply.outcome.status == 200:
            self.tally.prompt(turn.context, reply.cached)
        return reply

    def stream(self, attempt: Attempt, turn: Turn, session: str | None, cached: int) -> Process[None]:
        """The rest of an accepted answer, and what the proxy does at its end."""
        assert attempt.key is not None
        yield turn.output / WRITES
        now, written = self.world.now, turn.context - cached if session else 0
        self.upstream.produced(attempt.key.secret, turn.output, now)
        self.pools.finished(attempt)
        self.pools.spent(attempt, turn.context - cached + turn.output, now)
        if self.sessions and session:
            usage = Usage(cache_read_tokens=cached, cache_write_5m_tokens=written)
            self.sessions.settled(session, attempt.provider, attempt.key.id, usage, now)
