"""Where the npm packages of these tests are, and what to say where they are not.

`scripts/test` installs them into node_modules beside this file. A developer without Node skips these tests; CI must not.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
LIBRARIES = {"glibc": "", "": "-musl"}
"""Of Linux's binaries, by what Python says about the C library."""


def missing() -> str | None:
    """Why the tests cannot run here; None: they can."""
    if shutil.which("node") is None:
        return "there is no Node: install nodejs 18 or newer and npm, then run scripts/test"
    if claude_code() is None or not (MODULES / "@anthropic-ai" / "sdk").is_dir():
        return "the npm packages are not installed: run scripts/test, or `npm ci --ignore-scripts` in tests/clients"
    return None


def must_run() -> bool:
    """In CI a missing package is a failure, not a reason to skip."""
    return os.environ.get("CI", "").lower() in ("true", "1")


def claude_code() -> Path | None:
    """Claude Code's native binary for this machine; it comes as a package of its own and needs no Node."""
    library = LIBRARIES.get(platform.libc_ver()[0], "-musl") if platform.system() == "Linux" else ""
    system = platform.system().lower()
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())
    found = MODULES / "@anthropic-ai" / f"claude-code-{system}-{machine}{library}" / "claude"
    return found if found.is_file() else None


def needed() -> list[pytest.MarkDecorator]:
    """For the `pytestmark` of a module: without the packages skipped, with the reason; in CI failed, for the same reason."""
    reason = missing()
    skip = pytest.mark.skipif(reason is not None and not must_run(), reason=str(reason))
    return [skip, pytest.mark.usefixtures("installed")]
