"""The benchmark works and tells what it found. How fast anything is depends on the machine, so nothing here asks for that."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmark import browser, choosing, faults, traffic, translating, upstream
from benchmark.bars import bars
from benchmark.command import bench, wide_console
from benchmark.figures import (
    Choosing,
    Comparison,
    Memory,
    Requests,
    Results,
    Slice,
    Soak,
    Spread,
    Streams,
    Team,
    Translating,
    Web,
    noise,
)
from benchmark.gauges import cpu_seconds
from benchmark.orders import Hammer, Listen
from benchmark.plan import Plan
from benchmark.processes import BenchError
from benchmark.report import as_json, print_report
from benchmark.scenarios import hammer, listen, measure_web
from benchmark.targets import EXTRAS_OFF, Bench, Target
from claude_relay.cli.fake.answers import FAULTS
from claude_relay.core.formats import FORMATS
from claude_relay.core.keys.selection import STRATEGIES
from waiting import PATIENCE

ROOT = Path(__file__).parents[2]
TINY = ("--only", "requests", "--rounds", "1", "--seconds", "0.05")


# -- the whole of it


def test_a_tiny_run_prints_ratios(tmp_path: Path) -> None:
    result = CliRunner().invoke(bench, [*TINY, "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "requests/s of bare mitmdump, 16 connections, 2 KB requests" in result.output
    assert "p50 added over bare mitmdump, 1 connection, 100 KB requests" in result.output
    assert result.output.count("×") >= 4
    assert "pass" in result.output or "FAIL" in result.output
    assert not list(tmp_path.iterdir())


def test_translating_is_measured_for_every_format() -> None:
    assert len(translating.request_body()) >= translating.SIZE
    found = translating.measure_translating(1)
    assert {one.format for one in found} == set(FORMATS)
    assert all(one.request.median > 0 < one.chunk.median for one in found)


def test_choosing_is_measured_for_every_strategy_in_every_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "KEYS", 20)
    monkeypatch.setattr(choosing, "CHOICES", 20)
    found = choosing.measure_choosing(2)
    assert {(one.strategy, one.state) for one in found} == {(s, t) for s in STRATEGIES for t in choosing.STATES}
    assert all(0 < one.microseconds.low <= one.microseconds.high for one in found)


@pytest.mark.parametrize(("state", "ready"), [("ready", 20), ("half full", 10), ("90% in cooldown", 2)])
def test_a_pool_is_in_the_state_that_is_measured(state: str, ready: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "KEYS", 20)
    assert choosing.pool_in(state, "random").state(choosing.NOW).ready == ready


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ended_early_it_leaves_nothing(sign: int, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts/lib/run.py"),
        "bench",
        "--only",
        "memory",
        "--folder",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"memory" in process.stderr.readline()
        assert len(processes_naming(tmp_path)) >= 2
        process.send_signal(sign)
        said = process.stderr.read()
        assert process.wait(PATIENCE) != 0
    assert b"Traceback" not in said
    assert processes_naming(tmp_path) <= {process.pid}
    assert not list(tmp_path.iterdir())


def processes_naming(folder: Path) -> set[int]:
    """Processes with the folder in their command line, ended ones excluded."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def test_processor_time_is_that_of_all_threads() -> None:
    def work() -> None:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass

    known, before = time.process_time(), cpu_seconds(os.getpid())
    with ThreadPoolExecutor(1) as threads:
        threads.submit(work).result()
        found, expected = cpu_seconds(os.getpid()) - before, time.process_time() - known
    assert 0.02 <= found <= expected + 0.02


# -- load process and upstream


