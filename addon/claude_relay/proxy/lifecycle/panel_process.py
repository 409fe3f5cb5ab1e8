"""The panel beside the relay, a process of its own: started when the relay runs, again when it dies, and ended with it.

    panel = await panel_of(config, path, show)          None: there is to be none; otherwise PanelProcess(path, os.environ, show)
    panel.start()           a thread looks after it; no request waits for anything here
    panel.address           where it listens; None: it does not run
    panel.changed()         relay.yaml is another one: what was unable may be able now
    panel.end()             it is to end; panel.wait() until it has, within LAST seconds

It notices by its standard input, a pipe, that the relay is gone, also after kill -9. What it says goes into the relay's log; where it
listens, perhaps with a one-time link, to `show`, in the thread. A broken panel stops no request, so its errors are warnings here. This
module must not know what the panel does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from mitmproxy.log import ALERT

from claude_relay.core.config import Config
from claude_relay.core.installation import (
    PANEL_TAKEN,
    PANEL_UNABLE,
    finding_package,
    installing_panel,
    missing_for_panel,
    panel_program,
)

logger = logging.getLogger(__name__)
SHORTEST, LONGEST = 1.0, 30.0
"""Seconds before a panel that died is started again: twice as long each time."""
STEADY: Final = 60.0
"""Seconds after which one that dies has not been broken from the start."""
LAST: Final = 2.0
LINE, MOST = 64 * 1024, 40
"""Bytes of a line of its log; lines of what it says otherwise, such as a traceback of its start."""
LEVELS: Final = {"DEBUG": logging.DEBUG, "INFO": ALERT}
"""All others are warnings."""
WITHHELD: Final = re.compile(r"ANTHROPIC_\w+|OTEL_EXPORTER_OTLP_\w*HEADERS")
"""Variables with secrets that it has no use for, unless relay.yaml names them."""
_NAMED: Final = re.compile(r"\$\{(\w+)", re.ASCII)

type Show = Callable[[str, str | None], None]


class PanelProcess:
    """Of one relay.

    config   the relay.yaml in force; None: the defaults
    environ  that of the relay
    show     called with the panel's URL, and with a one-time link while nobody can sign in
    """

    def __init__(self, config: Path | None, environ: Mapping[str, str], show: Show) -> None:
        """Nothing is started before `start`."""
        self.address: str | None = None
        self._config = config.absolute() if config is not None else None
        self._environ, self._show = environ, show
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        self._ending, self._wake = threading.Event(), threading.Event()
        self._said: frozenset[str] = frozenset()
        """By one that found its place taken: the next one need not say it again."""
        self._thread = threading.Thread(target=self._look_after, daemon=True, name="relay panel")

    def start(self) -> None:
        """Begin. Once."""
        self._thread.start()

    def changed(self) -> None:
        """Another configuration is in force."""
        self._wake.set()

    def end(self) -> None:
        """Waits for nothing. Twice does no harm."""
        with self._guard:
            self._ending.set()
            self._wake.set()
            process = self._process
        if process is not None:
            with suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            with suppress(OSError):
                process.terminate()  # while it starts it does not look at the pipe

    def wait(self) -> None:
        """After `end`: until it is gone."""
        self._thread.join(LAST)
        if self._thread.is_alive() and (process := self._process) is not None:
            with suppress(OSError):
                process.kill()
            self._thread.join(LAST)

    # -- in the thread

    def _look_after(self) -> None:
        pause = SHORTEST
        while not self._ending.is_set():
            self._wake.clear()
            began, status = time.monotonic(), self._run()
            self.address = None
            if self._ending.is_set():
                return
            if status == PANEL_UNABLE:
                self._wake.wait()
            elif status == PANEL_TAKEN:
                self._wake.wait(LONGEST)
            else:
                pause = SHORTEST if time.monotonic() - began > STEADY else pause
                logger.warning("the panel ended (status %s); it is started again in %g s", status, pause)
                self._ending.wait(pause)
                pause = min(LONGEST, 2 * pause)

    def _run(self) -> int | str:
        """Once, from its start to its end; with which status that was."""
        try:
            process = self._begin()
        except OSError as error:
            return error.strerror or str(error)
        if process is None:
            return 0
        assert process.stderr is not None
        assert process.stdout is not None
        log = threading.Thread(target=self._listen, args=(process, process.stderr), daemon=True, name="relay panel log")
        log.start()
        for line in process.stdout:
            with suppress(ValueError, KeyError, TypeError):
                said = json.loads(line)
                self.address = str(said["address"])
                self._show(said["url"], said["link"])
        status = process.wait()
        log.join(LAST)
        with self._guard:
            self._process = None
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()
        return status

    def _begin(self) -> subprocess.Popen[bytes] | None:
        """Raises OSError."""
        with self._guard:
            if self._ending.is_set():
                return None
            self._process = subprocess.Popen(
                [*panel_program(sys.executable, self._config), "--lifeline", "0"],
                env=environment(self._environ, self._config),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the relay, whose requests may still run then
            )
            return self._process

    def _listen(self, process: subprocess.Popen[bytes], stream: IO[bytes]) -> None:
        """To its log, until its end."""
        said: set[str] = set()
        rest: list[str] = []
        for line in iter(lambda: stream.readline(LINE), b""):
            try:
                found = json.loads(line)
                level, text = LEVELS.get(found["level"], logging.WARNING), str(found["text"])
            except (ValueError, KeyError, TypeError):
                rest = [*rest, line.decode("utf-8", "replace").rstrip()][-MOST:]
                continue
            said.add(text)
            if text not in self._said:
                logger.log(level, "%s", text)
        if rest and not self._ending.is_set():
            logger.warning("panel: %s", "\n".join(rest))
        self._said = frozenset(said) if process.wait() == PANEL_TAKEN else frozenset()


def environment(environ: Mapping[str, str], config: Path | None) -> dict[str, str]:
    """What the panel gets of the relay's: it reads relay.yaml, opens the vault and looks for providers as commands do. Reads a file."""
    named = {"ANTHROPIC_API_KEYS"}
    if config is not None:
        with suppress(OSError):
            named = set(_NAMED.findall(config.read_text("utf-8", "replace")))
    return finding_package({name: it for name, it in environ.items() if name in named or not WITHHELD.fullmatch(name)})


async def panel_of(config: Config, path: Path | None, show: Show) -> PanelProcess | None:
    """The panel, not started yet; None where there is none, or mitmproxy is a part of another program. `show`: called in the loop."""
    if config.listen.panel is None or threading.current_thread() is not threading.main_thread():
        return None
    if name := await asyncio.to_thread(missing_for_panel):
        logger.log(ALERT, "no panel: the package %s is missing; this installs it: %s", name, installing_panel())
        return None
    loop = asyncio.get_running_loop()

    def show_in_loop(url: str, link: str | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(show, url, link)

    return PanelProcess(path, os.environ, show_in_loop)
