"""What the relay says to the person who started it."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.tls import TlsData

from claude_relay.core.config.locate import locate

from .runtime import Runtime

logger = logging.getLogger(__name__)
QUIET_SECONDS = 10.0
"""One explanation per client name in so many seconds."""
_explained: dict[str, float] = {}


def lines(runtime: Runtime | None, path: Path | None) -> Iterator[str]:
    """What is listening, how many keys there are, and what to type next."""
    assert runtime is not None
    config = runtime.config
    yield f"Claude Relay · {path or 'no relay.yaml, defaults apply'} · ledger {config.database}"
    if config.listen.proxy is not None:
        yield f"  proxy     http://{config.listen.proxy}   for HTTPS_PROXY"
    if config.listen.base_url is not None:
        yield f"  base URL  http://{config.listen.base_url}   for ANTHROPIC_BASE_URL"
    for proxy in dict.fromkeys(proxy.told for proxy in runtime.way.proxies):
        yield f"  way out   through {proxy}"
    for name, pool in runtime.pools.items():
        count = len(pool.keys)
        yield f"  pool      {name}: {count} key{'' if count == 1 else 's'}" + (
            "" if count else without_keys(pool.passthrough)
        )
    if (web := ctx.master.addons.get("webauth")) is not None:
        yield f"  mitmweb   {web.web_url}"
    which = "" if path is None or path == locate(None, {}, Path.cwd()) else f"RELAY_CONFIG={shlex.quote(str(path))} "
    yield f"  next      {which}scripts/env -- claude      (or any other program in the place of claude)"


def without_keys(passthrough: bool) -> str:
    """What an empty pool means."""
    if passthrough:
        return "; the client's own key goes through. Set ANTHROPIC_API_KEYS=key1,key2 to lend keys"
    return "; requests to it are refused until keys are set"


def explain_tls_failure(data: TlsData) -> None:
    """A client refused the relay's certificate: the line that mends it."""
    name = data.context.client.sni or str(data.context.server.address)
    now = time.monotonic()
    if now - _explained.get(name, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    _explained[name] = now
    ca = Path(ctx.options.confdir).expanduser() / "mitmproxy-ca-cert.pem"
    logger.warning(
        "A client does not trust the relay's certificate for %s (%s). In the client's shell: "
        'eval "$(scripts/env)" – or for Node programs: export NODE_EXTRA_CA_CERTS=%s',
        name,
        data.conn.error or "no reason given",
        ca,
    )
