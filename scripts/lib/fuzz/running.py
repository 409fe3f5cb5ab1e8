"""The relay as a process: mitmdump with the addon, a configuration of the fuzzer's, and keys that are in nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from claude_relay.cli.fake.free_ports import free_ports

from .answers import KEY_LENGTH
from .cases import ANSWER_PARTS

ADDON: Final = Path(__file__).resolve().parents[3] / "addon"
GOOD: Final = "good"
"""The provider that no case attacks."""
KEYS: Final = 4
"""Of each provider."""
ENVIRON: Final = ("RELAY_", "ANTHROPIC_", "HTTP", "ALL_PROXY", "http", "all_proxy", "NO_PROXY", "no_proxy")
RETRY: Final = {
    "attempts": 2,
    "keys": 3,
    "max_wait": "200ms",
    "first_byte": "1500ms",
    "whole": "2s",
    "idle": "500ms",
    "progress": "1s",
}
LIMITS: Final = {"request_body": "2MB", "answer": "4MB", "head_time": "5s"}
START: Final = (
    "import runpy; runpy.run_path({fence!r})['fence']({ports!r}); from mitmproxy.tools.main import mitmdump; mitmdump()"
)
START_LIMIT: Final = 60.0
TRACEBACKS: Final = (b"Traceback (most recent call last)", b"has crashed", b"was never retrieved", b"Unhandled error")


class Broken(Exception):
    """The fuzzer itself cannot go on; the text says why."""


def new_key(kind: str) -> str:
    """Forty characters that are nowhere else."""
    lead = f"sk-ant-api03-{kind}-"
    return lead + secrets.token_hex(KEY_LENGTH)[: KEY_LENGTH - len(lead)]


class Relay:
    """One life of a relay, in a folder of its own. `upstreams`: the ports for HTTP/1.1 and HTTP/2."""

    process: asyncio.subprocess.Process

    def __init__(self, folder: Path, upstreams: tuple[int, int], ca: Path) -> None:
        self.folder, self.upstreams, self.ca = folder, upstreams, ca
        self.proxy, self.base, self.status = free_ports(3)
        self.client_key = new_key("client")
        self.pools = {name: [new_key("pool") for _ in range(KEYS)] for name in (*ANSWER_PARTS, GOOD)}
        self.log, self.dump, self.database = folder / "relay.log", folder / "flows.mitm", folder / "relay.db"

    @property
    def pool_keys(self) -> list[bytes]:
        """All of them."""
        return [key.encode() for keys in self.pools.values() for key in keys]

    def configuration(self) -> dict[str, Any]:
        """relay.yaml; JSON is YAML."""
        listen = {"proxy": self.proxy, "base_url": self.base, "status": self.status}
        return {
            "listen": {name: f"127.0.0.1:{port}" for name, port in listen.items()} | {"panel": None},
            "database": self.database.name,
            "providers": {name: self._provider(name) for name in self.pools},
            "routes": [
                *({"match": {"model": f"{name}-*"}, "to": [name]} for name in self.pools),
                {"to": ["anthropic-h1"]},
            ],
            "retry": RETRY,
            "limits": LIMITS,
            "shutdown": "1s",
        }

    def _provider(self, name: str) -> dict[str, Any]:
        form, _, version = ("anthropic", "", "h1") if name == GOOD else name.rpartition("-")
        scheme, port = ("https", self.upstreams[1]) if version == "h2" else ("http", self.upstreams[0])
        path = "" if form == "anthropic" else "/v1"
        return {
            "format": form,
            "base_url": f"{scheme}://127.0.0.1:{port}{path}",
            "keys": self.pools[name],
            "strategy": "round-robin",
        }

    async def start(self) -> None:
        """Returns when all three ports answer. Raises Broken with its last words."""
        config = self.folder / "relay.yaml"
        config.write_text(json.dumps(self.configuration()))
        ports = {*self.upstreams, self.proxy, self.base, self.status}
        code = START.format(fence=str(Path(__file__).with_name("fence.py")), ports=ports)
        options = [
            f"relay_config={config}",
            f"confdir={self.folder / 'conf'}",
            f"ssl_verify_upstream_trusted_ca={self.ca}",
        ]
        words = [word for option in options for word in ("--set", option)]
        own = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRON)}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-c", code, "-s", str(ADDON / "relay.py"), "-w", str(self.dump), *words),
                cwd=self.folder,
                env=own | {"PYTHONUNBUFFERED": "1", "HOME": str(self.folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(START_LIMIT):
            for port in (self.status, self.proxy, self.base):
                while not await answers(port):
                    if self.process.returncode is not None:
                        raise Broken(f"the relay did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
                    await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Politely, then for certain."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process.returncode is None

    def memory(self) -> int:
        """Resident bytes; 0 where the system does not say."""
        with suppress(OSError):
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0

    def files(self) -> int:
        """Open files; 0 where the system does not say."""
        with suppress(OSError):
            return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        return 0


async def answers(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def certificate(folder: Path, names: Iterable[str] = ("127.0.0.1",)) -> Path:
    """A certificate for the upstreams with its key, in one file; the relay is told to trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), begin, begin + timedelta(days=9)
    )
    found = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(host)) for host in names]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "upstream.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + found.public_bytes(serialization.Encoding.PEM))
    return path
