"""OAuth accounts and logins as the API says them, and what it takes. It must not know where any of it comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from claude_relay.panel.common.models import Strict

from .key_models import CheckOut


class WindowOut(BaseModel):
    """In which the provider counts what an account uses: `5h`, `7d`, or one of a family. `used`: its share by now; null: not said."""

    window: str
    used: float | None
    status: str
    resets_at: str | None
    seen_at: str


class AccountOut(BaseModel):
    """An account, without its tokens. It is a key, too: /api/keys/{id} has its limits and cooldowns. Times are UTC ISO 8601.

    `state`: `active`, `expiring` (and not renewed), `expired`, `revoked`; `reason`: why it could not be renewed; `renews`: whether it ever
    can be; `account`: whose it is, as the provider says it.
    """

    id: str
    provider: str
    alias: str
    name: str
    label: str
    account: str
    state: Literal["active", "expiring", "expired", "revoked"]
    reason: str
    enabled: bool
    removed_at: str | None
    renews: bool
    scopes: list[str]
    renewed_at: str
    expires_at: str | None
    revoked_at: str | None
    failed_at: str | None
    failures: int
    retry_at: str | None
    windows: list[WindowOut]
    check: CheckOut | None


class LoginIn(Strict):
    """A login at a provider that has `oauth` in relay.yaml. `device`: by a code that is typed in at another device."""

    provider: str = Field(max_length=40)
    label: str | None = Field(None, max_length=200)
    device: bool = False
    proxy: str | None = Field(None, max_length=2000, description="Its own outbound proxy: a name, a URL, or `direct`.")


class ImportIn(Strict):
    """Credentials of one's own: what Claude Code's .credentials.json holds, or JSON with access_token, refresh_token, expires_at.

    `renew`: the refresh token, too. It is good for one program at a time: the one that wrote the file may be logged out then.
    """

    provider: str = Field(max_length=40)
    credentials: SecretStr = Field(max_length=100_000)
    label: str | None = Field(None, max_length=200)
    renew: bool = False
    proxy: str | None = Field(None, max_length=2000, description="Its own outbound proxy: a name, a URL, or `direct`.")


class AuthorizeIn(Strict):
    """`answer`: the code that the provider's page shows, or the whole address to which it led; without it a login begins."""

    answer: SecretStr | None = Field(None, max_length=8192)
    device: bool = False


class LoginOut(BaseModel):
    """A login that waits for a person's yes at `url`. `id`: for /api/accounts/{id}/authorize; `account`: which is logged in again.

    With a device `user_code` is what is to be typed in there, and `job` says how far it is (/api/jobs/{id}).
    """

    id: str
    provider: str
    account: str | None
    url: str
    user_code: str | None
    job: str | None
    expires_at: str


class Authorized(BaseModel):
    """One of both: a login that has begun, or the account that it came to."""

    login: LoginOut | None = None
    account: AccountOut | None = None


class Imported(BaseModel):
    """`added`: new ones; `known`: names of those that were there already."""

    added: list[AccountOut]
    known: list[str]


class AccountFields(Strict):
    """What people say of an account; what is left out stays as it is."""

    label: str | None = Field(None, max_length=200)
    enabled: bool | None = None
    proxy: str | None = Field(None, max_length=2000, description="Its own outbound proxy: a name, a URL, or `direct`.")


class RenewedOut(BaseModel):
    """`outcome`: `renewed`, or `others` when somebody else has just done so."""

    outcome: Literal["renewed", "others"]
    account: AccountOut
