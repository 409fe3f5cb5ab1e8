"""Relays as processes that start in a moment, as often as one likes: forked from one that has imported everything.

with Breeder() as breeder, ForkedRelay(folder, confdir, text, breeder) as relay:
    relay.start(); relay.kill(); relay.start()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from waiting import PATIENCE, eventually

from .relay import SCRIPT, RelayProcess, _answers

PROGRAM = """
import json, os, signal, sys
import claude_relay.proxy.script, mitmproxy.tools.dump, sqlite_utils
from mitmproxy.tools.main import mitmdump
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    wanted = json.loads(line)
    if child := os.fork():
        print(child, flush=True)
    else:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(wanted["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
        os.dup2(1, 2)
        os.environ.update(wanted["environ"])
        mitmdump(wanted["arguments"])
        os._exit(0)
"""


class Breeder:
    """Starting Python and importing mitmproxy takes a second; this process has done it, and is forked for each relay."""

    def __enter__(self) -> Breeder:
        path = os.pathsep.join([str(SCRIPT.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0

    def breed(self, arguments: list[str], output: Path, environ: dict[str, str]) -> int:
        """A relay's process id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        wanted = {"arguments": arguments, "output": str(output), "environ": environ}
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


class ForkedRelay(RelayProcess):
    """A `RelayProcess` whose process is no child of this one. It begins with `start` and ends by kill -9."""

    child = 0

    def __init__(
        self,
        folder: Path,
        confdir: Path,
        text: dict[str, Any],
        breeder: Breeder,
        environ: dict[str, str] | None = None,
    ) -> None:
        super().__init__(folder, confdir, text)
        self.breeder, self.added = breeder, environ or {}

    def __enter__(self) -> ForkedRelay:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.begin()
        self.wait_until_it_answers()

    def begin(self) -> None:
        at = self.command.index("-s")
        self.child = self.breeder.breed(["-q", *self.command[at:]], self.output_file, self.added)

    def wait_until_it_answers(self) -> None:
        eventually(lambda: _answers(self.proxy_port) and _answers(self.base_port), self.output)

    def kill(self) -> None:
        """kill -9, and nothing of it is left."""
        with suppress(ProcessLookupError):
            while self.child:
                os.kill(self.child, signal.SIGKILL)
                time.sleep(0.001)
        self.child = 0
