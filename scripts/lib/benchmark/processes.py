"""The benchmark's child processes: started, waited for, asked for their memory, ended by their id.

Children live in a session of their own: Ctrl-C reaches only the benchmark, which then ends them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import click

from . import gauges
from .orders import Order, Report, decode_report, encode

PACKAGES: Final = [str(Path(__file__).parents[3] / "addon"), str(Path(__file__).parents[1])]
"""Where our packages lie, for children that import them."""
NOT_INHERITED: Final = (
    "RELAY_CONFIG",
    "ANTHROPIC_API_KEYS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
)
START_LIMIT: Final = 60.0
END_LIMIT: Final = 10.0
LONGEST_LINE: Final = 64 * 1024 * 1024


class BenchError(click.ClickException):
    """The benchmark itself could not be carried out."""


class Child:
    """A process of ours. Who starts one must `end` it.

    output  file for what it says on stderr, and on stdout unless `talks`; None: nowhere
    talks   we write to its stdin and read its stdout
    """

    process: asyncio.subprocess.Process

    def __init__(
        self, name: str, command: Sequence[str], *, cwd: Path, output: Path | None = None, talks: bool = False
    ) -> None:
        self.name, self.command, self.cwd, self.output, self.talks = name, command, cwd, output, talks

    async def start(self) -> None:
        """Start it."""
        environ = {n: v for n, v in os.environ.items() if n not in NOT_INHERITED} | {"PYTHONUNBUFFERED": "1"}
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        with self._open_output() as file:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.cwd,
                env=environ,
                stdin=pipe if self.talks else nothing,
                stdout=pipe if self.talks else file,
                stderr=file,
                start_new_session=True,
                limit=LONGEST_LINE,
            )

    def _open_output(self) -> IO[bytes]:
        return Path(self.output or os.devnull).open("ab")

    async def end(self) -> None:
        """End it: kindly, but for certain after END_LIMIT seconds, and at once when there is no time for that either."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), END_LIMIT)
        except BaseException as error:
            self.process.kill()
            if not isinstance(error, TimeoutError):
                raise
            await self.process.wait()

    async def wait_for_port(self, port: int) -> None:
        """Return when it listens. Raises BenchError with its last words when it ended instead."""
        until = asyncio.get_running_loop().time() + START_LIMIT
        while not await _answers(port):
            if self.process.returncode is not None or asyncio.get_running_loop().time() > until:
                raise BenchError(f"{self.name} did not start:\n{self.last_words()}")
            await asyncio.sleep(0.02)

    async def read_line(self, seconds: float) -> bytes:
        """Its next line. Raises BenchError when none comes in time."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        except TimeoutError:
            raise BenchError(f"{self.name} did not answer within {seconds:g} s") from None
        if not line:
            raise BenchError(f"{self.name} ended:\n{self.last_words()}")
        return line

    async def order(self, order: Order, seconds: float) -> Report:
        """Have the load process carry out an order that should take so long."""
        assert self.process.stdin is not None
        self.process.stdin.write(encode(order) + b"\n")
        return decode_report(await self.read_line(seconds + 60.0))

    def last_words(self) -> str:
        """The end of what it said."""
        return (
            "" if self.output is None or not self.output.exists() else self.output.read_text(errors="replace")[-2000:]
        )

    def resident(self) -> int:
        """Its resident memory in bytes, now."""
        return gauges.resident(self.process.pid)


def module(name: str) -> list[str]:
    """The command that runs a module of this package as a process."""
    code = (
        f"import sys, runpy; sys.path[:0] = {PACKAGES!r}; runpy.run_module('{__package__}.{name}', run_name='__main__')"
    )
    return [sys.executable, "-P", "-c", code]


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
