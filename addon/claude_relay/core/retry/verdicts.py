"""What an attempt's outcome means: the verdict table, applied.

The table itself is `data/verdicts.json`, first fitting rule wins; this module reads an outcome so far that rules can be held against it.
It must not know what happens next (that is `policy`) nor whose cooldown is how long (that is `pool`).

    judge(Outcome(status=429, headers={"retry-after": "5"}), facts, now=100.0)
        -> Verdict("rate_limited", Cause.KEY, cooldown_until=105.0, reason="429: retry-after")

`cooldown_until` of a verdict: None: no cooldown; math.inf: out; later than now: so long as the provider said; exactly now: one, but
nobody said how long, so the pool decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from claude_relay.core.bodies.ratelimits import Limit, limit_of
from claude_relay.core.errors import clean
from claude_relay.core.exchange import Cause, Facts, Failure, Length, Outcome, Verdict, status_class

from .table import TABLE, Meaning, Rule

MEANINGS: dict[str, Meaning] = TABLE.meanings
OK = Verdict("ok", Cause.NOBODY)

# Some providers repeat the credential they refuse in the message. Whatever looks like one never reaches a log or a table.

# A gateway that has nothing to say repeats the status: {"timestamp": …, "status": 403, "error": "Forbidden", "path": …}.
PHRASES = frozenset(status.phrase.lower() for status in HTTPStatus)


@dataclass(frozen=True, slots=True)
class Reading:
    """An outcome as rules see it. `status` is the HTTP status, or the one that an error inside a 200 stands for."""

    endpoint: str
    status: int | None
    failure: str
    type: str
    code: str
    message: str
    model: str
    limit: Limit
    foreign: bool = False
    """Whether something on the way answered, and not the API: with a page, or with JSON that has no error in it."""

    @property
    def words(self) -> str:
        """The message as wordings are compared: lower-case, with single blanks."""
        return " ".join(self.message.lower().split())


def judge(outcome: Outcome, facts: Facts, *, now: float) -> Verdict:
    """The verdict on an outcome. Never raises, whatever status, headers or body hold.

    `facts.model` is the model as the provider knows it; `now` in seconds since the epoch.
    """
    if outcome.failure is None and outcome.status is not None and 100 <= outcome.status < 400:
        return OK
    reading = read(outcome, facts, now)
    meaning = MEANINGS[next(rule.verdict for rule in TABLE.rules if fits(rule, reading))]
    until, reason = _cooldown_until(meaning, reading, now), _reason(reading, outcome)
    return Verdict(meaning.name, meaning.cause, until, reason, meaning.cooldown)


def read(outcome: Outcome, facts: Facts, now: float) -> Reading:
    """Bring an outcome into the form that rules are held against."""
    error = _error_in(outcome.body)
    kind, code, message = error or ("", "", "")
    failure = outcome.failure
    status = outcome.status
    if failure is Failure.ERROR_EVENT:
        status, failure = TABLE.status_of_type.get(kind, 500), None
    elif failure is not None and (status is None or status < 400):
        status = None  # an error whose body broke off is still that error; of anything else only the failure counts
    limit = Limit("none") if status != 429 else limit_of(outcome.headers, facts.model, now, message.lower())
    name = "none" if failure is None else failure.value
    foreign = outcome.foreign or (error is None and bool(outcome.body.strip()))
    return Reading(facts.endpoint.value, status, name, kind, code, message, facts.model.lower(), limit, foreign)


def fits(rule: Rule, reading: Reading) -> bool:
    """Whether every filled column of the rule fits."""
    return all(check(rule, reading) for check in COLUMNS)


def _status_fits(rule: Rule, reading: Reading) -> bool:
    return not rule.status or reading.status in rule.status or status_class(reading.status) in rule.status


def _says_fits(rule: Rule, reading: Reading) -> bool:
    return not rule.says or any(phrase in reading.words for phrase in rule.says)


def _model_fits(rule: Rule, reading: Reading) -> bool:
    return not rule.names_model or bool(reading.model and reading.model in reading.words)


COLUMNS: tuple[Callable[[Rule, Reading], bool], ...] = (
    lambda rule, reading: not rule.endpoint or reading.endpoint in rule.endpoint,
    _status_fits,
    lambda rule, reading: not rule.failure or reading.failure in rule.failure,
    lambda rule, reading: not rule.type or reading.type in rule.type,
    lambda rule, reading: not rule.code or reading.code in rule.code,
    lambda rule, reading: not rule.limit or reading.limit.kind in rule.limit,
    lambda rule, reading: not rule.foreign or reading.foreign,
    _says_fits,
    _model_fits,
)


def _cooldown_until(meaning: Meaning, reading: Reading, now: float) -> float | None:
    match meaning.cooldown:
        case Length.NONE:
            return None
        case Length.CHECK | Length.OUT:
            return math.inf
        case Length.STATED if reading.limit.end is not None:
            return max(now, reading.limit.end)
    return now


def _reason(reading: Reading, outcome: Outcome) -> str:
    """One line for the operator: what came, why, in the upstream's words; nothing that could be a credential."""
    head = str(reading.status) if reading.status is not None else reading.failure
    tail = ", ".join(part for part in (reading.limit.what, reading.message or outcome.message) if part)
    return clean(f"{head}: {tail}" if tail else head)


def _error_in(body: bytes) -> tuple[str, str, str] | None:
    """(type, code, message) of an error body, each empty where it is missing or no string; None when there is no error in it,
    or nothing but its status in words.

    Claude: {"type": "error", "error": {"type", "message", "details": {"error_code"}}}; others put a `code` beside, or a bare string.
    """
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if isinstance(error, str):
        return None if error.lower() in PHRASES else ("", "", error)
    if not isinstance(error, dict):
        return None
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else error.get("code")
    return _text(error.get("type")), _text(code), _text(error.get("message"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
