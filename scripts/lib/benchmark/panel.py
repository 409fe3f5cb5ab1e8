"""The panel over a large database: how fast and how large its pages are, and what open dashboards cost the relay.

    panel = await measure_panel(bench, plan, say)

The relay, and a panel as it starts one, over one database with very many requests, keys and clients. Dashboards are open in every other
slice of the same load (`dashboards`: a process). What this module must not know: what is good enough.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Final

from claude_relay.cli.fake.free_ports import free_ports
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault

from .figures import Asking, Comparison, PanelFigures, Slice
from .plan import Plan
from .processes import PACKAGES, Child, module
from .reports import make_ledger, requests
from .scenarios import Say, hammer
from .targets import Bench, Target, ready
from .team import BENCH

CLOSED, OPEN = "no dashboard", "dashboards"
DAYS: Final = 365
PASSWORD: Final = "bench-bench-bench"
PATIENCE: Final = 60.0
CONNECTIONS: Final = 16
PAGES: Final = (
    "/",
    "/?span=30d",
    "/?since=360d",
    "/requests",
    "/requests?status=429",
    "/requests?key=anthropic/k5",
    "/requests?client=client-7",
    "/requests/last",
    "/sessions",
    "/usage",
    "/usage?by=client&by=model&since=360d",
    "/usage?view=cache",
    "/usage/reconcile",
    "/keys",
    "/keys?search=k5",
    "/providers",
    "/providers/anthropic",
    "/proxies",
    "/clients",
    "/clients/client-7",
    "/clients/groups",
    "/accounts",
    "/budgets",
    "/playground",
    "/notices",
    "/audit",
    "/settings",
)
"""Those of them that there are."""
FIGURES: Final = (
    "/api/dashboard?",
    "/api/usage?by=model&",
    "/api/usage?by=day&by=provider&",
    "/api/usage?by=client&by=model&",
    "/api/usage?by=session&",
)
START: Final = (
    "import os, runpy, sys; os.environ['RELAY_ADMIN_PASSWORD'] = {password!r}; sys.path[:0] = {packages!r}; "
    "sys.argv = ['panel', '--config', {config!r}, '--lifeline', '0']; runpy.run_module('claude_relay.panel', run_name='__main__')"
)


async def measure_panel(bench: Bench, plan: Plan, say: Say) -> PanelFigures:
    """All of it."""
    say(f"a database with {plan.reports:,} requests, {plan.panel_keys:,} keys and {plan.panel_clients:,} clients")
    relay = await bench.relay(fill=partial(fill, plan))
    await ready({"relay": relay})
    panel = await start(bench, relay)
    visitor = Visitor(panel.port)
    say("pages of the panel")
    pages = [visitor.measured(path, plan.panel_visits) for path in PAGES if visitor.ask(path)[0] != 404]
    whole = [visitor.measured(path, 3, changing=True) for path in FIGURES]
    say(f"{plan.dashboards} open dashboards")
    compared, loaded = await compare_dashboards(bench, plan, relay, panel.port, visitor.cookie)
    return PanelFigures(plan.reports, pages, whole, plan.dashboards, loaded, compared)


def fill(plan: Plan, path: Path) -> None:
    """Requests of a year up to now, of so many clients by so many keys."""
    begin = datetime.now(UTC) - timedelta(days=DAYS)
    made = requests(Random(1), begin=begin, days=DAYS - 0.01, clients=plan.panel_clients, keys=plan.panel_keys)
    make_ledger(path, plan.reports, made)
    vault = Vault(path, environ={"RELAY_SECRET": "bench" * 8}, actor=BENCH)
    vault.import_many([NewKey("anthropic", f"sk-ant-bench-{n:024}") for n in range(plan.panel_keys)])
    vault.rotate_secret("file")  # beside the database, where the relay finds it
    vault.close()
    book = ClientBook(path)
    book.add_many(BENCH, {}, {f"client-{n}": {} for n in range(plan.panel_clients)})
    book.close()


async def start(bench: Bench, relay: Target) -> Target:
    """A panel over the relay's database, as a relay starts it: it ends with its input."""
    assert relay.database is not None
    [port], folder = free_ports(1), relay.database.parent
    config = folder / "panel.yaml"
    known = json.loads((folder / "relay.yaml").read_text())
    config.write_text(json.dumps(known | {"listen": known["listen"] | {"panel": f"127.0.0.1:{port}"}}))
    code = START.format(password=PASSWORD, packages=PACKAGES[:1], config=str(config))
    child = await bench.start([sys.executable, "-P", "-c", code], "the panel", talks=True)
    await child.wait_for_port(port)
    return Target(port, child)


class Visitor:
    """Somebody who has signed in, and asks as a browser does."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""
        body = {"username": "admin", "password": PASSWORD}
        _, headers, _ = self._ask("POST", "/api/login", json.dumps(body))
        self.cookie = headers["set-cookie"].partition(";")[0]

    def ask(self, path: str) -> tuple[int, int]:
        """Status, and the bytes of the answer as they come."""
        status, _, body = self._ask("GET", path)
        return status, len(body)

    def measured(self, path: str, times: int, *, changing: bool = False) -> Asking:
        """Asked so often; `changing`: for another span each time, so that nothing is known already."""
        found, sizes = [], []
        for n in range(times):
            target = f"{path}since={DAYS - 1 - n}d" if changing else path
            began = time.perf_counter()
            status, size = self.ask(target)
            found.append(time.perf_counter() - began)
            sizes.append(size)
            if status != 200:
                raise RuntimeError(f"{target} answered {status}")
        return Asking(path, sorted(found), max(sizes))

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, str], bytes]:
        accept = "application/json" if path.startswith("/api") else "text/html"
        headers = {"Accept": accept, "Accept-Encoding": "gzip", "Cookie": self.cookie}
        headers |= {"Content-Type": "application/json"} if body else {}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


async def compare_dashboards(bench: Bench, plan: Plan, relay: Target, port: int, cookie: str) -> tuple[Comparison, int]:
    """The same load with dashboards and without, in turns; and how often they were loaded."""
    crowd = await bench.start(
        [*module("dashboards"), str(port), cookie, str(plan.dashboards)], "the dashboards", talks=True
    )
    await crowd.read_line(PATIENCE)
    await hammer(bench.load, relay, connections=CONNECTIONS, size=2_048, count=500)
    rounds: defaultdict[str, list[Slice]] = defaultdict(list)
    loaded = 0
    for n in range(plan.panel_rounds):
        for name in (CLOSED, OPEN) if n % 2 else (OPEN, CLOSED):
            if name == OPEN:
                await order(crowd, "open")
            report = await hammer(bench.load, relay, connections=CONNECTIONS, size=2_048, seconds=plan.panel_seconds)
            rounds[name].append(Slice.of(report.latencies, report.seconds, report.cpu))
            if name == OPEN:
                loaded += int(await order(crowd, "close"))
    return Comparison(f"{plan.dashboards} dashboards", rounds), loaded


async def order(crowd: Child, what: str) -> bytes:
    """What the dashboards say to it."""
    assert crowd.process.stdin is not None
    crowd.process.stdin.write(what.encode() + b"\n")
    return await crowd.read_line(PATIENCE)
