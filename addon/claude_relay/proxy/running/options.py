"""mitmproxy options: ours, those of mitmproxy's own that the relay needs, and those that it cannot run with.

An option that the user set stays as it is, or the relay does not start: `rulings` says which.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from mitmproxy import addonmanager, ctx, exceptions
from mitmproxy.log import ALERT

from claude_relay.core.config import Config

from .rulings import REFUSED, RULINGS, refusal, why_refused

logger = logging.getLogger(__name__)
OURS: tuple[tuple[str, type, Any, str], ...] = (
    (
        "relay_config",
        str,
        "",
        "Path of relay.yaml. Default: RELAY_CONFIG, else beside addon/, installed: ~/.config/claude-relay/relay.yaml.",
    ),
    ("relay_keep_flows", int, 2000, "How many finished flows mitmweb keeps; older ones are removed from its list."),
    ("relay_keep_bodies", int, 200, "How many of the newest flows keep their bodies in mitmweb."),
)
FIXED: Mapping[str, Any] = {
    "connection_strategy": "lazy",  # eager answers CONNECT with 502 when the original host is out of reach
    "tcp_timeout": 3600,  # the default of 600 s ends long answers
}
IF_PRESENT: Mapping[str, Any] = {
    "flow_detail": 0,
    "termlog_verbosity": "alert",
    "web_columns": ["tls", "icon", "path", "method", "status", "size", "time", "comment"],
}
"""Options that only some of mitmproxy's programs have, or whose value is taste."""
CHATTY = ("mitmproxy.proxy.server", "mitmproxy.proxy.layer")


def declare(loader: addonmanager.Loader) -> None:
    """Our options, in `load`."""
    for name, kind, default, text in OURS:
        loader.add_option(name, kind, default, text)


def host_patterns(hosts: Sequence[str]) -> list[str]:
    """`intercept.hosts` as mitmproxy's `allow_hosts`; a host is meant on any port."""
    return [f"^{re.escape(host)}:\\d+$" for host in hosts]


class Options:
    """mitmproxy's options, held to what `rulings` says of them.

    options.apply(config)            at the start, and for each new configuration; raises OptionsError, with nothing set
    options.check(updated, config)   somebody has changed some while the relay runs; raises OptionsError, and mitmproxy takes them back
    """

    def __init__(self) -> None:
        self.patterns: list[str] = []
        """`allow_hosts` as the relay has set it."""
        self.applying = False
        """The relay itself is setting some."""
        self._warned = False

    def apply(self, config: Config) -> None:
        """Set what the relay needs, unless the user did."""
        patterns, found = host_patterns(config.intercept.hosts), ctx.options.allow_hosts
        if found and found not in (patterns, self.patterns):
            raise exceptions.OptionsError(refusal("allow_hosts", RULINGS["allow_hosts"].why))
        self._refuse(name for name in REFUSED if RULINGS[name].kind == "refused" and name in ctx.options)
        changes = {k: v for k, v in wanted().items() if not ctx.options.has_changed(k) and getattr(ctx.options, k) != v}
        if found != patterns:
            changes["allow_hosts"] = patterns
        if changes:
            self._set(changes)
        self.patterns = patterns
        if "termlog_verbosity" in ctx.options and ctx.options.termlog_verbosity == "alert":  # the console has none
            for name in CHATTY:
                logging.getLogger(name).setLevel(ALERT)
        self._warn()

    def check(self, updated: Set[str]) -> None:
        """Raises OptionsError for a value that would break a promise."""
        self._refuse(updated)
        if "allow_hosts" in updated and self.patterns and ctx.options.allow_hosts != self.patterns:
            raise exceptions.OptionsError(refusal("allow_hosts", RULINGS["allow_hosts"].why))
        self._warn()

    def _set(self, changes: Mapping[str, Any]) -> None:
        self.applying = True
        try:
            ctx.options.update(**changes)
        finally:
            self.applying = False

    @staticmethod
    def _refuse(names: Iterable[str]) -> None:
        for name in sorted(names):
            if why := why_refused(name, getattr(ctx.options, name)):
                raise exceptions.OptionsError(why)

    def _warn(self) -> None:
        """What is allowed, but should not be forgotten: once."""
        if ctx.options.ssl_insecure and not self._warned:
            logger.warning(
                "ssl_insecure is set: keys go to whoever answers in a provider's name. To trust one more authority: "
                "ssl_verify_upstream_trusted_ca"
            )
        self._warned = ctx.options.ssl_insecure


def wanted() -> dict[str, Any]:
    """What the relay sets, as far as this program has it."""
    return dict(FIXED) | {k: v for k, v in IF_PRESENT.items() if k in ctx.options}
