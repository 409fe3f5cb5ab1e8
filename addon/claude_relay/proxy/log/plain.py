"""Every line of the log without secrets and without what a terminal would obey, whoever writes it.

    install()              records are made so from now on, tracebacks and what mitmproxy prints of flows are told so
    learn(secrets)         what must not stand in it
    remove()               all is as it was, and forgotten

mitmproxy quotes the bytes of a head that it could not read. They may be a credential that nobody knows yet, so only their number is told.
It must not know flows. Records are changed when they are made, before any handler sees them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mitmproxy.utils import strutils

from claude_relay.core.clients.offers import without_own
from claude_relay.core.config import OutboundProxy, WayOut, named_proxies, way_to
from claude_relay.core.printable import harmless
from claude_relay.core.secrets import Matcher, Secret
from claude_relay.store.vault.secret import VARIABLE

if TYPE_CHECKING:
    from claude_relay.proxy.running.runtime import Runtime

OF_ADMIN: Final = "RELAY_ADMIN_PASSWORD"
"""The variable with the password of the panel's first admin."""
QUOTING: Final = "mitmproxy.proxy."
"""Loggers whose lines quote what came over a connection."""
QUOTED: Final = re.compile(r"""(?:bytearray\()?\bb(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)?""", re.DOTALL)
TELEMETRY_HEADERS: Final = (
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
)
MOST_OF_CLIENTS: Final = 1000
"""Credentials of clients that are remembered, so that nobody can fill the memory with them."""

FACTORY: Final = logging.getLogRecordFactory()
FORMAT_EXCEPTION: Final = logging.Formatter.formatException
ESCAPE: Final = strutils.escape_control_characters

_known = Matcher()
_of_clients: set[Secret] = set()


def install() -> None:
    """Begin; twice does no harm."""
    logging.setLogRecordFactory(record)
    logging.Formatter.formatException = _format_exception  # type: ignore[assignment, method-assign]
    strutils.escape_control_characters = _escape


def remove() -> None:
    """End, and forget all secrets."""
    global _known
    logging.setLogRecordFactory(FACTORY)
    logging.Formatter.formatException = FORMAT_EXCEPTION  # type: ignore[method-assign]
    strutils.escape_control_characters = ESCAPE
    _known = Matcher()
    _of_clients.clear()


def learn(secrets: Sequence[Secret]) -> None:
    """These must not stand in the log."""
    _known.add(secrets)


def learn_of_client(secrets: Sequence[Secret]) -> None:
    """The same for what a client has sent."""
    fresh = [secret for secret in secrets if secret not in _of_clients][: MOST_OF_CLIENTS - len(_of_clients)]
    _of_clients.update(fresh)
    _known.add(fresh)


def cleaned(text: str) -> str:
    """The text as it may be shown."""
    return harmless(without_own(_known.clean_text(text)))


def unquoted(text: str) -> str:
    """The text with the number of bytes in the place of bytes that it quotes."""
    return QUOTED.sub(_size, text)


def record(*args: Any, **more: Any) -> logging.LogRecord:
    """A record of the log."""
    made = FACTORY(*args, **more)
    try:
        message = made.getMessage()
    except Exception:
        return made  # whoever writes it says what is wrong with it
    quotes = (made.name or "").startswith(QUOTING)  # `logging.makeLogRecord` names it later
    shown = cleaned(unquoted(message) if quotes else message)
    if shown != message:
        made.msg, made.args = shown, ()
    return made


def secrets_of(runtime: Runtime, environ: Mapping[str, str]) -> Iterator[Secret]:
    """All that this process knows of secrets."""
    config = runtime.config
    for name, pool in runtime.pools.items():
        for key in pool.keys:
            yield key.secret.encode("utf-8", "replace"), f"relay:{name}/{key.alias}".encode()
            if key.proxy:
                yield from _of_proxy(_parsed(key.proxy))
    ways = (provider.proxy for provider in config.providers.values())
    for proxy in (*runtime.way.proxies, *named_proxies(config).values(), *ways):
        yield from _of_proxy(proxy)
    for provider in config.providers.values():
        if provider.oauth is not None and provider.oauth.client_secret is not None:
            yield provider.oauth.client_secret.get_secret_value().encode(), b"relay:oauth"
    for setting in (config.notices.webhook, config.notices.secret):
        if setting is not None:
            yield setting.get_secret_value().encode(), b"relay:notices"
    yield environ.get(VARIABLE, "").encode("utf-8", "replace"), b"relay:vault"
    yield environ.get(OF_ADMIN, "").encode("utf-8", "replace"), b"relay:panel"
    for variable in TELEMETRY_HEADERS:
        for pair in environ.get(variable, "").split(","):
            yield pair.partition("=")[2].strip().encode("utf-8", "replace"), b"relay:telemetry"


def _of_proxy(proxy: OutboundProxy | None) -> Iterator[Secret]:
    for secret in proxy.secrets if proxy is not None else ():
        yield secret.encode("utf-8", "replace"), b"relay:proxy"


def _parsed(url: object) -> OutboundProxy | None:
    try:
        return way_to("", WayOut(), url)
    except ValueError:
        return None


def _size(found: re.Match[str]) -> str:
    return f"({len(found[0])} bytes)"


def _format_exception(self: logging.Formatter, info: Any) -> str:
    return cleaned(FORMAT_EXCEPTION(self, info))


def _escape(text: str, keep_spacing: bool = True) -> str:
    return harmless(ESCAPE(text, keep_spacing))
