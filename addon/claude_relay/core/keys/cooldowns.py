"""Who has a cooldown, why, and until when.

A cooldown hangs on a key, on key × model or on key × family. Its end only ever moves away (`max(old, new)`). A cooldown whose length
nobody stated grows: each failure after an ended cooldown doubles it, a success begins anew. When a long cooldown (60 s and more) is over,
or a key that is out or has a cooldown of hours is due for a look, it is half-open: one request at a time may probe it, until one succeeds.
That holds over several processes, which tell each other of their probes (`probes`, `hear`): who hears of one holds off until its
verdict, for PROBE_HELD seconds at most. Between two exchanges nobody hears, so processes that begin in the same half second all
probe, each with one request; that is accepted, for the end of a cooldown costs at most one request a process.

This module must not know verdicts, pools or requests; times are seconds since the epoch, `math.inf` is "out". Plain rows go
in and out of `snapshot`, `drain` and `restore`, so that cooldowns survive a restart and several processes share them: a row says when
the cooldown was set and up to when cooldowns of its pair were lifted, so that in whatever order rows arrive, a lift ends what it saw and
nothing later.

    cooldowns = Cooldowns()
    cooldowns.extend("key-id", "", until=160.0, now=100.0, reason="429: retry-after", stated=True)
    cooldowns.look("key-id", scopes_of("claude-opus-4-5"), now=120.0)      -> Look(blocked=True, half_open=False, changes=160.0)
    cooldowns.look("key-id", scopes_of("claude-opus-4-5"), now=160.0)      -> Look(False, half_open=True, …), for it was a long one
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import replace
from typing import NamedTuple

from .cooldown import LONG, VOID, Cooldown, Row, begin, from_row, longer, looked_in_vain, to_row
from .kinds import Scopes, scopes_of

__all__ = ["LONG", "Cooldown", "Cooldowns", "Look", "scopes_of"]

MOST_PER_KEY = 64

PROBE_HELD = 60.0
"""Seconds for which the probe of another process is waited for: it may stream for an hour, or never be answered."""
LIFTS_REMEMBERED = 4096
ORDINARY = 3
"""Scopes of a request without limits of its own."""
NEVER = -1.0

type Pair = tuple[str, str]
"""Key and scope."""


class Look(NamedTuple):
    """How a key stands: a cooldown is running or somebody probes; a request would be a probe; when that changes by the clock alone."""

    blocked: bool
    half_open: bool
    changes: float


class Cooldowns:
    """All cooldowns of one pool, by key id and scope."""

    def __init__(self) -> None:
        self._cooldowns: dict[str, dict[str, Cooldown]] = {}
        self._probes: dict[Pair, float] = {}
        self._held: dict[Pair, float] = {}
        self._dirty: dict[Pair, Cooldown | None] = {}
        self._lifted: dict[Pair, float] = {}
        self.version = 0
        """Grows with every change, so that what was derived from the cooldowns can be kept until then."""

    def known(self) -> KeysView[str]:
        """The keys that have a cooldown, or had one since their last success."""
        return self._cooldowns.keys()

    def of(self, key: str) -> Mapping[str, Cooldown]:
        """The cooldowns of a key by scope; ended ones stay until a success, for their streak."""
        return self._cooldowns.get(key, {})

    def extend(
        self,
        key: str,
        scope: str,
        *,
        until: float,
        now: float,
        reason: str,
        stated: bool,
        recheck: float = math.inf,
        streak: int | None = None,
    ) -> Cooldown:
        """A cooldown until then, or longer if a longer one runs. `recheck`: seconds after which the key is looked at before its end."""
        old = self._cooldowns.get(key, {}).get(scope)
        if streak is None:
            streak = old.streak if old else 0
        new = begin(until, now, reason, stated=stated, recheck=recheck, streak=streak)
        if old and now < old.opens:
            new = longer(old, new)
        elif old and now < old.until:
            new = looked_in_vain(old, new, now)
        elif old and old.careful:
            new = replace(new, careful=True)  # half-open ends with a success, not with the next failure
        new = replace(new, since=max(new.since, math.nextafter(self._lifted.get((key, scope), NEVER), math.inf)))
        self._put(key, scope, new, now)
        return new

    def grow(
        self, key: str, scope: str, *, now: float, reason: str, first: float, longest: float, stretch: float = 1.0
    ) -> Cooldown:
        """A cooldown of a length that nobody stated: `first` seconds, doubled by each failure after an ended cooldown, at most `longest`.

        Failures during a cooldown are the same incident (requests that were under way) and do not double it. `stretch` (1.0 and
        more) spreads the ends of keys that failed together.
        """
        old = self._cooldowns.get(key, {}).get(scope)
        streak = old.streak if old else 0
        if not (old and now < old.opens and streak):
            streak += 1
        length = min(longest, first * 2.0 ** min(streak - 1, 40) * stretch)
        return self.extend(key, scope, until=now + length, now=now, reason=reason, stated=False, streak=streak)

    def lift(self, key: str, scope: str | None = None) -> bool:
        """End a key's cooldowns by hand: one scope, or all of them. True when there was one."""
        scopes = self._cooldowns.get(key, {})
        gone = list(scopes) if scope is None else [scope] if scope in scopes else []
        for name in gone:
            self._drop(key, name)
        return bool(gone)

    def look(self, key: str, scopes: Scopes, now: float) -> Look:
        """How a key stands for a request of these scopes."""
        blocked, half_open, changes = False, False, math.inf
        for scope, cooldown in self._concerning(key, scopes):
            if now < cooldown.opens:
                blocked, changes = True, min(changes, cooldown.opens)
            elif cooldown.careful:
                half_open = True
                held = self._probed_until((key, scope))
                if now < held:
                    blocked, changes = True, min(changes, held)
        return Look(blocked, half_open, changes)

    def blocked(self, key: str, scopes: Scopes, now: float) -> bool:
        """Whether a cooldown of one of these scopes is running, or another request is probing."""
        return any(
            now < cooldown.opens or now < self._probed_until((key, scope))
            for scope, cooldown in self._concerning(key, scopes)
        )

    def opens(self, key: str, scopes: Scopes, now: float, *, busy_until: float) -> tuple[float, bool]:
        """(when the key is free again, whether that is known). math.inf: not by itself. `busy_until`: what to say while somebody probes.

        A key that is out may be looked at before its end; nobody can promise that it is back then, so it counts as out.
        """
        end, known = now, True
        for scope, cooldown in self._concerning(key, scopes):
            if now < cooldown.opens:
                end, known = max(end, cooldown.until), known and cooldown.stated
            elif now < self._probed_until((key, scope)):
                end = max(end, cooldown.until if now < cooldown.until else busy_until)
        return end, known

    def probe(self, key: str, scopes: Scopes, now: float) -> bool:
        """A request starts: if the key is half-open this is the one that probes it. True when it is a probe."""
        taken = [
            (key, scope)
            for scope, cooldown in self._concerning(key, scopes)
            if cooldown.careful and now >= cooldown.opens
        ]
        self._probes.update(dict.fromkeys(taken, now))
        self.version += bool(taken)
        return bool(taken)

    def release(self, key: str, scopes: Iterable[str]) -> None:
        """The probe ended, whatever it found; the next request may probe."""
        for scope in scopes:
            self._probes.pop((key, scope), None)
        self.version += 1

    def succeeded(self, key: str, scopes: Iterable[str], now: float, *, probe: bool) -> None:
        """Forget ended cooldowns and their streaks. A half-open one ends by its probe only: others may be from before the cooldown."""
        for scope in scopes:
            cooldown = self._cooldowns.get(key, {}).get(scope)
            if cooldown and now >= cooldown.opens and (probe or not cooldown.careful):
                self._drop(key, scope)

    def prune(self, keys: Iterable[str]) -> None:
        """Forget all keys but these. That lifts nothing: where their cooldowns are stored they stay."""
        for key in self._cooldowns.keys() - set(keys):
            self.release(key, self._cooldowns.pop(key))

    # --- with other processes ---

    def probes(self) -> list[dict[str, object]]:
        """The probes under way here, as rows: whose, and up to when other processes leave it at that."""
        return [
            {"key_id": key, "scope": scope, "until": began + PROBE_HELD} for (key, scope), began in self._probes.items()
        ]

    def hear(self, probes: Iterable[Row]) -> None:
        """All the probes that are under way in other processes now."""
        before, self._held = self._held, {}
        for row in probes:
            pair, until = (str(row["key_id"]), str(row["scope"])), float(str(row["until"]))
            self._held[pair] = max(until, self._held.get(pair, NEVER))
        self.version += self._held != before

    # --- as rows ---

    def snapshot(self) -> list[dict[str, object]]:
        """Every cooldown as plain values; times that never come are None."""
        return [
            self._row((key, scope), cooldown)
            for key, cooldowns in self._cooldowns.items()
            for scope, cooldown in cooldowns.items()
        ]

    def drain(self) -> list[dict[str, object]]:
        """What changed here since the last call, lifted cooldowns included: rows to store."""
        changed, self._dirty = self._dirty, {}
        return [self._row(pair, cooldown) for pair, cooldown in changed.items()]

    def restore(self, rows: Iterable[Row]) -> set[str]:
        """Take rows of others or of an earlier run; the longer one stays, a lifted one ends. Returns whose cooldowns are new or longer."""
        met = set()
        for row in rows:
            pair = str(row["key_id"]), str(row["scope"])
            lifted = float(str(row.get("lifted", NEVER)))
            old, new = self._cooldowns.get(pair[0], {}).get(pair[1]), from_row(row)
            self._note_lift(pair, lifted)
            lifted = self._lifted.get(pair, NEVER)
            if old and old.since <= lifted:
                self._forget(*pair)
                old = None
            if new.since > lifted and (not old or longer(old, new) != old):
                cooldowns = self._cooldowns.setdefault(pair[0], {})
                cooldowns[pair[1]] = longer(old, new) if old else new
                met.add(pair[0])
                self._trim(pair[0], new.since)
            self.version += 1
        return met

    def _row(self, pair: Pair, cooldown: Cooldown | None) -> dict[str, object]:
        lifted = self._lifted.get(pair, NEVER)
        return {
            "key_id": pair[0],
            "scope": pair[1],
            **to_row(cooldown or replace(VOID, since=lifted)),
            "lifted": lifted,
        }

    def _note_lift(self, pair: Pair, lifted: float) -> None:
        if lifted > self._lifted.get(pair, NEVER):
            self._lifted.pop(pair, None)
            self._lifted[pair] = lifted
            if len(self._lifted) > LIFTS_REMEMBERED:
                del self._lifted[next(iter(self._lifted))]

    # --- inside ---

    def _concerning(self, key: str, scopes: Scopes) -> Iterator[tuple[str, Cooldown]]:
        """The cooldowns that a request of these scopes falls under. One with limits of its own is not concerned with the ordinary ones."""
        own_limits = len(scopes) > ORDINARY
        for scope, cooldown in self._cooldowns.get(key, {}).items():
            if scope in scopes and not (own_limits and scope == "" and cooldown.of_limits):
                yield scope, cooldown

    def _probed_until(self, pair: Pair) -> float:
        return math.inf if pair in self._probes else self._held.get(pair, NEVER)

    def _put(self, key: str, scope: str, cooldown: Cooldown, now: float) -> None:
        self._cooldowns.setdefault(key, {})[scope] = self._dirty[key, scope] = cooldown
        self._trim(key, now)
        self.version += 1

    def _trim(self, key: str, now: float) -> None:
        cooldowns = self._cooldowns[key]
        if len(cooldowns) > MOST_PER_KEY:  # model names come from clients: those that were refused must not pile up
            for name in [name for name, old in cooldowns.items() if old.opens <= now]:
                del cooldowns[name]
                self._dirty.pop((key, name), None)

    def _drop(self, key: str, scope: str) -> None:
        """It is over: here, and wherever the row is read."""
        self._note_lift((key, scope), self._cooldowns[key][scope].since)
        self._dirty[key, scope] = None
        self._forget(key, scope)
        self.version += 1

    def _forget(self, key: str, scope: str) -> None:
        cooldowns = self._cooldowns[key]
        del cooldowns[scope]
        self._probes.pop((key, scope), None)
        if not cooldowns:
            del self._cooldowns[key]
