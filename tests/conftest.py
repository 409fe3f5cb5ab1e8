"""Warnings are errors in tests, except those that mitmproxy's own dependencies give while they are imported.

Compiled files are kept, for they save most of the start: processes that tests begin import the package over and over, and workers
that run side by side share the test files, whose assertions pytest rewrites. Each begins to read with another one.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from claude_relay.store.vault import sealing

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
for scheme in ("http", "https", "all", "no"):  # the way out of whoever runs the tests is none of theirs
    os.environ.pop(f"{scheme}_proxy", None)
    os.environ.pop(f"{scheme.upper()}_PROXY", None)
sys.dont_write_bytecode = False

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mitmproxy.addons
    import mitmproxy.tools.dump
    import mitmproxy.tools.web.master  # noqa: F401

TESTS = Path(__file__).parent

settings.register_profile("suite", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Where all tests run side by side, deal the files out in another order to each worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and [Path(config.rootpath, argument) for argument in config.args] == [TESTS]:
        own, count = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        files = sorted(map(str, TESTS.rglob("test_*.py")))
        config.args = [file for turn in range(count) for file in files[(own + turn) % count :: count]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever the files' order was, that of the tests is the same in all workers."""
    items.sort(key=lambda item: item.path)


@pytest.fixture
def cheap_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that a person chose is tried at the least cost that a lock may have. The usual one takes 64 MB and a third of a second."""
    monkeypatch.setattr(sealing, "SLOW", "scrypt:16384:8:1")
