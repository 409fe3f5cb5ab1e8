"""mitmproxy's CA and the bundle that contains it.

`NODE_EXTRA_CA_CERTS` adds to what a program trusts, so the CA alone is enough there. `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` and
`CURL_CA_BUNDLE` replace it, so they need the world's CAs too; otherwise every host that the relay only tunnels would be distrusted.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import certifi

from claude_relay.cli.terminal import Failure
from claude_relay.store.folders import unwritable

ADDING = ("NODE_EXTRA_CA_CERTS",)
REPLACING = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CA = "mitmproxy-ca-cert.pem"
BUNDLE = "relay-ca-bundle.pem"
NO_ROOM = (
    "mitmproxy's folder {} cannot be used: {}. Name one of your own with: --set confdir=DIR (the same for the relay)"
)
_MAKE = "import sys; from mitmproxy.certs import CertStore; CertStore.from_store(sys.argv[1], 'mitmproxy', 2048)"
"""What mitmproxy does at its first start: https://docs.mitmproxy.org/stable/concepts/certificates/"""


def ensure_ca(confdir: Path) -> Path:
    """mitmproxy's CA certificate, made now if mitmproxy never ran. Raises ClickException when that fails."""
    path = confdir / CA
    if not os.path.isfile(path):
        if reason := unwritable(confdir):
            raise Failure(NO_ROOM.format(confdir, reason))
        words = [sys.executable, "-P", "-c", _MAKE, str(confdir)]  # -P: no module is taken from the working directory
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if made.returncode or not path.is_file():
            reason = (made.stderr.strip().splitlines() or ["mitmproxy-ca.pem is there, its certificate is not"])[-1]
            raise Failure(f"no CA could be made in {confdir}: {reason}")
    return path


def ensure_bundle(confdir: Path, foreign: Sequence[Path] = ()) -> Path:
    """certifi's CAs, those of `foreign` files and mitmproxy's in one file, written again whenever one of them changed."""
    sources = [Path(certifi.where()), *foreign, ensure_ca(confdir)]
    content = b"\n".join(source.read_bytes().strip() for source in sources) + b"\n"
    path = confdir / BUNDLE
    if not os.path.isfile(path) or path.read_bytes() != content:
        try:
            _replace(path, content)
        except OSError as error:
            raise Failure(NO_ROOM.format(confdir, error.strerror)) from None
    return path


def foreign_bundles(environ: Mapping[str, str], confdir: Path) -> list[Path]:
    """CA files that this shell trusts already, a company's for example; they must stay trusted."""
    named = [Path(environ[name]) for name in (*ADDING, *REPLACING) if environ.get(name)]
    ours = {confdir / CA, confdir / BUNDLE}
    return [path for path in dict.fromkeys(named) if path not in ours and os.path.isfile(path)]


def variables(environ: Mapping[str, str], confdir: Path) -> dict[str, str]:
    """The variables that make clients trust the relay's certificates."""
    foreign = foreign_bundles(environ, confdir)
    bundle, ca = ensure_bundle(confdir, foreign), ensure_ca(confdir)
    return dict.fromkeys(ADDING, str(bundle if foreign else ca)) | dict.fromkeys(REPLACING, str(bundle))


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all: a program may read the file at this moment. Everybody may read it, it holds no secret."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
