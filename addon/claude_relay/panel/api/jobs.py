"""How far something is that goes on behind an answer: `/api/jobs/{id}`."""

from __future__ import annotations

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.jobs import Job
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.problems import documented
from claude_relay.panel.security.visitors import Reader

router = area("jobs")


@router.get("/jobs/{id}", responses=documented(404))
def job(id: str, visitor: Reader, parts: Own) -> Job:
    """One that you have begun: how much of it is done, and what came of each part. It is forgotten an hour after its end."""
    return parts.jobs.find(visitor, id)
