"""The processes that are measured: mitmdump with nothing on, and the relay with everything on, before the same upstream."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_relay.cli.console.common import addon_script
from claude_relay.cli.fake.free_ports import free_ports

from . import traffic
from .processes import START_LIMIT, Child, module

QUIET: Final = ("-q", "--set", "flow_detail=0")
STREAMING: Final = (*QUIET, "--set", "stream_large_bodies=1")
"""mitmdump collects whole answers unless told otherwise; with this it passes on what comes."""
KEYS: Final = ("sk-ant-bench-1", "sk-ant-bench-2")
PASSWORD: Final = "bench"
"""Of mitmweb."""
EXTRAS_OFF: Final = """
import sys
sys.path.insert(0, {!r})
from claude_relay.proxy.flow import settle
from claude_relay.proxy.views import registry
async def nothing(*_): pass
settle.find_miss = nothing
registry.install = lambda: None
"""
"""What the relay does beside the requests, left out: to know what it costs."""
SOAK_KEYS: Final = (*KEYS, traffic.KEY_REFUSED, "sk-ant-bench-3", "sk-ant-bench-4")
SOAK_RETRY: Final = {"attempts": 5, "max_wait": "10s", "first_byte": "2s", "idle": "5s"}


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers requests on a port of this machine. `database`: the relay's ledger; `web_port`: of mitmweb's pages."""

    port: int
    child: Child
    database: Path | None = None
    web_port: int = 0


class Bench:
    """Starts targets in `folder`, and the upstream and the load process they are measured with. What was started ends with it."""

    upstream: Target
    load: Child

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        """Upstream and load process run inside."""
        try:
            self.load = await self.start(module("load"), "the load process", talks=True)
            child = await self.start(module("upstream"), "the upstream", talks=True)
            self.upstream = Target(int(await child.read_line(START_LIMIT)), child)
            yield self
        finally:
            await asyncio.gather(*(child.end() for child in self.children))

    async def start(self, command: Sequence[str], name: str, *, talks: bool = False, silent: bool = False) -> Child:
        """A process in the folder, which ends with the benchmark."""
        output = None if silent else self.folder / f"{len(self.children)}.log"
        child = Child(name, command, cwd=self.folder, output=output, talks=talks)
        await child.start()
        self.children.append(child)
        return child

    async def bare(self, *options: str) -> Target:
        """mitmdump as a reverse proxy, without any script. Without options, as it is: a line a request, which nobody reads."""
        [port] = free_ports(1)
        mode = f"reverse:http://127.0.0.1:{self.upstream.port}@127.0.0.1:{port}"
        child = await self.start(
            [*self.mitmproxy("mitmdump"), "--mode", mode, *options], "bare mitmdump", silent=not options
        )
        return Target(port, child)

    async def relay(
        self,
        *,
        web: bool = False,
        without_extras: bool = False,
        keys: Sequence[str] = KEYS,
        fill: Callable[[Path], None] | None = None,
        **sections: Any,
    ) -> Target:
        """The relay as people run it, with a relay.yaml of its own; `sections` go into that. `without_extras`: no pages of bodies in
        mitmweb, and no look at what was missed of the prompt cache. `fill`: makes its database.
        """
        [port] = free_ports(1)
        folder = self.folder / f"relay{port}"
        folder.mkdir()
        if fill is not None:
            await asyncio.to_thread(fill, folder / "relay.db")
        config = folder / "relay.yaml"
        config.write_text(json.dumps(self.config(port, keys) | sections))
        before = EXTRAS_OFF.format(str(addon_script().parent)) if without_extras else ""
        command = [*self.mitmproxy("mitmweb" if web else "mitmdump", before), "-s", str(addon_script())]
        command += ["--set", f"relay_config={config}"]
        web_port = free_ports(1)[0] if web else 0
        if web:
            command += ["--no-web-open-browser", "--web-port", str(web_port), "--set", f"web_password={PASSWORD}"]
        return Target(port, await self.start(command, "the relay"), folder / "relay.db", web_port)

    def config(self, port: int, keys: Sequence[str]) -> dict[str, Any]:
        """relay.yaml; JSON is YAML."""
        return {
            "listen": {"proxy": None, "base_url": f"127.0.0.1:{port}", "panel": None, "status": None},
            "database": "relay.db",
            "providers": {"anthropic": {"base_url": f"http://127.0.0.1:{self.upstream.port}", "keys": list(keys)}},
            "routes": [{"to": ["anthropic"]}],
            "ledger": {"durability": "strict"},
        }

    def mitmproxy(self, program: str, before: str = "") -> list[str]:
        """The start of a command line; each process has a CA of its own, so that none waits for another's. `before`: what is done first."""
        entry = f"{before}from mitmproxy.tools.main import {program}; {program}()"
        confdir = self.folder / f"mitmproxy{len(self.children)}"
        return [sys.executable, "-P", "-c", entry, "--set", f"confdir={confdir}"]


async def ready(targets: Mapping[str, Target]) -> None:
    """Wait until all of them listen."""
    for target in targets.values():
        await target.child.wait_for_port(target.port)
