"""The quick start as a person types it: a relay whose environment holds the keys, and clients in a shell that knows none of them.

with stage.Relay(folder, confdir, upstream.url, ["sk-…"]) as relay:
    shell = stage.Shell(tmp_path, relay, "base url")
    shell.run("claude", "-p", "Hello")          # scripts/env --base-url -- claude -p Hello
    shell.variables()                           # what `eval "$(scripts/env --base-url)"` sets
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from claude_relay.store.shared.relays import running
from waiting import PATIENCE, eventually
from wire.relay import ROOT, RelayProcess

from .packages import claude_code

RUN = [sys.executable, str(ROOT / "scripts" / "lib" / "run.py")]
WAYS = {"proxy": [], "base url": ["--base-url"]}
"""The ways to the relay, as options of `scripts/env`."""
PLACEHOLDER = "sk-ant-placeholder-relay"
QUIET = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
"""Keeps Claude Code from its own errands, some of which would leave the machine."""


class Running(Protocol):
    """What a shell must know of a relay."""

    config_file: Path
    confdir: Path


class Relay(RelayProcess):
    """`scripts/relay` with the keys in its environment, and relay.yaml's defaults but for ports, the provider's address, and `sections`."""

    def __init__(
        self, folder: Path, confdir: Path, url: str, keys: Sequence[str], strategy: str = "headroom", **sections: object
    ) -> None:
        provider = {"base_url": url, "keys": ["${ANTHROPIC_API_KEYS}"], "strategy": strategy}
        text = {"providers": {"anthropic": provider}, **sections}
        environ = {"ANTHROPIC_API_KEYS": ",".join(keys), "HOME": str(folder)}
        super().__init__(folder, confdir, text, environ=environ, command=[*RUN, "relay"])
        self.confdir = confdir

    def start(self) -> None:
        """Starts it; others know that it runs."""
        super().start()
        eventually(lambda: running(self.database, time.time()))


class Shell:
    """A terminal of a person's: an empty HOME, a project to work in, and none of the relay's variables.

    way    "proxy" or "base url"
    quiet  without Claude Code's own errands
    """

    def __init__(self, folder: Path, relay: Running, way: str, *, quiet: bool = True) -> None:
        self.home, self.work = folder / "home", folder / "project"
        for made in (self.home, self.work):
            made.mkdir(exist_ok=True)
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        self.environ = own | (QUIET if quiet else {})
        where = ["--config", str(relay.config_file), "--set", f"confdir={relay.confdir}"]
        self.env = [*RUN, "env", *WAYS[way], *where]

    def command(self, program: str, *arguments: str) -> list[str]:
        """A program behind `scripts/env --`; "claude" is Claude Code."""
        return [*self.env, "--", str(claude_code()) if program == "claude" else program, *arguments]

    def run(self, program: str, *arguments: str, fails: bool = False) -> str:
        """What a program prints. AssertionError, with all it said, when it fails, unless it may."""
        try:
            done = subprocess.run(
                self.command(program, *arguments),
                env=self.environ,
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            assert fails, f"{program} does not end"
            return f"no end within {PATIENCE} s"
        assert fails or done.returncode == 0, f"{program} failed\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def variables(self) -> dict[str, str]:
        """All that a shell holds which evaluated the printed lines."""
        dump = f"{shlex.quote(sys.executable)} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
        script = f'eval "$({shlex.join(self.env)})" && {dump}'
        done = subprocess.run(["sh", "-c", script], env=self.environ, capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        return found
