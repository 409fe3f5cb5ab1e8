"""What the relay and the command `panel` start: `python -m claude_relay.panel [--config FILE] [--lifeline FD]`.

    --lifeline FD   a pipe that the relay holds: when it closes, however the relay ended, this process ends, too

It says in one line where it listens, or why it does not, and ends with status 3 when it cannot, so that nobody starts it again at once. A
certificate that was renewed is taken over while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from claude_relay.core.config import ConfigError
from claude_relay.core.config.doors import Tls
from claude_relay.core.config.listening import near
from claude_relay.core.installation import command
from claude_relay.panel.app import create
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.first import first_link, use_password_of_environment
from claude_relay.store.config_file import read_for_clients
from claude_relay.store.db.database import StoreError
from claude_relay.store.tls_pair import BadPair, read, stamp

logger = logging.getLogger("claude_relay.panel")
UNABLE = 3
STANDS_BACK = 5
"""Where the processor is busy, requests go before pages: for every second that the panel gets, the relay gets three."""
LOOK = 30.0
"""Seconds between two looks at the certificate."""


def main() -> int:
    """Exit status."""
    said = arguments().parse_args()
    if hasattr(os, "nice"):
        os.nice(STANDS_BACK)
    logging.basicConfig(level=logging.WARNING, format="panel: %(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    try:
        source = read_for_clients(said.config, os.environ, Path.cwd())
    except ConfigError as error:
        for problem in error.problems:
            logger.error("%s", problem)
        return UNABLE
    config = source.config
    if config.listen.panel is None:
        logger.error("listen.panel is null in relay.yaml, so there is no panel; set it to 127.0.0.1:8083")
        return UNABLE
    parts = Parts(said.config, config)
    address = config.listen.panel
    try:
        pair = context(config.listen.tls) if config.listen.tls else None
        listener = listening(address.host, address.port)
    except BadPair as error:
        logger.error("%s", error)
        return UNABLE
    except OSError as error:
        logger.error(
            "cannot listen on %s (%s); change listen.panel in relay.yaml, or set it to null", address, error.strerror
        )
        return UNABLE
    server = uvicorn.Server(uvicorn.Config(create(parts, tls=pair is not None), **SETTINGS))
    server.config.load()
    if pair is not None:
        server.config.ssl = pair
    url = near(config.listen, replace(address, port=listener.getsockname()[1]))
    try:
        use_password_of_environment(parts)
        link = first_link(parts, url)
    except StoreError as error:
        logger.error("%s", error)
        return UNABLE
    logger.info("%s", url if link is None else f"choose a password for the panel, once: {link}")
    if said.lifeline is not None:
        threading.Thread(target=watch, args=(said.lifeline,), daemon=True, name="lifeline").start()
    asyncio.run(serve(server, listener, config.listen.tls, pair))
    return 0


SETTINGS: Mapping[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "ws": "none",
    "timeout_graceful_shutdown": 2,
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


def listening(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def context(pair: Tls) -> ssl.SSLContext:
    """Raises BadPair."""
    read(pair.cert, pair.key)
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.load_cert_chain(pair.cert, pair.key)
    return found


async def renew(pair: Tls, context: ssl.SSLContext) -> None:
    """A context that has another pair shows it to whoever comes next."""
    seen = await asyncio.to_thread(stamp, pair.cert, pair.key)
    while True:
        await asyncio.sleep(LOOK)
        now = await asyncio.to_thread(stamp, pair.cert, pair.key)
        if now == seen:
            continue
        try:
            await asyncio.to_thread(read, pair.cert, pair.key)
            await asyncio.to_thread(context.load_cert_chain, pair.cert, pair.key)
            seen = now
            logger.info("the renewed certificate of listen.tls is in use")
        except (BadPair, OSError, ssl.SSLError) as error:
            logger.warning("the certificate of listen.tls changed, but cannot be used: %s", error)
            seen = now


def watch(lifeline: int, end: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM)) -> None:
    """In a thread: the relay has ended when this can be read to its end. What does not end by itself then, is ended."""
    with suppress(OSError):
        while os.read(lifeline, 1024):
            pass
    threading.Timer(5.0, os._exit, (0,)).start()
    end()


if __name__ == "__main__":
    sys.exit(main())
