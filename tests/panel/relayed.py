"""A relay that runs over a panel's database, with a made-up Claude behind it: what is done in the panel is seen in its answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waiting import eventually
from wire.relay import Relay, config, provider
from wire.upstream import FakeUpstream

from .stage import Panel


@contextlib.contextmanager
def relay_over(panel: Panel, folder: Path, confdir: Path, **sections: Any) -> Iterator[tuple[Relay, FakeUpstream]]:
    """Two providers, `anthropic` and `other`, at one upstream. Bodies are kept."""
    with FakeUpstream() as upstream:
        providers = {name: provider(upstream.url, [f"sk-{name}"]) for name in ("anthropic", "other")}
        text = config(providers=providers, ledger={"bodies": {"keep": "1d"}}, **sections)
        with Relay(folder, confdir, text | {"database": str(panel.database)}) as relay:
            eventually(lambda: panel.get("/api/health").json["ready"])
            yield relay, upstream
