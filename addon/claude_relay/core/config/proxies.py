"""Outbound proxies: what a URL, or a name, says of the way out; and whom to trust there.

>>> OutboundProxy.parse("socks5h://me:secret@proxy.example").label
'socks5://proxy.example:1080'
>>> OutboundProxy.parse("office")
OutboundProxy(scheme='named', host='', port=0, name='office', or_direct=False, trust=Trust(ca=(), cert=None, key=None), timeout=10.0)

Every check raises ValueError with a sentence that ends in the remedy and never repeats what it was given. It must not know which proxy is
on the way to whom: that is `outbound`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from claude_relay.core.socks5 import LONGEST

from .problems import suggest
from .values import Address, url_parts

DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443, "socks5": 1080}
SCHEMES = ("http", "https", "socks5", "socks5h")
EXAMPLE = "http://user:password@host:port (or https://, socks5://), a name under 'proxies', or the word direct"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", re.ASCII)
TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom TLS with somebody trusts beside the usual authorities, and who we are there. Files with PEM in them.

    ca         certificates of further authorities
    cert, key  ours, with its chain, and its key; None: nobody in particular
    """

    ca: tuple[Path, ...] = ()
    cert: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return self != USUAL

    def also(self, ca: tuple[Path, ...]) -> Trust:
        """These authorities, too."""
        return replace(self, ca=tuple(dict.fromkeys((*self.ca, *ca))))


USUAL = Trust()


@dataclass(frozen=True, slots=True)
class OutboundProxy:
    """The proxy on the way to a provider, or none at all (`DIRECT`). `str()` leaves the credential out.

    scheme     `named`: nothing is known of it but its name, see `resolved`
    variable   the variable of the environment that names it; empty: relay.yaml or the key does
    name       what it is called, under `proxies` in relay.yaml or in the vault
    or_direct  connections may go directly where it fails
    trust      of TLS with the proxy itself
    timeout    seconds until the way through it stands, else it is down
    """

    scheme: Literal["http", "https", "socks5", "direct", "named"]
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    variable: str = field(default="", compare=False, repr=False)
    name: str = ""
    or_direct: bool = False
    trust: Trust = USUAL
    timeout: float = TIMEOUT

    @classmethod
    def parse(cls, value: object) -> OutboundProxy:
        """From `http://user:password@host:port`, the same with https, socks5 or socks5h, a name, or the word `direct`."""
        if isinstance(value, OutboundProxy):
            return value
        text = value.strip() if isinstance(value, str) else ""
        if text.lower() == "direct":
            return DIRECT
        if NAME.fullmatch(text):
            return cls("named", "", 0, name=text)
        return cls.parse_url(text)

    @classmethod
    def parse_url(cls, value: object) -> OutboundProxy:
        """From a URL alone."""
        text = value.strip() if isinstance(value, str) else ""
        if text.lower().startswith(("socks:", "socks4")):
            raise ValueError("of SOCKS the relay speaks version 5: write socks5://user:password@host:port")
        if text.lower().startswith("pac+"):
            raise ValueError("PAC files are not read; name the proxy that the file chooses, by its URL")
        parts = url_parts(text, EXAMPLE, SCHEMES)
        if parts.path.lower().endswith((".pac", "wpad.dat")):
            raise ValueError("PAC files are not read; name the proxy that the file chooses, by its URL")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("must end after the port, as in http://user:password@host:port")
        scheme: Literal["http", "https", "socks5"] = "https" if parts.scheme == "https" else "http"
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme.startswith("socks5"):
            scheme = "socks5"
            if max(len(part.encode("utf-8", "replace")) for part in (username, password)) > LONGEST:
                raise ValueError(
                    f"user and password must have at most {LONGEST} bytes each: SOCKS5 has no room for more"
                )
        return cls(scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[scheme], username, password)

    def resolved(self, named: Mapping[str, OutboundProxy]) -> OutboundProxy:
        """The one of this name, for relay.yaml comes before the vault; else itself. Raises ValueError when there is none."""
        if self.name in named:
            return named[self.name]
        if self.scheme == "named":
            remedy = suggest(self.name, named) if named else f"give one that name, or write {EXAMPLE}"
            raise ValueError(f"no proxy has this name under 'proxies'; {remedy}")
        return self

    @property
    def authorization(self) -> str | None:
        """The value of `proxy-authorization`, or None."""
        if not self.username and not self.password:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the credential nobody may see: both parts together as they are sent, and the password, else the name."""
        if not self.username and not self.password:
            return ()
        return (f"{self.username}:{self.password}", self.password or self.username)

    @property
    def label(self) -> str:
        """`http://proxy:3128 (HTTPS_PROXY)`: the address, and its name or which variable it comes from."""
        source = self.variable or self.name
        return f"{self} ({source})" if source and self.host else str(self)

    @property
    def title(self) -> str:
        """As tables call it: by its name, else by its address."""
        return self.name or str(self)

    def __str__(self) -> str:
        """The address alone, safe to show; of one that is only named, its name."""
        return f"{self.scheme}://{Address(self.host, self.port)}" if self.host else self.name or self.scheme


DIRECT = OutboundProxy("direct", "", 0)
"""No proxy, whatever the environment says."""