def run[T](tmp_path: Path, use: Callable[[Bench], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Bench(tmp_path).open() as started:
            return await use(started)

    return asyncio.run(main())


def test_requests_are_counted_and_bounded(tmp_path: Path) -> None:
    async def use(started: Bench) -> int:
        report = await hammer(started.load, started.upstream, connections=3, size=2_048, count=50)
        return len(report.latencies)

    assert run(tmp_path, use) == 50


def test_every_event_of_every_stream_is_timed(tmp_path: Path) -> None:
    async def use(started: Bench) -> tuple[int, int]:
        order = Listen(
            started.upstream.port, started.upstream.child.process.pid, streams=4, events=10, rate=200.0, spread=0.01
        )
        report = await listen(started.load, started.upstream, order)
        assert min(report.delays) >= 0
        return len(report.delays), len(report.firsts)

    assert run(tmp_path, use) == (40, 4)


def test_mitmweb_is_measured_with_a_browser_that_looks_at_flows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "LOOK", 0.01)
    monkeypatch.setattr(browser, "LOADED_ANEW", 3)
    plan = Plan(web_requests=100, web_rounds=1, web_slice=16)
    said: list[str] = []
    found = run(tmp_path, lambda started: measure_web(started, plan, said.append))
    assert list(found.memory.after) == [10, 50, 100]
    assert {name: len(rounds) for name, rounds in found.compared.rounds.items()} == {"with": 1, "without": 1}
    assert found.updates >= 100
    assert found.pages > 0
    assert len(said) == 5


def test_what_is_compared_without_the_extras_has_none() -> None:
    """The names that are put out of use are still those by which the relay finds them."""
    code = EXTRAS_OFF.format(str(ROOT / "addon")) + (
        "from mitmproxy import contentviews; from claude_relay.proxy import script; script.views.install();"
        "print('Claude request' in contentviews.registry, script.RelayHooks and settle.find_miss.__name__)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["False", "nothing"]


def test_a_target_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def use(started: Bench) -> None:
        nobody = Target(1, started.load)
        await hammer(started.load, nobody, connections=1, size=2_048, count=1)

    with pytest.raises(BenchError, match=r"the load process: .*Connect call failed"):
        run(tmp_path, use)


def test_an_order_survives_the_way_to_the_process() -> None:
    from benchmark.orders import decode_order, encode

    order = Hammer(port=1, pid=5, connections=2, size=3, seconds=4.0)
    assert decode_order(encode(order)) == order


# -- bytes


@pytest.mark.parametrize("size", [1_024, 2_048, 20_000, 102_400, 409_600])
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_has_the_size_that_was_asked_for(size: int, stream: bool) -> None:
    head, _, body = traffic.request(8080, size, stream=stream).partition(b"\r\n\r\n")
    assert len(body) == size
    assert f"Content-Length: {size}".encode() in head
    assert json.loads(body).get("stream", False) is stream


def test_time_stamps_are_found_again() -> None:
    found = [int(stamp) for stamp in traffic.SENT.findall(upstream.stamped() + upstream.stamped())]
    assert len(found) == 2
    assert found == sorted(found)


def test_faults_come_as_often_as_the_table_says() -> None:
    shares = sum(faults.SHARES.values())
    assert 0 < shares < 0.2
    lucky = [faults.choose(b"x-api-key: sk-ant-bench-1", (n + 0.5) / 1000) for n in range(1000)]
    assert sum(fault is not None for fault in lucky) == round(1000 * shares)
    assert faults.choose(f"x-api-key: {traffic.KEY_REFUSED}".encode(), 0.999) == "unauthorized"
    assert {"unauthorized", *faults.SHARES} <= set(FAULTS)


# -- figures and bars


def compared(**rates: float) -> Comparison:
    names = {"direct": "direct", "bare": "mitmdump -q", "relay": "relay"}
    return Comparison("", {names[name]: [Slice(rate, 1000 / rate, 2000 / rate, 1.0)] for name, rate in rates.items()})


def results(*, relay: float, memory: int, rows: int, choice: float = 50.0, chunk: float = 99.0) -> Results:
    """Bare mitmdump does 1,000 requests a second, so p50 there is 1 ms."""
    one = compared(direct=10_000.0, bare=1_000.0, relay=relay)
    soak = Soak(60.0, 100, 95, 5, 0, 0, 1, 2.0, {"200": 95}, rows, 110, 110, (10, 10))
    return Results(
        [Requests(1, 2_048, one), Requests(16, 2_048, one)],
        Streams(one, one),
        [Memory("mitmdump", {5_000: 50, 20_000: 100, 50_000: memory})],
        [Choosing("random", "ready", Spread.of([1.0])), Choosing("headroom", "ready", Spread.of([choice]))],
        [
            Translating("gemini", Spread.of([14.9]), Spread.of([1.0])),
            Translating("openai-chat", Spread.of([1.0]), Spread.of([chunk])),
        ],
        soak,
    )


def test_all_bars_hold() -> None:
    found = bars(results(relay=1_300.0, memory=101, rows=100))
    assert len(found) == 9
    assert all(bar.holds for bar in found), found


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({"relay": 990.0}, ["requests/s"]),
        ({"relay": 600.0}, ["p50 added", "requests/s"]),
        ({"relay": 200.0}, ["p50 added", "requests/s", "p99 added"]),
        ({"memory": 103}, ["memory"]),
        ({"choice": 50.1}, ["choosing among 1,000 keys, ready; slowest: headroom"]),
        ({"chunk": 100.1}, ["translating a chunk of a stream; slowest: openai-chat"]),
        ({"rows": 99}, ["rows"]),
    ],
)
def test_a_bar_that_does_not_hold_says_so(changed: dict[str, float], fails: list[str]) -> None:
    found = [
        bar.what for bar in bars(results(**{"relay": 1_300.0, "memory": 101, "rows": 100} | changed)) if not bar.holds
    ]  # type: ignore[arg-type]
    assert len(found) == len(fails)
    assert all(what.startswith(start) for what, start in zip(found, fails, strict=True))


