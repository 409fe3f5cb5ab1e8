"""A program in a terminal of its own: a pseudo terminal and a screen that understands what is drawn on it.

    with Terminal(["claude"], environ, folder) as terminal:
        terminal.wait_for("Choose the text style")
        terminal.press("\\r")
        terminal.type("question #1\\r")

Nothing sleeps: what is waited for is looked for whenever the program has drawn something.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte

from waiting import PATIENCE

ROWS, COLUMNS = 50, 120
TAKE = 'exec "$@" <"$0" >"$0" 2>&1'
"""Who begins a session and opens a terminal has it for its own."""


class Terminal:
    """The program runs while the `with` block does; `seen` is every text that ever stood on the screen."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.command, self.folder = list(command), folder
        self.environ = {**environ, "TERM": "xterm-256color", "LINES": str(ROWS), "COLUMNS": str(COLUMNS)}
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.seen: list[str] = []

    def __enter__(self) -> Terminal:
        self.side, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.screen.write_process_input = lambda data: self.type(data)  # answers to "where is the cursor?" and the like
        self.process = subprocess.Popen(
            ["sh", "-c", TAKE, os.ttyname(theirs), *self.command],
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.began, self.first_drawn = time.monotonic(), 0.0
        self.theirs = theirs  # open, or reading ends before the program has begun
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self.side)
        os.close(self.theirs)

    def type(self, text: str) -> None:
        """Keys, as a keyboard sends them: Enter is \\r, Escape \\x1b."""
        os.write(self.side, text.encode())

    def text(self) -> str:
        """What stands on the screen, without blank lines; blanks of all kinds are plain ones."""
        lines = (line.replace("\N{NO-BREAK SPACE}", " ").rstrip() for line in self.screen.display)
        return "\n".join(filter(None, lines))

    def wait_for(self, *words: str, timeout: float = PATIENCE) -> str:
        """Waits until one of these stands on the screen, and says which. AssertionError with the screen when none comes."""
        return self.wait(
            lambda: next((word for word in words if word in self.text()), None), " or ".join(words), timeout
        )

    def settle(self, quiet: float = 0.4, most: float = 3.0) -> None:
        """Waits until nothing has been drawn for so many seconds, or, where something always moves, for `most`.

        Of a machine where a program draws something in its first second; the slower one is, the longer.
        """
        slower = max(1.0, self.first_drawn - self.began)
        until = time.monotonic() + most * slower
        while self.read(quiet * slower) and time.monotonic() < until:
            pass

    def wait(self, found: Callable[[], str | None], what: str, timeout: float = PATIENCE) -> str:
        until = time.monotonic() + timeout
        while (result := found()) is None:
            assert self.read(until - time.monotonic()), f"{what!r} never stood on the screen:\n{self.text()}"
        return result

    def read(self, timeout: float) -> bool:
        """Takes in what the program draws next. False: nothing came."""
        ready = select.select([self.side], [], [], max(timeout, 0))[0]
        found = bool(ready)
        if found and not self.first_drawn:
            self.first_drawn = time.monotonic()
        while ready:  # all of it: a screen half drawn says what is not so
            self.stream.feed(os.read(self.side, 1 << 16))
            ready = select.select([self.side], [], [], 0)[0]
        self.seen.append(self.text())
        return found
