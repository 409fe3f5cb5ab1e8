"""Routes of relay.yaml, the default, the models that they serve, and which way a request would go."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, Field

from claude_relay.core.bodies.facts import read_facts
from claude_relay.core.config import Config
from claude_relay.core.config.editing import edited
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts, Target
from claude_relay.core.routing import catalogue
from claude_relay.core.routing.routes import route
from claude_relay.core.routing.story import Route as Story
from claude_relay.core.routing.story import unmet, words
from claude_relay.panel.api.areas import area
from claude_relay.panel.api.pools import Pool, pools_of
from claude_relay.panel.api.provider_tests import tests
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.common.relay_yaml import Change, DryRun, change, current, usable
from claude_relay.panel.common.versions import IfMatch
from claude_relay.panel.security.visitors import Administrator, Reader, Visitor

router = area("routes")
MOST = 1000
type Short = Annotated[str, Field(max_length=200)] | None
type Number = Annotated[int, Path(ge=1, le=MOST)]


class Match(Strict):
    """What a request must be; what is null does not count. Globs, as in `claude-haiku-*`."""

    model: Short = None
    client: Short = None
    program: Short = None
    header: dict[str, str] | None = None
    stream: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None
    min_input_tokens: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    background: bool | None = None
    subagent: bool | None = None


class Route(Strict):
    """Requests that fit go to these providers, tried left to right."""

    match: Match = Match()
    to: list[str] = Field(min_length=1, max_length=100)


class RouteShown(BaseModel):
    """One of them. `number`: its place, from 1; `conditions`: what a request must be, in words; none: it takes every one."""

    number: int
    match: dict[str, Any]
    to: list[str]
    conditions: list[str]


class Routes(BaseModel):
    """The first that fits counts. `implied`: relay.yaml has none, so that requests go to all providers in their order."""

    data: list[RouteShown]
    default: str | None
    implied: bool


class NewRoutes(Strict):
    """All of them, in their order."""

    routes: list[Route] = Field(max_length=MOST)


class Default(Strict):
    """`target`: PROVIDER or PROVIDER/MODEL that comes first for every request; null: none does."""

    target: str | None = Field(max_length=300)


class Request(Strict):
    """A request to try. `headers`: what a client sends, such as user-agent; `client`: the name of a client key."""

    model: str = Field("", max_length=200)
    headers: dict[str, str] = Field({}, max_length=100)
    client: str = Field("", max_length=200)
    stream: bool = True
    tools: bool = False
    thinking: bool = False
    input_tokens: int = Field(1000, ge=0, le=100_000_000)
    background: bool | None = None
    subagent: bool | None = None


class Considered(BaseModel):
    """A route, and why it does not take the request: `unmet`; none: it does."""

    number: int
    conditions: list[str]
    to: list[str]
    takes: bool
    unmet: list[str]


class Tried(BaseModel):
    """A provider in the order of trying. `model`: as it is called there; `keys`: those that could serve it."""

    provider: str
    model: str
    renamed: bool
    format: str
    keys: Pool


class Way(BaseModel):
    """`rule`: what decides; `problem`: why it goes nowhere; `considered`: the routes up to the one that takes it, and those behind it."""

    rule: str
    problem: str | None
    targets: list[Tried]
    considered: list[Considered]


class Model(BaseModel):
    """A model that a client can ask for. `official`: Anthropic's own; `targets`: where a request for it goes, PROVIDER/MODEL each."""

    id: str
    display_name: str
    official: bool
    targets: list[str]
    listed_by: list[str] = Field(description="Providers whose lists have it, as far as they were asked.")


class Models(BaseModel):
    """Those that clients see, then others that providers list."""

    data: list[Model]


@router.get("/routes", responses=documented())
def routes(visitor: Reader, parts: Own, response: Response) -> Routes:
    """All, in their order."""
    response.headers["ETag"] = current(parts).tag
    return shown(parts)


