"""Outbound proxies as the API says them, and what it takes. It must not know where any of it comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from claude_relay.panel.common.models import Strict

type Source = Literal["relay.yaml", "vault"]


class PassageOut(BaseModel):
    """What went by one way out. `errors`: requests that ended with one; `failures`: attempts that found no way, the last at `failed_at`."""

    requests: int
    errors: int
    cost_usd: float | None
    failures: int
    failed_at: str | None
    failure: str


class ProxyTested(BaseModel):
    """A tunnel to the provider `target` was opened through it, and closed again. `remedy`: what may mend it; `seen`: what the URL says that
    was asked for the address it sees; `at`: seconds since the epoch.
    """

    at: float
    ok: bool
    target: str
    latency_ms: int | None
    reason: str
    remedy: str
    seen: str


class ProxyOut(BaseModel):
    """An outbound proxy with a name, without its credential. Times are UTC ISO 8601, `timeout` is in seconds.

    `signed_in`: it has a credential; `direct`: connections go directly while it fails; `shadowed`: relay.yaml has one of the same name,
    which is used; `tested`: since the panel began.
    """

    name: str
    source: Source
    address: str
    signed_in: bool
    direct: bool
    timeout: float
    notes: str
    created_at: str | None
    changed_at: str | None
    shadowed: bool
    providers: list[str]
    keys: list[str]
    accounts: list[str]
    last_day: PassageOut
    tested: ProxyTested | None


class Proxies(BaseModel):
    """All of them, by name. `direct`: what went without a proxy."""

    data: list[ProxyOut]
    direct: PassageOut


class ProxyFields(Strict):
    """What is said of one; what is left out stays as it is. `url`: http://, https:// or socks5://user:password@host:port; `ca`, a file with
    authorities of an https:// proxy, only in relay.yaml, and `notes` only in the vault.
    """

    url: SecretStr | None = Field(None, max_length=2000)
    direct: bool | None = None
    timeout: str | float | None = Field(None, examples=["5s"])
    notes: str | None = Field(None, max_length=2000)
    ca: str | None = Field(None, max_length=1000)


class NewProxyIn(ProxyFields):
    """One to add. In the vault its URL is sealed; in relay.yaml a password comes from a variable: socks5://me:${PASSWORD}@host:1080."""

    name: str = Field(max_length=40)
    url: SecretStr = Field(max_length=2000)
    source: Source = "vault"


class TestIn(Strict):
    """`echo`: a URL that is asked, through the proxy, which address it sees; only admins may say one."""

    echo: str | None = Field(None, max_length=2000, pattern=r"^https?://[^\s/]+(/\S*)?$")
