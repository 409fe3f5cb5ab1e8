"""A capsule, replayed: the relay with its routes and made-up keys, before a made-up upstream that answers as the capsule says.

    capsule = read(data)
    settings(capsule, claude.url)      relay.yaml for it; every provider is asked in Claude's own form
    Script(capsule).answer(provider)   what the next attempt at a provider gets
    request(capsule)                   what is sent: the request's kept shape, else a small one for the same model

Delays are cut to a few tenths of a second, times to one or two seconds. What only the relay itself can bring about again (no
connection) is a fault of its own. It must not know how a run is shown.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from claude_relay.cli.fake import messages, server
from claude_relay.cli.fake.answers import Answer, End, failure, streamed, whole
from claude_relay.core.capsules.capsule import Attempt, Capsule
from claude_relay.core.errors import error_type
from claude_relay.core.exchange import status_class
from claude_relay.core.retry.table import TABLE, Rule

SHORT: Final = 0.2
"""Seconds that an answer is waited for at most."""
PATIENCE: Final = {"first_byte": 1.0, "whole": 1.0, "idle": 1.0, "progress": 2.0}
TAKEN: Final = ("models", "strategy")
"""Settings of a provider that are taken as they are."""
ROUTE: Final = re.compile(r"(?:default [^;]*, then )?route (\d{1,4})\b")
PATH: Final = re.compile(r"/p/(\d{1,3})(/.*)")
NOWHERE: Final = frozenset({"unsuited"})
"""Verdicts of attempts that did not leave."""
REFUSED: Final = frozenset({"unreachable", "proxy_failed"})
"""Of those that found nobody."""
UNIFIED: Final = "anthropic-ratelimit-unified-"
ID: Final = "req_replayed"


def reaches(attempt: Attempt) -> bool:
    """Whether an upstream gets to see it."""
    return attempt.verdict not in NOWHERE and attempt.verdict not in REFUSED


# -- the relay


def settings(capsule: Capsule, upstream: str) -> dict[str, Any]:
    """relay.yaml of the replay. `upstream`: a URL."""
    providers = capsule.settings.get("providers")
    known: Mapping[str, Any] = providers if isinstance(providers, Mapping) else {}
    names = names_of(capsule)
    data: dict[str, Any] = {
        "providers": {
            name: _provider(known.get(name), f"{upstream}/p/{number}", name, capsule)
            for number, name in enumerate(names)
        },
        "routes": [{"to": _targets(capsule, names)}],
        "retry": _retry(capsule),
        "shutdown": "1s",
    }
    refused = [{"fault": "refuse", "attempt": attempt.n} for attempt in capsule.attempts if attempt.verdict in REFUSED]
    return data | ({"faults": refused} if refused else {})


def names_of(capsule: Capsule) -> list[str]:
    """Its providers, those that were tried first."""
    providers = capsule.settings.get("providers")
    return list(
        dict.fromkeys(
            [
                *(attempt.provider for attempt in capsule.attempts),
                *(providers if isinstance(providers, Mapping) else ()),
            ]
        )
    )


def _provider(known: Any, url: str, name: str, capsule: Capsule) -> dict[str, Any]:
    taken = {part: known[part] for part in TAKEN if part in known} if isinstance(known, Mapping) else {}
    keys = dict.fromkeys(attempt.key for attempt in capsule.attempts if attempt.provider == name and attempt.key)
    made_up = [f"replayed-{number}-of-{len(keys)}" for number, _ in enumerate(keys or ("",), 1)]
    passed = any(attempt.provider == name and attempt.key is None and reaches(attempt) for attempt in capsule.attempts)
    return {**taken, "base_url": url, "format": "anthropic", "keys": [] if passed and not keys else made_up} | (
        {"empty_pool": "passthrough"} if passed and not keys else {}
    )


def _targets(capsule: Capsule, names: list[str]) -> list[str]:
    """Those of the route that it took."""
    routes = capsule.settings.get("routes")
    found = ROUTE.match(capsule.request.route or "")
    tried = list(dict.fromkeys(attempt.provider for attempt in capsule.attempts))
    listed: list[str] = []
    if (
        found
        and isinstance(routes, list)
        and 0 < int(found[1]) <= len(routes)
        and isinstance(routes[int(found[1]) - 1], Mapping)
    ):
        listed = [str(name).partition("/")[0] for name in routes[int(found[1]) - 1].get("to") or ()]
    skipped = {name for name in listed if f"; {name}" in (capsule.request.route or "")}
    chosen = [name for name in listed if name in names and name not in skipped]
    return list(dict.fromkeys([*(chosen if set(tried) <= set(chosen) else tried + chosen)])) or names


def _retry(capsule: Capsule) -> dict[str, Any]:
    given = capsule.settings.get("retry")
    taken = {name: given[name] for name in ("attempts", "keys") if name in given} if isinstance(given, Mapping) else {}
    return {**taken, **PATIENCE, "max_wait": "5s"}


# -- the upstream


class Script:
    """What the upstream answers: to each provider what its attempts got, in their order. `beyond`: requests that nothing was left for."""

    def __init__(self, capsule: Capsule) -> None:
        self.request = capsule.request
        self.names = names_of(capsule)
        self.left = {
            name: deque(a for a in capsule.attempts if a.provider == name and reaches(a)) for name in self.names
        }
        self.last = capsule.attempts[-1].n if capsule.attempts else 0
        self.beyond = 0

    def answer(self, provider: str, *, stream: bool, model: str) -> Answer:
        """To the next attempt."""
        left = self.left.get(provider)
        if not left:
            self.beyond += 1
            return failure(500, "api_error", "more attempts than the capsule has", {"request-id": ID})
        attempt = left.popleft()
        found = answer_to(attempt, stream=stream, model=model)
        if attempt.verdict == "ok" and attempt.n == self.last and self.request.finished == "upstream_closed":
            found = replace(found, pieces=found.pieces[:4] if found.stream else (found.pieces[0][:20],), end=End.CLOSE)
        return replace(found, after=min(SHORT, (attempt.first_byte_ms or 0.0) / 1000))


def answer_to(attempt: Attempt, *, stream: bool, model: str) -> Answer:
    """What leads to an attempt's verdict."""
    beside = {"request-id": ID}
    if attempt.verdict == "ok":
        said = messages.message("A text.", model=model)
        return streamed(messages.streamed(said), beside) if stream else whole(said, beside)
    if (made := FAILED.get(attempt.verdict or "")) is not None and (attempt.status or 200) < 400:
        return made
    status = attempt.status or 500
    if status < 400:
        kind = next((name for name, number in TABLE.status_of_type.items() if number == 529), "overloaded_error")
        kind = kind if attempt.verdict == "overloaded" else "api_error"
        return streamed([messages.error_event(kind, _words(attempt))], beside)
    if attempt.verdict == "blocked" and not attempt.said:
        return Answer(status, {"Content-Type": "text/html"}, (messages.HTML_502,))
    kind = next((name for rule in _rules(attempt) for name in rule.type), error_type(status))
    body = messages.error(kind, _words(attempt, model), ID)
    if code := next((code for rule in _rules(attempt) for code in rule.code), None):
        body["error"] = {**_mapping(body["error"]), "code": code}
    return whole(body, beside | _limits(attempt, model), status)