@router.put("/routes", responses=documented(409, 412, 428))
def put(
    said: NewRoutes, visitor: Administrator, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """Other routes, or another order; those that stay keep their lines and comments."""
    return _changed(parts, visitor, if_match, dry_run, [_written(one) for one in said.routes])


@router.post("/routes", status_code=201, responses=documented(409, 412, 428))
def add(said: Route, visitor: Administrator, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False) -> Change:
    """One more, at the end; before the last where that takes every request, so that this one counts."""
    values, new = _now(parts), _written(said)
    last_takes_all = bool(values) and not values[-1].get("match") and "match" in new
    place = len(values) - last_takes_all
    values.insert(place, new)
    return _changed(parts, visitor, if_match, dry_run, values, f"routes[{place}]")


@router.put("/routes/{number}", responses=documented(404, 409, 412, 428))
def put_one(
    number: Number, said: Route, visitor: Administrator, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """One, by its place from 1."""
    values = _now(parts, number)
    values[number - 1] = _written(said)
    return _changed(parts, visitor, if_match, dry_run, values, f"routes[{number - 1}]")


@router.delete("/routes/{number}", responses=documented(404, 409, 412, 428))
def remove(
    number: Number, visitor: Administrator, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """One, by its place from 1."""
    values = _now(parts, number)
    del values[number - 1]
    return _changed(parts, visitor, if_match, dry_run, values)


@router.put("/default", responses=documented(409, 412, 428))
def put_default(
    said: Default, visitor: Administrator, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """What comes first for every request."""
    return change(
        parts,
        visitor.actor,
        if_match,
        lambda text: edited(text, ("default",), said.target or None),
        dry_run=dry_run,
        about="default",
        within="",
    )


@router.post("/routes/try", responses=documented())
def attempt(said: Request, visitor: Reader, parts: Own) -> Way:
    """Which way would this request go, and why? Nothing is sent."""
    return way_of(parts, said)


@router.get("/models", responses=documented())
def models(visitor: Reader, parts: Own) -> Models:
    """What clients can ask for, and what providers list. A provider's list is known once it was tested."""
    config = usable(parts)
    lists = {name: tested.models for name, tested in tests(parts).items()}
    found: dict[str, Model] = {}
    native: dict[str, dict[str, dict[str, Any]]] = {
        name: {model: {} for model in own} for name, own in lists.items() if _is_native(config, name)
    }
    for entry in catalogue.models(config, catalogue.ANYBODY, native):
        found[entry["id"]] = _model(config, entry["id"], str(entry.get("display_name") or entry["id"]))
    for name, own in lists.items():
        if name in config.providers:
            for model in own:
                found.setdefault(model, _model(config, model, model)).listed_by.append(name)
    return Models(data=list(found.values()))


# --- what pages use too ---


def shown(parts: Parts) -> Routes:
    """As the API shows them."""
    config, data = usable(parts), current(parts).data
    written = [one for one in data.get("routes") or [] if isinstance(one, dict)]
    rules: list[dict[str, Any]] = [
        {"match": rule.match.model_dump(exclude_defaults=True), "to": [*rule.to]} for rule in config.routes
    ]
    if len(written) == len(rules):  # with the variables that stand there
        rules = [{"match": one.get("match") or {}, "to": one.get("to") or []} for one in written]
    return Routes(
        data=[
            RouteShown(number=number, match=shown["match"], to=shown["to"], conditions=words(rule.match))
            for number, (rule, shown) in enumerate(zip(config.routes, rules, strict=True), 1)
        ],
        default=config.default,
        implied=not written,
    )


def way_of(parts: Parts, said: Request) -> Way:
    """Of a request."""
    config, facts = usable(parts), facts_of(said)
    problem: str | None = None
    targets: tuple[Target, ...] = ()
    try:
        targets = route(facts, config.routes, config.providers, config.default)
    except RelayError as error:
        problem = error.message
    pools = pools_of(parts, config)
    return Way(
        rule=Story.of(facts, config.routes, config.default).rule,
        problem=problem,
        targets=[
            Tried(
                provider=target.provider,
                model=target.model,
                renamed=target.model != facts.model,
                format=config.providers[target.provider].format,
                keys=pools.get(target.provider, Pool()),
            )
            for target in targets
        ],
        considered=[
            Considered(
                number=number,
                conditions=words(rule.match),
                to=list(rule.to),
                takes=not (missing := unmet(rule.match, facts)),
                unmet=missing,
            )
            for number, rule in enumerate(config.routes, 1)
        ],
    )


def facts_of(said: Request) -> Facts:
    """What the relay would know of it."""
    body: dict[str, Any] = {"model": said.model, "messages": [], "stream": said.stream}
    body |= {"tools": [{"name": "tool"}]} if said.tools else {}
    body |= {"thinking": {"type": "enabled", "budget_tokens": 1024}} if said.thinking else {}
    headers = {name.lower(): value for name, value in said.headers.items()}
    read = read_facts(Endpoint.MESSAGES, headers, json.dumps(body).encode())
    return replace(
        read,
        client=said.client,
        tokens=said.input_tokens,
        background=read.background if said.background is None else said.background,
        subagent=read.subagent if said.subagent is None else said.subagent,
    )


def _model(config: Config, name: str, display: str) -> Model:
    try:
        facts = replace(catalogue.ANYBODY, endpoint=Endpoint.MESSAGES, model=name)
        found = route(facts, config.routes, config.providers, config.default)
        targets = [f"{target.provider}/{target.model}" for target in found]
    except RelayError:
        targets = []
    return Model(id=name, display_name=display, official=name in catalogue.known(), targets=targets, listed_by=[])


def _is_native(config: Config, name: str) -> bool:
    return name in config.providers and config.providers[name].native


def _now(parts: Parts, number: int = 0) -> list[Any]:
    """Those that stand there. Raises Problem where there is none with that number."""
    found = current(parts).data.get("routes") or []
    values = list(found) if isinstance(found, list) else []
    if number > len(values):
        raise Problem(404, "not_found", f"There is no route {number}: relay.yaml has {len(values)}.")
    return values


def _changed(
    parts: Parts, visitor: Visitor, if_match: str | None, dry_run: bool, values: list[Any], within: str = ""
) -> Change:
    return change(
        parts,
        visitor.actor,
        if_match,
        lambda text: edited(text, ("routes",), values),
        dry_run=dry_run,
        about="routes",
        within=within,
    )


def _written(said: Route) -> dict[str, Any]:
    match = {name: value for name, value in said.match.model_dump(exclude_none=True).items() if value not in ("", {})}
    return ({"match": match} if match else {}) | {"to": said.to}
