"""What relay.yaml says that can be used, but is hardly what was meant.

    for mistake in mistaken(config):
        mistake.found, mistake.remedy         what is wrong, and what to write

`match.client` is the name of a client; the program of a client is `match.program`. It must not know which clients there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from .models import Config, FaultRule, Route

PROGRAMS = (
    "aiohttp",
    "anthropic",
    "asyncanthropic",
    "axios",
    "bun",
    "claude-cli",
    "claude-code",
    "claude-vscode",
    "curl",
    "go-http-client",
    "httpx",
    "java",
    "node",
    "node-fetch",
    "okhttp",
    "postmanruntime",
    "python",
    "python-httpx",
    "python-requests",
    "ruby",
    "undici",
    "wget",
)
"""What well-known programs call themselves in their user agent, in lower case."""
LEAST = 3
"""Letters of a glob by which it can be told from others."""


class Mistake(NamedTuple):
    """What is wrong, and what to do about it."""

    found: str
    remedy: str


def mistaken(config: Config) -> Iterator[Mistake]:
    """Each of them, in the order of the file."""
    sections: dict[str, Sequence[Route | FaultRule]] = {"routes": config.routes, "faults": config.faults}
    for section, rules in sections.items():
        for place, rule in enumerate(rules):
            glob = rule.match.client
            if glob is not None and is_programs(glob):
                found = f"{section}[{place}].match.client is the name of a client, and {glob} looks like a program"
                yield Mistake(found, f"write program: {glob}")


def is_programs(glob: str) -> bool:
    """Whether a glob was made for the names of programs.

    >>> is_programs("claude-*"), is_programs("*"), is_programs("alice")
    (True, False, False)
    """
    return len(glob.strip("*?")) >= LEAST and any(fnmatchcase(program, glob.lower()) for program in PROGRAMS)
