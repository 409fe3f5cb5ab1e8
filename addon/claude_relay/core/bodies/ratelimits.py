"""What the headers of an answer say about limits: when to come again, which window is used up, how much is left.

Values in, values out: header names are lower-case, times are seconds since the Unix epoch, lengths are seconds. Nothing here raises,
whatever a header holds: what cannot be understood (negative, not a number, further away than the limit can reach) counts as not said.

    retry_at({"retry-after": "5"}, now=100.0)                                          -> 105.0
    limit_of({"anthropic-ratelimit-unified-5h-status": "rejected", …}, "claude-opus-4-5", now=…)   -> Limit("window", end, "5h window")

The header names are data: `data/ratelimits.json`. https://docs.claude.com/en/api/rate-limits#response-headers
and https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers, which Groq and Azure share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import resources
from typing import Literal, NamedTuple

import msgspec

from claude_relay.core import data
from claude_relay.core.times import DAY, HOUR, UNITS, stated


class Buckets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Headers about buckets that fill up evenly: `header` with {bucket} and {part} (limit, remaining, reset)."""

    header: str
    names: tuple[str, ...]
    reset: Literal["moment", "length"]
    """Whether the reset is a point in time, or a length of time such as 6m0s (a plain number: seconds)."""


class Headers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of headers and what to read in them."""

    retry_after: str
    retry_after_ms: str
    buckets: tuple[Buckets, ...]
    unified: str
    used_up: frozenset[str]
    not_windows: frozenset[str]
    claims: dict[str, str]


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `families`: of models that may have limits of their own; `family_says`: how messages name one."""

    families: tuple[str, ...]
    family_says: tuple[str, ...]
    headers: Headers
    longest_cooldown_days: float
    longest_bucket_hours: float


DATA = msgspec.json.decode((resources.files(data) / "ratelimits.json").read_bytes(), type=Data)
LONGEST = DATA.longest_cooldown_days * DAY
LONGEST_BUCKET = DATA.longest_bucket_hours * HOUR
HEADERS = DATA.headers

UNIFIED_STATUS = HEADERS.unified + "status"
"""With the unified windows comes always this one."""
NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
WINDOW = re.compile(re.escape(HEADERS.unified) + r"(?P<window>.+)-(?P<part>status|reset|utilization)")
LENGTH = re.compile(r"(\d{1,3})([hd])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """Which limit a 429 is about. `end` None: it is used up, but nothing says how long."""

    kind: Literal["none", "window", "family", "stated"]
    end: float | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """One unified window as its headers describe it; `utilization` is the used share, 1.0 = all."""

    name: str
    status: str = ""
    reset: float | None = None
    utilization: float | None = None

    @property
    def used_up(self) -> bool:
        """The status decides; the share only where no status is sent."""
        if self.status:
            return self.status in HEADERS.used_up
        return self.utilization is not None and self.utilization >= 1.0

    @property
    def counts(self) -> bool:
        """Whether the window by itself can stop a key (overage is extra credit on top of the windows)."""
        return self.name not in HEADERS.not_windows

    def shared(self) -> bool:
        """Whether all models draw on the window: `5h`, `7d`. A suffix narrows it, as in `7d_opus`."""
        return "_" not in self.name

    def stops(self, family: str) -> bool:
        """Whether the window is one of this family, or of a group of models that does not name its family (`7d_oi`)."""
        suffix = self.name.partition("_")[2]
        return bool(suffix) and (suffix == family or suffix not in DATA.families)


def number(text: str) -> float | None:
    """A plain non-negative decimal number; None for everything else (signs, exponents, NaN, words)."""
    text = text.strip()
    return float(text) if NUMBER.fullmatch(text) else None


def date(text: str) -> float | None:
    """An RFC 3339 or HTTP date; a date without zone is UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text.strip())
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError, OSError):
            continue
    return None


