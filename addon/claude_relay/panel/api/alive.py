"""GET /healthz: the panel answers. How all is, `/api/health` says to those who are signed in."""

from __future__ import annotations

from pydantic import BaseModel

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.problems import documented

router = area("health", prefix="")


class Alive(BaseModel):
    """No more than that."""

    ok: bool = True


@router.get("/healthz", responses=documented())
def healthz() -> Alive:
    """For whoever watches over the process; needs no sign-in."""
    return Alive()
