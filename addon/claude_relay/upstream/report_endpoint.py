"""A provider's own report of usage and cost, fetched with an admin key of the owner's. Never raises.

    found = fetch(provider, "sk-ant-admin01-…", date(2026, 11, 20), date(2026, 11, 26), secrets, way=way, timeout=TIMEOUT)
    found.entries                  one for each day, model and side; or it is a NotFetched: why, and when to try again
    NotFetched("the provider refuses the admin key (401)", final=True)

The key goes to the provider's own address and nowhere else: no redirect is followed, and what an answer repeats of it is taken out.
`secrets` are the keys of the pool, by which the provider's list of keys says whose usage did not come from here; none of them is sent.
Formats, with the pages that document them: core/accounting/usage_reports. It must not know where keys are kept, what becomes of a report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from claude_relay.core.accounting.report_access import form_of
from claude_relay.core.accounting.usage_reports import (
    Fetched,
    NotFetched,
    Page,
    Reported,
    cost_page,
    entries,
    known_keys,
    usage_page,
)
from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.config import OutboundProxy, Provider, WayOut, way_to
from claude_relay.core.errors import clean
from claude_relay.core.secrets import Matcher

from .connection import FAILURES, Connection, ProxyRefused, said

TIMEOUT: Final = 30.0
"""Seconds for one page, as a rule."""
LONGEST: Final = 16 << 20
"""Bytes of a page."""
MOST_PAGES: Final = 200
DAYS_A_PAGE: Final = 31
"""As many as both providers give at most."""
LONGEST_PAUSE: Final = 86400.0
HEADERS: Final[Mapping[str, str]] = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "claude-relay",
}
NO_REPORT: Final = (
    "only Anthropic's and OpenAI's own APIs have a report of usage that is known here; this provider is another one"
)
REFUSED: Final = {
    401: "the provider refuses the admin key (401): it is wrong, or was taken back; enter another one",
    403: "the key may not read reports (403): it has to be an admin key of the organisation",
    404: "there is no such report at the provider's address (404): the account has to be one of an organisation",
}


class _Stopped(Exception):
    def __init__(self, why: NotFetched) -> None:
        super().__init__(why.reason)
        self.why = why


@dataclass(frozen=True, slots=True)
class _Reader:
    """One report's requests."""

    provider: Provider
    secret: str
    form: str
    proxy: OutboundProxy | None
    timeout: float

    def get(self, path: str, query: Collection[tuple[str, str]]) -> bytes:
        """The body of one answer. Raises _Stopped."""
        target = f"{urlsplit(self.provider.base_url).path.rstrip('/')}{path}?{urlencode(list(query), quote_via=quote)}"
        try:
            with Connection(self.provider.base_url, self.proxy, self.timeout, self.provider.trust) as connection:
                answer = connection.request("GET", target, {**HEADERS, **self._signed()})
                body, status = answer.read(LONGEST + 1), answer.status
                pause = answer.getheader("retry-after")
        except FAILURES as error:
            raise _Stopped(NotFetched(f"the provider gave no report: {said(error, self.proxy)}")) from None
        if status == 200 and len(body) <= LONGEST:
            return body
        raise _Stopped(self._refusal(status, body, pause))

    def pages(self, path: str, query: Collection[tuple[str, str]], read: Callable[[bytes], Page]) -> list[Reported]:
        """All lines of all pages. Raises _Stopped."""
        found: list[Reported] = []
        seen: set[str] = set()
        after: str | None = None
        while after is None or after not in seen:
            more = [] if after is None else [("page", after)]
            seen |= {after} if after is not None else set()
            page = _read(self.get(path, [*query, *more]), read)
            found += page.entries
            after = page.next
            if after is None:
                return found
            if len(seen) >= MOST_PAGES:
                break
        raise _Stopped(NotFetched("the report does not end: its pages go round in circles, or are too many"))

    def _signed(self) -> dict[str, str]:
        if self.form == "anthropic":  # https://platform.claude.com/docs/en/api/versioning
            return {"x-api-key": self.secret, "anthropic-version": "2023-06-01"}
        return {"authorization": f"Bearer {self.secret}"}

    def _refusal(self, status: int, body: bytes, pause: str | None) -> NotFetched:
        if status in REFUSED:
            return NotFetched(REFUSED[status] + self._in_its_words(body), final=True)
        if status == 429:
            return NotFetched("the provider wants to be asked more slowly (429)", pause=_seconds(pause))
        if status == 200:
            return NotFetched("the report is too long to be one")
        return NotFetched(f"the provider gave no report ({status}){self._in_its_words(body)}", pause=_seconds(pause))

    def _in_its_words(self, body: bytes) -> str:
        try:
            message = msgspec.json.decode(body, type=_Error).error.message
        except BAD_JSON:
            return ""
        secrets = [self.secret, *(self.proxy.secrets if self.proxy is not None else ())]
        known = Matcher([(secret.encode("utf-8", "replace"), "…".encode()) for secret in secrets])
        return f": {clean(known.clean_text(message))}" if message else ""


