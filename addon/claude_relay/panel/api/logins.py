"""Logins that wait for a person's yes: begun, answered with a code, or confirmed on another device. Kept in memory.

    login = begin(parts, visitor, "anthropic", account=None, label="", device=False)      a Waiting, with what the person is to open
    id = finish(parts, visitor, login, pasted)                                            of the account that it came to
    logins_of(parts).waiting(visitor, now)                                                those of a visitor

Whoever began a login is the only one who can finish it. No code and no token is in what others see. Raises Problem.
"""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass, field
from typing import Final, Literal

from claude_relay.core.config import OutboundProxy, Provider, WayOut, way_out
from claude_relay.core.oauth.authorizing import Begun, DeviceCode, begin_for_pasting, code_of
from claude_relay.core.oauth.grants import Answer, Failed, Granted, Refused, Tokens
from claude_relay.panel.common.jobs import Report
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.problems import FieldError, Problem
from claude_relay.panel.common.relay_yaml import usable
from claude_relay.panel.security.visitors import Visitor
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.vault import Duplicate
from claude_relay.upstream.token_endpoint import NO_CLIENT, device_code, tokens_for_code, wait_for_device

from .proxies import known, named

PATIENCE: Final = 600.0
"""Seconds in which a person may say yes."""
TIMEOUT: Final = 15.0
"""Seconds for one request."""
MOST: Final = 50
"""Logins that wait at once."""
MOST_DEVICES: Final = 2
"""Those of devices, each of which keeps a job waiting."""
ELSEWHERE: Final = "not_possible"


@dataclass
class Waiting:
    """One. `account`: which is logged in again; `found`: which it came to; `detail`: why it failed.
    `proxy`: the account's own way out, which the login takes, too.
    """

    id: str
    owner: str
    provider: str
    account: str | None
    label: str
    until: float
    begun: Begun | None = None
    code: DeviceCode | None = field(default=None, repr=False)
    job: str | None = None
    state: Literal["waiting", "failed", "done"] = "waiting"
    detail: str = ""
    found: str | None = None
    proxy: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """What the person opens."""
        if self.begun is not None:
            return self.begun.url
        return (self.code.complete_url or self.code.url) if self.code is not None else ""


class Waitings:
    """Those of one panel. For any thread."""

    def __init__(self) -> None:
        self._known: dict[str, Waiting] = {}
        self._guard = threading.Lock()

    def add(self, one: Waiting, now: float) -> None:
        """Raises Problem when there are too many."""
        with self._guard:
            self._tidy(now)
            if len(self._known) >= MOST:
                raise Problem(503, "busy", f"{MOST} logins wait already; finish them, or try again in ten minutes.")
            devices = [other for other in self._known.values() if other.code is not None and other.state == "waiting"]
            if one.code is not None and len(devices) >= MOST_DEVICES:
                raise Problem(503, "busy", f"{MOST_DEVICES} devices are waited for already; confirm those, or wait.")
            self._known[one.id] = one

    def find(self, visitor: Visitor, id: str, now: float) -> Waiting | None:
        """The newest of the visitor that has this id, or is about this account."""
        return next((one for one in reversed(self.waiting(visitor, now)) if id in (one.id, one.account)), None)

    def waiting(self, visitor: Visitor, now: float) -> list[Waiting]:
        """All of the visitor, oldest first."""
        with self._guard:
            self._tidy(now)
            return [one for one in self._known.values() if one.owner == visitor.admin.id]

    def end(self, id: str) -> None:
        """Forget one."""
        with self._guard:
            self._known.pop(id, None)

    def _tidy(self, now: float) -> None:
        self._known = {id: one for id, one in self._known.items() if one.until > now}


def logins_of(parts: Parts) -> Waitings:
    """Those of this panel."""
    found: Waitings = parts.kept.setdefault("logins", Waitings())
    return found


