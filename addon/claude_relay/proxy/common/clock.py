"""The relay's clock: what cooldowns, sessions and waits go by. Setting the system's clock back changes nothing for it."""

from __future__ import annotations

import time

from claude_relay.core.steady import Steady

NOW = Steady(lambda: time.time(), lambda: time.monotonic())
"""Call it for the time in seconds since the epoch; `NOW.wall()` is what the system says, in whose terms others name dates."""
