"""Outbound proxies with a name: `/api/proxies`. Those of the vault are changed there, those of relay.yaml in its text, with a diff first.

A URL goes in once and never comes out: answers have the address. Where both have a name, it means relay.yaml's; `source` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Path, Query, Response

from claude_relay.core.config.editing import REMOVED, edited
from claude_relay.core.config.masking import MARK, is_secret
from claude_relay.core.config.ways import proxy_name
from claude_relay.core.times import seconds_of
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.relay_yaml import Change, DryRun, change, current, usable
from claude_relay.panel.common.versions import IfMatch, etag, matched
from claude_relay.panel.security.visitors import Administrator, Confirmed, Level, Operator, Reader, Visitor, confirm
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.ledger.proxy_sums import Passage, by_way
from claude_relay.store.shared.all_proxies import CONFIGURED, VAULT, AllProxies, KnownProxy
from claude_relay.store.vault import named_proxies
from claude_relay.store.vault.named_proxies import InUse, Taken, timeout_of
from claude_relay.store.vault.proxy_rows import NewProxy
from claude_relay.upstream.trying import Trying, remedy_for, tried

from .areas import area
from .proxy_models import NewProxyIn, PassageOut, Proxies, ProxyFields, ProxyOut, ProxyTested, Source, TestIn

router = area("proxies")
TESTS = "tests of proxies"
"""The last test of each since the panel began, by name and source, in `Parts.kept`."""
DAY = timedelta(days=1)
DIRECT = "direct"
NOTHING = Passage()
Name = Annotated[str, Path(max_length=40)]
Which = Annotated[Source | None, Query(description="Which one, where relay.yaml and the vault both have the name.")]


@router.get("/proxies", responses=documented())
def proxies(visitor: Reader, parts: Own, response: Response) -> Proxies:
    """All, with who goes out through them and what went in the last day. The ETag is relay.yaml's, for adding one there."""
    response.headers["ETag"] = current(parts).tag
    figures = passages(parts)
    found = [shown(parts, one, figures) for one in known(parts).every()]
    return Proxies(data=found, direct=passage(figures.get(DIRECT, NOTHING)))


@router.post("/proxies", status_code=201, responses=documented(409, 412, 428))
def add(
    said: NewProxyIn,
    visitor: Confirmed,
    parts: Own,
    response: Response,
    if_match: IfMatch = None,
    dry_run: DryRun = False,
) -> ProxyOut | Change:
    """Another one, by default in the vault; then the answer is the proxy, else the change of relay.yaml, with its ETag in If-Match."""
    try:
        proxy_name(said.name)
    except ValueError as error:
        raise _wrong("name", error) from None
    if any(
        one.name == said.name and (one.source == CONFIGURED or said.source == VAULT) for one in known(parts).every()
    ):
        raise _taken(said.name)
    if said.source == CONFIGURED:
        return _written(parts, visitor, if_match, said.name, said, {}, dry_run=dry_run)
    fields = _fields(said)
    try:
        new = NewProxy(said.name, fields.pop("url", ""), **fields)
    except ValueError as error:
        raise _wrong(_field_of(error), error) from None
    if not dry_run:
        try:
            _book(parts, visitor).add(new)
            _forget(parts, said.name)
        except Taken:
            raise _taken(said.name) from None
        return _answered(parts, said.name, VAULT, response)
    return Change(saved=False, etag=current(parts).tag, diff=[])


@router.get("/proxies/{name}", responses=documented(404))
def proxy(name: Name, visitor: Reader, parts: Own, response: Response, source: Which = None) -> ProxyOut:
    """One."""
    return _answered(parts, name, source, response)


@router.put("/proxies/{name}", responses=documented(404, 409, 412, 428))
def put(
    name: Name,
    said: ProxyFields,
    visitor: Administrator,
    parts: Own,
    response: Response,
    source: Which = None,
    if_match: IfMatch = None,
    dry_run: DryRun = False,
) -> ProxyOut | Change:
    """Change one; for another URL, and in relay.yaml, the password is needed that was given a moment ago. Its name stays."""
    one = find(parts, name, source)
    if one.source == CONFIGURED:
        confirm(visitor, parts)
        before = (current(parts).data.get("proxies") or {}).get(name) or {}
        return _written(parts, visitor, if_match, name, said, before, dry_run=dry_run)
    matched(if_match, version(parts, one))
    fields = _fields(said)
    if "url" in fields:
        confirm(visitor, parts)
    try:
        if not dry_run:
            _book(parts, visitor).edit(name, fields, seen=one.changed_at)
            _forget(parts, name)
    except ValueError as error:
        raise _wrong(_field_of(error), error) from None
    return _answered(parts, name, VAULT, response)


