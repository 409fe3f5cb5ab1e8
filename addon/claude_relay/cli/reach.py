"""Can every provider be reached? TCP and TLS only: whatever it would answer, it is there. All at once, three seconds at most."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from time import monotonic
from urllib.parse import SplitResult, urlsplit

import certifi

from claude_relay.core.config import Config, OutboundProxy, Provider

from .checks import FAIL, OK, Check

LIMIT = 3.0
"""Seconds for all of them together."""


class Refused(Exception):
    """The outbound proxy would not let the connection through."""


def providers(config: Config, limit: float = LIMIT) -> Iterator[Check]:
    """One check a provider, in the file's order."""
    done: SimpleQueue[tuple[str, str]] = SimpleQueue()
    for name, provider in config.providers.items():
        # Daemons, because nothing interrupts a name server that keeps silent.
        threading.Thread(target=lambda n=name, p=provider: done.put((n, knock(p, limit))), daemon=True).start()
    reasons = _collect(done, len(config.providers), monotonic() + limit)
    for name, provider in config.providers.items():
        yield _check(name, provider, reasons.get(name, "no answer in time"))


def knock(provider: Provider, limit: float = LIMIT) -> str:
    """What keeps a connection from coming about; empty when it did."""
    url = urlsplit(provider.base_url)
    try:
        with _dial(url, provider.proxy, limit) as connection:
            if url.scheme == "https" and not isinstance(connection, ssl.SSLSocket):
                _context().wrap_socket(connection, server_hostname=url.hostname).close()
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except socket.gaierror:
        return "no such host"
    except TimeoutError:
        return "no answer in time"
    except Refused as error:
        return str(error)
    except OSError as error:
        return error.strerror or "the connection broke"
    return ""


def _collect(done: SimpleQueue[tuple[str, str]], count: int, until: float) -> dict[str, str]:
    reasons: dict[str, str] = {}
    try:
        while len(reasons) < count:
            name, reason = done.get(timeout=max(0.0, until - monotonic()))
            reasons[name] = reason
    except Empty:
        pass
    return reasons


def _check(name: str, provider: Provider, reason: str) -> Check:
    way = f"{provider.base_url}{f' through {provider.proxy}' if provider.proxy else ''}"
    if not reason:
        return Check(f"provider {name}", OK, f"{way} can be reached")
    remedy = f"check providers.{name}.{'proxy' if provider.proxy else 'base_url'} and this machine's network"
    return Check(f"provider {name}", FAIL, f"{way}: {reason}", remedy)


def _dial(url: SplitResult, proxy: OutboundProxy | None, limit: float) -> socket.socket:
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    if proxy is None:
        return socket.create_connection((host, port), limit)
    connection = socket.create_connection((proxy.host, proxy.port), limit)
    try:
        if proxy.scheme == "https":
            connection = _context().wrap_socket(connection, server_hostname=proxy.host)
        _tunnel(connection, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", proxy)
    except BaseException:
        connection.close()
        raise
    return connection


def _tunnel(connection: socket.socket, target: str, proxy: OutboundProxy) -> None:
    """Ask the proxy for a way through: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6"""
    credential = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credential}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < 65536:
        received = connection.recv(4096)
        if not received:
            break
        answer += received
    status = answer.split(b" ", 2)[1:2]
    if status != [b"200"]:
        said = status[0].decode("ascii", "replace") if status and status[0].isdigit() else "nothing sensible"
        raise Refused(f"the proxy answered {said}")


def _context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())
