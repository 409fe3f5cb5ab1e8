"""The CA of the relay's proxy and the bundle that contains it.

`NODE_EXTRA_CA_CERTS` adds to what a program trusts, so the CA alone is enough there. `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` and
`CURL_CA_BUNDLE` replace it, so they need the world's CAs too; otherwise every host that the relay only tunnels would be distrusted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import certifi

from claude_relay.core.config import Intercept
from claude_relay.core.shells import ADDING, REPLACING
from claude_relay.store import authority
from claude_relay.store.db.replacing import replacing

from .console.terminal import Failure

CA = authority.CERTIFICATE
BUNDLE = "relay-ca-bundle.pem"
NO_FOLDER = (
    "mitmproxy's folder {} cannot be used: {}. Name one of your own with: --set confdir=DIR (the same for the relay)"
)
HOSTS = Intercept().hosts


def ensure_ca(confdir: Path, hosts: Sequence[str] = HOSTS) -> Path:
    """The CA's certificate, made now for these hosts if no relay ever ran. Raises ClickException when that fails."""
    path = confdir / CA
    if not os.path.isfile(path):
        if found := authority.obstacle(confdir):
            raise Failure(NO_FOLDER.format(*found))
        try:
            authority.ensure(confdir, hosts)
        except (OSError, ValueError) as error:
            raise Failure(f"no CA could be made in {confdir}: {error}") from None
    return path


def ensure_bundle(confdir: Path, foreign: Sequence[Path] = (), hosts: Sequence[str] = HOSTS) -> Path:
    """certifi's CAs, those of `foreign` files and the relay's in one file, written again whenever one of them changed."""
    sources = [Path(certifi.where()), *foreign, ensure_ca(confdir, hosts)]
    content = b"\n".join(source.read_bytes().strip() for source in sources) + b"\n"
    path = confdir / BUNDLE
    if not os.path.isfile(path) or path.read_bytes() != content:
        try:
            _replace(path, content)
        except OSError as error:
            raise Failure(NO_FOLDER.format(confdir, error.strerror)) from None
    return path


def foreign_bundles(environ: Mapping[str, str], confdir: Path) -> list[Path]:
    """CA files that this shell trusts already, a company's for example; they must stay trusted."""
    named = [Path(environ[name]) for name in (*ADDING, *REPLACING) if environ.get(name)]
    ours = {confdir / CA, confdir / BUNDLE}
    return [path for path in dict.fromkeys(named) if path not in ours and os.path.isfile(path)]


def variables(environ: Mapping[str, str], confdir: Path, hosts: Sequence[str] = HOSTS) -> dict[str, str]:
    """The variables that make clients trust the relay's certificates."""
    foreign = foreign_bundles(environ, confdir)
    bundle, ca = ensure_bundle(confdir, foreign, hosts), ensure_ca(confdir, hosts)
    return dict.fromkeys(ADDING, str(bundle if foreign else ca)) | dict.fromkeys(REPLACING, str(bundle))


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all: a program may read the file at this moment. Everybody may read it, it holds no secret."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
        unfinished.chmod(0o644)
