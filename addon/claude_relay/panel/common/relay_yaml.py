"""relay.yaml in the panel: what it says, without secrets, and how it is changed: in place, shown as a diff first, and by one at a time.

    now = current(parts)
    now.data["providers"], now.config, now.tag
    change(parts, actor, if_match, lambda text: edited(text, ("default",), "glm"), dry_run=True)

An edit works on the text with marks in the place of secrets, so that none can slip out; they are put back before it is checked and saved.
It must not know sections.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from claude_relay.core.config import Config, ConfigError, ConfigProblem, needs_restart, parse
from claude_relay.core.config.changes import lines, values
from claude_relay.core.config.editing import EditError
from claude_relay.core.config.expand import UNSET
from claude_relay.core.config.locate import locate, usual_file
from claude_relay.core.config.masking import Masked, hidden, new_literals
from claude_relay.core.config.yaml import YamlError, read
from claude_relay.store.audit import Act, Actor
from claude_relay.store.config_file import NotWritten, save, text_of
from claude_relay.store.db.database import ChangedMeanwhile

from .parts import Parts
from .problems import FieldError, Problem
from .versions import matched

BOM = "\ufeff"
EARLIER = 20
"""Texts that can be brought back."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}", re.ASCII)
ANYTHING = "https://unset.invalid"
"""In the place of a variable that only the relay's own terminal has, so that the rest can be looked at."""

DryRun = Annotated[bool, Query(description="Say what would change, and change nothing.")]
"""A parameter of a handler."""


class DiffLine(BaseModel):
    """Of a unified diff. `kind`: same, added, removed, or place: which lines follow."""

    kind: str
    text: str


class Mistake(BaseModel):
    """What is wrong with the text. `path`: dotted; `line`: from 1."""

    line: int | None = None
    path: str = ""
    detail: str


class Change(BaseModel):
    """What was changed, or would be. `etag`: of the text that is there now; `restart`: settings that change at a restart only."""

    saved: bool
    etag: str
    diff: list[DiffLine]
    restart: list[str] = Field(default=[], examples=[["listen.proxy"]])
    notes: list[str] = []


