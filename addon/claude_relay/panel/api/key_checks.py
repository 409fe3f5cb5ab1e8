"""Checks of many keys as a job: eight at a time; what is found is written down as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from claude_relay.core.keys.check_results import CheckResult
from claude_relay.panel.api.keys import reachable_providers
from claude_relay.panel.common.jobs import Report
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.security.visitors import Visitor
from claude_relay.store.shared.all_keys import Keyring
from claude_relay.store.vault.records import StoredKey
from claude_relay.store.vault.rows import moment
from claude_relay.upstream.checking import PARALLEL, TIMEOUT
from claude_relay.upstream.checking import check as check_all

WRITTEN: Final = 25
"""Results are written down by so many."""


def begin_check(
    visitor: Visitor,
    parts: Parts,
    keyring: Keyring,
    keys: Sequence[StoredKey],
    shown_as: dict[str, str] | None = None,
) -> str:
    """A job that asks about each of them; its id. `shown_as`: the ids that people see."""
    work = checking(parts, keyring, keys, shown_as or {})

    def run(report: Report) -> None:
        work(report)

    return parts.jobs.begin(visitor, len(keys), run)


def checking(
    parts: Parts, keyring: Keyring, keys: Sequence[StoredKey], shown_as: Mapping[str, str]
) -> Callable[[Report], dict[str, CheckResult]]:
    """Asks about each, writes down what is found, and gives it by id."""
    secrets, providers = keyring.secrets(keys), reachable_providers(keyring, parts)

    def work(report: Report) -> dict[str, CheckResult]:
        found: dict[str, CheckResult] = {}
        unwritten: dict[str, CheckResult] = {}

        def done(key: StoredKey, result: CheckResult) -> None:
            found[key.id] = unwritten[key.id] = result
            if len(unwritten) >= WRITTEN:
                keyring.vault.record(unwritten)
                unwritten.clear()
            line = {"id": shown_as.get(key.id, key.id), "name": key.name, "status": result.status}
            report(len(found), line | {"until": moment(result.until), "reason": result.reason})

        try:
            check_all(keys, secrets, providers, parallel=PARALLEL, timeout=TIMEOUT, clock=time.time, done=done)
        finally:
            if unwritten:
                keyring.vault.record(unwritten)
        return found

    return work
