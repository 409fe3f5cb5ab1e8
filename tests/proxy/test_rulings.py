"""Each option of mitmproxy's programs has a ruling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import options
from mitmproxy.master import Master
from mitmproxy.tools.console.master import ConsoleMaster
from mitmproxy.tools.dump import DumpMaster
from mitmproxy.tools.web.master import WebMaster

from claude_relay.proxy.options import FIXED, IF_PRESENT, OURS
from claude_relay.proxy.rulings import RULINGS, why_refused

PROGRAMS: dict[str, Callable[[options.Options], Master]] = {
    "mitmdump": DumpMaster,
    "mitmweb": WebMaster,
    "mitmproxy": ConsoleMaster,
}


def options_of(program: str) -> dict[str, Any]:
    """Name → default of all options that a program has, ours apart."""

    async def look() -> dict[str, Any]:
        found = options.Options()
        PROGRAMS[program](found)
        return {name: option.default for name, option in found.items()}

    return asyncio.run(look())


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_has_a_ruling(program: str) -> None:
    unknown = sorted(set(options_of(program)) - RULINGS.keys())
    assert not unknown, (
        f"{program} has options that nobody has judged: {', '.join(unknown)}. "
        "Say in proxy/rulings.py what each does to keys, bodies, routing, replay and the ledger."
    )


def test_no_ruling_is_left_over() -> None:
    known = {name for program in PROGRAMS for name in options_of(program)}
    assert RULINGS.keys() <= known
    assert all(ruling.why for ruling in RULINGS.values())


@pytest.mark.parametrize("program", PROGRAMS)
def test_defaults_are_never_refused(program: str) -> None:
    """Nor is what the relay sets; what it sets is said to be set."""
    found = options_of(program) | FIXED
    assert [name for name, value in found.items() if why_refused(name, value)] == []
    assert {*FIXED, *IF_PRESENT} <= {name for name, ruling in RULINGS.items() if ruling.kind == "set"}
    assert not RULINGS.keys() & {name for name, *_ in OURS}
