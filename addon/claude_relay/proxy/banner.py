"""What the relay says to the person who started it."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mitmproxy import ctx
from mitmproxy.log import ALERT
from mitmproxy.tls import TlsData
from mitmproxy.utils import human

from claude_relay.core.config import Config
from claude_relay.core.config.listening import far, panel_url, unencrypted
from claude_relay.core.config.locate import before_command, overlooked, usual_file
from claude_relay.core.faults import Faults
from claude_relay.core.installation import command
from claude_relay.store.authority import CERTIFICATE

from . import confdir
from .log.terminal import say
from .running.runtime import Runtime

logger = logging.getLogger(__name__)
QUIET_SECONDS = 10.0
"""One explanation per client name in so many seconds."""
VARIABLE = "ANTHROPIC_API_KEYS"
_explained: dict[str, float] = {}


def lines(runtime: Runtime | None, path: Path | None, faults: Faults, *, panel: bool = False) -> Iterator[str]:
    """Which files are in force, what is listening, how many keys there are, and what to type next: 65 columns, with the time before."""
    assert runtime is not None
    config = runtime.config
    yield "Claude Relay"
    yield f"  config    {path or f'the defaults: there is no {usual_file(os.environ)}'}"
    if (other := overlooked(path, Path.cwd())) is not None:
        yield f"            not ./{other.name}; for it: RELAY_CONFIG=./{other.name}"
    yield f"  ledger    {config.database}"
    url = far if config.listen.tls is not None else lambda _, address: f"http://{address}"
    if config.listen.proxy is not None:
        yield f"  proxy     {url(config.listen, config.listen.proxy)}   for HTTPS_PROXY"
    if config.listen.base_url is not None:
        yield f"  base URL  {url(config.listen, config.listen.base_url)}   for ANTHROPIC_BASE_URL"
    if panel and config.listen.panel is not None:
        yield f"  panel     {panel_url(config.listen, config.listen.panel)}"
    for proxy in dict.fromkeys(proxy.label for proxy in runtime.way.proxies):
        yield f"  way out   through {proxy}"
    for name, pool in runtime.pools.items():
        count = len(pool.keys)
        yield f"  pool      {name}: {f'{count} key{"" if count == 1 else "s"}' if count else without_keys(pool.passthrough)}"
    if not any(pool.keys for pool in runtime.pools.values()):
        yield f"            to add keys: {command('keys')} add, or {VARIABLE}"
    if faults:
        yield f"  FAULTS    requests fail on purpose: {faults}"
    if (web := ctx.master.addons.get("webauth")) is not None:
        yield f"  mitmweb   {web.web_url}"
    which = before_command(path, os.environ)
    where = "" if which else "   (in another terminal)"
    if config.clients.required:
        yield f"  clients   need a key: {which}{command('clients')} add NAME"
    yield f"  next      {which}{command('env')} -- claude{where}"


def warn_of_plain(config: Config) -> None:
    """Listeners that are reached from other machines without TLS: at every start."""
    for name, address in unencrypted(config):
        logger.warning(
            "listen.%s is open to the network without TLS: what goes to %s, keys too, can be read on its way; set listen.tls",
            name,
            address,
        )


def say_what_fails(faults: Faults) -> None:
    """The faults in force have changed."""
    if faults:
        logger.log(ALERT, "FAULTS ARE ON: requests fail on purpose (%s)", str(faults))
    else:
        logger.log(ALERT, "faults are off: no request fails on purpose any more")


def say_how_to_enter(url: str, link: str | None) -> None:
    """The panel listens. A one-time link is for whoever started the relay, and not for the log, which may go far. On the event loop."""
    if link is not None:
        say(f"panel: choose a password, once: {link}")
        again = f"{command('panel')} reset-password"
        logger.log(ALERT, "nobody can sign in to the panel at %s yet; a one-time link: %s", url, again)


def show_at_once(output: TextIO) -> None:
    """Each line of the log when it is written, also where it goes to a file or a service manager: Python would keep some pages back."""
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(line_buffering=True)


def without_keys(passthrough: bool) -> str:
    """What an empty pool means."""
    return "no key; the client's own goes through" if passthrough else "no key; requests to it are refused"


def explain_tls_failure(data: TlsData, *, own: bool = False) -> None:
    """A client refused the relay's certificate: the line that mends it. `own`: that of listen.tls, not one that the CA has made."""
    name = data.context.client.sni or str(data.context.server.address)
    now = time.monotonic()
    if now - _explained.get(name, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    _explained[name] = now
    if own:
        logger.warning(
            "A client at %s does not accept the certificate of listen.tls for %s (%s). It must trust who has signed that, and call the "
            "relay by a name that is in it.",
            human.format_address(data.context.client.peername),
            data.context.client.sni or "an address",
            data.conn.error or "no reason given",
        )
        return
    if data.context.client.sni and (why := confdir.misfit((name,))):
        logger.warning("%s", why)
        return
    ca = Path(ctx.options.confdir).expanduser() / CERTIFICATE
    logger.warning(
        "A client does not trust the relay's certificate for %s (%s). In the client's shell: "
        'eval "$(%s)" – or for Node programs: export NODE_EXTRA_CA_CERTS=%s',
        name,
        data.conn.error or "no reason given",
        command("env"),
        ca,
    )
