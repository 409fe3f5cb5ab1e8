"""One run: lives of a relay, each with upstream, attackers, well-behaved clients and somebody who watches; then what was found is narrowed.

result = await run(plan, corpus, say)
result.findings                 nothing: all invariants held
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from . import cases, clients, grammar
from .cases import Case
from .invariants import Books, Finding, Log, in_files, leaks, of_resources
from .plan import LIFE, Plan
from .reading import status
from .running import GOOD, Relay, certificate
from .upstream import Upstream

WATCHED: Final = 0.2
"""Seconds between two looks at the log."""
WARM: Final = 0.4
"""The share of a life after which memory should be flat, and how long a life must be for that to be judged."""
WARM_FROM: Final = 50.0
BOUND: Final = 5.0
"""Seconds within which a well-behaved client is served."""
STARVED: Final = 0.4
"""Seconds that this process may be late: on a machine that is so busy nobody can be served in time, and that is not the relay's fault."""
ENOUGH: Final = 20
"""Kinds of findings after which a run is over."""
RECENT: Final = 40
"""Cases that may have made what is noticed now."""
ALONE: Final = 0.2
"""Seconds that a single case gets to do its harm."""
NARROWING: Final = 60.0
"""Seconds that may go into looking for the cases that made what was found."""

type Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What a run did and found. `reached`: cases for which an upstream was asked; `slowest`: seconds of a well-behaved client."""

    sent: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    good: int = 0
    slowest: float = 0.0
    memory: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    kept: dict[int, Path] = field(default_factory=dict)

    def add(self, *findings: Finding) -> None:
        """Each kind once, that with fewer cases."""
        for new in findings:
            same = next((n for n, old in enumerate(self.findings) if old.kind == new.kind), None)
            if same is None:
                self.findings.append(new)
            elif new.cases and len(new.cases) < len(self.findings[same].cases or RECENT * (None,)):
                self.findings[same] = new


async def run(plan: Plan, corpus: Sequence[Case], say: Say) -> Result:
    """Everything, findings narrowed and kept."""
    result, begun = Result(), time.monotonic()
    source = inputs(plan, [case for case in corpus if case.part in plan.parts])
    while True:
        left = plan.seconds - (time.monotonic() - begun)
        async with life(result) as one:
            await one.spend(source, max(0.0, min(left, LIFE)), plan, say)
        if left <= LIFE or len(result.findings) >= ENOUGH:
            break
    result.seconds = time.monotonic() - begun
    await narrow(result, say)
    result.kept = {number: keep(finding, number, plan) for number, finding in enumerate(result.findings)}
    return result


async def replay(stored: Sequence[Case], say: Say) -> Result:
    """Just these cases, one after the other, on a relay of their own."""
    result, begun = Result(), time.monotonic()
    async with life(result) as one:
        for number, case in enumerate(stored):
            say(f"{case.part}: {case.why or case.name}")
            await one.alone(cases.renamed(case, f"fz99{number:08d}"))
    result.seconds = time.monotonic() - begun
    return result


def inputs(plan: Plan, stored: Sequence[Case]) -> Iterator[Case]:
    """The corpus as it is, then what is made up, the parts in turn."""
    for number, case in enumerate(stored):
        yield cases.renamed(case, f"fz98{number:08d}")
    number = 0
    while plan.seconds:
        for part in plan.parts:
            yield grammar.make(part, plan.seed, number, [case for case in stored if case.part == part])
        number += 1


async def narrow(result: Result, say: Say) -> None:
    """Send each case that may have made a finding by itself: a finding of the same kind is then made by that case alone."""
    suspects = {id(case): case for finding in result.findings if len(finding.cases) > 1 for case in finding.cases}
    waiting, until = list(suspects.values())[::-1], time.monotonic() + NARROWING
    if waiting:
        say(f"looking for the cases that make it, among {len(waiting)}")
    while waiting and time.monotonic() < until:
        alone = Result()
        async with life(alone) as one:
            while waiting and one.relay.is_alive and time.monotonic() < until:
                await one.alone(waiting.pop())
        result.add(*(new for new in alone.findings if any(new.kind == old.kind for old in result.findings)))


def keep(finding: Finding, number: int, plan: Plan) -> Path:
    """Write it down, for `--replay`."""
    plan.keep.mkdir(parents=True, exist_ok=True)
    path = plan.keep / f"{finding.invariant}-{plan.seed}-{number}.json"
    found = {"invariant": finding.invariant, "what": finding.what, "seed": plan.seed}
    found |= {"detail": finding.detail} if finding.detail else {}
    path.write_text(json.dumps(found | {"cases": [case.as_json() for case in finding.cases]}, indent=1))
    return path


class life:
    """A relay and an upstream for it, from start to end; what is to be looked at when all is over is looked at then."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.folder = tempfile.TemporaryDirectory(prefix="relay-fuzz-")
        self.upstream, self.books = Upstream(), Books()
        self.recent: deque[Case] = deque(maxlen=RECENT)
        self.warm = self.number = 0
        self.lag = 0.0
        """How late this process itself comes to its turn, of late."""
        self.over = False

    async def __aenter__(self) -> life:
        """Both run, and the relay has served a first client."""
        place = Path(self.folder.name)
        pem = certificate(place)
        self.relay = Relay(place, await self.upstream.start(pem), pem)
        self.upstream.secrets = frozenset(self.relay.pool_keys)
        await self.relay.start()
        self.log = Log(self.relay.log)
        for _ in range(4):
            await self.good()
        self.before = (self.relay.memory(), self.relay.files())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The relay ends, also when the run is broken off."""
        try:
            if kind is None:
                await self.look_back()
        finally:
            await self.relay.end()
            self.upstream.close()
            if kind is None:
                self.look_at_files()
            self.folder.cleanup()

    # -- a life

    async def spend(self, source: Iterator[Case], seconds: float, plan: Plan, say: Say) -> None:
        """Attack for so long, at once as many as the plan says, while a well-behaved client asks again and again."""
        until = time.monotonic() + seconds
        self.over = False
        watching = [asyncio.create_task(self.serve()), asyncio.create_task(self.watch(seconds, say))]
        attackers = [
            asyncio.create_task(self.attack(source, until if plan.seconds else None)) for _ in range(plan.at_once)
        ]
        try:
            await asyncio.gather(*attackers)
        finally:
            self.over = True
            for task in attackers:
                task.cancel()
            await asyncio.gather(*attackers, *watching, return_exceptions=True)
        for task in watching:
            task.result()

    async def attack(self, source: Iterator[Case], until: float | None) -> None:
        """One case after the other."""
        while (until is None or time.monotonic() < until) and not self.over:
            case = next(source, None)
            if case is None or not self.relay.is_alive or len(self.result.findings) >= ENOUGH:
                return
            await self.send(case)

    async def send(self, case: Case) -> None:
        """Send a case and judge at once what can be judged."""
        self.recent.append(case)
        self.upstream.cases[case.name] = case
        found = await clients.send(case, self.relay)
        self.books.note(case, found)
        self.result.sent[case.part] += 1
        self.result.answered[case.part] += bool(found.data)
        self.result.reached[case.part] += case.name in self.upstream.asked
        self.result.add(*leaks(case, found, self.relay.pool_keys))
        if clients.must_be_answered(case) and not found.ended and found.seconds >= clients.ANSWERED:
            self.result.add(
                Finding(
                    "answered",
                    f"no whole answer within {found.seconds:.0f} s, status {status(bytes(found.data))}",
                    (case,),
                )
            )

    async def serve(self) -> None:
        """The well-behaved client."""
        while not self.over and self.relay.is_alive:
            await self.good()
            await asyncio.sleep(0.1)

    async def good(self) -> None:
        """One request of its."""
        self.number += 1
        case, begun = clients.good_case(self.number), time.monotonic()
        found = await clients.send(case, self.relay)
        took = time.monotonic() - begun
        self.result.good += 1
        self.result.slowest = max(self.result.slowest, took)
        self.books.note(case, found)
        if self.lag > STARVED:
            return
        wrong = clients.what_is_wrong(self.number, found) or (f"only after {took:.1f} s" if took > BOUND else "")
        if wrong and self.relay.is_alive:
            self.result.add(Finding("served", f"{GOOD} client: {wrong}", tuple(self.recent)))

    async def watch(self, seconds: float, say: Say) -> None:
        """Log, process and memory, now and then."""
        begun = last = time.monotonic()
        while not self.over:
            before = time.monotonic()
            await asyncio.sleep(WATCHED)
            now = time.monotonic()
            self.lag = max(now - before - WATCHED, 0.8 * self.lag)
            self.look()
            if seconds >= WARM_FROM and not self.warm and now - begun > WARM * seconds:
                self.warm = self.relay.memory()
            if now - last > 10:
                last = now
                say(
                    f"{sum(self.result.sent.values())} cases, {self.result.good} others served, {self.relay.memory() / 1e6:.0f} MB"
                )
            if not self.relay.is_alive:
                self.over = True

    async def alone(self, case: Case) -> None:
        """One case with nothing beside it, and then a well-behaved client."""
        self.recent.clear()
        await self.send(case)
        await self.good()
        await asyncio.sleep(ALONE)
        self.look()

    def look(self) -> None:
        """At what may have happened meanwhile."""
        self.result.add(*self.log.findings(tuple(self.recent)))
        if not self.relay.is_alive:
            self.result.add(
                Finding("alive", f"the relay ended with status {self.relay.process.returncode}", tuple(self.recent))
            )

    # -- at its end

    async def look_back(self) -> None:
        """When nobody is connected any more: rows, metrics, memory, files."""
        self.look()
        if not self.relay.is_alive:
            return
        await self.quiet()
        end = (self.relay.memory(), self.relay.files())
        self.result.memory = (self.warm or self.before[0], end[0])
        self.result.add(*of_resources(self.before, self.warm, self.relay, end))
        await self.good()
        known = {case.name: case for case in self.upstream.cases.values()}
        self.result.add(*self.books.findings(self.relay.database, self.upstream.asked, known))
        metrics = await clients.send(
            Case("status", "metrics", ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",)), self.relay
        )
        secrets = (*self.relay.pool_keys, self.relay.client_key.encode())
        if status(bytes(metrics.data)) != 200:
            self.result.add(Finding("served", f"/metrics: {bytes(metrics.data[:200])!r} {metrics.refused}"))
        if any(secret in metrics.data for secret in secrets):
            self.result.add(Finding("keys", "a key in /metrics"))

    async def quiet(self) -> None:
        """Wait until requests have ended and connections are closed, as far as they do so soon."""
        limit = time.monotonic() + 60
        while time.monotonic() < limit and self.relay.files() > self.before[1] + 4:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)

    def look_at_files(self) -> None:
        """After its end: all that the relay has written is on the disk."""
        self.result.add(*self.log.findings(tuple(self.recent)))
        place = self.relay.folder
        paths = [path for path in (self.relay.log, self.relay.dump, *sorted(place.glob("relay.db*"))) if path.is_file()]
        self.result.add(*in_files(paths, (*self.relay.pool_keys, self.relay.client_key.encode())))
