"""Recorded requests once more: `POST /api/requests/{id}/replay` to one target, `POST /api/duels` to several, whose answers are compared.

Both take requests whose bodies the ledger kept (`ledger.bodies` in relay.yaml); they go through a relay as the client `panel`, and are paid
for as any request is. A replay is answered when its answer is whole; a duel is a job, and GET /api/jobs/{id} says how far it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from claude_relay.core.duels.answers import Answer
from claude_relay.core.duels.comparing import ASPECTS, USUAL
from claude_relay.core.duels.documents import FIGURES, document
from claude_relay.core.duels.fighting import fight
from claude_relay.core.duels.outcomes import Duel, Outcome
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.recorded import ORIGIN, TARGET, Recorded, Unusable
from claude_relay.panel.common.jobs import Begun, Report
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.through_relay import Answer as Streamed
from claude_relay.panel.security.visitors import Administrator
from claude_relay.store.ledger.kept_requests import kept_request, row_of
from claude_relay.store.ledger.lookups import NotOne
from claude_relay.upstream.base_url import REFUSED, send

from .areas import area
from .playground import check_targets, posted, unless_left

router = area("duels")
PATIENCE = 600.0
"""Seconds without a byte."""

type Id = Annotated[str, Field(min_length=1, max_length=200)]
type Target = Annotated[str, Field(max_length=300, pattern=r"^[\x21-\x7e]+$")]


class Replay(Strict):
    """`target`: PROVIDER, PROVIDER/MODEL or PROVIDER/KEY; null: where routes lead."""

    target: Target | None = None


class Replayed(BaseModel):
    """The new request: its `id`, what was answered, and what the ledger has of it. `error`: its type; empty: none."""

    id: str
    status: int
    error: str
    message: str
    text: str
    provider: str | None
    key: str | None
    served_model: str | None
    attempts: int | None
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    ttft_ms: float | None
    duration_ms: float | None


class NewDuel(Strict):
    """`requests`: ids; `targets`: the first is what the others are compared with; `decides`: what has to be alike."""

    requests: list[Id] = Field(min_length=1, max_length=50)
    targets: list[Target] = Field(min_length=2, max_length=8)
    times: int = Field(1, ge=1, le=10)
    decides: list[str] = Field(
        list(USUAL), description=f"Of {', '.join(ASPECTS)}.", min_length=1, max_length=len(ASPECTS)
    )


@router.post("/requests/{id}/replay", responses=documented(404, 409, 502))
async def replay(
    id: Annotated[str, Path(max_length=200)],
    visitor: Administrator,
    request: Request,
    parts: Own,
    said: Replay | None = None,
) -> Replayed:
    """Send a request once more, and wait for the whole answer. Whoever leaves before it is there, ends it."""
    target = said.target if said is not None else None
    if target is not None:
        await run_in_threadpool(check_targets, parts, [target], "target")
    recorded = await run_in_threadpool(recorded_at, parts, id)
    fields = {**dict(recorded.fields), ORIGIN: str(Origin.REPLAY)} | ({TARGET: target} if target is not None else {})
    try:
        answer, body = await unless_left(request, whole(parts, recorded.path, fields, recorded.body))
    except REFUSED as error:
        text = f"The relay did not answer ({type(error).__name__}). Try again."
        raise Problem(502, "relay", text) from None
    found = Answer.of(answer.status, answer.fields.get("content-type", ""), body)
    new = answer.fields.get("x-relay-request", "")
    row = await run_in_threadpool(row_of, parts.database, new) or {}
    figures = {name: row.get(name) for name in FIGURES}
    return Replayed(id=new, status=found.status, error=found.error, message=found.message, text=found.text, **figures)


async def whole(parts: Parts, path: str, fields: Mapping[str, str], body: bytes) -> tuple[Streamed, bytes]:
    """The answer, and all of its body."""
    answer = await posted(parts, path, fields, body)
    try:
        return answer, await answer.whole()
    finally:
        answer.close()


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
    sending, done = sender(parts), 0

    def through(recorded: Recorded, target: str) -> Outcome:
        nonlocal done
        outcome = sending(recorded, target)
        done += 1
        report(done)
        return outcome

    rounds = tuple(fight(found, targets, said.times, through, lambda text: None))
    report(done, document(Duel(targets, rounds), said.decides))


def sender(parts: Parts) -> Callable[[Recorded, str], Outcome]:
    """Sends one through the relay. Raises Problem where none runs."""
    door, database = parts.through.door(), parts.database

    def sending(recorded: Recorded, target: str) -> Outcome:
        answer, request = send(door, recorded, target, Origin.DUEL, parts.through.key(), PATIENCE)
        if answer.status == 401:  # somebody may have emptied the database
            answer, request = send(door, recorded, target, Origin.DUEL, parts.through.key(anew=True), PATIENCE)
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
