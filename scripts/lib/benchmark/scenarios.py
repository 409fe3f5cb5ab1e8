"""What is measured between processes. The targets take turns within each round, and each round begins with another one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from .browser import Browser
from .figures import Comparison, Memory, Requests, Results, Slice, Streams, Web
from .orders import Failed, Hammer, Hammered, Listen, Listened, Order, Report
from .plan import Plan
from .processes import BenchError, Child
from .targets import QUIET, STREAMING, Bench, Target, ready

type Say = Callable[[str], None]

DIRECT, AS_IT_IS, BARE, RELAY = "direct", "mitmdump", "mitmdump -q", "relay"
WARM_UP = 0.3
"""Seconds of requests that are not measured, at the start of each target."""
WITH, WITHOUT = "with", "without"
MEMORY_CONNECTIONS = 16
WEB_SIZE, WEB_ORDER = 8_192, 2_500
"""Bytes of a request's body, and streams that are asked for at once, in mitmweb."""
SLOWEST = 100.0
"""Requests a second that any target must reach; bounds the time that a number of requests may take."""


def turns(targets: Mapping[str, Target], rounds: int) -> Iterator[tuple[str, Target]]:
    """Every target once a round."""
    names = list(targets)
    for n in range(rounds):
        first = n % len(names)
        for name in names[first:] + names[:first]:
            yield name, targets[name]


# -- requests


async def measure_requests(bench: Bench, plan: Plan, results: Results, say: Say) -> None:
    """Each number of connections with each size."""
    targets = {
        DIRECT: bench.upstream,
        AS_IT_IS: await bench.bare(),
        BARE: await bench.bare(*QUIET),
        RELAY: await bench.relay(),
    }
    await ready(targets)
    for target in targets.values():
        await hammer(bench.load, target, connections=1, size=2_048, seconds=min(WARM_UP, plan.seconds))
    for connections in plan.connections:
        for size in plan.sizes:
            say(f"{connections} connection{'s' * (connections > 1)}, requests of {size // 1024} KB")
            compared = await compare_requests(bench, plan, targets, connections, size)
            results.requests.append(Requests(connections, size, compared))


async def compare_requests(
    bench: Bench, plan: Plan, targets: Mapping[str, Target], connections: int, size: int
) -> Comparison:
    """All targets under one load."""
    rounds: defaultdict[str, list[Slice]] = defaultdict(list)
    count, seconds = plan.slices(connections)
    for name, target in turns(targets, count):
        report = await hammer(bench.load, target, connections=connections, size=size, seconds=seconds)
        rounds[name].append(Slice.of(report.latencies, report.seconds, report.cpu))
    return Comparison(f"{connections} × {size // 1024} KB", rounds)


async def hammer(
    load: Child,
    target: Target,
    *,
    connections: int,
    size: int,
    seconds: float = 0.0,
    count: int = 0,
    stream: str = "",
    keys: Sequence[str] = (),
) -> Hammered:
    """Send requests for so many seconds, or so many requests. Raises BenchError when anything but a good answer came.

    keys  that they come with, in turn
    """
    limit = seconds or 10.0 + count / SLOWEST
    order = Hammer(target.port, target.child.process.pid, connections, size, limit, count, stream, list(keys))
    report = await give(load, order, limit, target)
    assert isinstance(report, Hammered)
    fail_if(report.bad, target)
    if not report.latencies:
        raise BenchError("no request was answered")
    return report


async def give(load: Child, order: Order, seconds: float, target: Target) -> Report:
    """Have an order carried out that takes so long. Raises BenchError when it cannot be."""
    report = await load.order(order, seconds)
    if isinstance(report, Failed):
        raise cause(target, report.why)
    return report


def fail_if(bad: Mapping[str, int], target: Target) -> None:
    """Raise BenchError when anything went wrong."""
    if bad:
        raise cause(target, ", ".join(f"{count} × {what}" for what, count in bad.items()))


def cause(target: Target, why: str) -> BenchError:
    """What went wrong, and what the target said last."""
    return BenchError(f"{target.child.name}: {why}\n{target.child.last_words()}")


# -- streams