@router.delete("/proxies/{name}", responses=documented(404, 409, 412, 428))
def remove(
    name: Name,
    visitor: Confirmed,
    parts: Own,
    source: Which = None,
    if_match: IfMatch = None,
    dry_run: DryRun = False,
) -> Change:
    """Take one away, for good. One through which providers, keys or accounts go out stays: give them another way first."""
    one = find(parts, name, source)
    there_is_another = one.source == CONFIGURED and any(
        other.name == name and other.source == VAULT for other in known(parts).every()
    )
    users = one.providers if there_is_another else one.users
    if users:
        raise _in_use(name, users)
    if one.source == CONFIGURED:
        return change(
            parts,
            visitor.actor,
            if_match,
            lambda text: edited(text, ("proxies", name), REMOVED),
            dry_run=dry_run,
            about=f"proxies.{name}",
        )
    matched(if_match, version(parts, one))
    try:
        if not dry_run:
            _book(parts, visitor).remove(name, in_use=one.shadowed)
    except InUse as error:
        raise _in_use(name, error.keys) from None
    return Change(saved=not dry_run, etag=current(parts).tag, diff=[])


@router.post("/proxies/{name}/test", responses=documented(404, 409))
def trial(name: Name, visitor: Operator, parts: Own, said: TestIn | None = None, source: Which = None) -> ProxyTested:
    """Open a tunnel to a provider through it, TLS included, and close it again: is it there, does it let us through, how long does it take?

    Nobody else is contacted, but for the URL in `echo`; takes up to 10 seconds for each.
    """
    if said is not None and said.echo is not None and not visitor.may(Level.ADMIN):
        raise Problem(403, "role", "This needs the role admin, or a token with that scope.")
    everyone, one = known(parts), find(parts, name, source)
    opened = everyone.opened_of(one)
    if opened is None:
        raise Problem(409, "damaged", f"Somebody has changed the proxy {name} in the file; give it its URL again.")
    target = everyone.target(one)
    [came] = tried([Trying(opened, target.base_url, target.trust)], said.echo if said is not None else None)
    remedy = remedy_for(came.reason, None, "check its URL and this machine's network") if came.reason else ""
    found = ProxyTested(
        at=parts.clock(),
        ok=not came.reason,
        target=urlsplit(target.base_url).hostname or "",
        latency_ms=None if came.seconds is None else round(1000 * came.seconds),
        reason=came.reason,
        remedy=remedy,
        seen=came.seen,
    )
    parts.kept.setdefault(TESTS, {})[one.name, one.source] = found
    return found


# --- what pages use too ---


def known(parts: Parts) -> AllProxies:
    """Those of relay.yaml, or, while that is broken, as it was last, and those of the vault."""
    return AllProxies(usable(parts), parts.vault(None))


def find(parts: Parts, name: str, source: str | None = None) -> KnownProxy:
    """The one that counts of that name, or the one of that source. Raises Problem."""
    for one in known(parts).every():
        if one.name == name and source in (None, one.source):
            return one
    raise Problem(404, "not_found", f"There is no proxy {name[:40]!r}.")


def passages(parts: Parts) -> Mapping[str, Passage]:
    """What went by each way out in the last day."""

    def summed() -> Mapping[str, Passage]:
        try:
            with parts.ledger() as connection:
                return by_way(connection, datetime.fromtimestamp(parts.clock(), UTC) - DAY)
        except MissingDatabase:
            return {}

    return parts.recent.get(("ways out",), summed) or {}


def passage(one: Passage) -> PassageOut:
    """As the API says it."""
    return PassageOut.model_validate(asdict(one))


def shown(parts: Parts, one: KnownProxy, figures: Mapping[str, Passage]) -> ProxyOut:
    """As the API says it."""
    used = NOTHING if one.shadowed else figures.get(one.name, NOTHING)
    tested = parts.kept.get(TESTS, {}).get((one.name, one.source))
    return ProxyOut.model_validate(asdict(one) | {"last_day": passage(used), "tested": tested})


