"""The certificate of `listen.tls`: read at the start, and again when somebody renews it.

    renewal = Renewal(own_tls)
    renewal.settle(config.listen)       before anything listens; what is wrong, with the remedy
    renewal.start()                     looks at its files from now on

A pair that cannot be used leaves the one before in use, and is reported once: programs that renew certificates write two files, and the
first of them fits the second only when both are done. It must not know who connects.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from mitmproxy.log import ALERT
from OpenSSL import SSL

from claude_relay.core.config import Listen
from claude_relay.proxy.common.loops import Loop
from claude_relay.proxy.mitm.own_tls import OwnTls
from claude_relay.store.tls_pair import BadPair, Pair, Stamp, complaints, read, stamp

logger = logging.getLogger(__name__)
INTERVAL = 2.0
"""Seconds between two looks at the files."""


class Renewal:
    """Keeps the listeners' certificate the one that lies in the files."""

    def __init__(self, own_tls: OwnTls) -> None:
        self.own_tls = own_tls
        self.listen = Listen()
        self.pair: Pair | None = None
        self._seen: Stamp = ()
        self._settling: Stamp = ()
        """How the files were at the last look."""
        self._said: set[str] = set()
        self._loop = Loop("watching the certificate of listen.tls", self.look, lambda: INTERVAL, at_once=True)

    def settle(self, listen: Listen) -> str:
        """Take the certificate into use; what keeps it from that, in a sentence, else nothing. Reads files: nothing is listened to yet."""
        self.listen = listen
        if listen.tls is None:
            return ""
        self._seen = self._settling = stamp(listen.tls.cert, listen.tls.key)
        return self._take(*_read(listen))

    def start(self) -> None:
        """Begin to look; needs a running loop."""
        if self.listen.tls is not None:
            self._loop.start()

    def stop(self) -> None:
        """Stop looking."""
        self._loop.stop()

    async def look(self) -> None:
        """One look: have the files changed, and are they finished? And is the certificate that is in use near its end?"""
        files = self.listen.tls
        assert files is not None
        found = await asyncio.to_thread(stamp, files.cert, files.key)
        settled, self._settling = found == self._settling, found
        if settled and found != self._seen:
            self._seen = found
            if problem := self._take(*await asyncio.to_thread(_read, self.listen)):
                logger.warning("%s. The certificate from before stays in use", problem)
            else:
                logger.log(ALERT, "the certificate of listen.tls was renewed; new connections get it")
        if self.pair is not None:
            for complaint in complaints(self.pair, self.listen.hosts, datetime.now(UTC)):
                if complaint not in self._said:
                    self._said.add(complaint)
                    logger.warning("%s", complaint)

    def _take(self, pair: Pair | None, problem: str) -> str:
        if pair is None:
            return problem
        try:
            self.own_tls.present(pair)
        except SSL.Error:  # such as a key that is too short for it
            return "listen.tls: OpenSSL does not take this certificate; is its key long enough (RSA: 2048 bits)?"
        self.pair = pair
        return ""


def _read(listen: Listen) -> tuple[Pair | None, str]:
    assert listen.tls is not None
    try:
        return read(listen.tls.cert, listen.tls.key), ""
    except BadPair as error:
        return None, str(error)
