"""Providers of relay.yaml: which there are and how they do, presets to begin with, tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, Field

from claude_relay.core.config import DEFAULT_PROVIDER
from claude_relay.core.config.editing import REMOVED, edited
from claude_relay.core.config.filling import presets
from claude_relay.core.config.listening import routed
from claude_relay.core.config.values import Auth, provider_name
from claude_relay.core.config.yaml import read
from claude_relay.panel.api.areas import area
from claude_relay.panel.api.pools import Pool, pools_of
from claude_relay.panel.common.models import Plain, Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.relay_yaml import Change, DryRun, RelayYaml, change, current
from claude_relay.panel.common.versions import IfMatch
from claude_relay.panel.security.visitors import Confirmed, Reader

router = area("providers")
EMPTY: tuple[object, ...] = (None, "", [], {})
"""What says nothing."""
Name = Annotated[str, Path(max_length=40)]


class Definition(Strict):
    """A provider as relay.yaml has it; what is null or missing is left out there. `keys`: variables such as ${MY_KEYS}; keys themselves
    are added to the vault. A mark such as ‹literal 1› stands for what is there already.
    """

    preset: str | None = Field(None, max_length=100)
    format: str | None = Field(None, max_length=500)
    base_url: str | None = Field(None, max_length=2000)
    auth: str | dict[str, str] | None = None
    keys: list[str] | None = Field(None, max_length=1000)
    empty_pool: str | None = Field(None, max_length=40)
    strategy: str | None = Field(None, max_length=40)
    models: dict[str, str] | None = None
    headers: dict[str, str] | None = None
    body: Plain | None = None
    options: Plain | None = None
    proxy: str | None = Field(None, max_length=2000)


class NewProvider(Definition):
    """`routed`: requests go there, too, when all others have failed of the route that takes every request, else of the last one."""

    name: str = Field(max_length=40)
    routed: bool = False


class Provider(BaseModel):
    """`definition`: as it stands in relay.yaml; `implied`: it does not, for none does. `proxy`: without its password."""

    name: str
    preset: str | None
    format: str
    base_url: str
    auth: str
    strategy: str
    empty_pool: str
    models: dict[str, str]
    proxy: str | None
    routed: bool
    first: bool = Field(description="It comes first for every request: the default.")
    implied: bool
    keys: Pool
    definition: dict[str, Any]


class Providers(BaseModel):
    """All of them, in the order of the file."""

    data: list[Provider]


class Preset(BaseModel):
    """What a provider can begin with. `base_url` null: everybody has another one, such as `example`."""

    name: str
    format: str
    base_url: str | None
    auth: str | dict[str, str]
    example: str | None
    keyless: bool
    models: dict[str, str]
    source: str


class Presets(BaseModel):
    """By name."""

    data: list[Preset]


@router.get("/providers", responses=documented())
def providers(visitor: Reader, parts: Own, response: Response) -> Providers:
    """All, with the state of their keys."""
    now = current(parts)
    response.headers["ETag"] = now.tag
    return Providers(data=all_of(parts, now))


@router.get("/presets", responses=documented())
def known_presets(visitor: Reader) -> Presets:
    """Providers that are known."""
    fields = Preset.model_fields.keys() - {"name"}
    usual: dict[str, Any] = {"base_url": None, "example": None, "keyless": False, "models": {}, "source": ""}
    return Presets(
        data=[
            Preset(name=name, **(usual | {field: value for field, value in preset.items() if field in fields}))
            for name, preset in presets().items()
        ]
    )


@router.post("/providers", status_code=201, responses=documented(409, 412, 428))
def add(said: NewProvider, visitor: Confirmed, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False) -> Change:
    """Another provider. Its keys are added afterwards, to the vault."""
    try:
        provider_name(said.name)
    except ValueError as error:
        text = str(error)
        raise Problem(422, "invalid", text, errors=[FieldError(field="name", detail=text)]) from None
    data = current(parts).data
    if said.name in (data.get("providers") or DEFAULT_PROVIDER):
        text = f"There is a provider of the name {said.name} already."
        raise Problem(409, "taken", text, errors=[FieldError(field="name", detail=text)])

    def edit(text: str) -> str:
        if not data.get("providers"):  # the one that is implied stays
            text = edited(text, ("providers",), DEFAULT_PROVIDER)
        text = edited(text, ("providers", said.name), _written(said))
        routes = read(text).data.get("routes")
        if said.routed and isinstance(routes, list) and routes:
            at = next((at for at, rule in enumerate(routes) if not rule.get("match")), len(routes) - 1)
            routes[at] |= {"to": [*routes[at].get("to", []), said.name]}
            text = edited(text, ("routes",), routes)
        return text

    return _change(parts, visitor.actor, if_match, edit, dry_run, said.name)


@router.get("/providers/{name}", responses=documented(404))
def provider(name: Name, visitor: Reader, parts: Own, response: Response) -> Provider:
    """One of them."""
    now = current(parts)
    response.headers["ETag"] = now.tag
    return one(parts, now, name)


@router.put("/providers/{name}", responses=documented(404, 409, 412, 428))
def put(
    name: Name, said: Definition, visitor: Confirmed, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False
) -> Change:
    """Define it anew; lines that stay the same are left alone."""
    now = current(parts)
    definition = one(parts, now, name).definition
    # What is empty stays, if only for its comment; what has no field here, such as `tls` and `oauth`, does so, too.
    kept = {name: value for name, value in definition.items() if value in EMPTY or name not in Definition.model_fields}

    def edit(text: str) -> str:
        if not now.data.get("providers"):
            text = edited(text, ("providers",), DEFAULT_PROVIDER)
        return edited(text, ("providers", name), kept | _written(said))

    return _change(parts, visitor.actor, if_match, edit, dry_run, name)


@router.delete("/providers/{name}", responses=documented(404, 409, 412, 428))
def remove(name: Name, visitor: Confirmed, parts: Own, if_match: IfMatch = None, dry_run: DryRun = False) -> Change:
    """Take it out of relay.yaml, and out of its routes and the default. Its keys stay in the vault."""
    now = current(parts)
    if one(parts, now, name).implied:
        raise Problem(409, "implied", "relay.yaml names no provider, so this one is implied; add another one first.")

    def edit(text: str) -> str:
        text = edited(text, ("providers", name), REMOVED)
        routes = now.data.get("routes")
        if isinstance(routes, list) and any(name in route.get("to", []) for route in routes):
            kept = [route | {"to": [to for to in route["to"] if to != name]} for route in routes]
            text = edited(text, ("routes",), [route for route in kept if route["to"]])
        if str(now.data.get("default") or "").partition("/")[0] == name:
            text = edited(text, ("default",), None)
        return text

    return _change(parts, visitor.actor, if_match, edit, dry_run, name)


# --- what pages use too ---


def all_of(parts: Parts, now: RelayYaml) -> list[Provider]:
    """As the API shows them."""
    config = now.config or parts.in_force()
    written = now.data.get("providers") or {}
    pools, reachable = pools_of(parts, config), routed(config)
    first = (config.default or "").partition("/")[0]
    return [
        Provider(
            name=name,
            preset=found.preset,
            format=found.format,
            base_url=found.base_url,
            auth=_auth(found.auth),
            strategy=found.strategy,
            empty_pool=found.empty_pool,
            models=found.models,
            proxy=str(found.proxy) if found.proxy else None,
            routed=name in reachable,
            first=name == first,
            implied=name not in written,
            keys=pools.get(name, Pool()),
            definition=dict(written.get(name) or (DEFAULT_PROVIDER.get(name, {}) if name not in written else {})),
        )
        for name, found in config.providers.items()
    ]


def one(parts: Parts, now: RelayYaml, name: str) -> Provider:
    """Raises Problem 404."""
    found = next((provider for provider in all_of(parts, now) if provider.name == name), None)
    if found is None:
        raise _missing(name)
    return found


def _change(
    parts: Parts, actor: Any, if_match: str | None, edit: Callable[[str], str], dry_run: bool, name: str
) -> Change:
    place = f"providers.{name}"
    return change(parts, actor, if_match, edit, dry_run=dry_run, about=place, within=place)


def _written(said: Definition) -> dict[str, Any]:
    return {field: value for field in Definition.model_fields if (value := getattr(said, field)) not in EMPTY}


def _auth(auth: Auth) -> str:
    return f"{auth.kind} {auth.name}"


def _missing(name: str) -> Problem:
    return Problem(404, "not_found", f"There is no provider {name[:40]!r} in relay.yaml.")
