"""The page with the CA's certificate; how it is reached is in tests/wire/test_own_tls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

from mitmproxy.certs import CertStore

from claude_relay.proxy.pages.authority import ca
from claude_relay.store import authority
from proxy.stage import mitmproxy_with


class TlsConfig(SimpleNamespace):
    """Where mitmproxy has its CA."""

    name = "tlsconfig"


def test_the_certificate_and_no_key(tmp_path: Path) -> None:
    authority.ensure(tmp_path, ["api.anthropic.com"])
    with mitmproxy_with(TlsConfig(certstore=CertStore.from_store(tmp_path, "mitmproxy", 2048))):
        found = asyncio.run(ca(SimpleNamespace(id="req_relay_1"), None, None))
    assert found.content == (tmp_path / authority.CERTIFICATE).read_bytes()
    assert (found.headers["content-type"], found.headers["request-id"]) == ("application/x-pem-file", "req_relay_1")