async def measure_streams(bench: Bench, plan: Plan, results: Results, say: Say) -> None:
    """Delay of events, and time to the first."""
    say(f"{plan.streams} streams with {plan.rate:g} events a second each")
    targets = {DIRECT: bench.upstream, BARE: await bench.bare(*STREAMING), RELAY: await bench.relay()}
    await ready(targets)
    for target in targets.values():
        await listen(bench.load, target, Listen(target.port, target.child.process.pid, 2, 10, plan.rate, 0.1))
    delays: defaultdict[str, list[Slice]] = defaultdict(list)
    firsts: defaultdict[str, list[Slice]] = defaultdict(list)
    for name, target in turns(targets, plan.stream_rounds):
        order = Listen(target.port, target.child.process.pid, plan.streams, plan.events, plan.rate, plan.spread)
        report = await listen(bench.load, target, order)
        seconds = plan.events / plan.rate + plan.spread
        delays[name].append(Slice.of(report.delays, seconds, report.cpu))
        firsts[name].append(Slice.of(report.firsts, seconds, report.cpu))
    results.streams = Streams(Comparison("delay of an event", delays), Comparison("first event of content", firsts))


async def listen(load: Child, target: Target, order: Listen) -> Listened:
    """Run streams. Raises BenchError when one was not whole."""
    report = await give(load, order, order.events / order.rate + order.spread, target)
    assert isinstance(report, Listened)
    fail_if(report.bad, target)
    return report


# -- memory


async def measure_memory(bench: Bench, plan: Plan, program: str, say: Say) -> Memory:
    """Resident memory of a fresh relay at each mark."""
    target = await bench.relay(web=program == "mitmweb")
    await ready({RELAY: target})
    say(f"memory of the relay in {program}")
    after: dict[int, int] = {}
    sent = 0
    for mark in plan.memory:
        await hammer(bench.load, target, connections=MEMORY_CONNECTIONS, size=2_048, count=mark - sent)
        sent = mark
        after[mark] = target.child.resident()
    return Memory(program, after)


# -- mitmweb


async def measure_web(bench: Bench, plan: Plan, say: Say) -> Web:
    """mitmweb with a browser: what its pages and the look at the prompt cache cost streams, and its memory over very many of them."""
    say(
        f"{plan.web_rounds} × {plan.web_slice} streams in mitmweb with a browser, with and without pages and cache misses"
    )
    targets = {WITH: await bench.relay(web=True), WITHOUT: await bench.relay(web=True, without_extras=True)}
    await ready(targets)
    async with Browser(targets[WITH]).looking() as browser:
        async with Browser(targets[WITHOUT]).looking():
            compared = await compare_extras(bench, plan, targets)
        say(f"memory of the relay in mitmweb with a browser, over {plan.web_requests:,} streams")
        target, sent = targets[WITH], 0
        after: dict[int, int] = {}
        for mark in (plan.web_requests // 10, plan.web_requests // 2, plan.web_requests):
            while sent < mark:
                count = min(WEB_ORDER, mark - sent)
                await streams_of(bench, target, count)
                sent += count
            after[mark] = target.child.resident()
            say(f"{sent:,} streams: {after[mark] // 1024:,} KB")
    return Web(compared, Memory("mitmweb with a browser", after), browser.updates, browser.pages)


async def compare_extras(bench: Bench, plan: Plan, targets: Mapping[str, Target]) -> Comparison:
    """With and without, in turns."""
    rounds: defaultdict[str, list[Slice]] = defaultdict(list)
    for target in targets.values():
        await streams_of(bench, target, plan.web_slice)
    for name, target in turns(targets, plan.web_rounds):
        report = await streams_of(bench, target, plan.web_slice)
        rounds[name].append(Slice.of(report.latencies, report.seconds, report.cpu))
    return Comparison(f"{MEMORY_CONNECTIONS} × streams", rounds)


async def streams_of(bench: Bench, target: Target, count: int) -> Hammered:
    """So many streams, each of a few events that come quickly."""
    return await hammer(
        bench.load, target, connections=MEMORY_CONNECTIONS, size=WEB_SIZE, count=count, stream="events=6 rate=400"
    )
