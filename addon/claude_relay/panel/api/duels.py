"""Recorded requests once more: `POST /api/requests/{id}/replay` to one target, `POST /api/duels` to several, whose answers are compared.

Both take requests whose bodies the ledger kept (`ledger.bodies` in relay.yaml), and both take a while: the answer is the id of a job, and
GET /api/jobs/{id} says what came of it. They go through a relay as the client `panel`, and are paid for as any request is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import Path
from pydantic import Field

from claude_relay.core.duels.comparing import ASPECTS, USUAL
from claude_relay.core.duels.documents import FIGURES, document
from claude_relay.core.duels.fighting import fight
from claude_relay.core.duels.outcomes import Duel, Outcome
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.recorded import Recorded, Unusable
from claude_relay.panel.common.jobs import Begun, Report
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.security.visitors import Administrator
from claude_relay.store.ledger.kept_requests import kept_request, row_of
from claude_relay.store.ledger.lookups import NotOne
from claude_relay.upstream.base_url import send

from .areas import area
from .playground import check_targets

router = area("duels")
PATIENCE = 600.0
"""Seconds without a byte."""

type Id = Annotated[str, Field(min_length=1, max_length=200)]
type Target = Annotated[str, Field(max_length=300, pattern=r"^[\x21-\x7e]+$")]


class Replay(Strict):
    """`target`: PROVIDER, PROVIDER/MODEL or PROVIDER/KEY; null: where routes lead."""

    target: Target | None = None


class NewDuel(Strict):
    """`requests`: ids; `targets`: the first is what the others are compared with; `decides`: what has to be alike."""

    requests: list[Id] = Field(min_length=1, max_length=50)
    targets: list[Target] = Field(min_length=2, max_length=8)
    times: int = Field(1, ge=1, le=10)
    decides: list[str] = Field(
        list(USUAL), description=f"Of {', '.join(ASPECTS)}.", min_length=1, max_length=len(ASPECTS)
    )


@router.post("/requests/{id}/replay", status_code=202, responses=documented(404, 409))
def replay(id: Annotated[str, Path(max_length=200)], said: Replay, visitor: Administrator, parts: Own) -> Begun:
    """Send a request once more. The job's one result is the answer, with the id of the new request."""
    recorded = recorded_at(parts, id)
    if said.target is not None:
        check_targets(parts, [said.target], "target")
    sending = sender(parts, Origin.REPLAY)

    def work(report: Report) -> None:
        outcome = sending(recorded, said.target)
        row = outcome.row or {}
        found = {"request": outcome.request, "status": outcome.answer.status, "error": outcome.answer.error or None}
        found |= {"message": outcome.answer.message or None, "text": outcome.answer.text}
        report(1, found | {name: row.get(name) for name in FIGURES})

    return Begun(id=parts.jobs.begin(visitor, 1, work))


@router.post("/duels", status_code=202, responses=documented(404, 409))
def duel(said: NewDuel, visitor: Administrator, parts: Own) -> Begun:
    """Send requests to several targets. The job's one result is the comparison, as `scripts/duel --json` prints it."""
    if wrong := [name for name in said.decides if name not in ASPECTS]:
        text = f"'{wrong[0][:60]}' is not compared; there are {', '.join(ASPECTS)}."
        raise Problem(422, "invalid", text, errors=[FieldError(field="decides", detail=text)])
    targets = tuple(dict.fromkeys(said.targets))
    if len(targets) < 2:
        text = "A duel takes two different targets."
        raise Problem(422, "invalid", text, errors=[FieldError(field="targets", detail=text)])
    check_targets(parts, list(targets), "targets")
    found = [recorded_at(parts, id) for id in dict.fromkeys(said.requests)]
    total = len(found) * len(targets) * said.times
    return Begun(id=parts.jobs.begin(visitor, total, partial(_fight, parts, found, targets, said)))


def _fight(parts: Parts, found: Sequence[Recorded], targets: tuple[str, ...], said: NewDuel, report: Report) -> None:
    sending, done = sender(parts, Origin.DUEL), 0

    def through(recorded: Recorded, target: str) -> Outcome:
        nonlocal done
        outcome = sending(recorded, target)
        done += 1
        report(done)
        return outcome

    rounds = tuple(fight(found, targets, said.times, through, lambda text: None))
    report(done, document(Duel(targets, rounds), said.decides))


def sender(parts: Parts, origin: Origin) -> Callable[[Recorded, str | None], Outcome]:
    """Sends one through the relay. Raises Problem where none runs."""
    door, database = parts.through.door(), parts.database

    def sending(recorded: Recorded, target: str | None) -> Outcome:
        answer, request = send(door, recorded, target, origin, parts.through.key(), PATIENCE)
        if answer.status == 401:  # somebody may have emptied the database
            answer, request = send(door, recorded, target, origin, parts.through.key(anew=True), PATIENCE)
        return Outcome(answer, request, row_of(database, request))

    return sending


def recorded_at(parts: Parts, id: str) -> Recorded:
    """The request of the ledger with that id. Raises Problem."""
    try:
        with parts.ledger() as connection:
            return kept_request(connection, id)
    except NotOne as error:
        several = f"Several requests begin so: {', '.join(error.candidates)}."
        text = several if error.candidates else f"There is no request '{id[:80]}'."
        raise Problem(409 if error.candidates else 404, "not_one" if error.candidates else "not_found", text) from None
    except Unusable as error:
        raise Problem(409, "not_kept", _sentence(str(error))) from None


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
