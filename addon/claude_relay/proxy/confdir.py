"""mitmproxy's own folder, in which it makes its CA at its first start: what to do when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

from claude_relay.store.folders import unwritable

CA = "mitmproxy-ca.pem"


def problem(confdir: str) -> str:
    """A sentence with the remedy; empty when there is a CA or one can be made."""
    folder = Path(confdir).expanduser()
    if os.path.isfile(folder / CA) or not (reason := unwritable(folder)):
        return ""
    return f"no CA can be made in {folder}: {reason}. Name a folder of your own with: --set confdir=DIR"