@pytest.mark.parametrize(("cpu", "memory", "holds"), [(1.02, 101, [True, True]), (1.03, 103, [False, False])])
def test_mitmweb_has_bars_for_what_its_pages_cost_and_for_memory(
    cpu: float, memory: int, holds: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = {"with": [Slice(98.0, 1.0, 1.0, cpu)], "without": [Slice(100.0, 1.0, 1.0, 1.0)]}
    after = {1_000: 50, 5_000: 100, 10_000: memory}
    found = Results(web=Web(Comparison("", rounds), Memory("mitmweb with a browser", after), 7_000, 200))
    assert [bar.holds for bar in bars(found)] == holds
    print_report(found, Console(width=120, highlight=False))
    said = capsys.readouterr().out
    assert f"{cpu:.3f}×" in said
    assert f"({memory / 50:.3f}×)" in said
    assert "7,000 updates, 200 pages" in said


@pytest.mark.parametrize(("p99", "cpu", "holds"), [(20.0, 1.050, [True, True]), (20.1, 1.051, [False, False])])
def test_a_team_has_bars_for_a_crowd_and_for_what_limits_cost(p99: float, cpu: float, holds: list[bool]) -> None:
    crowd = {"without the crowd": [Slice(1.0, 1.0, 10.0, 1.0)], "with the crowd": [Slice(1.0, 1.0, p99, 1.0)]}
    limited = {"without clients": [Slice(1.0, 1.0, 1.0, 1.0)], "with clients": [Slice(1.0, 1.0, 1.0, cpu)]}
    team = Team(10_000, 1_000, Comparison("", crowd), 1_000, Comparison("", limited))
    found = list(bars(Results(team=team)))
    assert [bar.holds for bar in found] == holds
    assert found[1].found == f"{1000 * (cpu - 1):.0f} µs, +{100 * (cpu - 1):.1f}%"


def test_ratios_compare_slices_of_the_same_round() -> None:
    slow, fast = Slice(100.0, 1.0, 1.0, 1.0), Slice(200.0, 1.0, 1.0, 1.0)
    pair = Comparison("", {"a": [slow, fast, fast], "b": [slow, fast, slow]})
    assert pair.ratio("a", "b") == Spread(1.0, 1.0, 1.5)


def test_noise_is_how_far_a_target_itself_varied() -> None:
    rounds = [Slice(rate, 1.0, 1.0, 1.0) for rate in (50.0, 90.0, 100.0, 110.0, 500.0)]
    assert noise(Results([Requests(1, 2_048, Comparison("", {"bare": rounds}))]), "bare") == pytest.approx(0.2)
    assert noise(Results(), "bare") is None


def test_the_report_begins_with_the_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(results(relay=1_300.0, memory=101, rows=99), Console(width=120, highlight=False))
    said = capsys.readouterr().out
    assert said.splitlines()[0].strip() == "Ratios"
    assert (
        said.index("1.30×")
        < said.index("Keep-alive requests")
        < said.index("Streams")
        < said.index("Choosing")
        < said.index("Translating")
        < said.index("Soak")
    )
    assert said.count("FAIL") == 1


def test_no_line_is_folded_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    slow = [Slice(0.01, 98_765.4, 99_999.9, 1_234.5), Slice(0.01, 12_345.6, 99_999.9, 1_234.5)]
    quick = [Slice(98_765.4, 0.1, 0.2, 0.1)] * 2
    rounds = {"direct": quick, "mitmdump -q": quick, "relay": slow}
    print_report(Results([Requests(1, 102_400, Comparison("", rounds))]), wide_console())
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "p50 added" in line)
    assert "p50 added over bare mitmdump, 1 connection, 100 KB requests" in line
    assert "33950.45 … 77160.35 ms" in line


def test_the_json_has_every_round() -> None:
    found = json.loads(as_json(results(relay=1_300.0, memory=101, rows=100)))
    assert found["requests"][0]["compared"]["rounds"]["relay"][0]["rate"] == 1_300.0
    assert [bar["holds"] for bar in found["bars"]] == [True] * 9