@dataclass(frozen=True, slots=True)
class RelayYaml:
    """The file as it is. Its text has marks in the place of secrets.

    path      where it is, or where it will be
    raw       as it is on the disk
    masked    without secrets, and without what some editors put before a text
    data      as it is written, with marks; nothing while there are mistakes
    config    what it means; None: it cannot be used
    mistakes  why
    unset     variables that the panel lacks
    """

    path: Path
    raw: bytes
    masked: Masked
    data: dict[str, Any]
    config: Config | None
    mistakes: tuple[ConfigProblem, ...]
    unset: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Its ETag."""
        return tag(self.raw)

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self.path.is_file()


def current(parts: Parts) -> RelayYaml:
    """As it is now. Raises Problem when the file cannot be read at all."""
    path = locate(parts.named, parts.environ, Path.cwd()) or usual_file(parts.environ)
    raw = text_of(path)
    known: RelayYaml | None = parts.kept.get("relay.yaml")
    if known is not None and (known.raw, known.path) == (raw, path):
        return known
    try:
        text = raw.decode().removeprefix(BOM)
    except UnicodeDecodeError:
        raise Problem(409, "not_text", f"{path.name} is not UTF-8 text; save the file as UTF-8.") from None
    masked = Masked.of(text)
    config, mistakes, unset = _checked(parts, path, text)
    data = {} if mistakes else _data(masked.text)
    found = RelayYaml(path, raw, masked, data, config, mistakes, unset)
    parts.kept["relay.yaml"] = found
    return found


def usable(parts: Parts) -> Config:
    """What the file means; while it is broken, what it meant last."""
    return current(parts).config or parts.in_force()


def change(
    parts: Parts,
    actor: Actor,
    if_match: str | None,
    edit: Callable[[str], str],
    *,
    dry_run: bool,
    about: str = "",
    within: str = "",
) -> Change:
    """Let `edit` make another text of the one with marks; check it, and save it unless it is a dry run.

    about   what is changed, for the audit log; nothing: the text as a whole, so that mistakes can be mended
    within  what the places of mistakes begin with, where the fields of a form are named without it

    Raises Problem.
    """
    now = current(parts)
    matched(if_match, now.tag)
    if about and now.mistakes:
        raise Problem(409, "broken", "relay.yaml cannot be used as it is; mend it on the page Settings first.")
    try:
        after = edit(now.masked.text)
        text = now.masked.restored(after)
    except (EditError, YamlError) as error:
        raise Problem(409, "layout", f"{error}.") from None
    except ValueError as error:
        raise Problem(422, "mark", f"{error}.") from None
    before = now.masked.restored(now.masked.text)
    refuse_literals(before, text, within)
    config, mistakes, unset = _checked(parts, now.path, text)
    if mistakes:
        raise _invalid(mistakes, within)
    found = Change(
        saved=not dry_run,
        etag=now.tag,
        diff=difference(before, text, now.masked),
        restart=list(needs_restart(now.config, config)) if now.config and config else [],
        notes=[f"The panel has no variable {name}; the relay must have it." for name in unset],
    )
    if not dry_run and text != before:
        found.etag = _save(parts, actor, now, text, about or "relay.yaml")
    return found


def undo(parts: Parts, actor: Actor, if_match: str | None) -> Change:
    """Bring back the text that was there before the change that led to this version. Raises Problem."""
    now = current(parts)
    matched(if_match, now.tag)
    earlier: OrderedDict[str, bytes] = parts.kept.get("relay.yaml before", OrderedDict())
    if now.tag not in earlier:
        raise Problem(404, "nothing_to_undo", "This version is none that the panel has made since it began.")
    text, before = earlier[now.tag].decode(), now.raw.decode()
    diff = difference(before.removeprefix(BOM), text.removeprefix(BOM), now.masked)
    return Change(
        saved=True, diff=diff, etag=_save(parts, actor, now, text.removeprefix(BOM), "relay.yaml", act="undo")
    )


def difference(before: str, after: str, known: Masked) -> list[DiffLine]:
    """As lines, without secrets."""
    old = Masked.of(before, known.secrets)
    new = Masked.of(after, old.secrets)
    return [DiffLine(kind=line.kind, text=line.text) for line in lines(old.text, new.text)]


def mistakes_of(parts: Parts, path: Path, text: str) -> tuple[list[Mistake], Config | None]:
    """What is wrong with a text, and what it means."""
    config, found, _ = _checked(parts, path, text)
    return [Mistake(line=one.line, path=one.path, detail=one.what) for one in found], config


def refuse_literals(before: str, after: str, within: str = "") -> None:
    """A key belongs into the vault. Raises Problem."""
    places = new_literals(before, after)
    if places:
        detail = (
            "A key does not belong into relay.yaml: add it on the page Keys, or name a variable such as ${MY_KEYS}."
        )
        errors = [FieldError(field=_field(place, within), detail=detail) for place in places]
        raise Problem(422, "literal_key", detail, errors=errors)


def tag(raw: bytes) -> str:
    """The ETag of a text."""
    return f'"{hashlib.sha256(raw).hexdigest()[:20]}"'


def _checked(parts: Parts, path: Path, text: str) -> tuple[Config | None, tuple[ConfigProblem, ...], tuple[str, ...]]:
    """What a text means, what is wrong with it, and which variables the panel lacks for it."""
    environ = dict(parts.environ)
    try:
        return parse(text, environ=environ, where=path.name, folder=path.parent), (), ()
    except ConfigError as error:
        found = error.problems
    mistakes = tuple(problem for problem in found if not problem.what.startswith(UNSET))
    if mistakes:
        return None, mistakes, ()
    lacking = tuple(dict.fromkeys(name for name in _VARIABLE.findall(text) if name not in environ))
    keyless = dict.fromkeys(lacking, ANYTHING)
    try:
        return parse(text, environ=environ | keyless, where=path.name, folder=path.parent), (), lacking
    except ConfigError:
        return None, (), lacking


def _save(parts: Parts, actor: Actor, now: RelayYaml, text: str, about: str, act: str = "edit") -> str:
    raw = ((BOM if now.raw.startswith(BOM.encode()) else "") + text).encode()
    try:
        was, then = values(hidden(_data(now.masked.restored(now.masked.text))), hidden(_data(text)))
        entry = Act(act, "config", about, was, then)
        save(now.path, raw, seen=now.raw, database=parts.database, actor=actor, act=entry)
    except ChangedMeanwhile:
        raise Problem(412, "changed", "Somebody has changed relay.yaml meanwhile. Load it again.") from None
    except NotWritten as error:
        raise Problem(503, "not_written", f"{error}.") from None
    earlier: OrderedDict[str, bytes] = parts.kept.setdefault("relay.yaml before", OrderedDict())
    earlier[tag(raw)] = now.raw
    while len(earlier) > EARLIER:
        earlier.popitem(last=False)
    return tag(raw)


def _data(text: str) -> dict[str, Any]:
    try:
        return read(text).data
    except YamlError:
        return {}


def _invalid(mistakes: Sequence[ConfigProblem], within: str) -> Problem:
    errors = [FieldError(field=_field(one.path, within), detail=_sentence(one)) for one in mistakes]
    first = mistakes[0]
    more = f" ({len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return Problem(422, "invalid", f"{first.path or first.where}: {first.what}{more}.", errors=errors)


def _field(path: str, within: str) -> str:
    """`providers.glm.models.claude-*` -> `models`, within `providers.glm`."""
    inner = path.removeprefix(within).lstrip(".") if within and path.startswith(within) else path
    return re.split(r"[.\[]", inner)[0] if within and path.startswith(within) else inner


def _sentence(problem: ConfigProblem) -> str:
    text = problem.what[:1].upper() + problem.what[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
