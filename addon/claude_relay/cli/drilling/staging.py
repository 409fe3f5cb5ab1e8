"""What a run of `scripts/drill` stands on: a copy of the configuration, and an environment that leads the client to it.

What would reach others stays away: notices, stored bodies, the ports. It must not know how a client is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from claude_relay.cli.console.common import Source
from claude_relay.cli.console.taking_back import original
from claude_relay.cli.demonstration.cast import ROLES, Treatment
from claude_relay.cli.demonstration.relaying import configuration
from claude_relay.core.clients.credentials import PLACEHOLDER
from claude_relay.core.config import Retry
from claude_relay.core.config.values import is_module
from claude_relay.core.config.yaml import read

from .sets import FaultSet

LEFT_OUT = ("listen", "database", "notices", "log", "shutdown", "faults")
LIMITS = ("first_byte", "whole", "idle", "progress")
OWN = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
"""Where a client's own credential may be."""


def settings_of(source: Source) -> dict[str, Any]:
    """The relay.yaml of a drill, without faults: variables stay as they are, and are the relay's to fill in."""
    data: dict[str, Any] = dict(read(source.text).data)
    for name in LEFT_OUT:
        data.pop(name, None)
    if isinstance(data.get("ledger"), dict):
        data["ledger"] = {name: value for name, value in data["ledger"].items() if name != "bodies"}
    for name, provider in (data.get("providers") or {}).items():
        if isinstance(provider, dict) and is_module(provider.get("format")):
            provider["format"] = source.config.providers[name].format
    return data


def demo_settings(upstream: str) -> dict[str, Any]:
    """That of a made-up Claude with two good keys."""
    return configuration(upstream, [role.key for role in ROLES if role.treatment is Treatment.GOOD])


def with_faults(settings: Mapping[str, Any], faults: FaultSet, limits: Retry, patience: float) -> dict[str, Any]:
    """The settings of one run. `limits`: how long they let the relay wait; `patience`: seconds for which it waits at most."""
    waits = {name: min(getattr(limits, name), patience) for name in LIMITS}
    retry = {**(settings.get("retry") or {}), **waits}
    return {**settings, "retry": retry, "faults": faults.settings, "shutdown": "1s"}


def environment(base_url: str, *, needs_key: bool) -> dict[str, str]:
    """What the client runs in. `needs_key`: its own credential, if it has one, is to be passed through."""
    environ = original(os.environ)
    environ.pop("RELAY_SECRET", None)
    if not needs_key:
        for name in OWN:
            environ.pop(name, None)
        environ["ANTHROPIC_AUTH_TOKEN"] = PLACEHOLDER
    environ["ANTHROPIC_BASE_URL"] = base_url
    for name in ("NO_PROXY", "no_proxy"):
        others = environ.get(name, "")
        environ[name] = ",".join(filter(None, ("127.0.0.1", others)))
    return environ