def begin(
    parts: Parts,
    visitor: Visitor,
    name: str,
    account: str | None,
    label: str,
    *,
    device: bool,
    proxy: str | None = None,
) -> Waiting:
    """A new one. `proxy`: the account's own way out: a name, a URL or `direct`."""
    provider, way = provider_of(parts, name, proxy)
    assert provider.oauth is not None
    now = parts.clock()
    one = Waiting(secrets.token_urlsafe(12), visitor.admin.id, name, account, label, now + PATIENCE, proxy=proxy)
    if device and not provider.oauth.device_url:
        raise Problem(409, ELSEWHERE, f"relay.yaml has no oauth.device_url for {name}; log in without a device.")
    if device:
        code = device_code(provider, way, timeout=TIMEOUT)
        if isinstance(code, Failed):
            raise _problem(code)
        one.code, one.until = code, now + code.expires_in
    elif not provider.oauth.authorize_url:
        raise Problem(
            409,
            ELSEWHERE,
            f"relay.yaml has no oauth.authorize_url for {name}; log in by a code on another device.",
        )
    else:
        one.begun = begin_for_pasting(provider.oauth, os.urandom)
    logins_of(parts).add(one, now)
    if one.code is not None:
        try:
            one.job = parts.jobs.begin(visitor, 1, lambda report: _on_device(parts, visitor, one, report))
        except Problem:
            logins_of(parts).end(one.id)
            raise
    return one


def finish(parts: Parts, visitor: Visitor, one: Waiting, pasted: str) -> str:
    """With what the person brings. The id of the account."""
    if one.begun is None:
        raise Problem(409, "conflict", "This login is confirmed on another device; there is no code to paste.")
    try:
        code = code_of(pasted, one.begun)
    except ValueError as error:
        text = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise Problem(422, "answer", text, errors=[FieldError(field="answer", detail=text)]) from None
    provider, way = provider_of(parts, one.provider, one.proxy)
    tokens = _granted(tokens_for_code(provider, code, one.begun, way, timeout=TIMEOUT))
    id = _kept(parts, visitor, one, tokens)
    logins_of(parts).end(one.id)
    return id


def _on_device(parts: Parts, visitor: Visitor, one: Waiting, report: Report) -> None:
    """The job that waits."""
    assert one.code is not None
    try:
        provider, way = provider_of(parts, one.provider, one.proxy)
        tokens = _granted(wait_for_device(provider, one.code, way, timeout=TIMEOUT))
        one.found = _kept(parts, visitor, one, tokens)
    except Problem as problem:
        one.state, one.detail, one.until = "failed", problem.detail, parts.clock() + PATIENCE
        raise
    one.state = "done"
    report(1, {"id": one.found})


def _kept(parts: Parts, visitor: Visitor, one: Waiting, tokens: Tokens) -> str:
    """In the vault."""
    accounts, now = Accounts(parts.vault(visitor.actor)), parts.clock()
    if one.account is not None:
        if not accounts.login_again(one.account, tokens, now):
            raise Problem(404, "not_found", "This account is not there any more; add it as a new one.")
        return one.account
    try:
        fields = {"label": one.label, "proxy": one.proxy}
        done = accounts.add(one.provider, tokens, now, {name: said for name, said in fields.items() if said})
    except ValueError as error:
        raise Problem(422, "invalid", f"Nothing was added: {error}.") from None
    if isinstance(done, Duplicate):
        more = ", which was removed; restore it" if done.removed else ""
        raise Problem(409, "known", f"This is {done.name} already{more}.")
    return done.id


def provider_of(parts: Parts, name: str, proxy: str | None = None) -> tuple[Provider, WayOut]:
    """The provider, with another way out in the place of its own if one is said, and the way out that the environment says."""
    config = usable(parts)
    provider = config.providers.get(name)
    if provider is None:
        raise Problem(404, "not_found", f"There is no provider {name[:40]!r} in relay.yaml.")
    if provider.oauth is None:
        raise Problem(
            409,
            ELSEWHERE,
            f"{name} has no `oauth` in relay.yaml: say there where its accounts log in, and as which client.",
        )
    if not provider.oauth.client_id:
        raise Problem(409, ELSEWHERE, f"{NO_CLIENT.reason[:1].upper()}{NO_CLIENT.reason[1:]}.")
    if proxy:
        named(parts, {"proxy": proxy})
        provider = provider.model_copy(update={"proxy": OutboundProxy.parse(proxy).resolved(known(parts).opened())})
    return provider, way_out(config, parts.environ)


def _granted(answer: Answer) -> Tokens:
    if isinstance(answer, Granted):
        return answer.tokens
    raise _problem(answer)


def _problem(answer: Refused | Failed) -> Problem:
    text = f"Nothing was added: {answer.reason}."
    return Problem(409, "refused", text) if isinstance(answer, Refused) else Problem(502, "no_answer", text)
