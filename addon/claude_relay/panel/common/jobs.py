"""What takes longer than somebody waits for an answer: it goes on in a thread, and is asked how far it is.

    id = parts.jobs.begin(visitor, len(keys), work)         answer 202 with Begun(id=id)
    parts.jobs.find(visitor, id)                            -> Job; raises Problem 404
    parts.jobs.cancel(visitor, id)                          the next report of its work raises Cancelled

    def work(report: Report) -> None:
        for number, key in enumerate(keys, 1):
            report(number, {"id": key.id, "ok": check(key)})

What `work` raises ends the job as failed, with what it says; results that were reported stay. Jobs are kept in memory, for KEPT after their
end: a job ends with the panel. `work` is given whatever it needs by whoever begins it; it must not use the request.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel

from claude_relay.store.panel.admins import Admin

from .problems import Problem, problem_of

KEPT: Final = 3600.0
"""Seconds for which a job is known after its end."""
MOST: Final = 4
"""Jobs that run side by side; others wait for their turn."""
WAITING: Final = 100
"""Jobs that are not over; more are not begun."""

type State = Literal["running", "done", "failed", "cancelled"]
type Report = Callable[..., None]
"""report(done) or report(done, result): so many are done, and what came of the last one (anything that is JSON)."""


class Owner(Protocol):
    """Whose job it is: a visitor."""

    @property
    def admin(self) -> Admin:
        """Who is signed in."""


class Begun(BaseModel):
    """A job that goes on. Ask GET /api/jobs/{id} how far it is."""

    id: str


class Job(BaseModel):
    """How far a job is. `detail`: why it failed."""

    id: str
    state: State
    done: int
    total: int
    results: list[Any]
    detail: str | None = None


@dataclass
class _Running:
    owner: str
    total: int
    state: State = "running"
    done: int = 0
    results: list[Any] = field(default_factory=list)
    detail: str | None = None
    ended_at: float | None = None


class Cancelled(Exception):
    """Nobody wants the rest."""


class Jobs:
    """Those of one panel. For any thread. `clock`: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: dict[str, _Running] = {}
        self._guard = threading.Lock()
        self._turns = threading.BoundedSemaphore(MOST)

    def begin(self, visitor: Owner, total: int, work: Callable[[Report], None]) -> str:
        """Its id. Raises Problem where too many are under way."""
        id, job = secrets.token_urlsafe(12), _Running(visitor.admin.id, total)
        with self._guard:
            self._tidy()
            if sum(one.ended_at is None for one in self._jobs.values()) >= WAITING:
                raise Problem(503, "busy", f"{WAITING} jobs are under way already; try again when some are done.")
            self._jobs[id] = job
        threading.Thread(target=self._run, args=(job, work), daemon=True, name=f"job {id}").start()
        return id

    def find(self, visitor: Owner, id: str) -> Job:
        """As it is now. Raises Problem for one that is not there, or is somebody else's."""
        with self._guard:
            self._tidy()
            job = self._jobs.get(id)
            if job is None or job.owner != visitor.admin.id:
                raise Problem(
                    404, "not_found", "There is no such job of yours: it is over for long, or the panel began anew."
                )
            return Job(
                id=id, state=job.state, done=job.done, total=job.total, results=list(job.results), detail=job.detail
            )

    def cancel(self, visitor: Owner, id: str) -> None:
        """What is under way may end first; nothing more begins. One that is over stays as it is. Raises Problem as `find` does."""
        self.find(visitor, id)
        with self._guard:
            job = self._jobs.get(id)
            if job is not None and job.ended_at is None:
                job.state, job.ended_at = "cancelled", self._clock()

    def _run(self, job: _Running, work: Callable[[Report], None]) -> None:
        def report(done: int, *results: Any) -> None:
            with self._guard:
                if job.ended_at is not None:
                    raise Cancelled
                job.done = done
                job.results += results

        state: State = "done"
        detail = None
        with self._turns:
            try:
                report(0)  # it may have waited for its turn
                work(report)
            except Cancelled:
                return
            except Exception as error:  # whatever it is, whoever asks is told
                state, detail = "failed", problem_of(error).detail
        with self._guard:
            if job.ended_at is None:
                job.state, job.detail, job.ended_at = state, detail, self._clock()

    def _tidy(self) -> None:
        over = self._clock() - KEPT
        for id in [id for id, job in self._jobs.items() if job.ended_at is not None and job.ended_at < over]:
            del self._jobs[id]
