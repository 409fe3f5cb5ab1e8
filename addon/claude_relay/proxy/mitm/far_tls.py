"""TLS with providers and proxies of which relay.yaml says more than usual: further authorities, a certificate of the relay's own.

    contexts = read(config, usual)      raises ConfigError for files that are of no use; reads them, so not on the event loop
    start(data, contexts)               hook tls_start_server: the handshake goes by what its address says of trust (`outbound.Place`)

Authorities stand beside the usual ones. mitmproxy prepares the handshake (name, versions, protocols), and only its context, where
authorities and certificates are, is exchanged. It must not know requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import certifi
from mitmproxy import ctx
from mitmproxy.connection import Server
from mitmproxy.tls import TlsData
from OpenSSL import SSL

from claude_relay.core.config import Config, ConfigError, ConfigProblem, Trust, named_proxies
from claude_relay.core.config.proxies import USUAL

type Contexts = dict[Trust, SSL.Context]

REMEDY = "give a PEM file that the relay may read"


def read(config: Config, usual: str) -> Contexts:
    """A context for everybody that is trusted in a way of its own. `usual`: file of the usual authorities. Raises ConfigError."""
    contexts: Contexts = {}
    problems: list[ConfigProblem] = []
    for place, trust in _trusts(config):
        if not trust or trust in contexts:
            continue
        try:
            contexts[trust] = _context(trust, usual)
        except _UselessError as error:
            problems.append(ConfigProblem("relay.yaml", None, place, str(error)))
    if problems:
        raise ConfigError(problems[:1] if len({problem.what for problem in problems}) == 1 else problems)
    return contexts


def usual_authorities() -> str:
    """The file of those whom mitmproxy trusts: its option's, else certifi's."""
    options = getattr(ctx, "options", None)
    return getattr(options, "ssl_verify_upstream_trusted_ca", None) or certifi.where()


def _trusts(config: Config) -> Iterator[tuple[str, Trust]]:
    """Everybody's, and where that stands in relay.yaml; what holds for all comes first."""
    if config.upstream.ca is not None:
        yield "upstream.ca", USUAL.also((config.upstream.ca,))
    for name, proxy in named_proxies(config).items():
        yield f"proxies.{name}.ca", proxy.trust
    for name, provider in config.providers.items():
        yield f"providers.{name}.tls", provider.trust
        if provider.proxy is not None:
            yield f"providers.{name}.proxy", provider.proxy.trust


class _UselessError(Exception):
    """A file is of no use; the text names it, and what is wrong with it."""


def _context(trust: Trust, usual: str) -> SSL.Context:
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.set_passwd_cb(lambda *_: b"")  # else OpenSSL asks at the terminal
    made.load_verify_locations(usual)
    for file in trust.ca:
        with _Reading(file, "holds no certificates"):
            made.load_verify_locations(str(file))
    if trust.cert is not None and trust.key is not None:
        with _Reading(trust.cert, "holds no certificate"):
            made.use_certificate_chain_file(str(trust.cert))
        with _Reading(trust.key, "holds no key without a password that fits the certificate"):
            made.use_privatekey_file(str(trust.key))
            made.check_privatekey()
    return made


class _Reading:
    """Around the use of a file: what goes wrong is that file's fault."""

    def __init__(self, file: Path, wrong: str) -> None:
        self.file, self.wrong = file, wrong

    def __enter__(self) -> None:
        try:
            self.file.read_bytes()
        except OSError as error:
            raise _UselessError(f"{self.file}: {error.strerror}; {REMEDY}") from None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, SSL.Error):
            raise _UselessError(f"{self.file} {self.wrong}; {REMEDY}") from None


def start(data: TlsData, contexts: Contexts) -> None:
    """A handshake with an upstream or a proxy begins. `contexts`: of the configuration in force; those of the one before are made again."""
    server = data.conn
    assert isinstance(server, Server)
    trust = getattr(server.address, "trust", USUAL)
    if not trust:
        return
    ctx.master.addons.get("tlsconfig").tls_start_server(data)  # whose turn is after ours
    assert data.ssl_conn is not None
    data.ssl_conn.set_context(contexts.get(trust) or _context(trust, usual_authorities()))
