"""What a team needs: that a crowd does not delay others, and that a thousand clients with limits cost a request next to nothing.

    team = await measure_team(bench, plan, say)

Two relays take turns under the same load: one with the crowd (`crowd`) and one without. One relay takes turns with itself: requests with
the keys of a thousand clients, each with limits of every kind, and requests without; two processes of the same code may differ by more than
what is looked for. What this module must not know: what is good enough.
"""

from __future__ import annotations

import resource
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Final

from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook

from .figures import Comparison, Slice, Team
from .plan import Plan
from .processes import module
from .scenarios import Say, hammer, turns
from .targets import Bench, Target, ready

ALONE, CROWDED = "without the crowd", "with the crowd"
WITHOUT_CLIENTS, WITH_CLIENTS = "without clients", "with clients"
LIMITS: Final = (
    "100000 requests/minute",
    "1000M tokens/minute",
    "100 concurrent",
    "$1000000/day",
    "$1000000/month",
)
PRICES: Final = [{"model": "*", "input": 3.0, "output": 15.0}]
"""Else the made-up Claude, at an address that no price list has, would cost nothing, and limits of money nearly so."""
SHORT: Final = 4
"""Parts of a turn where little is to be told from much: a machine is not equally fast for long."""
PATIENCE: Final = 300.0
"""Seconds in which a crowd must be there."""
BENCH: Final = Actor("bench", "cli")


async def measure_team(bench: Bench, plan: Plan, say: Say) -> Team:
    """Both."""
    return Team(
        within_files(plan),
        plan.slow,
        await measure_crowd(bench, plan, say),
        plan.clients,
        await measure_clients(bench, plan, say),
    )


async def measure_crowd(bench: Bench, plan: Plan, say: Say) -> Comparison:
    """Requests beside a crowd, and beside nobody."""
    targets = {ALONE: await bench.relay(), CROWDED: await bench.relay()}
    await ready(targets)
    count = within_files(plan)
    say(f"{count:,} idle connections and {plan.slow:,} slow readers")
    crowd = await bench.start(
        [*module("crowd"), str(targets[CROWDED].port), str(count), str(plan.slow)], "the crowd", talks=True
    )
    try:
        await crowd.read_line(PATIENCE)
        return await compared(bench, plan, targets, "beside a crowd")
    finally:
        await crowd.end()


def within_files(plan: Plan) -> int:
    """As many idle connections as the machine lets one process have: the relay has another one to the upstream for each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return plan.idle if most == resource.RLIM_INFINITY else min(plan.idle, (most - 1_000 - 2 * plan.slow) // 2)


async def measure_clients(bench: Bench, plan: Plan, say: Say) -> Comparison:
    """Requests with keys of clients, and without, to the same relay."""
    relay = await bench.relay(prices=PRICES)
    targets = {WITHOUT_CLIENTS: relay, WITH_CLIENTS: relay}
    await ready(targets)
    say(f"{plan.clients:,} clients with {len(LIMITS)} limits each")
    assert relay.database is not None
    book, policy = ClientBook(relay.database), Policy(limits=tuple(map(parse, LIMITS)))
    keys = [book.add(BENCH, f"client-{n}", {"policy": policy}).key for n in range(plan.clients)]
    return await compared(bench, plan, targets, "with clients", {WITH_CLIENTS: keys}, parts=SHORT)


async def compared(
    bench: Bench,
    plan: Plan,
    targets: Mapping[str, Target],
    name: str,
    keys: Mapping[str, list[str]] | None = None,
    parts: int = 1,
) -> Comparison:
    """Targets take turns at four connections; `keys`: those that the requests to a target come with, one after the other.

    Each turn goes on with the keys where the one before ended, so that all of them are used. `parts`: into how many each turn is cut.
    """
    rounds: defaultdict[str, list[Slice]] = defaultdict(list)
    rings = {target: deque((keys or {}).get(target, ())) for target in targets}
    # Each client at least once: what its limits are at is read then, and that is not what is measured. Connections are not equally
    # fast; and all targets get as many, for none is to be warmer than another.
    count = max(100, 2 * max(map(len, rings.values())))
    for target, found in targets.items():
        await hammer(bench.load, found, connections=4, size=2_048, count=count, keys=rings[target])
    seconds = plan.team_seconds / parts
    for target, found in turns(targets, plan.team_rounds * parts):
        report = await hammer(bench.load, found, connections=4, size=2_048, seconds=seconds, keys=rings[target])
        rings[target].rotate(-len(report.latencies))
        rounds[target].append(Slice.of(report.latencies, report.seconds, report.cpu))
    return Comparison(name, rounds)