class _Message(msgspec.Struct):
    message: str = ""


class _Error(msgspec.Struct):
    error: _Message


def fetch(
    provider: Provider,
    secret: str,
    first: date,
    last: date,
    secrets: Collection[str] = (),
    *,
    way: WayOut,
    timeout: float,
) -> Fetched | NotFetched:
    """What the provider says of the days from `first` to `last`, both included. `timeout`: seconds for one page."""
    form = form_of(provider)
    if form is None:
        return NotFetched(NO_REPORT, final=True)
    try:
        proxy = way_to(provider.base_url, way, provider.proxy, named=provider.ways)
    except (ValueError, ProxyRefused):
        return NotFetched("the provider's proxy cannot be used", final=True)
    reader = _Reader(provider, secret, form, proxy, timeout)
    try:
        return (_of_anthropic if form == "anthropic" else _of_openai)(reader, first, last, secrets)
    except _Stopped as stopped:
        return stopped.why


def _of_anthropic(reader: _Reader, first: date, last: date, secrets: Collection[str]) -> Fetched:
    span = [("starting_at", _moment(first)), ("ending_at", _moment(last + timedelta(days=1)))]
    span += [("bucket_width", "1d"), ("limit", str(DAYS_A_PAGE))]
    groups = [("group_by[]", "model"), ("group_by[]", "api_key_id")]
    usage = reader.pages(
        "/v1/organizations/usage_report/messages", [*span, *groups], lambda body: usage_page("anthropic", body)
    )
    costs = reader.pages(
        "/v1/organizations/cost_report",
        [*span, ("group_by[]", "description")],
        lambda body: cost_page("anthropic", body),
    )
    known = _known(reader, secrets) if secrets else None
    return Fetched(entries(usage, costs, known=known), by_key=known is not None)


def _known(reader: _Reader, secrets: Collection[str]) -> frozenset[str] | None:
    """The ids of the pool's keys; None: the provider does not say them, which costs a cause and no report."""
    found: frozenset[str] = frozenset()
    after: str | None = None
    for _ in range(MOST_PAGES):
        query = [("limit", "1000"), *([] if after is None else [("after_id", after)])]
        try:
            ids, after = known_keys(reader.get("/v1/organizations/api_keys", query), secrets)
        except (_Stopped, ValueError):
            return None
        found |= ids
        if after is None:
            return found or None  # with none of them it is another organisation, or hints have another form
    return None


def _of_openai(reader: _Reader, first: date, last: date, secrets: Collection[str]) -> Fetched:
    span = [("start_time", _epoch(first)), ("end_time", _epoch(last + timedelta(days=1)))]
    span += [("bucket_width", "1d"), ("limit", str(DAYS_A_PAGE))]
    usage = reader.pages(
        "/organization/usage/completions", [*span, ("group_by", "model")], lambda body: usage_page("openai", body)
    )
    costs = reader.pages(
        "/organization/costs", [*span, ("group_by", "line_item")], lambda body: cost_page("openai", body)
    )
    return Fetched(entries(usage, costs))


def _read(body: bytes, read: Callable[[bytes], Page]) -> Page:
    try:
        return read(body)
    except ValueError as error:
        raise _Stopped(NotFetched(f"the provider's report cannot be read: {error}")) from None


def _moment(day: date) -> str:
    return f"{day:%Y-%m-%d}T00:00:00Z"


def _epoch(day: date) -> str:
    return f"{datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp():.0f}"


def _seconds(text: str | None) -> float | None:
    """Of the field retry-after, where it is a number that can be meant."""
    try:
        seconds = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return min(seconds, LONGEST_PAUSE) if seconds >= 0 else None
