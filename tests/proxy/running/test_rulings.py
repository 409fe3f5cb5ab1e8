"""Each option of mitmproxy's programs has a ruling."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

import pytest

from claude_relay.proxy.running.options import FIXED, IF_PRESENT, OURS
from claude_relay.proxy.running.rulings import NEWER, RULINGS, why_refused

PROGRAMS = ("mitmdump", "mitmweb", "mitmproxy")
LOOK = """
import asyncio, json
from mitmproxy import options
from mitmproxy.tools.console.master import ConsoleMaster
from mitmproxy.tools.dump import DumpMaster
from mitmproxy.tools.web.master import WebMaster

async def look(program):
    found = options.Options()
    program(found)
    return {name: option.default for name, option in found.items()}

print(json.dumps([asyncio.run(look(program)) for program in (DumpMaster, WebMaster, ConsoleMaster)]))
"""


@functools.cache
def options_of() -> dict[str, dict[str, Any]]:
    """Program → name → default of all its options, ours apart. In a process of its own: the console's modules warn when looked at."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    return dict(zip(PROGRAMS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_has_a_ruling(program: str) -> None:
    unknown = sorted(set(options_of()[program]) - RULINGS.keys())
    assert not unknown, (
        f"{program} has options that nobody has judged: {', '.join(unknown)}. "
        "Say in proxy/running/rulings.py what each does to keys, bodies, routing, replay and the ledger."
    )


def test_no_ruling_is_left_over() -> None:
    known = {name for found in options_of().values() for name in found}
    assert RULINGS.keys() - NEWER <= known
    assert all(ruling.why for ruling in RULINGS.values())


@pytest.mark.parametrize("program", PROGRAMS)
def test_defaults_are_never_refused(program: str) -> None:
    """Nor is what the relay sets; what it sets is said to be set."""
    found = options_of()[program] | FIXED
    assert [name for name, value in found.items() if why_refused(name, value)] == []
    assert {*FIXED, *IF_PRESENT} <= {name for name, ruling in RULINGS.items() if ruling.kind == "set"}
    assert not RULINGS.keys() & {name for name, *_ in OURS}


def test_the_sentence() -> None:
    said = why_refused("stickycookie", ".")
    assert said == (
        "mitmproxy's option stickycookie cannot be used with the relay: it gives one client's cookies to the requests of others"
    )
    assert why_refused("stickycookie", None) is why_refused("relay_config", "x") is why_refused("http2", False) is None
