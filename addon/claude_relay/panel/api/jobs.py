"""How far something is that goes on behind an answer, and an end to it: `/api/jobs/{id}`."""

from __future__ import annotations

from fastapi import Response

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.jobs import Job
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.problems import documented
from claude_relay.panel.security.visitors import Operator, Reader

router = area("jobs")


@router.get("/jobs/{id}", responses=documented(404))
def job(id: str, visitor: Reader, parts: Own) -> Job:
    """One that you have begun: how much of it is done, and what came of each part. It is forgotten an hour after its end."""
    return parts.jobs.find(visitor, id)


@router.delete("/jobs/{id}", status_code=204, responses=documented(404))
def cancel(id: str, visitor: Operator, parts: Own) -> Response:
    """Begin nothing more of it. What was done stays done; one that is over stays as it is."""
    parts.jobs.cancel(visitor, id)
    return Response(status_code=204)
