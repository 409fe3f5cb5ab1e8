"""relay.yaml as a whole: its text without secrets, what is wrong with it, another text, and the one before."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel, Field

from claude_relay.core.config import needs_restart
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.relay_yaml import (
    Change,
    DiffLine,
    DryRun,
    Mistake,
    change,
    current,
    difference,
    mistakes_of,
    refuse_literals,
    undo,
)
from claude_relay.panel.common.versions import IfMatch
from claude_relay.panel.security.visitors import Administrator, Confirmed, Reader

router = area("settings")
LONGEST = 1 << 20


class Text(Strict):
    """Of relay.yaml. A mark such as ‹literal 1› stands for the secret that is there already."""

    text: str = Field(max_length=LONGEST)


class Settings(BaseModel):
    """`path`: where the file is, or will be. `unset`: variables that the panel lacks, and the relay may have."""

    path: str
    exists: bool
    text: str
    problems: list[Mistake]
    unset: list[str]


class Checked(BaseModel):
    """What is wrong with a text, and what would change."""

    problems: list[Mistake]
    diff: list[DiffLine]
    restart: list[str]


@router.get("/settings", responses=documented(409))
def settings(visitor: Reader, parts: Own, response: Response) -> Settings:
    """The text, with marks in the place of secrets."""
    now = current(parts)
    response.headers["ETag"] = now.tag
    problems = [Mistake(line=one.line, path=one.path, detail=one.what) for one in now.mistakes]
    return Settings(
        path=str(now.path), exists=now.exists, text=now.masked.text, problems=problems, unset=list(now.unset)
    )


@router.post("/settings/check", responses=documented(409))
def check(said: Text, visitor: Administrator, parts: Own) -> Checked:
    """What is wrong with a text, and what would change. Nothing is saved."""
    now = current(parts)
    before = now.masked.restored(now.masked.text)
    try:
        text = now.masked.restored(_lines(said.text, before))
    except ValueError as error:
        raise Problem(422, "mark", f"{error}.", errors=[FieldError(field="text", detail=f"{error}.")]) from None
    refuse_literals(before, text)
    problems, config = mistakes_of(parts, now.path, text)
    restart = list(needs_restart(now.config, config)) if now.config and config else []
    return Checked(problems=problems, diff=difference(before, text, now.masked), restart=restart)


@router.put("/settings", responses=documented(409, 412, 428))
def put(said: Text, visitor: Confirmed, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False) -> Change:
    """Another text."""
    return change(parts, visitor.actor, if_match, lambda text: _lines(said.text, text), dry_run=dry_run)


@router.post("/settings/undo", responses=documented(404, 409, 412, 428))
def put_back(visitor: Administrator, parts: Own, if_match: IfMatch = None) -> Change:
    """Bring back the text that was there before the panel's last change, while nobody has changed it since."""
    return undo(parts, visitor.actor, if_match)


def _lines(text: str, before: str) -> str:
    """With the ends of lines that the file has; a browser sends its own."""
    plain = text.replace("\r\n", "\n")
    return plain.replace("\n", "\r\n") if "\r\n" in before else plain
