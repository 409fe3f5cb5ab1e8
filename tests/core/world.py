"""The retry policy on a simulated clock, for tests."""

import random as randomness
from dataclasses import dataclass

from claude_relay.core.exchange import Accepted, Endpoint, Facts, Failure, Key, Outcome, Renew, Target, Wait
from claude_relay.core.keys.pool import Pool, Pools
from claude_relay.core.keys.sessions import Sessions
from claude_relay.core.retry.policy import attempts
from claude_relay.core.retry.verdicts import judge

OPUS = "claude-opus-4-5"
FACTS = Facts(Endpoint.MESSAGES, model=OPUS)
OK = Outcome(200)
DENIED = Outcome(401, body=b'{"error":{"message":"invalid x-api-key"}}')
LIMITED = Outcome(429)
BUSY = Outcome(529)
DOWN = Outcome(None, failure=Failure.CONNECT)
NO_MODEL = Outcome(404, body=b'{"error":{"type":"not_found_error","message":"model: claude-opus-4-5"}}')


def limited(seconds):
    return Outcome(429, {"retry-after": str(seconds)})


@dataclass(frozen=True)
class Retry:
    attempts: int = 5
    max_wait: float = 30.0
    keys: int = 50


class World:
    """Pools, a clock, and an upstream that answers by script. A pool is made of a number of keys, or of these keys, which take turns."""

    def __init__(self, retry=None, seed=None, now=1000.0, **pools):
        self.now = now
        self.retry = retry or Retry()
        self.random = (lambda: 0.5) if seed is None else randomness.Random(seed).random
        self.pools = Pools(
            Pool(
                name,
                self.keys(name, keys) if isinstance(keys, int) else keys,
                strategy="round-robin",
                passthrough=False,
            )
            for name, keys in pools.items()
        )
        self.targets = tuple(Target(name, OPUS) for name in pools)
        self.sessions = Sessions(ttl=3600.0)
        self.owner = None
        self.faults = None
        self.own = {}
        self.log = []
        self.waited = 0.0
        self.wall = None
        self.renew = lambda key: None

    @staticmethod
    def keys(provider, number):
        return [Key(provider, f"k{n}", "secret", f"{provider}-{n}") for n in range(1, number + 1)]

    def begin(self, facts=FACTS):
        return attempts(
            facts,
            self.targets,
            self.pools,
            self.retry,
            clock=lambda: self.now,
            random=self.random,
            sessions=self.sessions,
            owner=self.owner,
            wall=self.wall,
            faults=self.faults,
            own=self.own,
        )

    def ask(self, answer, facts=FACTS):
        """One whole request. `answer`: attempt -> Outcome, or a list of outcomes in order."""
        script = iter(answer) if isinstance(answer, list) else None
        self.log, self.waited = [], 0.0
        steps = self.begin(facts)
        outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Wait):
                    self.log.append(("wait", round(step.seconds, 3)))
                    self.waited += step.seconds
                    self.now += step.seconds
                    outcome = None
                elif isinstance(step, Renew):
                    self.log.append(("renew", step.key.alias))
                    self.renew(step.key)
                    outcome = None
                else:
                    self.last = step
                    self.log.append((step.provider, step.key and step.key.alias))
                    outcome = answer(step) if script is None else next(script)
        except StopIteration as end:
            if isinstance(end.value, Accepted):
                self.pools.finished(self.last)
            return end.value

    @property
    def tries(self):
        return [entry for entry in self.log if entry[0] != "wait"]

    @property
    def busy(self):
        return sum(pool.busy(key) for pool in self.pools.values() for key in pool.keys)

    def cool_down(self, provider, number, outcome):
        """Put a key in cooldown as if an earlier request had met this outcome."""
        pool = self.pools[provider]
        pool.apply(judge(outcome, FACTS, now=self.now), pool.keys[number - 1], OPUS, self.now)
