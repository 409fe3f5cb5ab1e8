"""mitmproxy options: ours, and those of mitmproxy's own that the relay needs.

An option that the user set stays as it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mitmproxy import addonmanager, ctx, exceptions
from mitmproxy.log import ALERT

from claude_relay.core.config import Config

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


def apply(config: Config) -> None:
    """Set what the relay needs, unless the user did."""
    if ctx.options.proxy_debug:
        raise exceptions.OptionsError(
            "proxy_debug writes every byte to the log, keys included: the relay does not run with it"
        )
    wanted = dict(FIXED) | {k: v for k, v in IF_PRESENT.items() if k in ctx.options}
    changes = {k: v for k, v in wanted.items() if not ctx.options.has_changed(k) and getattr(ctx.options, k) != v}
    patterns = host_patterns(config.intercept.hosts)
    if ctx.options.allow_hosts != patterns and not ctx.options.ignore_hosts:
        changes["allow_hosts"] = patterns
    if changes:
        ctx.options.update(**changes)
    if "termlog_verbosity" in ctx.options and ctx.options.termlog_verbosity == "alert":  # the console has none
        for name in CHATTY:
            logging.getLogger(name).setLevel(ALERT)