def choices(parts: Parts, *, of_vault: bool = True) -> list[str]:
    """What may be chosen as a way out by name. `of_vault`: those of the vault, too, to which keys may refer."""
    configured = list(usable(parts).proxies)
    stored = [one.name for one in named_proxies.Proxies(parts.vault(None)).list()] if of_vault else []
    return [*dict.fromkeys((*configured, *stored)), DIRECT]


def row_of(one: KnownProxy | ProxyOut) -> str:
    """Of its row on the page: what its id ends with."""
    return f"{'yaml' if one.source == CONFIGURED else 'vault'}-{one.name}"


def seconds(at: str) -> float:
    """Of a time of the ledger, since the epoch."""
    return seconds_of(at) or 0.0


def version(parts: Parts, one: KnownProxy) -> str:
    """The ETag: in relay.yaml that of the file, else of what people may change."""
    return current(parts).tag if one.source == CONFIGURED else etag([one.name, one.created_at, one.changed_at])


def named(parts: Parts, fields: Mapping[str, Any]) -> None:
    """Whether what is said of a key's proxy is the name of one, a URL or `direct`. Raises Problem."""
    if fields.get("proxy"):
        try:
            known(parts).check(fields)
        except ValueError as error:
            raise _wrong("proxy", error) from None


# --- in the vault, in relay.yaml ---


def _book(parts: Parts, visitor: Visitor) -> named_proxies.Proxies:
    return named_proxies.Proxies(parts.vault(visitor.actor))


def _forget(parts: Parts, name: str) -> None:
    """Its last test was of another one."""
    parts.kept.get(TESTS, {}).pop((name, VAULT), None)


def _fields(said: ProxyFields) -> dict[str, Any]:
    """What was said, as the vault takes it. Raises Problem."""
    if said.ca:
        raise _wrong("ca", ValueError("a file of authorities has its place in relay.yaml"))
    found = said.model_dump(include={"direct", "notes"}, exclude_none=True)
    try:
        if said.timeout not in (None, ""):
            found["timeout"] = timeout_of(said.timeout)
    except ValueError as error:
        raise _wrong("timeout", error) from None
    if said.url is not None and said.url.get_secret_value().strip():
        found["url"] = said.url.get_secret_value().strip()
    return found


def _written(
    parts: Parts,
    visitor: Visitor,
    if_match: str | None,
    name: str,
    said: ProxyFields,
    before: dict[str, Any],
    *,
    dry_run: bool,
) -> Change:
    """A change of relay.yaml: what is said of it in the place of what is there; an empty text takes a setting away."""
    if said.notes:
        raise _wrong("notes", ValueError("relay.yaml has comments in their place; write one there"))
    given = said.model_dump(include={"direct", "timeout", "ca"}, exclude_none=True)
    url = said.url.get_secret_value().strip() if said.url is not None else ""
    if url and MARK.fullmatch(url) is None and is_secret(("proxies", name, "url"), url):
        text = "A password does not belong into relay.yaml: keep the proxy in the vault, or name a variable such as ${PROXY_PASSWORD}."
        raise Problem(422, "literal_password", text, errors=[FieldError(field="url", detail=text)])
    definition = ({"url": url} if url else {}) | before | given | ({"url": url} if url else {})
    if definition.get("direct") is False:
        del definition["direct"]
    definition = {field: value for field, value in definition.items() if value != ""}
    place = ("proxies", name)
    return change(
        parts,
        visitor.actor,
        if_match,
        lambda text: edited(text, place, definition),
        dry_run=dry_run,
        about=".".join(place),
        within=".".join(place),
    )


def _answered(parts: Parts, name: str, source: str | None, response: Response) -> ProxyOut:
    one = find(parts, name, source)
    response.headers["etag"] = version(parts, one)
    return shown(parts, one, passages(parts))


def _field_of(error: ValueError) -> str:
    """Of which field a sentence of NewProxy is."""
    text = str(error)
    return next((field for field in ("timeout", "notes") if field in text), "url")


def _wrong(field: str, error: ValueError) -> Problem:
    text = str(error)
    sentence = f"{text[:1].upper()}{text[1:]}."
    return Problem(422, "invalid", sentence, errors=[FieldError(field=field, detail=sentence)])


def _taken(name: str) -> Problem:
    text = f"There is a proxy of the name {name} already."
    return Problem(409, "taken", text, errors=[FieldError(field="name", detail=text)])


def _in_use(name: str, users: tuple[str, ...]) -> Problem:
    shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
    return Problem(409, "in_use", f"{name} is the way out of {shown}; give them another one first.")