FAILED: Final[Mapping[str, Answer]] = {
    # Without a head, it might be a connection that was dead before: those do not count.
    "broken": Answer(
        200, {"Content-Type": "application/json", "request-id": ID}, (b'{"type":',), stream=True, end=End.CLOSE
    ),
    "timeout": Answer(end=End.SILENCE),
    "empty": Answer(200, {"Content-Type": "application/json", "request-id": ID}, (b"",)),
    "garbage": Answer(200, {"Content-Type": "text/html"}, (b"<html><body>Please stand by</body></html>",)),
}


def _rules(attempt: Attempt) -> list[Rule]:
    """By which of the table's rules it may have got its verdict; none, where its words say so themselves."""
    fitting = [
        rule
        for rule in TABLE.rules
        if rule.verdict == attempt.verdict
        and (not rule.status or attempt.status in rule.status or status_class(attempt.status) in rule.status)
    ]
    plain = [
        rule
        for rule in fitting
        if not (rule.says or rule.code or rule.names_model or rule.foreign or rule.limit or rule.endpoint or rule.type)
    ]
    if plain or any(set(attempt.said) & {*rule.says} for rule in fitting):
        return []
    return [rule for rule in fitting if set(attempt.said) & {*rule.code}][:1] or [
        rule for rule in fitting if not rule.endpoint
    ][:1]


def _words(attempt: Attempt, model: str = "") -> str:
    hinted = [phrase for rule in _rules(attempt) if not rule.code for phrase in rule.says[:1]]
    named = [model] if any(rule.names_model for rule in _rules(attempt)) else []
    return attempt.error or "; ".join([*attempt.said, *hinted, *named]) or "as the capsule says"


def _limits(attempt: Attempt, model: str) -> dict[str, str]:
    """The header fields of a 429."""
    at = str(int(time.time()) + 2)
    family = next((name for name in ("opus", "sonnet", "haiku") if name in model), model)
    return {
        "rate_limited": {"retry-after": "1"},
        "window_exhausted": {UNIFIED + "5h-status": "rejected", UNIFIED + "5h-reset": at},
        "family_limited": {UNIFIED + f"7d_{family}-status": "rejected", UNIFIED + f"7d_{family}-reset": at},
    }.get(attempt.verdict or "", {})


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


class Upstream(server.Serving):
    """It, for as long as a `with` block lasts."""

    def __init__(self, script: Script) -> None:
        super().__init__(lambda opened: _Connection(opened, script))


class _Connection(server.Connection):
    def __init__(self, opened: set[server.Open], script: Script) -> None:
        super().__init__(opened)
        self.script = script

    def request_received(self, head: bytes, body: bytes) -> None:
        """Answer."""
        method, _, following = head.decode("latin-1").partition(" ")
        found = PATH.match(following.split(" ")[0])
        if found is None or method != self.script.request.method:
            self.say(whole(messages.models()))  # the relay's own looks at what there is
            return
        try:
            wanted = json.loads(body)
        except ValueError:
            wanted = {}
        provider = self.script.names[int(found[1])]
        stream = isinstance(wanted, dict) and bool(wanted.get("stream"))
        model = str(wanted.get("model") or "") if isinstance(wanted, dict) else ""
        self.say(self.script.answer(provider, stream=stream, model=model))


# -- the client


def request(capsule: Capsule) -> bytes:
    """The body of what is sent."""
    kept = next(
        (
            body.json
            for body in capsule.bodies
            if body.attempt == 0 and body.kind == "request" and isinstance(body.json, dict)
        ),
        None,
    )
    if kept is not None and kept.get("model"):
        return json.dumps(kept).encode()
    small: dict[str, Any] = {
        "model": capsule.request.requested_model or messages.MODEL,
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "A text."}],
    }
    return json.dumps(small | ({"stream": True} if capsule.request.stream else {})).encode()
