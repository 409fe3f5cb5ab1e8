"""Outbound proxies, tried: is it there, does it let us through, how long does that take; and which address the world sees.

    [trial] = tried([Trying(proxy, "https://api.anthropic.com", provider.trust)], echo="https://ip.example/")
    trial.seconds, trial.reason, trial.seen, remedy_for(trial.reason, proxy, "…")

A tunnel to a provider is opened, TLS included, and closed again; nobody else is contacted. Which address the world sees is asked only of a
URL that somebody gives. It must not know where proxies come from, nor who uses them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from urllib.parse import urlsplit

from claude_relay.core.config import OutboundProxy, Trust
from claude_relay.core.printable import harmless

from .connection import FAILURES, FOR_TLS, Connection, said

LIMIT = 10.0
"""Seconds for a proxy, whatever its own timeout."""
LONGEST_ECHO = 200
SILENCE = "no answer in time"


@dataclass(frozen=True, slots=True)
class Trying:
    """What is to be tried. `target`: URL of a provider to which a tunnel is opened; `trust`: of TLS with it."""

    proxy: OutboundProxy
    target: str
    trust: Trust


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. `reason`: why there is no way, without a secret; empty: there is one, and it stood after so many `seconds`.

    seen  what the URL that was asked for it says of the address it sees
    """

    reason: str = ""
    seconds: float | None = None
    seen: str = ""


def tried(wanted: Sequence[Trying], echo: str | None = None, limit: float = LIMIT) -> list[Trial]:
    """All at once, in order. `echo`: a URL that answers with the address it sees; `limit`: seconds for each step."""
    found = [Trial(SILENCE)] * len(wanted)

    def one(n: int) -> None:
        found[n] = _try(wanted[n], echo, limit)

    # Daemons, because nothing interrupts a name server that keeps silent.
    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(wanted))]
    for thread in threads:
        thread.start()
    until = monotonic() + limit * (1 if echo is None else 2) + 1.0
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))
    return list(found)


def _try(one: Trying, echo: str | None, limit: float) -> Trial:
    proxy = replace(one.proxy, or_direct=False)  # else a dead one would seem to be well
    began = monotonic()
    try:
        with Connection(one.target, proxy, limit, one.trust) as connection:
            connection.open()
        took = monotonic() - began
    except FAILURES as error:
        return Trial(said(error))
    return Trial("", took, _seen(echo, proxy, limit) if echo is not None else "")


def _seen(echo: str, proxy: OutboundProxy, limit: float) -> str:
    """What the URL answers: one line, harmless for a terminal."""
    parts = urlsplit(echo)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with Connection(echo, proxy, limit, proxy.trust) as connection:
            body = connection.request("GET", target, {"user-agent": "claude-relay"}).read(LONGEST_ECHO)
    except (*FAILURES, ValueError) as error:
        return f"{parts.hostname} did not say: {said(error) if not isinstance(error, ValueError) else 'no URL'}"
    text = "".join(letter if letter.isprintable() else " " for letter in body.decode("utf-8", "replace"))
    return harmless(f"{parts.hostname} sees {' '.join(text.split())}")


REMEDIES: tuple[tuple[str, str], ...] = (
    ("wants a user and a password", "put both into the proxy's URL: scheme://user:password@host:port"),
    ("the proxy answered 407", "put a user and a password that it knows into the proxy's URL"),
    ("refused the user or the password", "correct user and password in the proxy's URL; write signs as %40 for @"),
    ("takes neither a user", "ask whoever runs the proxy how one signs in there"),
    ("does not allow connections", "have the proxy's owner allow this host"),
    ("the proxy answered 403", "have the proxy's owner allow this host"),
    ("write http://", "write http:// in the place of socks5:// in the proxy's URL"),
    ("no SOCKS5 proxy is there", "check scheme and port in the proxy's URL: is it http:// or https://?"),
    ("no proxy is there", "check scheme and port in the proxy's URL: is it socks5:// or https://?"),
    (
        "the proxy cannot be reached: its certificate",
        "name the proxy's authority: `proxies`, `ca`, or `upstream: {ca: FILE}`",
    ),
    (
        "its certificate is not trusted",
        "somebody on the way opens TLS, as companies do: name the authority, `upstream: {ca: FILE}` in relay.yaml; "
        "ask whoever runs the network for the file",
    ),
    ("wants a certificate", "name one that the provider knows: `tls: {cert: FILE, key: FILE}` of it in relay.yaml"),
    (
        "not take the relay's certificate",
        "name another one: `tls: {cert: FILE, key: FILE}` of the provider in relay.yaml",
    ),
    (FOR_TLS, "give PEM files that the relay may read: `upstream: {ca}` or `tls: {ca, cert, key}` in relay.yaml"),
    ("no such host", "this machine's name server does not know the name: check its spelling, or the network's DNS"),
    ("no answer in time", "a firewall may swallow what is sent there: try from another network, or through its proxy"),
)
"""What is said of a way that leads nowhere → what to do."""


def remedy_for(reason: str, proxy: OutboundProxy | None, otherwise: str) -> str:
    """What to do about a reason; for most of those of a proxy, also where it is named."""
    remedy = next((remedy for words, remedy in REMEDIES if words in reason), "")
    if not remedy:
        return otherwise
    place = "" if proxy is None else proxy.variable or (f"proxies.{proxy.name}" if proxy.name else "")
    return f"{remedy} ({place})" if place else remedy