def moment(text: str, now: float, longest: float) -> float | None:
    """A point in time given in Unix seconds or as a date: never before `now`, None when further away than `longest`."""
    when = number(text)
    when = date(text) if when is None else when
    return None if when is None or when > now + longest else max(now, when)


def wait(text: str) -> float | None:
    """Seconds of a length of time such as `6m0s`, `20ms` or `1h2.5s`; a plain number is seconds."""
    seconds = number(text)
    return stated(text) if seconds is None else seconds


def retry_at(headers: Mapping[str, str], now: float) -> float | None:
    """When `retry-after-ms` or `retry-after` (seconds, fractions allowed, or an HTTP date) says to come again.

    A date in the past means now. Sources: RFC 9110 10.2.3; the SDKs of Anthropic read `retry-after-ms` first.
    """
    millis = number(headers.get(HEADERS.retry_after_ms, ""))
    if millis is not None and millis <= LONGEST * 1000:
        return now + millis / 1000
    text = headers.get(HEADERS.retry_after, "")
    seconds = number(text)
    if seconds is not None:
        return now + seconds if seconds <= LONGEST else None
    when = date(text)
    return None if when is None or when > now + LONGEST else max(now, when)


def limit_of(headers: Mapping[str, str], model: str, now: float, message: str = "") -> Limit:
    """Which limit a 429 is about, from the most to the least telling header. `message` is the error's, lower-case."""
    return _unified(headers, model, now) or _ordinary(headers, model, now, message) or Limit("none")


class Left(NamedTuple):
    """What is left of a limit: its share (0.0 to 1.0), when the limit is whole again, whether it fills up evenly until then.

    name  `requests`, `input-tokens`, …; of a window its length: `5h`
    """

    share: float
    reset: float
    refills: bool
    name: str = ""


def headroom(headers: Mapping[str, str], now: float) -> Left | None:
    """What is left of the scarcest limit; None when nothing is said."""
    return min(all_left(headers, now), default=None)


def all_left(headers: Mapping[str, str], now: float) -> list[Left]:
    """What is left of each limit of which something is said."""
    return [*_bucket_shares(headers, now), *_window_shares(headers, now)]


def windows_in(headers: Mapping[str, str], now: float) -> tuple[Window, ...]:
    """The unified windows that an answer tells of, by name; what is no window (overage) is left out."""
    return tuple(window for _, window in sorted(_windows(headers, now).items()) if window.counts)


def share_left(windows: Iterable[Window]) -> Left | None:
    """What is left of the scarcest of those windows on which all models draw; None when none of them says it."""
    shares = [_left_of(window) for window in windows if window.counts and window.shared() and _says_it(window)]
    return min(shares) if shares else None


def family_shares(windows: Iterable[Window]) -> dict[str, Left]:
    """The same of those windows that count one family of models."""
    return {
        family: _left_of(window)
        for window in windows
        if window.counts and _says_it(window) and (family := window.name.partition("_")[2]) in DATA.families
    }


def family_of(model: str) -> str:
    """The family a model belongs to (`opus`, `sonnet`, …); a model of no known family is its own."""
    name = model.lower()
    return next((family for family in DATA.families if family in name), name)


def _unified(headers: Mapping[str, str], model: str, now: float) -> Limit | None:
    windows = _windows(headers, now)
    used = [window for window in windows.values() if window.used_up and window.counts] or _claimed(headers, windows)
    shared = [window for window in used if window.shared()]
    if shared:
        return Limit("window", _latest(shared, headers, now), _names(shared))
    own = [window for window in used if window.stops(family_of(model))]
    return Limit("family", _latest(own, headers, now), _names(own)) if own else None


def _claimed(headers: Mapping[str, str], windows: Mapping[str, Window]) -> list[Window]:
    """The window that a rejection names when none of the windows says it itself."""
    if headers.get(HEADERS.unified + "status", "") not in HEADERS.used_up:
        return []
    claim = headers.get(HEADERS.unified + "representative-claim", "")
    name = HEADERS.claims.get(claim, "unified")
    return [windows.get(name, Window(name))]


