"""mitmproxy's own folder, with the certificate authority whose certificates it shows to clients of the proxy.

    settle(["api.anthropic.com"])      before mitmproxy opens its folder: which one it is, and a CA of the relay's own if it has none
    misfit(["example.com"])            a sentence: clients will refuse what this CA signs for it
    ONLY_PERMITTED.install()           certificates hold no name for which clients would refuse them

A folder that the user named stays; a CA that is there stays, whoever made it (store/authority).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from mitmproxy import certs, ctx

from claude_relay.store import authority

from .mitm.shortcuts import Shortcut

GET_CERT: Final = certs.CertStore.get_cert
NO_FOLDER = "no CA can be made in {}: {}. Name a folder of your own with: --set confdir=DIR"


def settle(hosts: Sequence[str]) -> str:
    """Why there is no CA and none can be made, in a sentence with the remedy; empty when there is one, and mitmproxy finds it.

    A mitmproxy that has its CA at hand already, because it ran before the relay was loaded, keeps it. That no loop turns meanwhile does
    no harm: nothing is listened to yet.
    """
    if ctx.master.addons.get("tlsconfig").certstore is not None:
        return ""
    folder = _folder() if ctx.options.has_changed("confdir") else authority.usual_folder(os.environ)
    if not os.path.isfile(folder / authority.KEY) and (found := authority.obstacle(folder)):
        return NO_FOLDER.format(*found)
    try:
        authority.ensure(folder, hosts, ctx.options.key_size)
    except (OSError, ValueError) as error:
        if not os.path.isfile(folder / authority.KEY):  # one that is there is mitmproxy's to judge
            return NO_FOLDER.format(folder, error)
    if folder != _folder():
        ctx.options.confdir = str(folder)
    return ""


def misfit(hosts: Iterable[str]) -> str:
    """What comes of hosts for which the CA may not sign, with the remedy; empty when there is none."""
    return authority.misfit(_folder(), hosts)


def only_permitted(
    store: certs.CertStore,
    commonname: str | None,
    sans: Iterable[x509.GeneralName],
    organization: str | None = None,
    crl_url: str | None = None,
) -> certs.CertStoreEntry:
    """A certificate without the names that the CA may not sign for, as long as one is left.

    mitmproxy puts all that it knows of a host into one, its address for instance when the client named that to connect to; clients refuse
    a certificate for the sake of any name in it. As names count those in the subject, too: an address there passes for a host name.
    """
    names, ca = list(sans), store.default_ca.to_cryptography()
    if authority.is_constrained(ca) and (permitted := [name for name in names if authority.permits(ca, name)]):
        names = permitted
        commonname = next((name.value for name in names if isinstance(name, x509.DNSName)), None)
    return GET_CERT(store, commonname, x509.GeneralNames(names), organization, crl_url)


ONLY_PERMITTED: Final = Shortcut(certs.CertStore, "get_cert", only_permitted, GET_CERT)


def _folder() -> Path:
    return Path(ctx.options.confdir).expanduser()
