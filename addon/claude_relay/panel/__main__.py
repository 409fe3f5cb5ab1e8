"""What the relay and the command `panel` start: `python -m claude_relay.panel [--config FILE] [--lifeline FD]`.

    --lifeline FD   a pipe that the relay holds: when it closes, however the relay ended, this process ends, too

It says in one line where it listens, or why it does not, and ends with status UNABLE when nothing but another configuration helps, TAKEN
when somebody else listens there. To a relay it speaks in lines of JSON: its log, `{"level": …, "text": …}`, to standard error, and where it
listens, `{"url": …, "address": …, "link": …}`, to standard output, for a one-time link is nothing for a log. A certificate that was renewed
is taken over while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from claude_relay.core.config import Address, Config, ConfigError
from claude_relay.core.config.doors import Tls
from claude_relay.core.config.listening import panel_url, unencrypted
from claude_relay.core.installation import PANEL_TAKEN as TAKEN
from claude_relay.core.installation import PANEL_UNABLE as UNABLE
from claude_relay.core.installation import command
from claude_relay.panel.app import create
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.first import first_link, use_password_of_environment
from claude_relay.store.config_file import read_for_clients
from claude_relay.store.db.database import StoreError, keep_readers
from claude_relay.store.tls_pair import BadPair, read, stamp

logger = logging.getLogger("claude_relay.panel")
NICE = 5
"""Requests come first, where a machine has too much to do."""
PATIENCE = 2.0
"""Seconds for which a panel of before may still hold the port."""
LOOK = 30.0
"""Seconds between two looks at the certificate."""
LAST = 1.8
"""Seconds that a panel may take to end when its relay has ended."""


class Unable(Exception):
    """Why there is no panel, and what to do. `status`: of the process."""

    def __init__(self, text: str, status: int = UNABLE) -> None:
        super().__init__(text)
        self.status = status


def main() -> int:
    """Exit status."""
    said = arguments().parse_args()
    of_relay = said.lifeline is not None
    logging.basicConfig(level=logging.WARNING, format="panel: %(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    if of_relay:
        logging.getLogger().handlers[0].setFormatter(AsJson())
    try:
        run(said, of_relay=of_relay)
    except ConfigError as error:
        for problem in error.problems:
            logger.error("%s", problem)
        return UNABLE
    except Unable as error:
        logger.error("%s", error)
        return error.status
    except (StoreError, BadPair) as error:
        logger.error("%s", error)
        return UNABLE
    return 0


def run(said: argparse.Namespace, *, of_relay: bool) -> None:
    """Until somebody ends it. Raises Unable, ConfigError, StoreError, BadPair."""
    if said.lifeline is not None:
        with suppress(OSError, AttributeError):
            os.nice(NICE)
        threading.Thread(target=watch, args=(said.lifeline,), daemon=True, name="lifeline").start()
    config = read_for_clients(said.config, os.environ, Path.cwd()).config
    address, files = config.listen.panel, config.listen.tls
    if address is None:
        raise Unable("listen.panel is null in relay.yaml, so there is no panel; set it to 127.0.0.1:8083")
    parts = Parts(said.config, config)
    pair = context(files) if files else None
    listener = listening(address)
    keep_readers()
    server = uvicorn.Server(uvicorn.Config(create(parts, tls=pair is not None), **SETTINGS))
    server.config.load()
    # What is cut off at the end (live pages are open for long) is no fault.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    if pair is not None:
        server.config.ssl = pair
    url = panel_url(config.listen, replace(address, port=listener.getsockname()[1]))
    use_password_of_environment(parts)
    report(url, first_link(parts, url), config, of_relay=of_relay)
    asyncio.run(serve(server, listener, files, pair))


class AsJson(logging.Formatter):
    """A record in a line, its traceback too."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return json.dumps({"level": record.levelname, "text": super().format(record)})


def report(url: str, link: str | None, config: Config, *, of_relay: bool) -> None:
    """Where it listens. A relay warns by itself of listeners without TLS."""
    if of_relay:
        print(json.dumps({"url": url, "address": str(config.listen.panel), "link": link}), flush=True)
        return
    for name, address in unencrypted(config):
        if name == "panel":
            text = "listen.panel is open to the network without TLS: what goes to %s, passwords too, can be read on its way; set listen.tls"
            logger.warning(text, address)
    logger.info("%s", url if link is None else f"choose a password for the panel, once: {link}")


SETTINGS: Mapping[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "ws": "none",
    "timeout_graceful_shutdown": 1,
    "h11_max_incomplete_event_size": 64 * 1024,
}
"""Of uvicorn. Who forwards is looked at by `listen.trusted_proxies`, not by it."""


def arguments() -> argparse.ArgumentParser:
    """Few: people use the command."""
    parser = argparse.ArgumentParser(prog="python -m claude_relay.panel", description=f"See {command('panel')} --help.")
    parser.add_argument("--config")
    parser.add_argument("--lifeline", type=int)
    return parser


async def serve(
    server: uvicorn.Server, listener: socket.socket, pair: Tls | None, context: ssl.SSLContext | None
) -> None:
    """Until a signal, or the end of the lifeline."""
    renewing = asyncio.create_task(renew(pair, context)) if pair is not None and context is not None else None
    try:
        await server.serve([listener])
    finally:
        if renewing is not None:
            renewing.cancel()


def listening(address: Address) -> socket.socket:
    """A listener, perhaps after somebody of before has gone. Raises Unable."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return bound(address)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            if not taken or time.monotonic() > until:
                text = "cannot listen on %s (%s); change listen.panel in relay.yaml, or set it to null"
                raise Unable(text % (address, error.strerror or error), TAKEN if taken else UNABLE) from None
        time.sleep(0.1)


def bound(address: Address) -> socket.socket:
    """A listener. Raises OSError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere the flag would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def context(pair: Tls) -> ssl.SSLContext:
    """Raises BadPair, Unable."""
    read(pair.cert, pair.key)
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        found.load_cert_chain(pair.cert, pair.key)
    except (OSError, ssl.SSLError) as error:  # such as a key that is too short for it
        raise Unable(f"listen.tls: OpenSSL does not take this certificate ({error}); is its key long enough?") from None
    return found


async def renew(pair: Tls, context: ssl.SSLContext) -> None:
    """A context that has another pair shows it to whoever comes next. One that cannot be used is looked at again, and said once."""
    seen, complaint = await asyncio.to_thread(stamp, pair.cert, pair.key), ""
    while True:
        await asyncio.sleep(LOOK)
        now = await asyncio.to_thread(stamp, pair.cert, pair.key)
        if now == seen:
            continue
        try:
            await asyncio.to_thread(read, pair.cert, pair.key)
            await asyncio.to_thread(context.load_cert_chain, pair.cert, pair.key)
            seen, complaint = now, ""
            logger.info("the renewed certificate of listen.tls is in use")
        except (BadPair, OSError, ssl.SSLError) as error:
            if str(error) != complaint:
                logger.warning("the certificate of listen.tls changed, but cannot be used: %s", error)
            complaint = str(error)


def watch(lifeline: int, end: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM)) -> None:
    """In a thread: the relay has ended when this can be read to its end. What does not end by itself then, is ended."""
    with suppress(OSError):
        while os.read(lifeline, 1024):
            pass
    timer = threading.Timer(LAST, os._exit, (0,))
    timer.daemon = True
    timer.start()
    end()


if __name__ == "__main__":
    sys.exit(main())
