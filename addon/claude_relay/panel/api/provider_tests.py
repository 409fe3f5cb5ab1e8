"""Tests of providers: one asks for its models with one of its keys."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel

from claude_relay.core.config import Config, led, way_out
from claude_relay.core.exchange import Endpoint, Facts, Key
from claude_relay.core.retry.verdicts import judge
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.common.relay_yaml import usable
from claude_relay.panel.security.visitors import Operator
from claude_relay.store.vault.vault import VaultError
from claude_relay.upstream.queries import every, query

router = area("providers")
PATIENCE = 15.0
"""Seconds for each request of a test."""
TESTS = "tests of providers"
"""The last test of each since the panel began, by name, in `Parts.kept`."""
Name = Annotated[str, Path(max_length=40)]


class Tested(BaseModel):
    """What one request with one key came to. `verdict`: of the table of verdicts; `detail`: what is wrong, if anything. `at`: seconds since
    the epoch.
    """

    at: float
    ok: bool
    status: int | None
    verdict: str
    detail: str
    latency_ms: int
    key: str
    models: list[str]


@router.post("/providers/{name}/test", responses=documented(404, 409))
def test(name: Name, visitor: Operator, parts: Own) -> Tested:
    """Ask the provider for its models with one of its keys."""
    config = usable(parts)
    if name not in config.providers:
        raise Problem(404, "not_found", f"There is no provider {name[:40]!r} in relay.yaml.")
    key = _a_key(parts, config, name)
    if key is None:
        raise Problem(409, "no_key", f"{name} has no key that could be tried: add one on the page Keys.")
    found = led(config.providers[name], way_out(config, parts.environ))
    begun = time.monotonic()
    outcome = query(found, key, timeout=PATIENCE)
    took = time.monotonic() - begun
    verdict = judge(outcome, Facts(Endpoint.MESSAGES), now=parts.clock())
    ok = outcome.status is not None and 200 <= outcome.status < 300 and verdict.name == "ok"
    models = every(found, key, timeout=PATIENCE) if ok else ()
    tested = Tested(
        at=parts.clock(),
        ok=ok,
        status=outcome.status,
        verdict=verdict.name,
        detail="" if ok else verdict.reason or outcome.message or "it leads elsewhere",
        latency_ms=round(took * 1000),
        key=key.alias,
        models=list(models),
    )
    parts.kept.setdefault(TESTS, {})[name] = tested
    return tested


def tests(parts: Parts) -> dict[str, Tested]:
    """The last of each provider, as far as there was one."""
    found: dict[str, Tested] = parts.kept.get(TESTS, {})
    return found


def _a_key(parts: Parts, config: Config, name: str) -> Key | None:
    """One of the vault that is in use, else of relay.yaml."""
    in_cooldown = {"cooldown", "out"}
    try:
        vault = parts.vault(None)
        stored = [key for key in vault.list() if key.provider == name and key.enabled and key.removed_at is None]
        stored.sort(key=lambda key: bool(in_cooldown.intersection(key.states(parts.clock()))))
        issued = vault.issue({stored[0].id}).get(name, ()) if stored else ()
    except VaultError as error:
        raise Problem(503, "vault", f"{error}.") from None
    return next(iter((*issued, *config.providers[name].key_list(name))), None)
