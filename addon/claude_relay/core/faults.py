"""Faults that are made on purpose: which attempt meets which, and what a provider would say.

    faults = Faults(rules, matches=routes.matches, dice=dice)
    fault = faults.choose(facts, n=1)                       None: nothing happens to this attempt
    answer(fault, "openai-chat", now=now, id="req_1")       what comes in the place of an answer; within one: `disturbance`

What providers say is in data/faults.json. It must not know connections, keys or clocks: times, chance and routing are arguments.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import Any, Final, Protocol

from .exchange import Facts, Fault
from .times import iso

# --- kinds ---


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    means       for people; the sentence begins with what the client's side of the connection sees
    dispatched  the request leaves, and the provider's answer suffers
    after       it has a place in the answer
    lasts       what its seconds are; empty: it has none
    usual       seconds when none are given
    stream      only streams can have it
    """

    means: str
    dispatched: bool = False
    after: bool = False
    lasts: str = ""
    usual: float | None = None
    stream: bool = False


ASKED: Final = "what retry-after says"
KINDS: Final[Mapping[str, Kind]] = {
    "401": Kind("the key is not accepted"),
    "403": Kind("the key may not do this"),
    "429": Kind("the key's rate limit is reached", lasts=ASKED, usual=1.0),
    "500": Kind("an error of the provider's"),
    "502": Kind("a page of something on the way", lasts=ASKED),
    "503": Kind("a provider that is not available", lasts=ASKED),
    "504": Kind("a provider that took too long", lasts=ASKED),
    "529": Kind("a provider that is overloaded", lasts=ASKED),
    "refuse": Kind("the connection is refused"),
    "reset": Kind("the connection is reset before an answer"),
    "silence": Kind("no answer comes", lasts="then the request goes out after all"),
    "stall": Kind("nothing more of the answer comes", dispatched=True, after=True, lasts="then it goes on"),
    "cut": Kind("the connection breaks within the answer", dispatched=True, after=True),
    "split": Kind("the answer comes in odd small pieces", dispatched=True),
    "slow": Kind("the answer comes slowly", dispatched=True, lasts="the pause before each 64 bytes", usual=0.1),
    "error_event": Kind("an error event ends the stream", dispatched=True, after=True, stream=True),
    "corrupt": Kind("some bytes of the answer are others", dispatched=True, after=True),
}
"""Every kind by name; a number is a status that is answered in the provider's own words."""


# --- which attempt ---


class RuleLike(Protocol):
    """A rule of `faults`."""

    @property
    def fault(self) -> str:
        """A kind."""

    @property
    def match(self) -> Any:
        """What a request must be, as for routes."""

    @property
    def attempt(self) -> int | None:
        """Which attempt of a request; None: any."""

    @property
    def probability(self) -> float:
        """Above 0, at most 1."""

    @property
    def seed(self) -> int | None:
        """Of the chance; None: another one each time."""

    @property
    def count(self) -> int | None:
        """At most so many; None: no end."""

    @property
    def after(self) -> int | None:
        """Bytes of the answer's body."""

    @property
    def lasts(self) -> float | None:
        """Seconds."""


type Dice = Callable[[int | None], Callable[[], float]]
"""Seed → numbers from 0.0 to 1.0, 1.0 excluded."""


class Armed:
    """A rule in force. `left`: how many faults it still makes."""

    def __init__(self, rule: RuleLike, dice: Dice) -> None:
        """Nothing has met it yet."""
        self.rule = rule
        self.fault = fault_of(rule)
        self.left: float = math.inf if rule.count is None else rule.count
        self._roll = dice(rule.seed)

    def strikes(self, facts: Facts, n: int, matches: Callable[[Any, Facts], bool]) -> bool:
        """Whether it makes one of the nth attempt of a request."""
        if self.left <= 0 or self.rule.attempt not in (None, n):
            return False
        if (KINDS[self.rule.fault].stream and not facts.may_stream) or not matches(self.rule.match, facts):
            return False
        if self._roll() >= self.rule.probability:
            return False
        self.left -= 1
        return True


class Faults:
    """The rules in force, in order; the first that strikes counts. `matches`: as for routes."""

    def __init__(self, rules: Sequence[RuleLike], *, matches: Callable[[Any, Facts], bool], dice: Dice) -> None:
        self.armed = [Armed(rule, dice) for rule in rules]
        self._matches = matches
        self._dice = dice

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self.armed)

    def arm(self, rules: Sequence[RuleLike]) -> None:
        """These, and no others; their counts begin anew."""
        self.armed = [Armed(rule, self._dice) for rule in rules]

    def add(self, rule: RuleLike) -> None:
        """One more, after the others."""
        self.armed.append(Armed(rule, self._dice))

    def __str__(self) -> str:
        """The faults, for a line of text."""
        return ", ".join(dict.fromkeys(str(armed.fault) for armed in self.armed))

    def choose(self, facts: Facts, n: int) -> Fault | None:
        """What goes wrong with the nth attempt of a request, from 1."""
        return next((armed.fault for armed in self.armed if armed.strikes(facts, n, self._matches)), None)


def fault_of(rule: RuleLike) -> Fault:
    """What a rule makes."""
    kind = KINDS[rule.fault]
    return Fault(
        rule.fault, rule.after, rule.lasts, kind.dispatched or (rule.fault == "silence" and rule.lasts is not None)
    )


# --- in the place of an answer ---


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@cache
def shapes() -> Mapping[str, Any]:
    """What providers say; see the data."""
    found: Mapping[str, Any] = json.loads(
        (resources.files("claude_relay.core.data") / "faults.json").read_text("utf-8")
    )
    return found


def words_of(form: str) -> Mapping[str, Any]:
    """The shapes of a provider's format; those of OpenAI are the usual ones among others."""
    found: Mapping[str, Any] = shapes()["formats"]["openai" if form not in shapes()["formats"] else form]
    return found


def answer(fault: Fault, form: str, *, now: float, id: str) -> Answer:
    """What a provider of this format answers. `now`: seconds since the epoch; `id`: its own name for the request."""
    words, kind = words_of(form), KINDS[fault.kind]
    status = words.get("like", {}).get(fault.kind, fault.kind)
    seconds = math.ceil(kind.usual or 0.0 if fault.lasts is None else fault.lasts)
    body = words["answers"].get(status)
    headers = {"content-type": "application/json", **words["headers"]}
    if body is None:
        headers, body = shapes()["page"]["headers"], shapes()["page"]["body"]
    if fault.kind == "429":
        headers = {**headers, **words["limits"]}
    elif fault.lasts is not None:
        headers = {**headers, "retry-after": "{seconds}"}
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    filled = {
        "{id}": id,
        "{seconds}": str(seconds),
        "{reset}": iso(now + seconds),
        "{status}": status,
        "{reason}": HTTPStatus(int(status)).phrase if status in KINDS and int(status) < 520 else "",
    }
    return Answer(
        int(status), {name: _filled(value, filled) for name, value in headers.items()}, _filled(text, filled).encode()
    )


def error_event(form: str, id: str) -> bytes:
    """The event by which a stream of this format says that something went wrong."""
    return _filled(words_of(form)["event"], {"{id}": id}).encode()


def _filled(text: str, values: Mapping[str, str]) -> str:
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text