def _latest(windows: list[Window], headers: Mapping[str, str], now: float) -> float | None:
    resets = [window.reset for window in windows if window.reset is not None]
    if resets:
        return max(resets)
    overall = moment(headers.get(HEADERS.unified + "reset", ""), now, max(map(_longest, (w.name for w in windows))))
    return retry_at(headers, now) if overall is None else overall


def _windows(headers: Mapping[str, str], now: float) -> dict[str, Window]:
    parts: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        found = WINDOW.fullmatch(name)
        if found:
            parts.setdefault(found["window"], {})[found["part"]] = value
    return {name: _window(name, part, now) for name, part in parts.items()}


def _window(name: str, part: Mapping[str, str], now: float) -> Window:
    reset = moment(part.get("reset", ""), now, _longest(name))
    return Window(name, part.get("status", "").strip().lower(), reset, number(part.get("utilization", "")))


def window_length(window: str) -> float | None:
    """Seconds of a whole window by its name: `5h`, `7d_opus`; None: the name does not say it."""
    found = LENGTH.match(window)
    return int(found[1]) * UNITS[found[2]] if found else None


def _longest(window: str) -> float:
    """A window cannot end later than its own length from now; an hour of slack for clocks that differ."""
    length = window_length(window)
    return LONGEST if length is None else length + HOUR


def _names(windows: list[Window]) -> str:
    return " and ".join(sorted(window.name[:20] for window in windows)) + " window used up"


def _ordinary(headers: Mapping[str, str], model: str, now: float, message: str) -> Limit | None:
    """`retry-after` is exact ("earlier retries will fail"); a bucket's reset is when it is full again, so only second best."""
    end = retry_at(headers, now)
    what = "retry-after"
    if end is None:
        empty = [(bucket.reset, bucket.name) for bucket in _buckets(headers, now) if bucket.left == 0]
        if not empty:
            return None
        end, bucket = max(empty)
        what = f"no {bucket} left"
    return Limit("family" if _names_family(message, model) else "stated", end, what)


def _names_family(message: str, model: str) -> bool:
    family = family_of(model)
    return bool(family) and any(phrase.format(family=family) in message for phrase in DATA.family_says)


class _Bucket(NamedTuple):
    """A bucket whose headers say when it is full again."""

    name: str
    limit: float | None
    left: float | None
    reset: float


def _buckets(headers: Mapping[str, str], now: float) -> Iterator[_Bucket]:
    for kind in HEADERS.buckets:
        for name in kind.names:
            limit, left, reset = (
                headers.get(kind.header.format(bucket=name, part=part), "") for part in ("limit", "remaining", "reset")
            )
            if (end := _reset(kind, reset, now)) is not None:
                yield _Bucket(name, number(limit), number(left), end)


def _reset(kind: Buckets, text: str, now: float) -> float | None:
    if kind.reset == "moment":
        return moment(text, now, LONGEST_BUCKET)
    seconds = wait(text)
    return None if seconds is None or seconds > LONGEST_BUCKET else now + seconds


def _bucket_shares(headers: Mapping[str, str], now: float) -> list[Left]:
    """Those are token buckets, https://docs.claude.com/en/api/rate-limits: their reset is when they are full."""
    return [
        Left(min(1.0, bucket.left / bucket.limit), bucket.reset, refills=True, name=bucket.name)
        for bucket in _buckets(headers, now)
        if bucket.limit and bucket.left is not None
    ]


def _window_shares(headers: Mapping[str, str], now: float) -> list[Left]:
    """Those begin anew all at once."""
    windows = (window for window in _windows(headers, now).values() if window.counts and window.shared())
    return [_left_of(window) for window in windows if _says_it(window)]


def _says_it(window: Window) -> bool:
    return window.utilization is not None and window.reset is not None


def _left_of(window: Window) -> Left:
    share = max(0.0, 1.0 - (window.utilization or 0.0))
    return Left(share, window.reset or 0.0, refills=False, name=window.name[:20])
