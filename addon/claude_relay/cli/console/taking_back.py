"""A shell's variables as they were before `scripts/env`, and the way back there. Pure.

What is set is written down beside it, in RELAY_ENV: name → what was set, what was there before. So evaluating the lines twice, or others
after them, loses nothing, and only what still has our value is taken back.

    before = original(os.environ)
    changes({"HTTPS_PROXY": "http://127.0.0.1:8080"}, os.environ)      -> the same and RELAY_ENV
    taken_back(os.environ)                                             -> {"HTTPS_PROXY": None, "RELAY_ENV": None}
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from claude_relay.core.clients.credentials import PLACEHOLDER

RECORD = "RELAY_ENV"

type Changes = dict[str, str | None]
"""Values to set; None: to be taken away."""


def original(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what `scripts/env` has set in it."""
    found = dict(environ)
    for name, value in taken_back(environ).items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


def changes(wanted: Mapping[str, str], environ: Mapping[str, str]) -> Changes:
    """What leads from this environment to its original one with `wanted` in it; what was there before is written down."""
    before = original(environ)
    record = {name: [value, before.get(name)] for name, value in wanted.items()}
    return {**taken_back(environ), **wanted, RECORD: json.dumps(record, separators=(",", ":"))}


def taken_back(environ: Mapping[str, str]) -> Changes:
    """What leads back from this environment to its original one; nothing where nobody has evaluated the lines."""
    found: Changes = {name: None for name, value in environ.items() if value == PLACEHOLDER}
    if RECORD in environ:
        found[RECORD] = None
    for name, (ours, before) in _record(environ.get(RECORD, "")).items():
        if environ.get(name) == ours:
            found[name] = before
    return found


def applied(changed: Changes, environ: Mapping[str, str]) -> dict[str, str]:
    """This environment with the changes."""
    found = {**environ, **changed}
    return {name: value for name, value in found.items() if value is not None}


def _record(text: str) -> dict[str, tuple[str, str | None]]:
    """Empty when it is none of ours."""
    try:
        found = json.loads(text)
        return {
            str(name): (str(ours), None if before is None else str(before)) for name, (ours, before) in found.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
